"""Time and memory of all that follows embedding, from 10,000 to 1,000,000 photos.

Vectors and thumbnails are drawn, as photos have them: 1,280 features of half precision in ten
classes, and crops of real photos with copies among them (see `near_duplicates.py`). Everything else
is what `handful train` does: the index, near-duplicates, groups and parts, the head with its
calibration, novelty and review of labels, and the scores. Each size is a process of its own.
Memory is the process's own: what lies in files, the system can drop.

`--against` fits the head once more with all vectors in memory, and compares accuracies.

    python benchmarks/after_embedding.py PHOTOS... [--sizes 10000 100000 1000000] [--against 200000]
    python benchmarks/after_embedding.py PHOTOS... --sizes 1000000 --drawn FOLDER [--head-only]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.config import TrainConfig
from handful.data.columns import DigestColumn, NameColumn, TextColumn
from handful.data.decoding import DecodeSettings
from handful.data.index import ImageIndex
from handful.data.splits import assign_parts
from handful.evaluation.evaluation import score
from handful.features.embed import EmbeddingSpec
from handful.features.extractor import BackboneMetadata
from handful.features.table import EmbeddingTable
from handful.files.tensors import RowsOf
from handful.models.heads import LinearHead, fit_head
from handful.reporting import Reporter
from handful.training.jobs import EmbeddedImages, TrainingJob
from handful.training.steps import split_images
from handful.training.transfer import transfer
from memory import PeakMemory, own_memory
from near_duplicates import draw_thumbnails, read_greys
from pipelines import machine

DIM, CLASSES, TEST = 1280, 10, 20_000
BLOCK = 8192


class NoNetwork:
    """Stands for the network that would have embedded the photos."""

    key = digest = "0" * 64
    precision, image_size, embedding_dim = "f32", 224, DIM

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Nothing is embedded here."""
        raise NotImplementedError


