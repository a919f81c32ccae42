"""What a project of many photos costs: adding, opening, thumbnails, labels, groups.

Photos of a zip are written as files until there are so many, each with a few bytes at its end,
which decoders pass over. Nothing is cached before.

    python benchmarks/projects.py [cats_and_dogs_filtered.zip] [--photos 10000]
"""

import argparse
import json
import os
import resource
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handful.projects.label_store import LabelStore
from handful.projects.project import Project
from pipelines import find_photos, machine

NUM_ACTIONS = 100_000
NUM_CLICKS = 200


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long the block took, and how much of processors."""
    started, used = time.perf_counter(), time.process_time()
    yield
    seconds, busy = time.perf_counter() - started, time.process_time() - used
    print(f"{what}: {seconds:.2f} s, {busy:.2f} s of a processor", flush=True)


def write_photos(archive: Path, folder: Path, number: int) -> None:
    """So many files, no two of them alike to the byte."""
    folder.mkdir()
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if name.lower().endswith((".jpg", ".png"))]
        for place in range(number):
            data = file.read(names[place % len(names)])
            (folder / f"{place:05d}.jpg").write_bytes(data + place.to_bytes(4, "little"))


def measure_photos(folder: Path, photos: Path) -> None:
    """Adding, opening and thumbnails."""
    num_bytes = sum(path.stat().st_size for path in photos.iterdir())
    project = Project.create(folder)
    with timed("added in place"):
        project.add_source(photos)
    print(
        f"  {len(project.photos):,} photos, {num_bytes / 1e6:,.0f} MB, {len(project.rejected)} bad"
    )
    with timed("looked through again"):
        project.refresh()
    with timed("opened"):
        project = Project(folder)
        assert project.photos
    with timed("as an index"):
        project.photo_index()
    with timed(f"thumbnails in {os.cpu_count()} threads"):
        project.make_thumbnails()
    files = list((folder / "thumbnails").rglob("*.webp"))
    print(f"  {len(files):,} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB")
    ids = [photo.id for photo in project.photos]
    with timed("thumbnails read"):
        for id in ids:
            project.thumbnail(id)
    clicks = []
    for id in ids[:NUM_CLICKS]:
        started = time.perf_counter()
        project.labels.assign([id], "cats")
        clicks.append(time.perf_counter() - started)
    middle, worst = sorted(clicks)[len(clicks) // 2], max(clicks)
    print(f"a click, on the disk: {1000 * middle:.1f} ms, at worst {1000 * worst:.1f} ms")
    with timed("undone all"):
        while project.labels.undo():
            pass
    with timed("all photos in one action"):
        project.labels.assign(ids, "dogs")


def measure_log(path: Path) -> None:
    """Loading a long log."""
    with path.open("w") as file:
        for number in range(NUM_ACTIONS):
            entry = {"op": "assign", "ids": [f"{number % 10_007:032x}"], "class": f"c{number % 9}"}
            file.write(json.dumps({**entry, "time": "2025-06-01T12:00:00+00:00"}) + "\n")
    with timed(f"a log of {NUM_ACTIONS:,} actions ({path.stat().st_size / 1e6:.0f} MB) loaded"):
        LabelStore(path)


def main() -> None:
    """Print what each step takes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--photos", dest="number", type=int, default=10_000)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        measure_log(root / "labels.jsonl")
        write_photos(find_photos(options.photos), root / "photos", options.number)
        measure_photos(root / "photos.handful", root / "photos")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"peak memory of all of it: {peak:.0f} MB")


if __name__ == "__main__":
    main()
