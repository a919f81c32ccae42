import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from handful.statistics.metrics import (
    balanced_accuracy,
    class_rates,
    class_roc_auc,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    macro_roc_auc,
    reliability_curve,
    roc_auc,
)

SHAPES = [(1, 2, 0), (2, 2, 1), (40, 2, 2), (200, 5, 3), (500, 70, 4)]


def draw_answers(num: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that favor the truth, rounded so that many of them tie, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, num)
    logits = rng.normal(size=(num, classes)).round(1)
    logits[np.arange(num), labels] += 1
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


# Confusion matrix, and what is made from it


def test_confusion_by_hand() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 0, 2])
    confusion = confusion_matrix(labels, predicted, 4)
    assert confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    rates = class_rates(confusion)
    np.testing.assert_allclose(rates.precision, [2 / 3, 1 / 2, 1, math.nan])
    np.testing.assert_allclose(rates.recall, [2 / 3, 1, 1 / 2, math.nan])
    np.testing.assert_allclose(rates.f1, [2 / 3, 2 / 3, 2 / 3, math.nan])
    assert balanced_accuracy(confusion) == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)


def test_undefined_rates_are_nan_and_failed_ones_zero() -> None:
    # Class 0 is always taken for class 1; class 2 has no photo but was named once.
    rates = class_rates(np.array([[0, 3, 1], [0, 2, 0], [0, 0, 0]]))
    assert math.isnan(rates.precision[0]) and rates.recall[0] == 0 and rates.f1[0] == 0
    assert rates.precision[2] == 0 and math.isnan(rates.recall[2]) and rates.f1[2] == 0


def test_no_photos_at_all() -> None:
    nothing = np.zeros(0, np.int64)
    assert confusion_matrix(nothing, nothing, 2).tolist() == [[0, 0], [0, 0]]
    assert math.isnan(balanced_accuracy(np.zeros((2, 2), np.int64)))
    assert math.isnan(log_loss(np.zeros((0, 2)), nothing))
    assert math.isnan(expected_calibration_error(reliability_curve(np.zeros((0, 2)), nothing)))
    assert macro_roc_auc(class_roc_auc(np.zeros((0, 3)), nothing)) is None
    assert macro_roc_auc(np.zeros(0)) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_rates_match_scikit_learn(shape: tuple[int, int, int]) -> None:
    probabilities, labels = draw_answers(*shape)
    predicted, names = probabilities.argmax(axis=1), np.arange(shape[1])
    confusion = confusion_matrix(labels, predicted, shape[1])
    expected = sklearn_metrics.confusion_matrix(labels, predicted, labels=names)
    assert confusion.dtype == np.int64
    np.testing.assert_array_equal(confusion, expected)
    rates = class_rates(confusion)
    theirs = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=names, zero_division=np.nan
    )
    for ours, reference in zip((rates.precision, rates.recall, rates.f1), theirs, strict=False):
        np.testing.assert_allclose(ours, reference)
    recalls = theirs[1][theirs[3] > 0]
    assert balanced_accuracy(confusion) == pytest.approx(recalls.mean())


@pytest.mark.parametrize("seed", range(3))
def test_balanced_accuracy_matches_scikit_learn(seed: int) -> None:
    probabilities, labels = draw_answers(300, 4, seed)
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, 4)
    expected = sklearn_metrics.balanced_accuracy_score(labels, predicted)
    assert balanced_accuracy(confusion) == pytest.approx(expected)


def test_confusion_refuses_unknown_classes() -> None:
    with pytest.raises(ValueError, match=r"labels holds classes -1 to 1; expected 0 to 1\."):
        confusion_matrix(np.array([-1, 1]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match=r"predicted holds classes 0 to 2; expected 0 to 1\."):
        confusion_matrix(np.array([0, 1]), np.array([0, 2]), 2)


def test_confusion_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="labels has 2 entries and predicted 1; expected one"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 2)


# ROC-AUC


def test_roc_auc_by_hand() -> None:
    # Of the 2 x 3 pairs: 0.8 beats all three; 0.4 beats 0.1, ties with 0.4, loses to 0.5.
    scores = np.array([0.8, 0.4, 0.5, 0.4, 0.1])
    positive = np.array([True, True, False, False, False])
    assert roc_auc(scores, positive) == pytest.approx(4.5 / 6)


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_roc_auc_needs_both_sides(positive: list[bool]) -> None:
    assert roc_auc(np.linspace(0, 1, len(positive)), np.array(positive, bool)) is None


def test_roc_auc_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match=r"scores has shape \(2,\) and positive \(1,\)"):
        roc_auc(np.zeros(2), np.array([True]))


# Few different values: ties are the difficult part.
scored = st.integers(2, 60).flatmap(
    lambda size: st.tuples(
        hnp.arrays(np.int64, size, elements=st.integers(-6, 6)),
        hnp.arrays(np.bool_, size).filter(lambda truth: truth.any() and not truth.all()),
    )
)


