"""Are probabilities honest, does abstaining keep its error rate, do sets keep their coverage?

A classifier is trained as `handful train` does; temperature and thresholds come from out-of-fold
answers on its training photos. All figures below are then measured on the validation photos,
which chose nothing. Cats and dogs come split; the solar cells are split with several seeds. Small
samples of the cats and dogs show what few photos do to it. `trust_coverage.py` shows, with drawn
answers, how often a threshold keeps its rate.

    python benchmarks/trust_calibration.py [cats_and_dogs_filtered.zip] [--seeds 5]
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handful.config import TrainConfig
from handful.data.splits import Split
from handful.data.target import softmax
from handful.datasets.solar_cells import fetch_solar_cells
from handful.models.calibration import COVERAGES, ERROR_RATES
from handful.statistics.metrics import expected_calibration_error, log_loss, reliability_curve
from handful.training.steps import split_index
from handful.workflows import train as train_workflow
from pipelines import find_photos, machine

SAMPLE = 100
PROMISED = 0.02


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Expected calibration error, 15 equal bins."""
    return expected_calibration_error(reliability_curve(probabilities, labels))


def least_error(probabilities: NDArray[np.float64], draws: int = 200) -> float:
    """What the calibration error would be by chance alone, were the probabilities the truth."""
    rng = np.random.default_rng(0)
    chances = probabilities.cumsum(axis=1)
    found = []
    for _ in range(draws):
        labels = (rng.random((len(chances), 1)) > chances).sum(axis=1)
        found.append(calibration_error(probabilities, np.minimum(labels, chances.shape[1] - 1)))
    return float(np.mean(found))


def figures(run: train_workflow.Run) -> dict[str, float]:
    """Accuracy, calibration error and log loss on validation, with and without the temperature."""
    evaluation, calibration = run.evaluation, run.classifier.calibration
    assert calibration is not None
    logits = np.log(np.maximum(evaluation.probabilities, 1e-300)) * calibration.temperature
    before = softmax(logits)
    return {
        "accuracy": evaluation.accuracy,
        "accuracy_before": float((before.argmax(axis=1) == evaluation.labels).mean()),
        "temperature": calibration.temperature,
        "error_before": calibration_error(before, evaluation.labels),
        "error": evaluation.expected_calibration_error,
        "error_by_chance": least_error(evaluation.probabilities),
        "loss_before": log_loss(before, evaluation.labels),
        "loss": evaluation.log_loss,
    }


def print_calibration(name: str, found: Sequence[dict[str, float]]) -> None:
    """Print a line of the table: means over the runs, and the largest calibration error."""
    mean = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    worst = max(one["error"] for one in found)
    print(
        f"| {name} | {100 * mean['accuracy_before']:.1f} -> {100 * mean['accuracy']:.1f} % "
        f"| {mean['temperature']:.2f} | {100 * mean['error_before']:.1f} % "
        f"| {100 * mean['error']:.1f} % (largest {100 * worst:.1f}) "
        f"| {100 * mean['error_by_chance']:.1f} % "
        f"| {mean['loss_before']:.4f} -> {mean['loss']:.4f} |",
        flush=True,
    )


def print_promises(name: str, found: Sequence[train_workflow.Run]) -> None:
    """Print what was promised out of fold beside what validation shows."""
    guarantees = [run.guarantees for run in found]
    for place, rate in enumerate(ERROR_RATES):
        checks = [one.abstaining[place] for one in guarantees if one is not None]
        rows = [
            (check.guaranteed_coverage, check.guaranteed_error, check.coverage, check.error or 0.0)
            for check in checks
            if check.is_as_asked
        ]
        if not rows:
            print(f"| {name} | error {100 * rate:g} % | not shown: too few photos | | |")
            continue
        coverage, error, held, held_error = np.mean(np.array(rows, np.float64), axis=0)
        print(
            f"| {name} | error {100 * rate:g} % | {100 * coverage:.1f} % answered, "
            f"{100 * error:.2f} % wrong | {100 * held:.1f} % answered, "
            f"{100 * held_error:.2f} % wrong"
            f" | {len(rows)} of {len(found)} |"
        )
    for place, coverage in enumerate(COVERAGES):
        sets = [one.sets[place] for one in guarantees if one is not None]
        sizes, covered = np.mean([(check.mean_size, check.coverage) for check in sets], axis=0)
        print(
            f"| {name} | sets {100 * coverage:g} % | | {100 * covered:.1f} % hold the class, "
            f"{sizes:.2f} classes a set | {len(sets)} of {len(found)} |"
        )


def small_run(whole: Split, seed: int) -> train_workflow.Run:
    """Train on a few of the training photos, checked on all validation photos."""
    rng = np.random.default_rng(seed)
    labels = whole.index.labels[whole.train]
    rows = [
        rng.choice(whole.train[labels == number], SAMPLE // 2, replace=False)
        for number in range(len(whole.index.class_names))
    ]
    kept = np.sort(np.concatenate([*rows, whole.validation]))
    return train_workflow.train(split_index(whole.index.select(kept)), output=False)


def main() -> None:
    """Train, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    print(f"{machine()}\n")
    cats = train_workflow.train(find_photos(options.photos), output=False)
    with tempfile.TemporaryDirectory() as folder:
        table = fetch_solar_cells(Path(folder))
        cells = [
            train_workflow.train(table, TrainConfig(seed=seed), output=False)
            for seed in range(options.seeds)
        ]
        small = [small_run(cats.split, seed) for seed in range(options.seeds)]
    named = {
        f"cats and dogs, {len(cats.split.train):,} photos": [cats],
        f"cats and dogs, {SAMPLE} photos, {options.seeds} draws": small,
        f"solar cells, {len(cells[0].split.train):,} photos, {options.seeds} splits": cells,
    }
    print(
        "| photos | accuracy | temperature | calibration error before | after | of honest "
        "probabilities, by chance | log loss |\n|---|---|---|---|---|---|---|"
    )
    for name, found in named.items():
        print_calibration(name, [figures(run) for run in found])
    print(
        "\n| photos | asked | out of fold, on training photos | on validation | runs that show "
        "it |\n|---|---|---|---|---|"
    )
    for name, found in named.items():
        print_promises(name, found)
    error = cats.evaluation.expected_calibration_error
    print(f"\nCats and dogs: calibration error {100 * error:.2f} %, asked {100 * PROMISED:g} %.")


if __name__ == "__main__":
    main()
