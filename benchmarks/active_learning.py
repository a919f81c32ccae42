"""What labels are worth that *label next* chooses, compared with labels of photos at random.

Whole groups of near-duplicates, a third of the photos, are held out. Of the others photos get their
labels twelve at a time, as the class folders say: chosen by `label_next` from none on, or at
random. At some numbers of labels a head is fitted as `handful train` does and scored on what was
held out. That is repeated with other photos held out; the intervals are of the mean over
these repeats, by the bootstrap.

With --outlook: what is said of the accuracy at some numbers of labels, and what is true.

    python benchmarks/active_learning.py [photos.zip ...] [--seeds 20] [--outlook]
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handful.config import TrainConfig
from handful.data.index import load_index
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import duplicate_groups
from handful.features.store import open_store
from handful.features.table import embed_index
from handful.models.active_learning import expected_accuracy, label_next
from handful.models.heads import fit_head
from handful.reporting import Reporter
from handful.training.steps import open_backbone
from pipelines import machine

SETS = ("cats_and_dogs_filtered", "trashnet360", "sign_digits600", "pollen", "magnetic_tile")
CHOSEN_SIZES = (24, 50, 100, 150, 200)
RANDOM_SIZES = (24, 50, 75, 100, 150, 200, 250, 300)
COMPARED = ((50, 75), (100, 150), (200, 300))
OUTLOOK_SIZES = (60, 100, 150, 200)
AT_ONCE = 12
RESAMPLES = 10_000
HELD_OUT = 1 / 3
_SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"

Chooser = Callable[["Photos", NDArray[np.int64], int, int], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Photos:
    """Embeddings (N, D), labels (N,) and groups of near-duplicates (N,)."""

    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]

    def select(self, rows: NDArray[np.bool_]) -> "Photos":
        """Some of the photos."""
        return Photos(self.embeddings[rows], self.labels[rows], self.groups[rows])


def load(path: Path) -> Photos:
    """Embed photos as `handful train` does."""
    index = load_index(path)
    _, spec = open_backbone(TrainConfig(), Reporter())
    with open_store(True) as store:
        table = embed_index(index, spec, store=store)
    groups, _ = duplicate_groups(index, near_duplicate_pairs(table.fingerprints))
    rows = table.readable
    return Photos(table.embeddings[rows, 0], index.labels[rows], groups[rows])


def held_out(photos: Photos, seed: int) -> NDArray[np.bool_]:
    """Whole groups in a random order, until about a third of the photos are together."""
    order = np.random.default_rng(seed).permutation(int(photos.groups.max()) + 1)[photos.groups]
    return np.asarray(order < np.sort(order)[round(HELD_OUT * len(order))])


def choose(photos: Photos, labels: NDArray[np.int64], number: int, seed: int) -> NDArray[np.int64]:
    """Unlabeled photos that would teach most."""
    found = label_next(photos.embeddings, labels, number, seed=seed)
    return np.array([image.row for image in found], np.int64)


def draw(photos: Photos, labels: NDArray[np.int64], number: int, seed: int) -> NDArray[np.int64]:
    """Unlabeled photos at random."""
    unlabeled = np.flatnonzero(labels < 0)
    rng = np.random.default_rng((seed, len(unlabeled)))
    return rng.choice(unlabeled, min(number, len(unlabeled)), replace=False)


def accuracy(pool: Photos, labels: NDArray[np.int64], test: Photos) -> float:
    """Accuracy of a head fitted to the photos that have labels."""
    rows = np.flatnonzero(labels >= 0)
    classes, dense = np.unique(labels[rows], return_inverse=True)
    if len(classes) < 2:
        return float((test.labels == classes[0]).mean())
    head = fit_head(pool.embeddings[rows], dense, len(classes), groups=pool.groups[rows])
    predicted = classes[head.predict_proba(test.embeddings).argmax(axis=1)]
    return float((predicted == test.labels).mean())


def curve(photos: Photos, chooser: Chooser, sizes: tuple[int, ...], seed: int) -> list[float]:
    """Accuracy at each number of labels; NaN where the photos are fewer."""
    held = held_out(photos, seed)
    pool, test = photos.select(~held), photos.select(held)
    labels = np.full(len(pool.labels), -1)
    found = []
    for size in sizes:
        while (have := int((labels >= 0).sum())) < min(size, len(labels)):
            rows = chooser(pool, labels, min(AT_ONCE, size - have), seed)
            labels[rows] = pool.labels[rows]
        found.append(accuracy(pool, labels, test) if len(labels) >= size else np.nan)
    return found


def outlook(photos: Photos, chooser: Chooser, seed: int) -> list[tuple[float, ...]]:
    """At each number of labels: true, in cross-validation, as said, and whether that holds it."""
    held = held_out(photos, seed)
    pool, test = photos.select(~held), photos.select(held)
    labels = np.full(len(pool.labels), -1)
    found = []
    for size in OUTLOOK_SIZES:
        while (have := int((labels >= 0).sum())) < size:
            rows = chooser(pool, labels, min(AT_ONCE, size - have), seed)
            labels[rows] = pool.labels[rows]
        rows = np.flatnonzero(labels >= 0)
        classes, dense = np.unique(labels[rows], return_inverse=True)
        numbers = np.full(len(labels), -1)
        numbers[rows] = dense
        said = expected_accuracy(pool.embeddings, numbers, len(classes), pool.groups)
        true, (low, high) = accuracy(pool, labels, test), said.interval
        found.append((true, said.of_labeled, said.accuracy, float(low <= true <= high)))
    return found


def print_outlook(photos: Photos, num_seeds: int) -> None:
    """What is said of labels at random and of chosen ones."""
    for name, chooser in (("random", draw), ("chosen", choose)):
        found = np.mean([outlook(photos, chooser, seed) for seed in range(num_seeds)], axis=0)
        for size, (true, alone, said, held) in zip(OUTLOOK_SIZES, found, strict=True):
            print(
                f"  {size} {name}: true {true:.1%}, in cross-validation {alone:.1%}, said "
                f"{said:.1%}, true is in the interval {held:.0%}"
            )


def print_difference(chosen: NDArray[np.float64], random: NDArray[np.float64]) -> None:
    """Chosen labels against half as many again at random, repeat by repeat."""
    for few, many in COMPARED:
        found = chosen[:, CHOSEN_SIZES.index(few)] - random[:, RANDOM_SIZES.index(many)]
        if np.isnan(found).any():
            print(f"  {few} chosen against {many} at random: too few photos")
            continue
        drawn = np.random.default_rng(0).choice(found, (RESAMPLES, len(found))).mean(axis=1)
        low, high = 100 * np.quantile(drawn, (0.025, 0.975))
        print(
            f"  {few} chosen less {many} at random: {100 * found.mean():+.1f} points "
            f"({low:+.1f} to {high:+.1f})"
        )


def print_worth(chosen: NDArray[np.float64], random: NDArray[np.float64]) -> None:
    """How many labels at random give what the chosen give, by the mean curves."""
    sizes, curve = np.array(RANDOM_SIZES), np.maximum.accumulate(random.mean(axis=0))
    for size, value in zip(CHOSEN_SIZES, chosen.mean(axis=0), strict=True):
        there = np.flatnonzero(~np.isnan(curve))
        if np.isnan(value) or size < 50:
            continue
        if value > curve[there[-1]]:
            print(f"  {size} chosen are worth more than {sizes[there[-1]]} at random")
        else:
            worth = np.interp(value, curve[there], sizes[there])
            print(f"  {size} chosen are worth {worth:.0f} at random")


def main() -> None:
    """Print the figures of each set of photos."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", nargs="*", type=Path, help="zips or folders of labeled photos")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--outlook", action="store_true")
    options = parser.parse_args()
    print(machine())
    for path in options.photos or [_SHARED / f"{name}.zip" for name in SETS]:
        photos = load(path)
        held = [int(held_out(photos, seed).sum()) for seed in range(options.seeds)]
        print(f"{path.stem}: {len(photos.labels)} photos, {np.mean(held):.0f} of them held out")
        if options.outlook:
            print_outlook(photos, options.seeds)
            continue
        results = {}
        for name, chooser, sizes in (
            ("random", draw, RANDOM_SIZES),
            ("chosen", choose, CHOSEN_SIZES),
        ):
            found = [curve(photos, chooser, sizes, seed) for seed in range(options.seeds)]
            results[name] = np.array(found)
            means = zip(sizes, 100 * results[name].mean(axis=0), strict=True)
            print(f"  {name}: " + ", ".join(f"{size} {mean:.1f} %" for size, mean in means))
        print_worth(results["chosen"], results["random"])
        print_difference(results["chosen"], results["random"])


if __name__ == "__main__":
    main()
