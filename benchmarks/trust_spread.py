"""Does the interval over resamples hold the truth as often as it says?

Many small samples are drawn from the training photos. On each, heads are fitted and scored on
random splits, folds and repeated folds, as `handful train --seeds` and `--folds` do, and the 95 %
interval of their accuracy is made twice: corrected for the photos that the resamples share
(Nadeau and Bengio, 2003), and naively, as if they shared none. "Ours" is the corrected one, but
Wilson's of all photos where all resamples have one accuracy. The truth is the mean accuracy, on the
validation photos, of heads fitted to fresh samples of as many photos as each resample's head.

    python benchmarks/trust_spread.py [cats_and_dogs_filtered.zip] [--draws 60] [--size 200]
"""

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handful.config import TrainConfig
from handful.evaluation.resampling import Resampling, resample_head
from handful.features.embed import EmbeddingSpec
from handful.features.store import open_store
from handful.features.table import embed_index
from handful.models.heads import fit_head
from handful.statistics.intervals import resampled_interval, wilson_interval
from handful.workflows import train as train_workflow
from pipelines import find_photos, machine

WAYS: dict[str, dict[str, int]] = {
    "--seeds 10": {"num_seeds": 10},
    "--folds 5": {"num_folds": 5},
    "--folds 5 --seeds 3": {"num_folds": 5, "num_seeds": 3},
}
FRACTION = 0.2
Photos = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def draw(photos: Photos, count: int, seed: int) -> Photos:
    """A random sample with the classes' own shares."""
    rng = np.random.default_rng(seed)
    shares = np.bincount(photos[1]) / len(photos[1])
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(photos[1] == label), round(share * count), replace=False)
            for label, share in enumerate(shares)
        ]
    )
    return photos[0][rows], photos[1][rows], photos[2][rows]


def true_accuracy(train: Photos, validation: Photos, count: int, draws: int) -> float:
    """Mean accuracy of heads that are fitted to fresh samples of so many photos."""
    rates = []
    for seed in range(draws):
        embeddings, labels, groups = draw(train, count, 10_000 + seed)
        head = fit_head(embeddings, labels, int(labels.max()) + 1, groups=groups, seed=seed)
        answers = head.predict_proba(validation[0]).argmax(axis=1)
        rates.append(float(np.mean(answers == validation[1])))
    spread = np.std(rates, ddof=1)
    print(
        f"heads on {count} photos: {100 * np.mean(rates):.2f} % of {len(validation[1]):,} "
        f"validation photos on average; from sample to sample {100 * spread:.2f} points (standard "
        "deviation)\n"
    )
    return float(np.mean(rates))


def intervals(found: Resampling) -> list[tuple[float, float]]:
    """Corrected, the same as we say it, naive, and Wilson's of the first resample alone."""
    first = found.resamples[0]
    right = round(first.accuracy * first.num_held_out)
    return [
        resampled_interval(found.accuracy.values, found.num_fit, found.num_held_out),
        found.accuracy.interval,
        # A vanishing share of held-out photos leaves 1/J alone.
        resampled_interval(found.accuracy.values, 1.0, 1e-12),
        wilson_interval(right, first.num_held_out),
    ]


def read_photos(path: Path) -> tuple[Photos, Photos]:
    """Embeddings, labels and near-duplicate groups of the training and the validation photos."""
    run = train_workflow.train(path, TrainConfig(), output=False)
    index, classifier = run.split.index, run.classifier
    with open_store(True) as store:
        table = embed_index(
            index, EmbeddingSpec(classifier.extractor, classifier.settings), store=store
        )
    train, validation = (
        (table.embeddings[rows, 0], index.labels[rows], run.split.groups[rows])
        for rows in (run.split.train, run.split.validation)
    )
    return train, validation


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="?", help="labeled photos")
    parser.add_argument("--draws", type=int, default=60, help="samples")
    parser.add_argument("--size", type=int, default=200, help="photos of each sample")
    asked = parser.parse_args()
    path, started = find_photos(asked.photos), time.perf_counter()
    train, validation = read_photos(path)
    names = [str(label) for label in range(int(train[1].max()) + 1)]
    print(
        f"{machine()}; {asked.draws} samples of {asked.size} of {len(train[1]):,} training photos "
        f"of {path.stem}\n"
    )
    truth = true_accuracy(train, validation, round((1 - FRACTION) * asked.size), 2 * asked.draws)
    print("| way | mean | corrected: holds the truth, width | ours | naive | one split, Wilson |")
    print("|---|---|---|---|---|---|")
    for name, options in WAYS.items():
        found = [
            resample_head(*draw(train, asked.size, seed), names, seed=seed, **options)
            for seed in range(asked.draws)
        ]
        ends = np.array([intervals(one) for one in found])  # (draws, 4, 2)
        holds = ((ends[..., 0] <= truth) & (truth <= ends[..., 1])).sum(axis=0)
        widths = 100 * (ends[..., 1] - ends[..., 0]).mean(axis=0)
        cells = [
            f"{held} of {asked.draws}, {width:.1f}"
            for held, width in zip(holds, widths, strict=True)
        ]
        mean = 100 * np.mean([one.accuracy.mean for one in found])
        print(f"| {name} | {mean:.2f} % | {' | '.join(cells)} |", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
