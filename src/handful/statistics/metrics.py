"""Scores in plain NumPy: every function takes arrays and returns numbers.

scikit-learn has most of these; importing it would cost each start of the program more time than
all scores of a run together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

CALIBRATION_BINS = 15
# Classes whose columns are sorted together: one cache-friendly copy at a time.
_AUC_BLOCK = 64


def confusion_matrix(labels: Integers, predicted: Integers, num_classes: int) -> NDArray[np.int64]:
    """Count how often each class was taken for each.

    Args:
        labels: (N,) true classes, in [0, num_classes).
        predicted: (N,) predicted classes, in [0, num_classes).
        num_classes: C.

    Returns:
        (C, C): row is the true class, column the predicted one; its sum is N.

    Raises:
        ValueError: When the lengths differ or a class is out of range.
    """
    for name, values in (("labels", labels), ("predicted", predicted)):
        _check_labels(name, values, num_classes)
    if len(labels) != len(predicted):
        raise ValueError(
            f"labels has {len(labels)} entries and predicted {len(predicted)}; "
            "expected one of each per photo."
        )
    cells = np.asarray(labels, np.int64) * num_classes + np.asarray(predicted, np.int64)
    counts = np.bincount(cells, minlength=num_classes * num_classes)
    return counts.astype(np.int64, copy=False).reshape(num_classes, num_classes)


@dataclass(frozen=True, eq=False)
class ClassRates:
    """How well each class is recognized; NaN where a rate is undefined.

    Args:
        precision: (C,) share of the photos named so that are so; NaN when none was named so.
        recall: (C,) share of the class's photos that were named so; NaN when it has no photo.
        f1: (C,) harmonic mean of the two, as 2TP / (2TP + FP + FN); NaN only when the class has
            no photo and was never named, and 0 when all its photos or namings were wrong.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def class_rates(confusion: Integers) -> ClassRates:
    """Precision, recall and F1 of each class.

    Args:
        confusion: (C, C) counts, rows true, columns predicted.

    Returns:
        The rates, in [0, 1] or NaN where undefined (scikit-learn's `zero_division=nan`).
    """
    hits = np.diagonal(confusion).astype(np.float64)
    actual = confusion.sum(axis=1).astype(np.float64)
    named = confusion.sum(axis=0).astype(np.float64)
    return ClassRates(_ratio(hits, named), _ratio(hits, actual), _ratio(2 * hits, actual + named))


def balanced_accuracy(confusion: Integers) -> float:
    """Mean recall of the classes: accuracy as if every class had equally many photos.

    Args:
        confusion: (C, C) counts, rows true, columns predicted.

    Returns:
        In [0, 1]; classes without photos are left out; NaN when there are no photos at all.
    """
    recall = class_rates(confusion).recall
    present = recall[~np.isnan(recall)]
    return float(present.mean()) if len(present) else math.nan


def roc_auc(scores: Floats, positive: NDArray[np.bool_]) -> float | None:
    """Chance that a random positive scores higher than a random negative; ties count half.

    Args:
        scores: (N,) higher means more likely positive; only their order matters.
        positive: (N,) truth.

    Returns:
        In [0, 1], 0.5 for blind guessing; None when there is no positive or no negative.

    Raises:
        ValueError: When the lengths differ.

    Source:
        The area under the ROC curve equals the Mann-Whitney statistic: Hanley & McNeil,
        Radiology 143 (1982).
    """
    if np.shape(scores) != np.shape(positive):
        raise ValueError(
            f"scores has shape {np.shape(scores)} and positive {np.shape(positive)}; "
            "expected one number and one truth per photo."
        )
    area = _rank_area(np.sort(scores), np.asarray(scores)[np.asarray(positive, bool)])
    return None if math.isnan(area) else area


def class_roc_auc(probabilities: Floats, labels: Integers) -> NDArray[np.float64]:
    """ROC-AUC of each class against the rest, its probability being the score.

    Args:
        probabilities: (N, C).
        labels: (N,) true classes.

    Returns:
        (C,) in [0, 1]; NaN for a class that has no photo or all of them. Of two classes both
        areas are the same by definition; the second class's probability is the score.
    """
    num_classes = probabilities.shape[1]
    if num_classes == 2:
        area = roc_auc(probabilities[:, 1], labels == 1)
        return np.full(2, math.nan if area is None else area)
    areas = np.full(num_classes, math.nan)
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(num_classes + 1))
    for first in range(0, num_classes, _AUC_BLOCK):
        block = np.sort(probabilities[:, first : first + _AUC_BLOCK].T, axis=1)
        for label, ranked in enumerate(block, start=first):
            own = order[ends[label] : ends[label + 1]]
            areas[label] = _rank_area(ranked, probabilities[own, label])
    return areas


