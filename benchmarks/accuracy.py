"""What frozen networks are worth on different kinds of photos: 5 folds, near-duplicates together.

    python benchmarks/accuracy.py PHOTOS... [--ways fast|good|best|BACKBONE[:SIDE] ...]
        [--preprocessing TEXT] [--seeds REPETITIONS]

Prints a Markdown table: the mean accuracy of heads fitted anew on each fold's training photos, its
95 % interval, calibration error, and the time of training without the folds, its cache empty. Of
quality best each fold's training photos choose anew; what all of them choose is named. A backbone
may be a network's file; `--preprocessing` tells what that takes and gives.
"""

import argparse
import os
import tempfile
from pathlib import Path

import handful
from handful.wording import format_share
from pipelines import machine

QUALITIES = ("fast", "good", "best")
FOLDS = 5


def row(photos: Path, way: str, preprocessing: str | None, seeds: int) -> str:
    """Train with folds on one set, and say what came of it."""
    name, _, side = way.rpartition(":")
    if not side.isdigit():
        name, side = way, ""
    options = {"quality": way} if way in QUALITIES else {"backbone": name}
    if Path(name).suffix:
        options["preprocessing"] = preprocessing
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HANDFUL_CACHE"] = cache
        run = handful.train(
            photos,
            image_size=int(side) if side else None,
            folds=FOLDS,
            seeds=seeds,
            reporter=handful.Reporter(),
            output=False,
            **options,
        )
    found = run.resampling
    assert found is not None and found.calibration_error is not None  # folds were asked for
    low, high = map(format_share, found.accuracy.interval)
    seconds = run.seconds["total"] - run.seconds["resample"] - run.seconds.get("convert", 0.0)
    cells = [
        photos.stem,
        f"{found.num_photos:,}",
        str(len(run.split.index.class_names)),
        Path(way).name if run.ladder is None else f"{way}: {run.ladder.chosen.name}",
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
    parser.add_argument("--ways", nargs="+", default=QUALITIES)
    parser.add_argument("--preprocessing")
    parser.add_argument("--seeds", type=int, default=1, help="repetitions of the folds")
    asked = parser.parse_args()
    print(f"{machine()}\n")
    print(
        "| photos | number | classes | way | accuracy | 95 % interval | log loss "
        "| calibration error | time |\n|---|---|---|---|---|---|---|---|---|"
    )
    for photos in asked.photos:
        for way in asked.ways:
            print(row(photos, way, asked.preprocessing, asked.seeds), flush=True)


if __name__ == "__main__":
    main()
