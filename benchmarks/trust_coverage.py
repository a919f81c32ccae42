"""Do intervals and guarantees hold, with near-duplicates among the photos?

All is drawn, so that the truth is known. Photos come in groups of 1, 2, 5 or 10; within a group two
photos' answers correlate by 0.8: each photo takes its group's answer with the chance sqrt(0.8), or
else its own. 200 photos in all, where nothing else is said. Counted is how often the 95 % intervals
of an accuracy and of a paired difference hold the truth, how often McNemar's test calls equal
classifiers different, how often abstaining errs more often than it says, and how many prediction
sets of 95 % hold the right class.

    python benchmarks/trust_coverage.py [--draws 1000]
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from handful.models.calibration import Calibration
from handful.statistics.intervals import (
    accuracy_interval,
    paired_difference_interval,
    paired_difference_test,
)
from pipelines import machine

SIZES = (1, 2, 5, 10)
NUM_PHOTOS = 200
CORRELATION = 0.8
ACCURACIES = (0.6, 0.7, 0.8, 0.9, 0.95)
# Accuracies of two classifiers; half of the lesser error is shared.
PAIRS = ((0.7, 0.7), (0.8, 0.7), (0.8, 0.8), (0.9, 0.8), (0.9, 0.9), (0.95, 0.9))
ABSTAINING_PHOTOS = (10, 40, 100, 200, 400, 1600)
RATES = (0.01, 0.05, 0.1)
SET_COVERAGES = (0.8, 0.9, 0.95, 0.99)
EVERYONE = 400_000

Generator = np.random.Generator


def in_groups(
    rng: Generator, num_photos: int, size: int, draw: Callable[[int], NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draws of photos in groups of a size, and their groups."""
    groups = np.arange(num_photos) // size
    shared = draw(int(groups.max()) + 1)[groups]
    takes = rng.random(num_photos) < math.sqrt(CORRELATION)
    return np.where(takes, shared, draw(num_photos)), groups


