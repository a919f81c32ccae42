"""What frozen networks are worth on different kinds of photos: 5 folds, near-duplicates together.

    python benchmarks/accuracy.py PHOTOS... [--backbones NAME[:SIDE] ...]

Prints a Markdown table: the mean accuracy of heads fitted anew on each fold's training photos, its
95 % interval, calibration error, and the processor time of the whole run with an empty cache.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import handful
from handful.wording import format_share
from pipelines import machine

BACKBONES = (
    "efficientnet-lite0",
    "efficientnet-lite0-multilevel",
    "efficientnet-lite0-multilevel:320",
)
FOLDS = 5


def row(photos: Path, backbone: str) -> str:
    """Train with folds on one set, and say what came of it."""
    name, _, side = backbone.partition(":")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HANDFUL_CACHE"] = cache
        begun = time.process_time()
        run = handful.train(
            photos,
            backbone=name,
            image_size=int(side) if side else None,
            folds=FOLDS,
            reporter=handful.Reporter(),
        )
        seconds = time.process_time() - begun
    found = run.resampling
    assert found is not None and found.calibration_error is not None  # folds were asked for
    low, high = map(format_share, found.accuracy.interval)
    cells = [
        photos.stem,
        f"{found.num_photos:,}",
        str(len(run.split.index.class_names)),
        backbone,
        format_share(found.accuracy.mean),
        f"{low} to {high}",
        f"{found.spread('log_loss').mean:.3f}",
        format_share(found.calibration_error.error),
        f"{seconds:.0f} s",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    asked = parser.parse_args()
    print(f"{machine()}\n")
    print(
        "| photos | number | classes | network | accuracy | 95 % interval | log loss "
        "| calibration error | processor time |\n|---|---|---|---|---|---|---|---|---|"
    )
    for photos in asked.photos:
        for backbone in asked.backbones:
            print(row(photos, backbone), flush=True)


if __name__ == "__main__":
    main()
