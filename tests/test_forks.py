"""What a process opened, its forked children open anew; each test forks a process of its own."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork"),
]

# Runs `work()` in three children that end as programs do, and one that a child of them forks.
FORK = """
import os, sys, threading, warnings
import numpy as np
warnings.filterwarnings("ignore", category=DeprecationWarning)  # 3.12 warns of every fork

def fork(work):
    pid = os.fork()
    if not pid:
        work()
        sys.stdout.flush()
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def both():
    work()
    assert fork(work) == 0
"""


def run(code: str, *arguments: object) -> None:
    command = [sys.executable, "-c", FORK + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_loaded_classifier_answers_in_forked_processes_as_in_their_parent(
    tiny_run: Path, photo_folder: Path
) -> None:
    run(
        """
from pathlib import Path
from handful import Classifier
classifier = Classifier.load(sys.argv[1])
photos = sorted(Path(sys.argv[2]).rglob("*.jpg"))[:6]
expected = classifier.predict_proba(photos)
embedder = classifier.extractor
size = embedder.network.image_size
blank = np.zeros((1, size, size, 3), np.uint8)
embedder.embed(blank)  # this thread's too, and others' that go on meanwhile
stop = threading.Event()
def go_on():
    while not stop.is_set():
        embedder.embed(blank)
threads = [threading.Thread(target=go_on) for _ in range(3)]
for thread in threads:
    thread.start()
def work():
    assert (classifier.predict_proba(photos) == expected).all()
assert [fork(both) for _ in range(3)] == [0, 0, 0]
stop.set()
for thread in threads:
    thread.join()
work()
""",
        tiny_run,
        photo_folder,
    )


@pytest.mark.slow
def test_a_pool_of_forked_processes_can_predict(tiny_run: Path, photo_folder: Path) -> None:
    run(
        """
import multiprocessing
from handful import Classifier
classifier = Classifier.load(sys.argv[1])
photos = [f"{sys.argv[2]}/round/{number:03d}.jpg" for number in range(8)]
expected = [found.label for found in classifier.predict(photos)]
def label(photo):
    return classifier.predict([photo])[0].label
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(label, photos).get(60) == expected
""",
        tiny_run,
        photo_folder,
    )


@pytest.mark.slow
def test_an_archive_that_is_open_is_read_by_children_at_their_own_place(
    photo_folder: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(photo_folder.rglob("*.jpg")):
            file.write(path, path.relative_to(photo_folder))
    run(
        """
from handful.data.storage import ZipReader
reader = ZipReader(sys.argv[1])
expected = {name: reader.read(name) for name in reader.members}
def work():
    for _ in range(20):
        for name in expected:
            assert reader.read(name) == expected[name]
children = []
for _ in range(4):
    pid = os.fork()
    if not pid:
        work()
        sys.exit(0)
    children.append(pid)
work()
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
""",
        archive,
    )


@pytest.mark.slow
def test_a_cache_and_batches_go_on_in_a_child(tmp_path: Path) -> None:
    run(
        """
from pathlib import Path
from handful.files.cache import ContentCache
from handful.training.batches import BatchSource
cache = ContentCache(Path(sys.argv[1]) / "cache.sqlite")
cache.put_many("picture", {b"a" * 16: b"parent"})
source = BatchSource(np.zeros((8, 4, 4, 3), np.uint8), np.arange(8) % 2, 2, 4)
source.batch(0)
def work():
    assert cache.get_many([b"a" * 16]) == {b"a" * 16: b"parent"}
    cache.put_many("picture", {os.getpid().to_bytes(16): b"child"})
    assert source.batch(1)[0].shape == (4, 4, 4, 3)
    source.close()
assert fork(both) == 0
source.close()
assert cache.info().num_rows == {"picture": 3}
""",
        tmp_path,
    )