def held_accuracies(accuracy: float, size: int, draws: int) -> float:
    """How often the accuracy's interval holds the truth."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(draws):
        right, groups = in_groups(
            rng, NUM_PHOTOS, size, lambda n: (rng.random(n) < accuracy).astype(np.int64)
        )
        low, high = accuracy_interval(right.astype(bool), groups=groups)
        held += low <= accuracy <= high
    return held / draws


def held_differences(pair: tuple[float, float], size: int, draws: int) -> tuple[float, float]:
    """How often the paired interval holds the difference, and p is below 0.05."""
    rng, held, alarms = np.random.default_rng(0), 0, 0
    wrong = 1 - np.array(pair)
    both = wrong.min() / 2
    chances = [1 - wrong.sum() + both, wrong[1] - both, wrong[0] - both, both]
    for _ in range(draws):
        kinds, groups = in_groups(rng, NUM_PHOTOS, size, lambda n: rng.choice(4, n, p=chances))
        first, second = kinds < 2, np.isin(kinds, (0, 2))
        low, high = paired_difference_interval(first, second, groups=groups)
        held += low <= pair[0] - pair[1] <= high
        alarms += paired_difference_test(first, second, groups=groups) < 0.05
    return held / draws, alarms / draws


class Population:
    """Photos that answers are drawn from: confidence, and whether it is right.

    Confidences are honest (a chance of being right of 0.92 on average), tell nothing of a chance
    that is 0.85 for all, or are honest but for 1 label in 50 that is wrong.
    """

    def __init__(self, kind: str) -> None:
        rng = np.random.default_rng(1)
        confidence = 0.5 + 0.5 * rng.beta(3, 0.6, EVERYONE)
        chance = np.full(EVERYONE, 0.85) if kind == "tell nothing" else confidence
        right = rng.random(EVERYONE) < chance
        if kind == "wrong labels":
            right ^= rng.random(EVERYONE) < 0.02
        order = np.argsort(-confidence)
        self.confidence = confidence[order].astype(np.float32)
        self.right = right[order]
        self.errors = np.cumsum(~self.right) / np.arange(1, EVERYONE + 1)
        self.true_probability = np.where(self.right, self.confidence, 1 - self.confidence)

    def calibration(self, rng: Generator, num_photos: int, size: int) -> Calibration:
        """Draw what a classifier would keep."""
        rows, groups = in_groups(rng, num_photos, size, lambda n: rng.integers(0, EVERYONE, n))
        return Calibration(
            self.confidence[rows],
            self.right[rows],
            self.true_probability[rows],
            1.0,
            "validation",
            groups,
        )

    def error_from(self, threshold: float) -> float:
        """True share of wrong answers among those of a confidence."""
        answered = int(np.searchsorted(-self.confidence, -np.float32(threshold), side="right"))
        return float(self.errors[max(answered, 1) - 1])


def abstain(
    population: Population, num_photos: int, size: int, rate: float, draws: int
) -> tuple[float, float, float, float]:
    """Share of draws that show the rate, that err more often than shown; rate shown; answered."""
    rng, as_asked, broken = np.random.default_rng(0), 0, 0
    shown, answered = [], []
    for _ in range(draws):
        rule = population.calibration(rng, num_photos, size).abstain_at(rate)
        as_asked += rule.is_as_asked
        shown.append(rule.shown_error_rate)
        answered.append(rule.coverage)
        if rule.threshold is not None:
            broken += population.error_from(rule.threshold) > rule.shown_error_rate
    return as_asked / draws, broken / draws, float(np.median(shown)), float(np.mean(answered))


def held_by_sets(population: Population, size: int, coverage: float, draws: int) -> float:
    """Share of new photos whose set holds their class, on average over the draws."""
    rng, held = np.random.default_rng(0), []
    sorted_probabilities = np.sort(population.true_probability)
    for _ in range(draws):
        found = population.calibration(rng, NUM_PHOTOS, size).set_threshold(coverage)
        # A set is never empty, which is left out here: it only adds to what is held.
        missed = np.searchsorted(sorted_probabilities, np.float32(found), side="left")
        held.append(1 - missed / EVERYONE)
    return float(np.mean(held))


def print_intervals(draws: int) -> None:
    """Print the coverage of intervals."""
    print(f"| of 100 intervals hold the truth | {' | '.join(f'groups of {n}' for n in SIZES)} |")
    print("|---|" + "---|" * len(SIZES))
    for accuracy in ACCURACIES:
        row = [held_accuracies(accuracy, size, draws) for size in SIZES]
        print(f"| accuracy {accuracy:.0%} | {' | '.join(f'{100 * one:.1f}' for one in row)} |")
    for pair in PAIRS:
        cells = []
        for size in SIZES:
            held, alarms = held_differences(pair, size, draws)
            said = "false alarms" if pair[0] == pair[1] else "told apart"
            cells.append(f"{100 * held:.1f} ({said} {100 * alarms:.1f})")
        print(
            f"| difference of {pair[0]:.0%} and {pair[1]:.0%} | {' | '.join(cells)} |", flush=True
        )


def print_abstaining(draws: int) -> None:
    """Print how often abstaining breaks its word."""
    print(
        "\n| confidences | groups of | photos | asked | show it | rate shown, median | answered "
        "| err more often than shown |\n|---|---|---|---|---|---|---|---|"
    )
    for kind in ("honest", "tell nothing", "wrong labels"):
        population = Population(kind)
        for size in SIZES if kind == "honest" else SIZES[:1]:
            for num_photos in ABSTAINING_PHOTOS:
                for rate in RATES:
                    found = abstain(population, num_photos, size, rate, draws)
                    as_asked, broken, shown, answered = (100 * value for value in found)
                    print(
                        f"| {kind} | {size} | {num_photos:,} | {100 * rate:g} % | {as_asked:.0f} % "
                        f"| {shown:.2g} % | {answered:.0f} % | {broken:.1f} % |",
                        flush=True,
                    )


def print_sets(draws: int) -> None:
    """Print the coverage of prediction sets."""
    print(f"\n| sets that hold the class | {' | '.join(f'groups of {n}' for n in SIZES)} |")
    print("|---|" + "---|" * len(SIZES))
    population = Population("honest")
    for coverage in SET_COVERAGES:
        row = [held_by_sets(population, size, coverage, draws) for size in SIZES]
        print(f"| asked {coverage:.0%} | {' | '.join(f'{100 * one:.1f} %' for one in row)} |")


def main() -> None:
    """Draw, count, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    print(f"{machine()}\n")
    print_intervals(options.draws)
    print_sets(options.draws)
    print_abstaining(options.draws)


if __name__ == "__main__":
    main()
