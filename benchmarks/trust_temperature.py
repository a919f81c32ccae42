"""Are a head's probabilities too modest, with few photos?

The temperature is fitted to out-of-fold answers. Two ways are compared on photos that neither saw:
with Platt's targets (1999), as if one more photo of each class had been seen, and with a normal
prior on the temperature's logarithm, as handful does. The prior's width was chosen on cats and dogs
and on MNIST's digits; the sets given here chose nothing. The best temperature in hindsight is the
number that the logits of the other photos should have been divided by besides: below 1, answers
were too modest. Near-duplicates are on one side.

    python benchmarks/trust_temperature.py FOLDER_OR_ZIP ... [--sizes 80 200] [--draws 10]
"""

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handful.config import TrainConfig
from handful.data.index import load_index
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import duplicate_groups
from handful.data.target import softmax
from handful.features.store import open_store
from handful.features.table import embed_index
from handful.models.calibration import fit_calibrated_head, fit_temperature
from handful.models.heads import fit_head, out_of_fold_logits
from handful.reporting import Reporter
from handful.statistics.intervals import calibration_error
from handful.statistics.metrics import expected_calibration_error, log_loss, reliability_curve
from handful.training.steps import keep_readable, open_backbone
from pipelines import machine

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
TEMPERATURES = np.exp(np.linspace(math.log(0.2), math.log(5), 161))


def embed(photos: Path) -> tuple[NDArray[np.float32], Integers, Integers]:
    """Embeddings, labels and groups of near-duplicates."""
    (_, spec), index = open_backbone(TrainConfig(), Reporter()), load_index(photos)
    with open_store(True) as store:
        table = embed_index(index, spec, store=store)
    index, table = keep_readable(index, table, None)
    groups, _ = duplicate_groups(index, near_duplicate_pairs(table.fingerprints))
    return table.embeddings[:, 0], index.labels, groups


def platt(logits: Floats, labels: Integers) -> float:
    """The temperature with Platt's targets."""
    num_photos, num_classes = logits.shape
    targets = np.full(logits.shape, 1 / (num_photos + num_classes))
    targets[np.arange(num_photos), labels] += num_photos / (num_photos + num_classes)
    losses = [-(targets * np.log(softmax(logits / t) + 1e-300)).sum() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def hindsight(probabilities: Floats, labels: Integers) -> float:
    """The temperature that these answers should have been given besides."""
    logits = np.log(np.maximum(probabilities, 1e-300))
    losses = [log_loss(softmax(logits / t), labels) for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def draw(
    embeddings: NDArray[np.float32], labels: Integers, groups: Integers, size: int, seed: int
) -> list[float]:
    """Train on so many photos; for both ways, figures on the others."""
    order = np.argsort(np.random.default_rng(seed).permutation(groups.max() + 1)[groups])
    fitted, others = order[:size], order[size:]
    num_classes = int(labels.max()) + 1
    given = embeddings[fitted], labels[fitted], num_classes
    head, calibration, _ = fit_calibrated_head(*given, groups=groups[fitted], seed=seed)
    plain = fit_head(*given, groups=groups[fitted], seed=seed)
    assert plain.C is not None and calibration is not None
    logits = out_of_fold_logits(*given, plain.C, groups=groups[fitted], seed=seed)
    assert logits is not None
    held = ~np.isnan(logits[:, 0])
    before = plain.at_temperature(platt(logits[held], labels[fitted][held]))
    assert math.isclose(
        calibration.temperature,
        fit_temperature(logits[held], labels[fitted][held]),
    )
    row = []
    for one in (before, head):
        answers = one.predict_proba(embeddings[others])
        right = answers.argmax(axis=1) == labels[others]
        row += [
            hindsight(answers, labels[others]),
            log_loss(answers, labels[others]),
            calibration_error(answers.max(axis=1), right, groups[others]).error,
        ]
    fold = np.random.default_rng(seed).permutation(others)[: max(size // 5, 1)]
    answers = head.predict_proba(embeddings[fold])
    few = expected_calibration_error(reliability_curve(answers, labels[fold]))
    return [float(right.mean()), *row, few]


def main() -> None:
    """Train, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--sizes", type=int, nargs="+", default=[80, 200])
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    print(f"{machine()}\n")
    print(
        "| photos | learned from | accuracy | best in hindsight: Platt | prior | log loss: Platt "
        "| prior | calibration error: Platt | prior | as binned on a fifth as many photos |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for photos in options.photos:
        data = embed(photos)
        for size in options.sizes:
            found = np.array([draw(*data, size, seed) for seed in range(options.draws)])
            # Temperatures are averaged as logarithms, errors as squares.
            a, t1, l1, e1, t2, l2, e2, few = found.T
            errors = [100 * math.sqrt(float(np.mean(e**2))) for e in (e1, e2)]
            print(
                f"| {photos.stem} | {size} | {100 * a.mean():.1f} % "
                f"| {np.exp(np.log(t1).mean()):.2f} | {np.exp(np.log(t2).mean()):.2f} "
                f"| {l1.mean():.4f} | {l2.mean():.4f} | {errors[0]:.1f} % | {errors[1]:.1f} % "
                f"| {100 * few.mean():.1f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