def draw_vectors(path: Path, count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Vectors (N, 1280) of half precision in a file, and their classes.

    Classes differ in a few of 64 directions by which all photos differ more, each feature has
    noise of its own, and what is negative is 0, as after a network's last layer.
    """
    world, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centers = 0.6 * world.normal(size=(CLASSES, DIM)).astype(np.float32)
    spread = np.linspace(3, 0.3, 64, dtype=np.float32)[:, np.newaxis] / 8
    directions = spread * world.normal(size=(64, DIM)).astype(np.float32)
    scale = world.gamma(2, 0.3, DIM).astype(np.float32)
    base = np.abs(world.normal(0.5, 0.5, DIM)).astype(np.float32)
    labels = rng.integers(0, CLASSES, count)
    if path.exists():
        return np.memmap(path, np.float16, "r", shape=(count, DIM)), labels
    vectors = np.memmap(path, np.float16, "w+", shape=(count, DIM))
    for first in range(0, count, BLOCK):
        part = labels[first : first + BLOCK]
        drawn = rng.standard_normal((len(part), 64), np.float32) @ directions
        drawn += centers[part] * rng.random((len(part), 1), np.float32) * 1.3
        drawn += 1.5 * rng.standard_normal((len(part), DIM), np.float32)
        vectors[first : first + BLOCK] = np.maximum(base + scale * drawn, 0)
    vectors.flush()
    return vectors, labels


def make_index(labels: NDArray[np.int64]) -> ImageIndex:
    """An index of photos that exist in name only, with paths as camera traps have them."""
    count = len(labels)
    names = tuple(f"species {number}" for number in range(CLASSES))
    paths = TextColumn.of(
        f"season {n % 7}/site {n % 225:03d}/IMG_{n:07d}.jpg" for n in range(count)
    )
    digests = np.random.default_rng(0).integers(0, 256, (count, 16), np.uint8)
    splits = NameColumn(np.zeros(count, np.uint8), ("",))
    return ImageIndex(Path("/photos"), paths, labels, names, splits, DigestColumn(digests), (), ())


def measured(name: str, work: Callable[[], Any]) -> Any:
    """Do a step, and print its cells."""
    started, busy = time.perf_counter(), time.process_time()
    with PeakMemory() as memory:
        result = work()
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    print(f"| {name} | {seconds:.1f} | {busy:.1f} | {memory.megabytes:.0f} |", flush=True)
    return result


def accuracy(head: LinearHead, vectors: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Share of photos classified correctly."""
    return float((head.predict_proba(vectors).argmax(axis=1) == labels).mean())


def draw_prints(path: Path, photos: list[Path], count: int) -> NDArray[np.uint8]:
    """Thumbnails (N, 1024) in a file."""
    if path.exists():
        return np.memmap(path, np.uint8, "r", shape=(count, 1024))
    prints = np.memmap(path, np.uint8, "w+", shape=(count, 1024))
    prints[:] = draw_thumbnails(read_greys(photos), count, 1 / 6)
    prints.flush()
    return prints


def run_size(folder: Path, photos: list[Path], count: int, against: int, head_only: bool) -> None:
    """Draw so many photos, and do all that follows."""
    vectors, labels = draw_vectors(folder / "vectors", count, seed=1)
    test, truth = draw_vectors(folder / "test", TEST, seed=2)
    prints = draw_prints(folder / "thumbnails", photos, count)
    print(f"\n{count:,} photos; {own_memory():.0f} MB before\n")
    print("| step | seconds | of processor time | MB |\n|---|---|---|---|")
    index = measured("index", lambda: make_index(labels))
    table = EmbeddingTable(vectors[:, np.newaxis], prints, np.zeros((0, 18), np.float32), (None,))
    config = TrainConfig()
    if head_only:
        split = assign_parts(index, ())
    else:
        split = measured("near-duplicates, parts", lambda: split_images(index, table, config, {}))
    metadata = BackboneMetadata("drawn", 224, DIM, license="", source="")
    spec = EmbeddingSpec(NoNetwork(), DecodeSettings(224))
    embedded = EmbeddedImages(metadata, spec, table)
    job = TrainingJob(split, config, None, False, None, Reporter(), embedded=embedded)
    trained = measured("head, calibration, review", lambda: transfer(job))
    held = split.validation

    def judge() -> Any:
        head = trained.classifier.head
        probabilities = head.predict_proba(trained.held_out)
        paths = index.paths.take(held)
        names, groups = index.class_names, split.groups[held]
        found = score(probabilities, labels[held], names, paths, groups=groups)
        return found.to_dict(), trained.classifier.reference.distances(trained.held_out)

    measured("scores and novelty", judge)
    head = trained.classifier.head
    print(f"\nC {head.C:g}, accuracy {100 * accuracy(head, test, truth):.2f} %")
    if count <= against:
        rows = RowsOf(vectors, split.train)
        options: dict[str, Any] = {"groups": split.groups[split.train], "C": head.C}
        whole = fit_head(rows, labels[split.train], CLASSES, memory_bytes=1 << 60, **options)
        print(f"all vectors in memory: accuracy {100 * accuracy(whole, test, truth):.2f} %")


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--against", type=int, default=0, help="compare the head up to this size")
    parser.add_argument("--drawn", type=Path, help="folder that keeps what one size drew")
    parser.add_argument("--head-only", action="store_true", help="leave out near-duplicates")
    arguments = parser.parse_args()
    if len(arguments.sizes) == 1:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
            folder = arguments.drawn or Path(name)
            folder.mkdir(parents=True, exist_ok=True)
            options = arguments.sizes[0], arguments.against, arguments.head_only
            run_size(folder, arguments.photos, *options)
        return
    print(machine(), flush=True)
    for size in arguments.sizes:
        command = [sys.executable, __file__, *map(str, arguments.photos), "--sizes", str(size)]
        command += ["--head-only"] * arguments.head_only
        subprocess.run([*command, "--against", str(arguments.against)], check=True)


if __name__ == "__main__":
    main()
