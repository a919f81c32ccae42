"""What a classifier guarantees (error rates, coverages) beside what the photos scored show."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.evaluation.evaluation import Evaluation
from handful.models.calibration import CONFIDENCE, COVERAGES, ERROR_RATES, Calibration
from handful.statistics.intervals import CalibrationError, accuracy_interval, calibration_error

# From careless to careful, for those who choose by what a rate brings: two digits each.
_STEP_RATES = tuple(dict.fromkeys(float(f"{rate:.2g}") for rate in np.geomspace(0.3, 0.001, 60)))


@dataclass(frozen=True)
class AbstainingCheck:
    """An error rate that was asked for, as promised and as found.

    Args:
        error_rate: Share of wrong answers asked for, among the photos answered.
        shown_error_rate: Share that can be shown, see `Abstention`; all below is of that.
        threshold: Probability from which on a photo is answered; None where none is.
        guaranteed_coverage: Share of photos answered, of those that the threshold was chosen on.
        guaranteed_error: Share of wrong ones among those; None where none is answered.
        coverage: Share of the scored photos that are answered.
        error: Share of wrong ones among those; None where none is answered.
        error_interval: 95 % interval of that; None where none is answered.
    """

    error_rate: float
    shown_error_rate: float
    threshold: float | None
    guaranteed_coverage: float
    guaranteed_error: float | None
    coverage: float
    error: float | None
    error_interval: tuple[float, float] | None

    @property
    def is_as_asked(self) -> bool:
        """Whether the rate that was asked for can be shown."""
        return self.shown_error_rate <= self.error_rate


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
class Guarantees:
    """All that a classifier can promise, held against scored photos.

    Args:
        temperature: What its logits were divided by.
        source: What thresholds were chosen on: "out-of-fold" or "validation".
        num_photos: Photos that they were chosen on.
        confidence: How sure it is that no more answers are wrong than shown.
        abstaining: Error rates, the largest first.
        sets: Coverages, the smallest first.
        calibration_error: Of the answers that thresholds were chosen on.
    """

    temperature: float
    source: str
    num_photos: int
    confidence: float
    abstaining: tuple[AbstainingCheck, ...]
    sets: tuple[SetsCheck, ...]
    calibration_error: CalibrationError

    @property
    def shown(self) -> tuple[AbstainingCheck, ...]:
        """Of `abstaining`, the rates that can be shown, and then the smallest that can."""
        kept = [row for row in self.abstaining if row.is_as_asked]
        others = [row for row in self.abstaining if not row.is_as_asked]
        return (*kept, *others[:1])

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain values, ready for JSON.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        values = asdict(self)
        values["calibration_error"] = self.calibration_error.error
        values["calibration_error_interval"] = list(self.calibration_error.interval)
        for row in values["abstaining"]:
            row["error_interval"] = row["error_interval"] and list(row["error_interval"])
        return values | {name: list(values[name]) for name in ("abstaining", "sets")}


def check_guarantees(
    calibration: Calibration,
    evaluation: Evaluation,
    unlike: NDArray[np.bool_] | None = None,
) -> Guarantees:
    """Hold a classifier's guarantees against photos that it was scored on.

    Args:
        calibration: What the guarantees rest on.
        evaluation: Its answers on the scored photos.
        unlike: (N,) which of those are unlike the training photos, and so not answered.

    Returns:
        Promised and found, for the usual error rates and coverages.
    """
    return Guarantees(
        calibration.temperature,
        calibration.source,
        len(calibration),
        CONFIDENCE,
        tuple(_check_abstaining(calibration, evaluation, unlike, rate) for rate in ERROR_RATES),
        tuple(_check_sets(calibration, evaluation, coverage) for coverage in COVERAGES),
        calibration_error(calibration.confidence, calibration.correct, calibration.groups),
    )


def answering_steps(
    calibration: Calibration,
    evaluation: Evaluation,
    unlike: NDArray[np.bool_] | None = None,
) -> tuple[AbstainingCheck, ...]:
    """The rules that a classifier can keep to, each held against photos that it was scored on.

    Args:
        calibration: As for `check_guarantees`, as are the rest.
        evaluation: Its answers on the scored photos.
        unlike: (N,) which of those are unlike the training photos.

    Returns:
        Rules of different thresholds, the lowest first; of one threshold that of the smallest
        rate that can be shown. None where nothing can.
    """
    found: dict[float, AbstainingCheck] = {}
    rates = list(_STEP_RATES)
    # Asked for what can just be shown, another rule may hold than where that is shown instead.
    rates.append(calibration.abstain_at(min(rates)).shown_error_rate)
    for rate in sorted(filter(lambda rate: rate < 1, rates), reverse=True):
        row = _check_abstaining(calibration, evaluation, unlike, rate)
        if row.threshold is not None:
            found[row.threshold] = row
        if not row.is_as_asked:
            break  # all smaller rates give the same rule
    return tuple(found[threshold] for threshold in sorted(found))


def _check_abstaining(
    calibration: Calibration,
    evaluation: Evaluation,
    unlike: NDArray[np.bool_] | None,
    rate: float,
) -> AbstainingCheck:
    rule = calibration.abstain_at(rate)
    threshold = np.float32(np.inf if rule.threshold is None else rule.threshold)
    answered = evaluation.confidence.astype(np.float32) >= threshold
    if unlike is not None:
        answered &= ~unlike
    wrong = (evaluation.predicted != evaluation.labels)[answered]
    groups = None if evaluation.groups is None else evaluation.groups[answered]
    return AbstainingCheck(
        error_rate=rate,
        shown_error_rate=rule.shown_error_rate,
        threshold=rule.threshold,
        guaranteed_coverage=rule.coverage,
        guaranteed_error=rule.observed_error,
        coverage=float(answered.mean()),
        error=float(wrong.mean()) if len(wrong) else None,
        error_interval=accuracy_interval(wrong, groups=groups) if len(wrong) else None,
    )


def _check_sets(calibration: Calibration, evaluation: Evaluation, coverage: float) -> SetsCheck:
    sets = calibration.prediction_sets(evaluation.probabilities, coverage)
    sizes = sets.sum(axis=1)
    held = sets[np.arange(len(sets)), evaluation.labels]
    return SetsCheck(coverage, float(held.mean()), float(sizes.mean()), float((sizes == 1).mean()))
