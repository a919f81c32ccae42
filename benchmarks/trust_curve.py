"""Whether a learning curve of 500 photos tells the accuracy of 2,000.

Of the training photos 500 are drawn at random, 20 times. The curve fitted on each draw alone says
what 2,000 will give; that is compared with a head that is fitted on 2,000 and scored on photos
that none of the draws saw. Solar cells bring no split: whole groups of near-duplicates, 624
photos, are held out once and for all. Such a part is lucky or not, so the mean over all photos,
each held out in turn, stands beside it.

    python benchmarks/trust_curve.py [cats_and_dogs_filtered.zip] [--draws 20]
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handful.config import TrainConfig, cache_folder
from handful.data.index import load_index
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import duplicate_groups, stratified_folds
from handful.datasets.solar_cells import fetch_solar_cells
from handful.evaluation.curve_fitting import measure_curve
from handful.features.store import open_store
from handful.features.table import embed_index
from handful.models.heads import fit_head
from handful.reporting import Reporter
from handful.statistics.intervals import wilson_interval
from handful.training.steps import open_backbone
from pipelines import find_photos, machine

NUM_FITTED = 500
NUM_TRUTH = 2_000
NUM_HELD_OUT = 624
RESAMPLES = 2_000
REPEATS = 2


@dataclass(frozen=True, eq=False)
class Photos:
    """Embeddings (N, D), labels and groups (N,), and whether each photo is held out (N,)."""

    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    held_out: NDArray[np.bool_]


def load(path: Path) -> Photos:
    """Embed photos as `handful train` does; validation is held out where the photos bring it."""
    index, config = load_index(path), TrainConfig()
    _, spec = open_backbone(config, Reporter())
    with open_store(True) as store:
        table = embed_index(index, spec, store=store)
    if table.rejected:
        raise SystemExit(f"{len(table.rejected)} photos cannot be decoded; see `handful check`.")
    embeddings = table.embeddings[:, 0]
    groups, _ = duplicate_groups(index, near_duplicate_pairs(table.fingerprints))
    held = np.array([part == "validation" for part in index.splits])
    if not held.any():
        held = hold_out_groups(groups)
    return Photos(embeddings, index.labels, groups, held)


def hold_out_groups(groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whole groups in a random order until about 624 photos are together."""
    order = np.random.default_rng(0).permutation(int(groups.max()) + 1)[groups]
    rows = np.argsort(order, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(order[rows]) != 0, True)) + 1
    held = np.zeros(len(groups), dtype=bool)
    held[rows[: ends[np.argmin(np.abs(ends - NUM_HELD_OUT))]]] = True
    return held


def measure_truth(photos: Photos) -> float:
    """Accuracy of a head fitted on all 2,000, printed with its intervals."""
    rows = np.flatnonzero(~photos.held_out)[:NUM_TRUTH]
    head = fit_head(photos.embeddings[rows], photos.labels[rows], 2, groups=photos.groups[rows])
    held = np.flatnonzero(photos.held_out)
    right = head.predict_proba(photos.embeddings[held]).argmax(axis=1) == photos.labels[held]
    low, high = wilson_interval(int(right.sum()), len(right))
    _, groups = np.unique(photos.groups[held], return_inverse=True)
    weights = np.random.default_rng(0).exponential(size=(RESAMPLES, groups.max() + 1))[:, groups]
    ends = np.quantile(weights @ right / weights.sum(axis=1), (0.025, 0.975))
    print(
        f"truth: fitted on {len(rows):,}, {percent(right.mean())} of {len(right):,} right, 95 % "
        f"interval {percent(low)} to {percent(high)}; by groups of near-duplicates "
        f"{percent(ends[0])} to {percent(ends[1])}"
    )
    return float(right.mean())


