"""What training the network itself is worth, on different kinds of photos.

    python benchmarks/fine_tuning.py PHOTOS... [--time-budget 15] [--seeds 1]

Trains with quality `fast`, `good` and `best` on the same photos, a fifth of them held out, another
fifth with every seed. Prints what `best` tried, by its answers for training photos that heads and
networks were fitted without; and how many of the photos held out, which chose nothing, each quality
has right. A network that answers for a training photo was tuned to two thirds of the others, so
its figure errs on the low side.
"""

import argparse
import os
import tempfile
from pathlib import Path

import handful
from handful.wording import format_duration, format_share
from pipelines import machine

QUALITIES = ("best", "good", "fast")  # the first pays for all embeddings


def measure(photos: Path, seed: int, time_budget: float) -> None:
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--time-budget", type=float, default=15.0, help="minutes for `best` [15]")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    print(f"{machine()}\n")
    print("| photos | seed | tried | accuracy | 95 % interval | log loss | time |")
    print("|---|---|---|---|---|---|---|")
    for photos in asked.photos:
        for seed in range(asked.seeds):
            measure(photos, seed, asked.time_budget)


if __name__ == "__main__":
    main()
