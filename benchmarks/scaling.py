"""Time and peak memory of `handful train` from 1,000 to 30,000 photos.

More photos are made of the given ones by re-encoding random crops, which neither the cache nor
the search for near-duplicates takes for the same picture. Each size is one whole process that
starts with an empty cache; the network was converted before.

    python benchmarks/scaling.py [cats_and_dogs_filtered.zip] [--sizes 1000 3000 10000 30000]
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from handful.data.decoding import decode_whole
from handful.data.index import ImageIndex, load_index
from pipelines import find_photos, machine, timed


def make_photos(index: ImageIndex, folder: Path, count: int) -> None:
    """Write `count` JPEG crops, 60 to 95 % of each side, into class folders."""
    rng = np.random.default_rng(count)
    order = rng.permutation(len(index))
    for number in range(count):
        row = int(order[number % len(index)])
        image = decode_whole(index.read(row))
        sides = [int(side * rng.uniform(0.6, 0.95)) for side in image.shape[:2]]
        top, left = (int(rng.integers(0, image.shape[axis] - sides[axis] + 1)) for axis in (0, 1))
        crop = image[top : top + sides[0], left : left + sides[1], ::-1]
        target = folder / index.class_names[index.labels[row]]
        target.mkdir(parents=True, exist_ok=True)
        options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 95))]
        cv2.imwrite(str(target / f"{number:06d}.jpg"), crop, options)


def main() -> None:
    """Print a table, one line a size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="?", help="photos to make more of")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10_000, 30_000])
    arguments = parser.parse_args()
    index = load_index(find_photos(arguments.photos))
    print(machine())
    print("| photos | seconds | ms a photo | peak MB | of it: embed | fit | report |")
    print("|---|---|---|---|---|---|---|")
    handful = [sys.executable, "-m", "handful", "train"]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_photos(index, work / "first", 100)
        timed([*handful, str(work / "first"), "-o", str(work / "run")], work / "cache")
        for size in arguments.sizes:
            make_photos(index, work / f"{size}", size)
            for leftover in (work / "cache").glob("embeddings.sqlite*"):
                leftover.unlink()
            command = [*handful, str(work / f"{size}"), "-o", str(work / f"run{size}"), "--json"]
            seconds, megabytes, output = timed(command, work / "cache")
            phases = json.loads(output)["seconds"]
            print(
                f"| {size:,} | {seconds:.1f} | {1000 * seconds / size:.2f} | {megabytes:.0f} | "
                f"{phases['embed']:.1f} | {phases['fit']:.1f} | {phases['report']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
