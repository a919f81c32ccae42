"""The engine of processes: the same answers as threads give, whatever happens to workers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

import handful
from handful.data.places import find_photos
from handful.engines.choice import open_engine
from handful.engines.engine import LocalEngine, in_groups
from handful.engines.ray_engine import RayEngine
from handful.errors import DataError, HandfulError, MissingExtraError, UsageError
from handful.features.conversion import FrozenNetwork
from handful.files.tensors import read_tensors
from handful.models.answers import FileClassifier
from photo_work import Fatal, Pids, Raising, crashing

pytestmark = pytest.mark.slow
QUIET = handful.Reporter()
NUM_PHOTOS, NUM_BAD = 3000, 3


@pytest.fixture(scope="module")
def engine() -> Iterator[RayEngine]:
    """Two workers, which live as long as these tests."""
    with RayEngine(2) as opened:
        while len({pid for _, rows in opened.map(Pids(0.01), [[1]] * 50) for _, pid in rows}) < 2:
            pass  # one may have done all before the other was there
        yield opened


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 small drawn photos of two classes, one of each thousand damaged."""
    root, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    for kind in ("dark", "light"):
        (root / kind).mkdir()
    for number in range(NUM_PHOTOS):
        kind = ("dark", "light")[number % 2]
        coarse = rng.integers(0, 160, (5, 5, 3), dtype=np.uint8) + 90 * (kind == "light")
        image = cv2.resize(coarse.astype(np.uint8), (40, 40), interpolation=cv2.INTER_CUBIC)
        data = cv2.imencode(".png", image)[1].tobytes()
        if number % 1000 == 500:
            data = data[: len(data) // 2]
        (root / kind / f"{number:05d}.png").write_bytes(data)
    return root


@pytest.fixture(scope="module")
def run(
    photos: Path, tiny_network: FrozenNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run on them by threads."""
    from conftest import install_network

    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDFUL_CACHE", str(root / "cache"))
        install_network(tiny_network, root / "site-packages", patch)
        handful.train(photos, output=root / "local", reporter=QUIET)
    return root / "local"


@pytest.fixture(scope="module")
def expected(run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> pyarrow.Table:
    """What threads say of them."""
    output = tmp_path_factory.mktemp("expected") / "answers"
    handful.predict(run, photos, output=output)
    return parquet.read_table(output)


def test_items_go_to_two_processes_in_any_number_of_groups(engine: RayEngine) -> None:
    groups = list(in_groups(range(101), 3))
    found = dict(engine.map(Pids(0.01), groups))
    assert [[item for item, _ in found[number]] for number in range(len(groups))] == groups
    pids = {pid for rows in found.values() for _, pid in rows}
    assert len(pids) == 2 and os.getpid() not in pids
    assert list(engine.map(Pids(), [])) == []
    assert next(iter(engine.map(Pids(), ([number] for number in range(10**9)))))[1]


def test_what_the_work_raises_is_raised_as_it_was(engine: RayEngine) -> None:
    with pytest.raises(DataError, match="is no number"):
        list(engine.map(Raising(), [[1], [2]]))


@pytest.mark.usefixtures("tiny_backbone")
def test_training_gives_the_same_run(
    engine: RayEngine, run: Path, photos: Path, tmp_path: Path
) -> None:
    made = handful.train(photos, output=tmp_path / "ray", engine=engine, reporter=QUIET)
    assert len(made.split.index) == NUM_PHOTOS - NUM_BAD
    for name in ("split.csv", "predictions.csv", "history.csv"):
        assert (tmp_path / "ray" / name).read_bytes() == (run / name).read_bytes(), name
    seen, known = (
        read_tensors(folder / "training.safetensors")["fingerprints"]
        for folder in (tmp_path / "ray", run)
    )
    assert np.array_equal(seen, known)
    for file in (run / "classifier").iterdir():
        assert (tmp_path / "ray" / "classifier" / file.name).read_bytes() == file.read_bytes()
    facts = [json.loads((folder / "run.json").read_text()) for folder in (run, tmp_path / "ray")]
    for found in facts:
        del found["result"]["seconds"], found["result"]["run_path"]
    assert facts[0] == facts[1]


def test_answers_are_the_same_to_the_bit(
    engine: RayEngine, run: Path, photos: Path, expected: pyarrow.Table, tmp_path: Path
) -> None:
    found = handful.predict(run, photos, output=tmp_path / "answers", engine=engine)
    assert parquet.read_table(tmp_path / "answers").equals(expected)
    assert (found.num_photos, found.num_refused) == (NUM_PHOTOS, NUM_BAD)
    some = [file.path for file in find_photos(photos)[:40]]
    by_ray, by_threads = handful.predict(run, some, engine=engine), handful.predict(run, some)
    assert [one.to_dict() for one in by_ray] == [one.to_dict() for one in by_threads]


def test_a_worker_that_is_killed_is_replaced(engine: RayEngine) -> None:
    groups, killed, found = list(in_groups(range(200), 4)), [], {}
    for number, rows in engine.map(Pids(0.02), groups):
        found[number] = [item for item, _ in rows]
        if len(found) in (5, 20):
            killed.append(rows[0][1])
            os.kill(rows[0][1], signal.SIGKILL)
    assert len(set(killed)) == 2
    assert [found[number] for number in range(len(groups))] == groups
    after = {pid for _, rows in engine.map(Pids(0.01), groups) for _, pid in rows}
    assert after.isdisjoint(killed)


def test_a_photo_that_no_worker_outlives_is_refused_and_no_other(engine: RayEngine) -> None:
    groups = list(in_groups(range(40), 4))
    found = dict(engine.map(Fatal([13]), groups))
    rows = dict(row for number in range(len(groups)) for row in found[number])
    refused = {item: row for item, row in rows.items() if isinstance(row, str)}
    assert list(rows) == list(range(40))
    assert refused == {13: "ended 2 processes that had nothing else in hand"}


def test_a_photo_that_ends_one_worker_gets_its_answer(
    engine: RayEngine, run: Path, photos: Path, tmp_path: Path
) -> None:
    files = find_photos(photos)[:64]
    work = FileClassifier.of(handful.Classifier.load(run))
    expected = dict(LocalEngine().map(work, in_groups(files, 16)))
    files[20] = crashing(Path(files[20].path), tmp_path / "mark")
    found = dict(engine.map(work, in_groups(files, 16)))
    assert (tmp_path / "mark").exists()
    for number, rows in expected.items():
        for one, other in zip(rows, found[number], strict=True):
            assert np.array_equal(one.probabilities, other.probabilities)


def test_a_job_that_was_killed_is_gone_on_with(
    engine: RayEngine, run: Path, photos: Path, expected: pyarrow.Table, tmp_path: Path
) -> None:
    output = tmp_path / "answers"
    command = ["predict", str(run), str(photos), "--output", str(output), "--engine", "ray"]
    job = subprocess.Popen(
        [sys.executable, "-m", "handful", *command, "--quiet"],
        env=os.environ | {"HANDFUL_CORES": "1"},
        start_new_session=True,
    )
    while not (done := sorted(output.glob("*.parquet"))):
        assert job.poll() is None
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    job.wait()
    done = sorted(output.glob("*.parquet"))
    stamps = [file.stat().st_mtime_ns for file in done]
    assert 0 < len(done) < 3
    handful.predict(run, photos, output=output, engine=engine)
    assert [file.stat().st_mtime_ns for file in done] == stamps
    assert parquet.read_table(output).equals(expected)
    deadline = time.monotonic() + 300
    while workers(job.pid):  # they end with it
        assert time.monotonic() < deadline
        time.sleep(0.1)


def workers(session: int) -> list[int]:
    """Ray's processes of a session that could work."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getsid(int(folder.name)) == session:
                command = (folder / "cmdline").read_bytes()
                found += [int(folder.name)] * (b"raylet" in command or b"_Worker" in command)
        except (ProcessLookupError, FileNotFoundError):
            continue
    return found


def test_ray_is_reached_from_this_machine_alone(engine: RayEngine) -> None:
    list(engine.map(Pids(), [[1]]))
    import ray

    assert ray.util.get_node_ip_address() == "127.0.0.1"
    assert not (Path.home() / ".ray" / "auth_token").exists()
    assert "RAY_AUTH_TOKEN" in os.environ  # for as long as it is open


def test_what_is_missing_or_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="`num_workers` is 0; expected 1 or more"):
        RayEngine(0)
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'handful\[ray\]'"),
        open_engine("ray"),
    ):
        pass
    assert issubclass(MissingExtraError, HandfulError)
