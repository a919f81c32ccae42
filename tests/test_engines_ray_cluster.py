"""Several nodes, which share no files with the job but a bucket; one of them goes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import parquet

import handful
from bucket import open_bucket, upload
from conftest import draw_photo, write_photo
from handful.engines.ray_engine import RayEngine
from handful.errors import HandfulError
from handful.workflows import parts
from handful.workflows.answers import write_answers
from photo_work import Pids
from reporters import Recorder

pytestmark = pytest.mark.slow
NUM_PHOTOS = 120


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Drawn photos and a damaged one, here and in a bucket."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(40):
        write_photo(root / f"{number:03d}.jpg", draw_photo("round", number))
    for number in range(40, NUM_PHOTOS):
        data = (root / f"{number % 40:03d}.jpg").read_bytes()
        (root / f"{number:03d}.jpg").write_bytes(data + b"%d" % number)
    (root / "100.jpg").write_bytes(data[:400])
    with open_bucket() as address:
        upload(root, f"{address}/photos")
        yield root, f"{address}/photos"


def test_nodes_read_a_bucket_and_one_of_them_is_lost(
    photos: tuple[Path, str],
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray was started in this process before, behind a token that the cluster does not know."""
    with RayEngine(1) as own:
        assert len(dict(own.map(Pids(), [[1]]))) == 1
    from ray._private import ray_constants
    from ray.cluster_utils import Cluster

    # All of them at the loopback.
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
    folder, address = photos
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(parts, "_PHOTOS_A_GROUP", 8)
    cluster = Cluster()
    cluster.add_node(num_cpus=0, include_dashboard=False)
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    told, lost = Recorder(), []

    def lose_one(done: int, total: int) -> None:
        if done >= 24 and not lost:
            lost.append(nodes.pop())
            lost[0].kill_raylet()

    monkeypatch.setattr(told, "progress", lose_one)
    classifier = handful.Classifier.load(tiny_run)
    try:
        found = write_answers(classifier, address, tmp_path / "there", engine="ray", reporter=told)
    finally:
        cluster.shutdown()
    assert lost and (found.num_photos, found.num_refused) == (NUM_PHOTOS, 1)
    write_answers(classifier, folder, tmp_path / "here", reporter=handful.Reporter())
    here, there = (parquet.read_table(tmp_path / name) for name in ("here", "there"))
    assert there.drop_columns("path").equals(here.drop_columns("path"))
    assert there["path"].to_pylist() == [
        path.replace(str(folder), address) for path in here["path"].to_pylist()
    ]


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(
        HandfulError, match=r"cannot join the cluster of RAY_ADDRESS, 127\.0\.0\.1:1: .*refused"
    ):
        list(RayEngine().map(Pids(), [[1]]))


def test_a_ray_that_does_not_start_says_why_and_leaves_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine that is too busy Ray raises a plain `Exception`."""
    import ray

    def fail(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nSee its log.")

    before = dict(os.environ)
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(HandfulError, match=r"cannot start Ray: The current node timed out"):
        dict(RayEngine(1).map(Pids(), [[1]]))
    assert dict(os.environ) == before
