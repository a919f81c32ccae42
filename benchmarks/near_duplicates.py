"""What finds near-duplicates: thumbnails as a whole, embeddings or details; and in what time.

Compared are three rules for pairs of photos: small thumbnails that correlate above 0.97; those
above 0.9 whose embeddings agree, or above 0.97 where they agree roughly; and handful's own, of
small thumbnails and the details of larger ones. `--look` writes examples of what rules differ in.

    python benchmarks/near_duplicates.py PHOTOS... [--look FOLDER] [--size 30000]

`--scale` measures the search past the size up to which all pairs are compared, on thumbnails that
are drawn: of real photos' crops of 35 to 90 % of each side, mirrored and turned over at random, and
of a fifth as many copies of these: re-encoded, brighter or darker, cropped again, or noisy.

    python benchmarks/near_duplicates.py PHOTOS... --scale 100000 1000000 [--all-pairs 100000]
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handful.config import TrainConfig
from handful.data.decoding import FINGERPRINT_SIDE, DecodeSettings, decode
from handful.data.index import ImageIndex, load_index
from handful.data.near_duplicates import coarse_fingerprints, near_duplicate_pairs
from handful.data.splits import duplicate_groups
from handful.features.store import open_store
from handful.reporting import Reporter
from handful.training.steps import embed_images
from memory import PeakMemory
from pipelines import machine

Pairs = set[tuple[int, int]]
EXAMPLES = 16


def cosines(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of each two rows, less what all share; of photos without contrast nothing."""
    units = values - values.mean(axis=1, keepdims=True)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-6)
    units -= units.sum(axis=0) / (len(units) + 32)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-6)
    return np.asarray(units @ units.T)


def rules(fingerprints: NDArray[np.uint8], embeddings: NDArray[np.float32]) -> dict[str, Pairs]:
    """The pairs that each rule finds."""
    whole, seen = cosines(coarse_fingerprints(fingerprints)), cosines(embeddings)
    by_embeddings = (whole >= 0.9) & ((seen >= 0.9) | ((whole >= 0.97) & (seen >= 0.8)))

    def pairs(found: NDArray[np.bool_]) -> Pairs:
        return {(i, j) for i, j in np.argwhere(np.triu(found, k=1)).tolist()}

    return {
        "thumbnails": pairs(whole >= 0.97),
        "embeddings": pairs(by_embeddings),
        "details": set(near_duplicate_pairs(fingerprints)),
    }


def draw(index: ImageIndex, pairs: Pairs, path: Path) -> None:
    """Write examples of pairs, side by side."""
    chosen = np.random.default_rng(0).permutation(sorted(pairs))[:EXAMPLES]
    if not len(chosen):
        return
    tiles = [
        np.concatenate([decode(index.read(int(row)), DecodeSettings(112)) for row in pair], axis=1)
        for pair in chosen
    ]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 4)
    rows = [np.concatenate(tiles[n : n + 4], axis=1) for n in range(0, len(tiles), 4)]
    cv2.imwrite(str(path), np.concatenate(rows)[:, :, ::-1])


