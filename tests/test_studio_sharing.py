import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handful.errors import UsageError
from handful.files.atomic import json_text
from handful.reporting import Reporter
from handful.run_store.store import RunStore
from handful.studio import sharing as sharing_module
from handful.studio import use_worker
from handful.studio.jobs import JobFolder, JobState
from handful.studio.sharing import Sharing


@pytest.fixture
def fake_export(monkeypatch: pytest.MonkeyPatch) -> None:
    def export(run: Path, format: str, *, output: Path, reporter: Reporter) -> Any:
        with reporter.phase("compare"):
            reporter.progress(1, 1)
        output.mkdir()
        name = "classifier.html" if format == "web" else "model.onnx"
        (output / name).write_bytes(b"all of it")
        told = {
            "bytes": 31_000_000,
            "tells_unusual": format == "web",
            "parity": {"largest_difference": 0.004},
        }
        (output / "export.json").write_text(json_text(told))
        return SimpleNamespace(path=output)

    monkeypatch.setattr(sharing_module, "export", export)
    monkeypatch.setattr(use_worker.os, "nice", lambda by: by)
    monkeypatch.setattr(use_worker, "claim_process", lambda: None)


def test_a_run_is_written_for_others_and_found_again(
    tmp_path: Path, tiny_run: Path, fake_export: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    write = JobFolder.write

    def note(job: JobFolder, state: JobState) -> None:
        said.append(state.what)
        write(job, state)

    monkeypatch.setattr(JobFolder, "write", note)
    sharing, run = Sharing(tmp_path), RunStore().read(tiny_run)
    assert sharing.made(run) == {} and sharing.addresses == ()
    for format in ("web", "onnx", "web"):
        use_worker.main("share", str(tmp_path), format, str(tiny_run))
    state = sharing.job.read()
    assert state is not None
    assert state.status == "done" and "comparing with handful" in said
    found = sharing.made(run)
    assert set(found) == {"onnx", "web"}
    assert found["web"].path.read_bytes() == b"all of it"
    assert found["web"].note.startswith("The page has 31.0 MB") and found["web"].tells_unusual
    assert found["onnx"].note == "" and found["onnx"].largest_difference == 0.004
    with zipfile.ZipFile(found["onnx"].path) as archive:
        assert archive.namelist() == ["run-onnx/export.json", "run-onnx/model.onnx"]
    (tmp_path / "shared" / "run-web" / "export.json").write_text("{")
    assert set(sharing.made(run)) == {"onnx"}


def test_what_cannot_be_written_is_refused(tmp_path: Path, tiny_run: Path) -> None:
    sharing = Sharing(tmp_path)
    with pytest.raises(UsageError, match="train one first"):
        sharing.begin(None, "web")
    with pytest.raises(UsageError, match="none of"):
        sharing.begin(RunStore().read(tiny_run), "../x")
