"""What a classifier promises (error rates, coverages) beside what the photos scored show."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from handful.classifiers.calibration import COVERAGES, ERROR_RATES, Calibration
from handful.classifiers.evaluation import Evaluation
from handful.classifiers.intervals import wilson_interval
from handful.errors import DataError


@dataclass(frozen=True)
class AbstainingCheck:
    """An error rate that was asked for, as promised and as found.

    Args:
        error_rate: Share of wrong answers asked for, among the photos answered.
        threshold: Probability from which on a photo is answered; None where the rate cannot be
            promised, as then are all the others.
        promised_coverage: Share of photos answered, of those that the threshold was chosen on.
        promised_error: Share of wrong ones among those.
        coverage: Share of the scored photos that are answered.
        error: Share of wrong ones among those; None where none is answered.
        error_interval: 95 % Wilson interval of that; None where none is answered.
    """

    error_rate: float
    threshold: float | None
    promised_coverage: float | None = None
    promised_error: float | None = None
    coverage: float | None = None
    error: float | None = None
    error_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class SetsCheck:
    """A coverage that was asked for, as found.

    Args:
        coverage_asked: Share of sets that shall hold the right class.
        coverage: Share of the scored photos whose set holds it.
        mean_size: Classes a set, on average.
        single_share: Share of the sets that name one class.
    """

    coverage_asked: float
    coverage: float
    mean_size: float
    single_share: float


@dataclass(frozen=True)
class Promises:
    """All that a classifier can promise, held against scored photos.

    Args:
        temperature: What its logits were divided by.
        source: What thresholds were chosen on: "out-of-fold" or "validation".
        num_photos: Photos that they were chosen on.
        abstaining: Error rates, the largest first.
        sets: Coverages, the smallest first.
    """

    temperature: float
    source: str
    num_photos: int
    abstaining: tuple[AbstainingCheck, ...]
    sets: tuple[SetsCheck, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain values, ready for JSON.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        facts = asdict(self)
        return facts | {name: list(facts[name]) for name in ("abstaining", "sets")}


def check_promises(calibration: Calibration, evaluation: Evaluation) -> Promises:
    """Hold a classifier's promises against photos that it was scored on.

    Args:
        calibration: What the promises rest on.
        evaluation: Its answers on the scored photos.

    Returns:
        Promised and found, for the usual error rates and coverages.
    """
    return Promises(
        calibration.temperature,
        calibration.source,
        len(calibration),
        tuple(_check_abstaining(calibration, evaluation, rate) for rate in ERROR_RATES),
        tuple(_check_sets(calibration, evaluation, coverage) for coverage in COVERAGES),
    )


def _check_abstaining(
    calibration: Calibration, evaluation: Evaluation, rate: float
) -> AbstainingCheck:
    try:
        rule = calibration.abstain_at(rate)
    except DataError:
        return AbstainingCheck(rate, None)
    answered = evaluation.confidence.astype(np.float32) >= np.float32(rule.threshold)
    num_answered = int(answered.sum())
    wrong = int((evaluation.predicted != evaluation.labels)[answered].sum())
    return AbstainingCheck(
        rate,
        rule.threshold,
        rule.coverage,
        rule.observed_error,
        num_answered / len(evaluation),
        wrong / num_answered if num_answered else None,
        wilson_interval(wrong, num_answered) if num_answered else None,
    )


def _check_sets(calibration: Calibration, evaluation: Evaluation, coverage: float) -> SetsCheck:
    sets = calibration.sets_of(evaluation.probabilities, coverage)
    sizes = sets.sum(axis=1)
    held = sets[np.arange(len(sets)), evaluation.labels]
    return SetsCheck(coverage, float(held.mean()), float(sizes.mean()), float((sizes == 1).mean()))