def macro_roc_auc(areas: Floats) -> float | None:
    """Mean of the classes' ROC-AUC, each against the rest.

    Args:
        areas: (C,) from `class_roc_auc`.

    Returns:
        In [0, 1]; None when a class has no photo, for a mean over fewer classes would not
        compare with one over all.
    """
    mean = float(np.mean(areas)) if len(areas) else math.nan
    return None if math.isnan(mean) else mean


def log_loss(probabilities: Floats, labels: Integers) -> float:
    """Mean of -ln(probability given to the true class): punishes being sure and wrong.

    Args:
        probabilities: (N, C), rows summing to 1.
        labels: (N,) true classes.

    Returns:
        0 or more, in nats; 0 is perfect, ln C is what equal probabilities score. Probabilities
        are clipped to 2.2e-16 from below, so that one certain mistake costs 36 and not infinity;
        NaN without photos.

    Source:
        scikit-learn's `log_loss`, same clipping.
    """
    if not len(labels):
        return math.nan
    given = np.asarray(probabilities[np.arange(len(labels)), labels], np.float64)
    eps = np.finfo(np.float64).eps
    # The abs turns -0.0 into 0.0.
    return float(abs(-np.log(np.clip(given, eps, 1 - eps)).mean()))


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Photos grouped by how sure the classifier was; B groups.

    Args:
        edges: (B + 1,) confidence limits, rising from 0 to 1; a group is (edge, next edge].
        counts: (B,) photos in each group.
        num_correct: (B,) of these, classified correctly.
        confidence: (B,) mean confidence in the group; NaN where it is empty.
        accuracy: (B,) share classified correctly in the group; NaN where it is empty.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    num_correct: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def reliability_curve(
    probabilities: Floats, labels: Integers, edges: int | Sequence[float] = CALIBRATION_BINS
) -> ReliabilityCurve:
    """Compare how sure the classifier was with how often it was right.

    Confidence is the highest probability of a photo; the class that has it (the first, of
    several) is the answer.

    Args:
        probabilities: (N, C).
        labels: (N,) true classes.
        edges: Number of equal groups of [0, 1], or their limits, rising from 0 to 1.

    Returns:
        The groups; their counts sum to N.

    Raises:
        ValueError: When the edges do not rise from 0 to 1.
    """
    limits = np.linspace(0, 1, edges + 1) if isinstance(edges, int) else np.array(edges, float)
    if len(limits) < 2 or limits[0] != 0 or limits[-1] != 1 or np.any(np.diff(limits) <= 0):
        raise ValueError(
            f"edges is {edges}; expected 1 or more groups, or limits rising from 0 to 1."
        )
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    group = np.searchsorted(limits[1:-1], confidence, side="left")
    size = len(limits) - 1
    counts = np.bincount(group, minlength=size)
    num_correct = np.bincount(group[right], minlength=size)
    sums = np.bincount(group, weights=confidence, minlength=size)
    return ReliabilityCurve(
        limits, counts, num_correct, _ratio(sums, counts), _ratio(num_correct, counts)
    )


def expected_calibration_error(curve: ReliabilityCurve) -> float:
    """Mean gap between how sure the classifier was and how often it was right.

    Args:
        curve: Groups of photos, 15 equal ones for the customary figure.

    Returns:
        In [0, 1]; 0 when in every group the two agree; NaN without photos.

    Source:
        Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017:
        sum over groups of n_b / N * |accuracy_b - confidence_b|.
    """
    filled = curve.counts > 0
    if not filled.any():
        return math.nan
    gaps = np.abs(curve.accuracy[filled] - curve.confidence[filled])
    return float(np.average(gaps, weights=curve.counts[filled]))


def _check_labels(name: str, values: Integers, num_classes: int) -> None:
    if len(values) and not 0 <= values.min() <= values.max() < num_classes:
        raise ValueError(
            f"{name} holds classes {values.min()} to {values.max()}; "
            f"expected 0 to {num_classes - 1}."
        )


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Quotient, NaN where the divisor is 0."""
    quotient = np.full(len(whole), math.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def _rank_area(ranked: Floats, positives: Floats) -> float:
    """ROC-AUC from all scores, sorted, and those of the positives."""
    num_positive, num_negative = len(positives), len(ranked) - len(positives)
    if not num_positive or not num_negative:
        return math.nan
    below = np.searchsorted(ranked, positives, side="left")
    upto = np.searchsorted(ranked, positives, side="right")
    # Equal scores share the middle of their ranks, which counts ties half.
    rank_sum = float((below + upto + 1).sum()) / 2
    wins = rank_sum - num_positive * (num_positive + 1) / 2
    return wins / (num_positive * num_negative)