def cross_validate(photos: Photos) -> float:
    """Accuracy of heads fitted on about 2,000, of all photos held out in turn; printed."""
    num_photos = len(photos.labels)
    num_folds = max(num_photos // (num_photos - NUM_TRUTH), 2)
    wrong = np.zeros((REPEATS, num_photos))
    for repeat in range(REPEATS):
        folds = stratified_folds(photos.labels, photos.groups, num_folds, repeat)
        for fold in range(num_folds):
            rows, held = np.flatnonzero(folds != fold), folds == fold
            head = fit_head(
                photos.embeddings[rows], photos.labels[rows], 2, groups=photos.groups[rows]
            )
            answers = head.predict_proba(photos.embeddings[held]).argmax(axis=1)
            wrong[repeat, held] = answers != photos.labels[held]
    accuracy = 1 - float(wrong.mean())
    low, high = wilson_interval(round(accuracy * num_photos), num_photos)
    print(
        f"all {num_photos:,} held out in turn, fitted on {num_photos - num_photos // num_folds:,}:"
        f" {percent(accuracy)} right, 95 % interval {percent(low)} to {percent(high)}"
    )
    return accuracy


def predict(photos: Photos, draw: int) -> tuple[float, ...]:
    """Accuracy expected at 2,000, its interval with and without the test photos' luck, and now."""
    pool = np.flatnonzero(~photos.held_out)
    rows = np.random.default_rng(draw).permutation(pool)[:NUM_FITTED]
    curve = measure_curve(
        photos.embeddings[rows], photos.labels[rows], 2, photos.groups[rows], seed=draw
    )
    size = NUM_TRUTH / 2
    expected = curve.predict(size)
    tested = curve.predict(size, num_test=int(photos.held_out.sum()))
    return (*expected, *tested[1:], curve.points[-1].accuracy)


def report(name: str, photos: Photos, draws: int, within: float) -> None:
    """Print how far the draws' predictions are from the truth."""
    print(f"\n## {name}\n")
    truth, mean_truth = measure_truth(photos), cross_validate(photos)
    print("| draw | measured on 500 | expected at 2,000 | 95 % interval | error |")
    print("|---|---|---|---|---|")
    rows = []
    for draw in range(draws):
        row = predict(photos, draw)
        rows.append(row)
        print(
            f"| {draw} | {percent(row[5])} | {percent(row[0])} | {percent(row[3])} to "
            f"{percent(row[4])} | {100 * (row[0] - truth):+.2f} |",
            flush=True,
        )
    expected, low, high, low_tested, high_tested, now = np.array(rows).T
    errors = np.abs(expected - truth)
    print(
        f"\nwithin {100 * within:.0f} point(s): {int((errors <= within).sum())} of {draws}; error "
        f"in points: mean {100 * errors.mean():.2f}, median {100 * np.median(errors):.2f}, most "
        f"{100 * errors.max():.2f}, signed mean {100 * (expected - truth).mean():+.2f}; of the "
        f"accuracy measured on 500 instead: mean {100 * np.abs(now - truth).mean():.2f}"
    )
    others = np.abs(expected - mean_truth)
    print(
        f"against all photos held out in turn: within {int((others <= within).sum())} of {draws}, "
        f"mean {100 * others.mean():.2f}, most {100 * others.max():.2f}, signed mean "
        f"{100 * (expected - mean_truth).mean():+.2f}"
    )
    for what, ends in (
        ("with the test photos' luck", (low_tested, high_tested)),
        ("of the true accuracy", (low, high)),
    ):
        held = int(((ends[0] <= truth) & (truth <= ends[1])).sum())
        width = 100 * (ends[1] - ends[0]).mean()
        print(f"95 % interval {what}: holds it in {held} of {draws}, {width:.1f} points wide")


def percent(fraction: float) -> str:
    """Two digits: 500 photos tell no more."""
    return f"{100 * fraction:.2f} %"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="?", help="cats and dogs, with a split")
    parser.add_argument("--solar-cells", type=Path, help="CSV of the solar cells, if there")
    parser.add_argument("--draws", type=int, default=20)
    asked = parser.parse_args()
    print(machine())
    report("Cats and dogs", load(find_photos(asked.photos)), asked.draws, 0.01)
    table = asked.solar_cells
    if table is None:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        table = fetch_solar_cells(folder, print)
    report("Solar cells", load(table), asked.draws, 0.02)


if __name__ == "__main__":
    main()
