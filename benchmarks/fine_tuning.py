"""What training the network itself is worth, on different kinds of photos.

    python benchmarks/fine_tuning.py PHOTOS... [--time-budget 15] [--seeds 0 1 2]

Trains with quality `fast`, `good` and `best` on the same photos, a fifth of them held out, another
fifth with every seed. Prints what `best` tried, by its answers for training photos that heads and
networks were fitted without; and how many of the photos held out, which chose nothing, each quality
has right. A network that answers for a training photo was tuned to two thirds of the others, so
its figure errs on the low side. At last the photos held out of all seeds together: accuracy, log
loss and calibration error, in which near-duplicates, and a photo held out twice, count as one.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import handful
from handful.data.target import ONE_CLASS
from handful.evaluation.evaluation import Evaluation
from handful.statistics.intervals import accuracy_interval, calibration_error
from handful.wording import format_duration, format_share
from pipelines import machine

QUALITIES = ("best", "good", "fast")  # the first pays for all embeddings


@dataclass(frozen=True)
class Answer:
    """What one quality said of one photo held out."""

    photos: str
    quality: str
    group: str
    is_right: bool
    confidence: float
    log_loss: float


def answers(photos: str, quality: str, found: Evaluation) -> Iterator[Answer]:
    """Answers of one training; a group is called by its first path, the same with every seed."""
    numbers = range(len(found)) if found.groups is None else found.groups.tolist()
    first: dict[int, str] = {}
    for path, number in sorted(zip(found.paths, numbers, strict=True)):
        first.setdefault(number, f"{photos}/{path}")
    right = found.predicted == found.labels
    losses = ONE_CLASS.log_loss(found.probabilities, found.labels)
    for number, *told in zip(numbers, right, found.confidence, losses, strict=True):
        yield Answer(photos, quality, first[number], *told)


def summary(photos: str, quality: str, found: list[Answer]) -> str:
    """A row of the last table."""
    right = np.array([one.is_right for one in found])
    confidence = np.array([one.confidence for one in found])
    _, groups = np.unique([one.group for one in found], return_inverse=True)
    error = calibration_error(confidence, right, groups)
    cells = [
        photos,
        quality,
        f"{right.sum()} of {len(found)}",
        format_share(right.mean()),
        " to ".join(map(format_share, accuracy_interval(right, groups=groups))),
        f"{np.mean([one.log_loss for one in found]):.3f}",
        format_share(error.error),
        " to ".join(map(format_share, error.interval)),
    ]
    return f"| {' | '.join(cells)} |"


def measure(photos: Path, seed: int, time_budget: float) -> list[Answer]:
    """Print a line for each rung, and one for the photos held out."""
    runs = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HANDFUL_CACHE"] = cache
        for quality in QUALITIES:
            runs[quality] = handful.train(
                photos,
                quality=quality,
                seed=seed,
                time_budget=time_budget if quality == "best" else None,
                reporter=handful.Reporter(),
                output=False,
            )
    best = runs["best"]
    assert best.ladder is not None  # `best` has one
    for one in best.ladder.attempts:
        if one.accuracy is None or one.accuracy_interval is None or one.seconds is None:
            print(f"| {photos.stem} | {seed} | {one.name} | {one.note} | | | |", flush=True)
            continue
        low, high = map(format_share, one.accuracy_interval)
        cells = [
            photos.stem,
            str(seed),
            one.name + ", chosen" * one.is_chosen,
            format_share(one.accuracy),
            f"{low} to {high}",
            f"{one.log_loss:.3f}",
            format_duration(one.seconds),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    right = {name: run.evaluation.predicted == run.evaluation.labels for name, run in runs.items()}
    told = ", ".join(f"{name} {found.sum()}" for name, found in right.items())
    gained = (right["best"] & ~right["fast"]).sum()
    lost = (right["fast"] & ~right["best"]).sum()
    told = f"of {len(best.evaluation)} right: {told}; best against fast +{gained} -{lost}"
    whole = format_duration(best.seconds["total"])
    print(f"| {photos.stem} | {seed} | held out | {told} | | | {whole} in all |", flush=True)
    return [one for name, run in runs.items() for one in answers(photos.stem, name, run.evaluation)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--time-budget", type=float, default=15.0, help="minutes for `best` [15]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    asked = parser.parse_args()
    print(f"{machine()}\n")
    print("| photos | seed | tried | accuracy | 95 % interval | log loss | time |")
    print("|---|---|---|---|---|---|---|")
    found = [
        one
        for seed in asked.seeds
        for photos in asked.photos
        for one in measure(photos, seed, asked.time_budget)
    ]
    print(
        "\n| photos | quality | right | accuracy | 95 % interval | log loss | calibration error "
        "| 95 % interval |\n|---|---|---|---|---|---|---|---|"
    )
    for name in [*dict.fromkeys(one.photos for one in found), "all"]:
        for quality in reversed(QUALITIES):
            own = [one for one in found if one.quality == quality and name in (one.photos, "all")]
            print(summary(name, quality, own))


if __name__ == "__main__":
    main()