@pytest.mark.slow
@given(scored)
def test_roc_auc_counts_pairs(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positive = case
    gap = scores[positive][:, None] - scores[~positive][None, :]
    pairs = (gap > 0).mean() + (gap == 0).mean() / 2
    area = roc_auc(scores.astype(float), positive)
    assert area == pytest.approx(pairs)
    assert area == pytest.approx(sklearn_metrics.roc_auc_score(positive, scores))


@given(scored)
def test_roc_auc_sees_only_the_order(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positive = case[0].astype(float), case[1]
    area = roc_auc(scores, positive)
    assert roc_auc(np.exp(scores), positive) == area
    assert roc_auc(scores**3 * 7 + 1, positive) == area
    assert roc_auc(-scores, positive) == pytest.approx(1 - area)
    assert roc_auc(scores, ~positive) == pytest.approx(1 - area)


@pytest.mark.parametrize("shape", [(40, 2, 2), (200, 5, 3), (500, 70, 4)])
def test_macro_roc_auc_matches_scikit_learn(shape: tuple[int, int, int]) -> None:
    probabilities, labels = draw_answers(*shape)
    areas = class_roc_auc(probabilities, labels)
    scores = probabilities[:, 1] if shape[1] == 2 else probabilities
    expected = sklearn_metrics.roc_auc_score(labels, scores, multi_class="ovr")
    assert macro_roc_auc(areas) == pytest.approx(expected)
    for label in (1, shape[1] - 1):
        one = sklearn_metrics.roc_auc_score(labels == label, probabilities[:, label])
        assert areas[label] == pytest.approx(one)


def test_an_absent_class_has_no_area_and_the_mean_none() -> None:
    probabilities, labels = draw_answers(50, 3, 0)
    areas = class_roc_auc(probabilities, np.minimum(labels, 1))
    assert np.isnan(areas).tolist() == [False, False, True]
    assert macro_roc_auc(areas) is None
    assert np.isnan(class_roc_auc(probabilities[:, :2], np.zeros(50, np.int64))).all()


# Log loss


def test_log_loss_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]])
    expected = -(math.log(0.5) + math.log(0.25)) / 2
    assert log_loss(probabilities, np.array([1, 0])) == pytest.approx(expected)


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    certain = np.array([[1.0, 0.0]])
    assert log_loss(certain, np.array([1])) == pytest.approx(36.04, abs=0.01)
    assert 0 <= log_loss(certain, np.array([0])) < 1e-15


@pytest.mark.parametrize("shape", SHAPES)
def test_log_loss_matches_scikit_learn(shape: tuple[int, int, int]) -> None:
    probabilities, labels = draw_answers(*shape)
    expected = sklearn_metrics.log_loss(labels, probabilities, labels=np.arange(shape[1]))
    assert log_loss(probabilities, labels) == pytest.approx(expected)


@given(st.integers(2, 50), st.integers(1, 20))
def test_equal_probabilities_cost_ln_c(classes: int, num: int) -> None:
    uniform = np.full((num, classes), 1 / classes)
    assert log_loss(uniform, np.arange(num) % classes) == pytest.approx(math.log(classes))


# Calibration


def test_calibration_by_hand() -> None:
    # Confidences 0.9, 0.9 (one right, one wrong) and 0.6 (right); groups of a fifth.
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]])
    curve = reliability_curve(probabilities, np.array([0, 0, 0]), 5)
    assert curve.counts.tolist() == [0, 0, 1, 0, 2]
    assert curve.num_correct.tolist() == [0, 0, 1, 0, 1]
    np.testing.assert_allclose(curve.confidence, [math.nan, math.nan, 0.6, math.nan, 0.9])
    np.testing.assert_allclose(curve.accuracy, [math.nan, math.nan, 1.0, math.nan, 0.5])
    expected = (1 * abs(1 - 0.6) + 2 * abs(0.5 - 0.9)) / 3
    assert expected_calibration_error(curve) == pytest.approx(expected)


def test_a_confidence_on_an_edge_belongs_below_it() -> None:
    probabilities = np.array([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]])
    curve = reliability_curve(probabilities, np.zeros(3, np.int64), [0, 0.5, 0.75, 1])
    assert curve.counts.tolist() == [1, 1, 1]


def slow_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Guo et al.'s formula, group by group."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges, total = np.linspace(0, 1, 16), 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("shape", SHAPES)
def test_calibration_error_matches_the_formula(shape: tuple[int, int, int]) -> None:
    probabilities, labels = draw_answers(*shape)
    curve = reliability_curve(probabilities, labels)
    assert len(curve.counts) == 15 and curve.counts.sum() == shape[0]
    error = expected_calibration_error(curve)
    assert error == pytest.approx(slow_calibration_error(probabilities, labels))
    assert 0 <= error <= 1


def test_a_calibrated_classifier_scores_near_zero_and_a_boaster_does_not() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20_000)
    labels = (rng.uniform(size=20_000) > confidence).astype(np.int64)
    honest = np.stack([confidence, 1 - confidence], axis=1)
    assert expected_calibration_error(reliability_curve(honest, labels)) < 0.015
    boast = np.tile([0.99, 0.01], (20_000, 1))
    error = expected_calibration_error(reliability_curve(boast, labels))
    assert error == pytest.approx(0.99 - (labels == 0).mean())


@pytest.mark.parametrize("edges", [0, [0.0], [0.0, 0.7], [0.1, 1.0], [0.0, 0.5, 0.5, 1.0]])
def test_edges_must_rise_from_0_to_1(edges: int | list[float]) -> None:
    with pytest.raises(ValueError, match="expected 1 or more groups, or limits rising"):
        reliability_curve(np.array([[0.5, 0.5]]), np.array([0]), edges)


@pytest.mark.slow
def test_scores_do_not_load_scikit_learn() -> None:
    code = "import sys, handful.evaluation.evaluation; print([m for m in sys.modules if m in "
    code += "('sklearn', 'scipy', 'matplotlib', 'keras', 'jinja2')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
