"""Runs are named, listed and found in one place."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import handful
from handful.cli.commands import app
from handful.config import TrainConfig
from handful.errors import DataError, OutputError, UsageError
from handful.run_store.files import RUN_FILE
from handful.run_store.run import Run
from handful.run_store.store import PageWriter, RunDraft, RunStore, checkpoint_path, run_name
from test_strategies import tiny


@pytest.fixture
def store(tiny_run: Path, tmp_path: Path) -> RunStore:
    """Three runs, the last but one the latest, and what is none."""
    folder = tmp_path / "runs"
    for age, name in enumerate(("cats", "dogs-2", "dogs")):
        shutil.copytree(tiny_run, folder / name)
        day = datetime(2026, 1, (1, 3, 2)[age], 12, tzinfo=UTC).timestamp()
        os.utime(folder / name / RUN_FILE, (day, day))
    (folder / "cats-check").mkdir()
    (folder / "notes.txt").write_text("")
    return RunStore(folder)


def set_stopped(run: Path, training: object) -> None:
    metadata = json.loads((run / RUN_FILE).read_text())
    metadata["result"]["training"] = training
    (run / RUN_FILE).write_text(json.dumps(metadata))


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


class MemoryStore:
    """Keeps runs as they are; a run without its end is none."""

    def __init__(self) -> None:
        self.runs: dict[Path, Run] = {}

    @contextmanager
    def new(self, path: Path, *, resume: bool = False) -> Iterator[RunDraft]:
        draft = MemoryDraft()
        yield draft
        assert draft.finished is not None
        self.runs[path] = draft.finished


class MemoryDraft:
    checkpoint = None
    finished: Run | None = None

    def write(self, run: Run, write_page: PageWriter | None = None) -> None:
        assert run.path is None and write_page is not None

    def finish(self, run: Run) -> None:
        self.finished = run


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["transfer", "scratch"])
def test_a_run_can_be_kept_without_a_file(
    photo_folder: Path,
    tiny_backbone: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    store, config = MemoryStore(), TrainConfig()
    if strategy == "scratch":
        config = TrainConfig(strategy=strategy, recipe="keras-tutorial", image_size=48, epochs=1)
    network = tiny if strategy == "scratch" else None
    run = handful.train(photo_folder, config, output="first", network=network, store=store)
    assert store.runs == {Path("first"): run} and run.path == Path("first")
    assert run.seconds["report"] >= 0 and list(Path.cwd().iterdir()) == []
    # Whoever wants it in a folder after all can have it.
    stored = RunStore().write(run, "second")
    assert stored.predictions.paths == run.evaluation.paths and stored.config == config
    assert stored.result["run_path"] == "second"
    with pytest.raises(OutputError, match="second exists already"):
        RunStore().write(run, "second")


def test_a_run_that_fails_is_not_kept(tmp_path: Path) -> None:
    store = MemoryStore()
    with pytest.raises(DataError):
        handful.train(tmp_path / "nothing", output="run", store=store)
    assert store.runs == {}


@pytest.mark.parametrize("photos", ["/", "some/photos.zip"])
def test_runs_are_named_after_their_photos(photos: str) -> None:
    assert run_name(photos) == "photos" and run_name(photos, "-check") == "photos-check"
    assert RunStore("a").place(photos, "-check") == Path("a/photos-check")


def test_the_next_run_gets_a_free_name(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    assert store.new_path("some/photos.zip") == store.folder / "photos"
    (store.folder / "photos").mkdir(parents=True)
    assert store.new_path("some/photos.zip") == store.folder / "photos-2"
    (store.folder / "photos-2").mkdir()
    assert store.new_path("some/photos") == store.folder / "photos-3"
    assert store.new_path("some/photos", "-curve") == store.folder / "photos-curve"


def test_runs_are_listed_the_latest_first(store: RunStore, tiny_run: Path) -> None:
    rows = store.list()
    assert [row.name for row in rows] == ["dogs-2", "dogs", "cats"]
    run, row = store.read(tiny_run), rows[0]
    assert (row.path, row.date) == (store.folder / "dogs-2", datetime(2026, 1, 3, 12, tzinfo=UTC))
    assert (row.photos, row.strategy) == (run.photos, "transfer")
    assert (row.accuracy, row.note) == (run.predictions.accuracy, "")
    assert handful.runs(store.folder) == rows
    assert handful.runs(store.folder / "nothing") == ()


def test_what_is_unfinished_or_damaged_is_listed_with_its_state(store: RunStore) -> None:
    set_stopped(store.folder / "dogs", {"stopped": "interrupted"})
    (store.folder / "cats" / RUN_FILE).write_text("{")
    notes = {row.name: row.state for row in store.list()}
    assert notes["dogs-2"] == "" and "can be resumed" in notes["dogs"]
    assert "is not the run.json of a run" in notes["cats"]


def test_a_run_is_found_by_its_path_its_name_a_beginning_or_as_the_latest(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dogs, last = store.folder / "dogs", store.folder / "dogs-2"
    for name in (dogs, dogs / "classifier", dogs / RUN_FILE):
        assert store.find(name) == name
    assert store.find("dogs") == dogs and store.find("latest") == last
    assert store.find("c") == store.folder / "cats"
    with pytest.raises(DataError, match=r"d may be any of the runs dogs, dogs-2 in .*runs; give"):
        store.find("d")
    assert store.find("birds") == Path("birds")
    # A run there comes before one of that name here; photos of that name do not.
    monkeypatch.chdir(tmp_path)
    Path("dogs").mkdir()
    Path("c").mkdir()
    assert store.find("dogs") == dogs and store.find("c") == Path("c")
    shutil.copytree(dogs / "classifier", "dogs", dirs_exist_ok=True)
    assert store.find("dogs") == Path("dogs")
    shutil.copytree(dogs, store.folder / "latest")
    assert store.find("latest") == store.folder / "latest"


def test_a_run_at_hand_is_found_without_its_name(store: RunStore) -> None:
    rows = store.list()
    assert store.find(rows[1]) == store.folder / "dogs"
    assert store.find(store.read(store.folder / "cats")) == store.folder / "cats"


@pytest.mark.parametrize(
    ("run", "found"), [(3, "3"), (None, "of type NoneType"), ("", "''"), ([], "of type list")]
)
def test_what_is_no_run_is_named(store: RunStore, run: Any, found: str) -> None:
    for ask in (store.find, store.classifier):
        with pytest.raises(UsageError, match=f"^`run` is {found}; expected a run's folder, its "):
            ask(run)


def test_where_a_job_writes_is_decided_in_one_place(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    assert store.output("other", "photos.zip") == Path("other")
    assert store.output(False, "photos.zip") is None
    assert store.output(None, "photos.zip", "-check", once=True) == store.folder / "photos-check"
    (store.folder / "photos-check").mkdir(parents=True)
    assert store.output(None, "photos.zip", "-check", once=True) == store.folder / "photos-check"
    assert store.output(None, "photos.zip", "-check") == store.folder / "photos-check-2"
    with pytest.raises(UsageError, match="`output` is True; expected a path, or False to write no"):
        store.output(True, "photos.zip")  # type: ignore[arg-type]
    for output in (None, False, "there"):
        with pytest.raises(UsageError, match="`photos` is 3; expected a folder, a zip or a CSV"):
            store.output(output, 3)  # type: ignore[arg-type]


def test_runs_without_a_note_are_read(store: RunStore) -> None:
    file = store.folder / "dogs" / RUN_FILE
    metadata = json.loads(file.read_text())
    del metadata["note"]
    file.write_text(json.dumps(metadata))
    assert store.read(store.folder / "dogs").note == ""
    metadata["note"] = "with the new lamp"
    file.write_text(json.dumps(metadata))
    (row,) = (row for row in store.list() if row.name == "dogs")
    assert row.note == "with the new lamp" and row.state == ""
    assert row.to_dict()["note"] == "with the new lamp"
    lines = invoke("runs", store.folder).stdout.splitlines()
    assert [line.endswith("with the new lamp") for line in lines].count(True) == 1
    set_stopped(store.folder / "dogs", {"stopped": "time"})
    told = invoke("runs", store.folder).stdout
    assert "with the new lamp; stopped (time); it can be resumed" in told


def test_a_list_of_runs_is_one_line(store: RunStore) -> None:
    assert repr(store.list()) == "<RunList: 3 runs: dogs-2, dogs, cats>"
    assert repr(handful.runs(store.folder / "nothing")) == "<RunList: 0 runs: >"


@pytest.mark.slow
def test_commands_take_a_run_by_name(
    store: RunStore,
    photo_folder: Path,
    tiny_backbone: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(store.folder.parent)
    photo = photo_folder / "round" / "000.jpg"
    expected = invoke("predict", store.folder / "dogs-2", photo, "--json").stdout
    for name in ("latest", "dogs-2"):
        assert invoke("predict", name, photo, "--json").stdout == expected
    assert json.loads(invoke("evaluate", "cat", photo_folder, "--json").stdout)["num_images"] == 48
    assert invoke("export", "cat", "--format", "openvino").exit_code == 0
    assert (store.folder / "cats-openvino" / "model.xml").is_file()
    assert invoke("train", "--from", "latest", "-o", "again").exit_code == 0
    assert Path("again", RUN_FILE).is_file()
    result = invoke("predict", "d", photo)
    assert result.exit_code == 1 and "may be any of the runs dogs, dogs-2" in result.stderr
    result = invoke("explain", "birds", photo)
    assert result.exit_code == 1 and "`handful runs` lists them" in result.stderr


def test_the_command_lists_runs(store: RunStore, tmp_path: Path) -> None:
    lines = invoke("runs", store.folder).stdout.splitlines()
    assert lines[0].split() == ["name", "date", "accuracy", "strategy", "photos", "note"]
    assert [line.split()[0] for line in lines[1:]] == ["dogs-2", "dogs", "cats"]
    assert "transfer" in lines[1] and "2026-01-0" in lines[1]
    facts = json.loads(invoke("runs", store.folder, "--json").stdout)
    assert facts == {
        "folder": str(store.folder),
        "runs": [row.to_dict() for row in store.list()],
    }
    assert facts["runs"][0]["date"] == "2026-01-03T12:00:00+00:00"
    assert "No runs in" in invoke("runs", tmp_path / "nothing").stdout


def test_the_latest_unfinished_run_is_found(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    with pytest.raises(DataError, match=r"no unfinished training on some/photos\.zip in .*runs;"):
        store.unfinished("some/photos.zip")
    for age, name in enumerate(("photos-3", "photos", "photos-2", "photos-x", "other")):
        checkpoint_path(store.folder / name).mkdir(parents=True)
        os.utime(checkpoint_path(store.folder / name), (0, 1000 + age))
    (store.folder / "photos-4").mkdir()
    assert store.unfinished("some/photos.zip") == store.folder / "photos-2"
    assert store.unfinished("elsewhere/other") == store.folder / "other"
    checkpoint_path(store.folder / "a.v1").mkdir()
    assert store.unfinished("elsewhere/a.v1.zip") == store.folder / "a.v1"


def test_what_a_killed_process_left_of_a_whole_training_is_removed(
    tiny_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "runs"
    for name, training in (
        ("photos", {"stopped": ""}),
        ("photos-2", {"stopped": "patience"}),
        ("photos-3", {"stopped": "interrupted"}),
        ("photos-4", {"stopped": "time"}),
        ("photos-5", None),
    ):
        checkpoint_path(folder / name).mkdir(parents=True)
        shutil.copytree(tiny_run, folder / name)
        set_stopped(folder / name, training)
    checkpoint_path(folder / "photos-6").mkdir()
    RunStore(folder).unfinished("photos")
    left = sorted(path.name for path in folder.glob("*.checkpoint"))
    assert left == ["photos-3.checkpoint", "photos-4.checkpoint", "photos-6.checkpoint"]
