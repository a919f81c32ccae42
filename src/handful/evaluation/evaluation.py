"""How good a classifier is on labeled photos: one object that holds every figure."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.display import Shown
from handful.statistics.intervals import CalibrationError, accuracy_interval, calibration_error
from handful.statistics.metrics import (
    Floats,
    Integers,
    ReliabilityCurve,
    balanced_accuracy,
    class_rates,
    class_roc_auc,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    macro_roc_auc,
    reliability_curve,
)
from handful.wording import format_share

# Limits people ask about: "it says 95 %, can I trust that?"
_BAND_EDGES = (0.0, 0.5, 0.7, 0.9, 0.99, 1.0)
# float32 probabilities of 1,000 classes sum to 1 within 1e-5; more than this is no rounding.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ClassScore:
    """How well one class is recognized.

    Args:
        name: The class's name.
        support: Number of its photos.
        precision: Share of the photos named so that are so; None when none was named so.
        recall: Share of its photos that were named so; None when it has no photo.
        f1: Harmonic mean of precision and recall, 0 when every naming was wrong; None when the
            class has no photo and was never named.
        roc_auc: Chance that one of its photos gets a higher probability of the class than a
            photo of another class; None when it has no photo, or all of them.
        recall_interval: 95 % interval of the recall, see
            `handful.statistics.intervals.accuracy_interval`; None when the class has no photo.
    """

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None
    recall_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class ConfusedPair:
    """Photos of one class that were taken for another.

    Args:
        true_name: The class they are of.
        predicted_name: The class they were named.
        count: How many.
        share: Their share of all photos of the true class, in (0, 1].
    """

    true_name: str
    predicted_name: str
    count: int
    share: float


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Shown):
    """A classifier's answers on N labeled photos, and the figures made from them.

    Args:
        class_names: The C classes' names.
        paths: (N,) the photos' paths.
        labels: (N,) true classes.
        probabilities: (N, C), rows summing to 1.
        accuracy: Share of photos classified correctly.
        accuracy_interval: 95 % interval of the accuracy, see
            `handful.statistics.intervals.accuracy_interval`.
        balanced_accuracy: Mean recall of the classes that have photos.
        roc_auc: Mean over the classes of the area under the ROC curve, class against rest; None
            when a class has no photo.
        log_loss: Mean -ln(probability of the true class), in nats.
        expected_calibration_error: Mean gap between confidence and accuracy, 15 equal bins; of few
            photos mostly chance, see `calibration_error`.
        per_class: (C,) scores of each class.
        confusion: (C, C) counts, rows true, columns predicted.
        groups: (N,) photos with equal numbers are near-duplicates, which intervals do not count
            as so many photos; None: each is on its own.
        beats_guessing: Whether it is better than always naming one class, by more than luck: its
            accuracy is, or the mean recall of the classes. Of 95 cats and 5 dogs, always to say
            cat is hard to beat in the one, and names no dog.
    """

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    roc_auc: float | None
    log_loss: float
    expected_calibration_error: float
    per_class: tuple[ClassScore, ...]
    confusion: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    beats_guessing: bool

    def __len__(self) -> int:
        return len(self.labels)

    def _in_words(self) -> str:
        return f"{self.summary()}, {len(self.class_names)} classes"

    def summary(self, what: str = "photos") -> str:
        """The accuracy and its interval in words.

        Args:
            what: What was classified, in the plural.

        Returns:
            Such as "61 of 62 photos classified correctly: 98.4 % (95 % interval ...)".
        """
        low, high = map(format_share, self.accuracy_interval)
        return (
            f"{self.num_correct:,} of {len(self):,} {what} classified correctly: "
            f"{format_share(self.accuracy)} (95 % interval {low} to {high})"
        )

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) class with the highest probability; the first, of several."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """(N,) highest probability of each photo, in [1/C, 1]."""
        return np.asarray(self.probabilities.max(axis=1), np.float64)

    @property
    def num_correct(self) -> int:
        """Number of photos classified correctly."""
        return int(np.trace(self.confusion))

    @cached_property
    def reliability(self) -> ReliabilityCurve:
        """Confidence against accuracy in 15 equal groups."""
        return reliability_curve(self.probabilities, self.labels)

    @cached_property
    def confidence_bands(self) -> ReliabilityCurve:
        """Confidence against accuracy up to 50 %, 70 %, 90 %, 99 % and 100 %."""
        return reliability_curve(self.probabilities, self.labels, _BAND_EDGES)

    @property
    def majority_accuracy(self) -> float:
        """Accuracy of always naming the most frequent class: what any classifier must beat."""
        return float(self.confusion.sum(axis=1).max() / len(self))

    @cached_property
    def calibration_error(self) -> CalibrationError:
        """How honest the confidences are, without the bias of few photos, and with an interval."""
        return calibration_error(self.confidence, self.predicted == self.labels, self.groups)

    @property
    def chance_note(self) -> str:
        """What to say of answers no better than guessing, or ""; see `beats_guessing`.

        Photos of one class alone cannot tell: always to name it would be right.
        """
        if self.beats_guessing or self.majority_accuracy == 1:
            return ""
        chance, high = self.majority_accuracy, self.accuracy_interval[1]
        # Three of three right, say: not better than guessing for certain, and not as bad either.
        if self.accuracy > chance and high > (1 + chance) / 2:
            what = f"{len(self):,} photo{'s' * (len(self) != 1)}"
            return f"Perhaps no better than guessing: {what} cannot tell."
        return "No better than guessing: the network has not learned."

    @property
    def uniform_log_loss(self) -> float:
        """Log loss of giving every class the same probability: ln C."""
        return math.log(len(self.class_names))

    def mistakes(self, limit: int | None = None) -> NDArray[np.int64]:
        """Photos classified wrong, the most confident mistakes first.

        Args:
            limit: At most so many; None for all.

        Returns:
            (M,) rows; equally confident ones in the order of the photos.
        """
        wrong = np.flatnonzero(self.predicted != self.labels)
        order = np.argsort(-self.confidence[wrong], kind="stable")
        return wrong[order][:limit]

    def least_certain(self, limit: int | None = None) -> NDArray[np.int64]:
        """Photos by their highest probability, lowest first, classified correctly or wrong.

        Args:
            limit: At most so many; None for all.

        Returns:
            (M,) rows; equally certain ones in the order of the photos.
        """
        return np.argsort(self.confidence, kind="stable")[:limit]

    def confused_pairs(self, limit: int | None = None) -> list[ConfusedPair]:
        """Pairs of classes that were mixed up, the most frequent first.

        Args:
            limit: At most so many; None for all.

        Returns:
            Pairs with one or more photos; equally frequent ones in the order of the classes.
        """
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        rows, columns = np.nonzero(wrong)
        order = np.argsort(-wrong[rows, columns], kind="stable")[:limit]
        return [
            ConfusedPair(
                self.class_names[row],
                self.class_names[column],
                int(wrong[row, column]),
                float(wrong[row, column] / self.per_class[row].support),
            )
            for row, column in zip(rows[order], columns[order], strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain values, ready for JSON; undefined ones are None.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "num_images": len(self),
            "beats_guessing": self.beats_guessing,
            "balanced_accuracy": self.balanced_accuracy,
            "roc_auc": self.roc_auc,
            "log_loss": self.log_loss,
            "expected_calibration_error": self.expected_calibration_error,
            "calibration_error": self.calibration_error.error,
            "calibration_error_interval": list(self.calibration_error.interval),
            "per_class": [
                asdict(row) | {"recall_interval": row.recall_interval and [*row.recall_interval]}
                for row in self.per_class
            ],
            "confusion": self.confusion.tolist(),
        }


def score(
    probabilities: Floats,
    labels: Integers,
    class_names: tuple[str, ...] | list[str],
    paths: Sequence[str],
    *,
    groups: Integers | None = None,
) -> Evaluation:
    """Compute every figure from a classifier's probabilities.

    Args:
        probabilities: (N, C) in [0, 1], rows summing to 1; N of 1 or more.
        labels: (N,) true classes, in [0, C).
        class_names: (C,) the classes' names.
        paths: (N,) the photos' paths.
        groups: (N,) photos with equal numbers are near-duplicates, which intervals do not count
            as so many photos; None: each is on its own.

    Returns:
        The evaluation; it keeps no reference to arrays that the caller may change.

    Raises:
        ValueError: When the shapes do not fit each other, or a value is out of its range.

    Example:
        ```python
        import numpy as np

        probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        score(probabilities, np.array([0, 1, 1]), ["cat", "dog"], ["a", "b", "c"]).accuracy
        ```
    """
    given: NDArray[np.float64] = np.array(probabilities, np.float64)
    truth: NDArray[np.int64] = np.array(labels, np.int64)
    _check_shapes(given, truth, class_names, paths)
    _check_values(given)
    confusion = confusion_matrix(truth, given.argmax(axis=1), len(class_names))
    right = given.argmax(axis=1) == truth
    if groups is not None:
        if len(groups) != len(truth):
            raise ValueError(f"groups has {len(groups)} entries; expected {len(truth)}.")
    areas = class_roc_auc(given, truth)
    per_class = _class_scores(tuple(class_names), confusion, areas)
    for number in np.unique(truth):
        found, own = right[truth == number], None if groups is None else groups[truth == number]
        interval = accuracy_interval(found, groups=own)
        per_class[number] = replace(per_class[number], recall_interval=interval)
    accuracy, interval = float(right.mean()), accuracy_interval(right, groups=groups)
    majority = float(confusion.sum(axis=1).max() / len(truth))
    return Evaluation(
        class_names=tuple(class_names),
        paths=tuple(paths),
        labels=truth,
        probabilities=given,
        accuracy=accuracy,
        accuracy_interval=interval,
        balanced_accuracy=balanced_accuracy(confusion),
        roc_auc=macro_roc_auc(areas),
        log_loss=log_loss(given, truth),
        expected_calibration_error=expected_calibration_error(reliability_curve(given, truth)),
        per_class=tuple(per_class),
        confusion=confusion,
        groups=None if groups is None else np.array(groups, np.int64),
        beats_guessing=interval[0] > majority or _least_mean_recall(per_class) > 0,
    )


def _least_mean_recall(per_class: list[ClassScore]) -> float:
    """Lower end of the mean recall's 95 % interval, less that of always naming one class.

    Source: Zou and Donner, Statistics in Medicine 27 (2008): distances of the ends of independent
    intervals are added as squares.
    """
    seen = [row for row in per_class if row.recall is not None]
    below = [(row.recall or 0) - (row.recall_interval or (0, 1))[0] for row in seen]
    mean = sum(row.recall or 0 for row in seen) / len(seen)
    return mean - math.hypot(*below) / len(seen) - 1 / len(seen)


def _class_scores(
    names: tuple[str, ...], confusion: NDArray[np.int64], areas: NDArray[np.float64]
) -> list[ClassScore]:
    rates = class_rates(confusion)
    support = confusion.sum(axis=1)
    return [
        ClassScore(
            name=name,
            support=int(support[row]),
            precision=_defined(rates.precision[row]),
            recall=_defined(rates.recall[row]),
            f1=_defined(rates.f1[row]),
            roc_auc=_defined(areas[row]),
        )
        for row, name in enumerate(names)
    ]


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _check_shapes(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...] | list[str],
    paths: Sequence[str],
) -> None:
    if len(labels) == 0:
        raise ValueError("There are 0 photos to score; expected 1 or more.")
    expected = (len(labels), len(class_names))
    if probabilities.shape != expected or labels.ndim != 1:
        raise ValueError(
            f"probabilities has shape {probabilities.shape} and labels {labels.shape}; expected "
            f"{expected} and {expected[:1]}: a row for each photo, a column for each class."
        )
    if len(paths) != len(labels):
        raise ValueError(f"paths has {len(paths)} entries; expected {len(labels)}, one per photo.")


def _check_values(probabilities: NDArray[np.float64]) -> None:
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities holds NaN or infinity; expected numbers from 0 to 1.")
    low, high = float(probabilities.min()), float(probabilities.max())
    if low < 0 or high > 1 + _SUM_TOLERANCE:
        raise ValueError(f"probabilities ranges from {low:g} to {high:g}; expected 0 to 1.")
    sums = probabilities.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > _SUM_TOLERANCE:
        raise ValueError(
            f"probabilities of photo {worst} sum to {sums[worst]:g}; expected 1 "
            "(apply softmax to logits first)."
        )