def time_search(fingerprints: NDArray[np.uint8], size: int) -> None:
    """Print how long the search takes for crops of the photos, and for bursts of a hundred."""
    rng = np.random.default_rng(0)
    side = FINGERPRINT_SIDE
    photos = fingerprints.reshape(-1, side, side)
    crops = np.empty((size, side, side), np.uint8)
    for number, row in enumerate(rng.integers(0, len(photos), size).tolist()):
        own = int(side * rng.uniform(0.6, 0.95))
        top, left = rng.integers(0, side - own + 1, 2)
        crops[number] = cv2.resize(photos[row, top : top + own, left : left + own], (side, side))
    bursts = photos[rng.integers(0, len(photos), size // 100)].repeat(100, axis=0).astype(float)
    bursts = np.clip(bursts + rng.normal(0, 6, bursts.shape), 0, 255)
    for name, made in (("crops", crops), ("bursts of 100", bursts.astype(np.uint8))):
        started, busy = time.perf_counter(), time.process_time()
        found = near_duplicate_pairs(made.reshape(len(made), -1))
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        took = f"{seconds:.1f} s, {busy:.1f} s of processor time"
        print(f"{len(made):,} {name}: {len(found):,} pairs in {took}", flush=True)


def read_greys(photos: list[Path]) -> NDArray[np.uint8]:
    """All photos in gray, (n, 128, 128)."""
    greys = []
    for source in photos:
        index = load_index(source, least_classes=1)
        for row in range(len(index)):
            grey = cv2.cvtColor(decode(index.read(row), DecodeSettings(128)), cv2.COLOR_RGB2GRAY)
            greys.append(grey)
    return np.stack(greys)


def draw_thumbnails(photos: NDArray[np.uint8], size: int, copies: float) -> NDArray[np.uint8]:
    """Fingerprints (N, 1024) of crops of photos (n, 128, 128), and of copies of such crops."""
    rng = np.random.default_rng(size)
    drawn = np.empty((size, FINGERPRINT_SIDE, FINGERPRINT_SIDE), np.uint8)
    num_own = size - int(size * copies)
    crops: list[tuple[int, slice, slice, int, int]] = []
    for number in range(size):
        if number < num_own:
            sides = (128 * rng.uniform(0.35, 0.9, 2)).astype(int).tolist()
            places = [int(rng.integers(0, 129 - side)) for side in sides]
            rows, columns = (slice(a, a + side) for a, side in zip(places, sides, strict=True))
            turns = (1 - 2 * rng.integers(0, 2, 2)).tolist()
            crops.append((int(rng.integers(len(photos))), rows, columns, *turns))
        row, rows, columns, down, across = crops[
            number if number < num_own else rng.integers(num_own)
        ]
        crop = np.ascontiguousarray(photos[row, rows, columns][::down, ::across])
        if number >= num_own:
            crop = change(crop, rng)
        drawn[number] = cv2.resize(crop, drawn.shape[1:], interpolation=cv2.INTER_AREA)
    return drawn.reshape(size, -1)[rng.permutation(size)]


def change(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A copy as people and programs make them."""
    kind = rng.integers(4)
    if kind == 0:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))]
        return cv2.imdecode(cv2.imencode(".jpg", crop, quality)[1], cv2.IMREAD_GRAYSCALE)
    if kind == 1:
        return cv2.convertScaleAbs(crop, alpha=rng.uniform(0.7, 1.2), beta=rng.uniform(-20, 20))
    if kind == 2:
        top, bottom, left, right = rng.integers(0, 4, 4)
        return crop[top : len(crop) - bottom, left : crop.shape[1] - right]
    return np.clip(crop + rng.normal(0, 15, crop.shape), 0, 255).astype(np.uint8)


def measure_scale(photos: list[Path], sizes: list[int], all_pairs: int) -> None:
    """Print time and memory of the search by a tree, and which pairs it misses."""
    greys = read_greys(photos)
    print(f"{len(greys):,} photos: {', '.join(source.stem for source in photos)}")
    print("| thumbnails | pairs | seconds | of processor time | MB | all pairs | in both |")
    print("|---|---|---|---|---|---|---|")
    for size in sizes:
        with tempfile.TemporaryFile() as file:
            # In a file, where a million of them lie when photos are embedded.
            prints = np.memmap(file, np.uint8, "w+", shape=(size, FINGERPRINT_SIDE**2))
            prints[:] = draw_thumbnails(greys, size, 1 / 6)
            started, busy = time.perf_counter(), time.process_time()
            with PeakMemory() as memory:
                found = near_duplicate_pairs(prints, all_pairs=0)
            seconds, busy = time.perf_counter() - started, time.process_time() - busy
            cells = [f"{size:,}", f"{len(found):,}", f"{seconds:.1f}", f"{busy:.1f}"]
            cells.append(f"{memory.megabytes:.0f}")
            if size <= all_pairs:
                busy = time.process_time()
                exact = set(near_duplicate_pairs(prints, all_pairs=size))
                busy = time.process_time() - busy
                both = len(exact & set(found))
                cells += [f"{len(exact):,}, {busy:.1f} s", f"{both:,}"]
            print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--look", type=Path, help="folder for examples of what rules differ in")
    parser.add_argument("--size", type=int, default=0, help="photos to time the search of")
    parser.add_argument("--scale", type=int, nargs="+", help="sizes to measure the tree at")
    parser.add_argument("--all-pairs", type=int, default=100_000, help="compare it up to this size")
    arguments = parser.parse_args()
    print(machine())
    if arguments.scale:
        measure_scale(arguments.photos, arguments.scale, arguments.all_pairs)
        return
    print("| photos | thumbnails | embeddings | details | t - d | e - d | d - e | in groups |")
    print("|---|---|---|---|---|---|---|---|")
    for photos in arguments.photos:
        with open_store(True) as store:
            index, embedded = embed_images(load_index(photos), TrainConfig(), store, Reporter())
        table = embedded.table
        found = rules(table.fingerprints, table.embeddings[:, 0])
        t, e, d = found.values()
        groups, _ = duplicate_groups(index, d)
        sizes = np.bincount(groups)
        cells = [len(t), len(e), len(d), len(t - d), len(e - d), len(d - e)]
        held = f"{sizes[sizes > 1].sum()}, at most {sizes.max()}"
        print(
            f"| {photos.stem}, {len(index)} | {' | '.join(map(str, cells))} | {held} |", flush=True
        )
        if arguments.look is not None:
            arguments.look.mkdir(parents=True, exist_ok=True)
            for name, pairs in (("t-d", t - d), ("e-d", e - d), ("d-e", d - e), ("t-e", t - e)):
                draw(index, pairs, arguments.look / f"{photos.stem}.{name}.png")
        if arguments.size:
            time_search(table.fingerprints, arguments.size)


if __name__ == "__main__":
    main()
