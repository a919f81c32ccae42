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

from handful.classifiers.metrics import (
    _student_quantile,
    _student_tails,
    accuracy_interval,
    balanced_accuracy,
    class_rates,
    class_roc_auc,
    confusion_matrix,
    discordant_share,
    expected_calibration_error,
    holm_adjusted,
    independent_discordance,
    log_loss,
    macro_roc_auc,
    mcnemar_test,
    paired_difference_interval,
    paired_difference_test,
    photos_for_difference,
    reliability_curve,
    resampled_interval,
    roc_auc,
    seed_variance,
    smallest_difference,
    wilson_interval,
)

SHAPES = [(1, 2, 0), (2, 2, 1), (40, 2, 2), (200, 5, 3), (500, 70, 4)]


def draw_answers(num: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that favour the truth, rounded so that many of them tie, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, num)
    logits = rng.normal(size=(num, classes)).round(1)
    logits[np.arange(num), labels] += 1
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


# Wilson interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Reckoned by hand with z = 1.959964: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n).
        (986, 1000, 0.976637, 0.991643),
        (10, 10, 0.722467, 1.0),
        (0, 10, 0.0, 0.277533),
        (1, 1, 0.206549, 1.0),
        (5, 10, 0.236593, 0.763407),
    ],
)
def test_wilson_by_hand(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-6)


def test_wilson_of_nothing_knows_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


counts = st.integers(1, 10**7).flatmap(
    lambda trials: st.tuples(st.integers(0, trials), st.just(trials))
)


@given(counts, st.floats(0.01, 0.999999))
def test_wilson_contains_the_rate_and_stays_in_range(
    pair: tuple[int, int], confidence: float
) -> None:
    low, high = wilson_interval(*pair, confidence)
    assert 0.0 <= low <= pair[0] / pair[1] <= high <= 1.0


@given(counts, st.integers(2, 50))
def test_wilson_shrinks_with_more_trials(pair: tuple[int, int], times: int) -> None:
    low, high = wilson_interval(*pair)
    more_low, more_high = wilson_interval(pair[0] * times, pair[1] * times)
    assert more_high - more_low < high - low


@given(counts)
def test_wilson_mirrors(pair: tuple[int, int]) -> None:
    low, high = wilson_interval(*pair)
    mirrored = wilson_interval(pair[1] - pair[0], pair[1])
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_wilson_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.binomial(200, 0.93, 4000)
    covered = [low <= 0.93 <= high for low, high in (wilson_interval(int(k), 200) for k in drawn)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"successes is {successes}; expected 0 to trials"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_wilson_refuses_an_impossible_confidence(confidence: float) -> None:
    with pytest.raises(ValueError, match=rf"confidence is {confidence}; expected a share"):
        wilson_interval(1, 2, confidence)


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
    assert curve.num_right.tolist() == [0, 0, 1, 0, 1]
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


def test_scores_do_not_load_scikit_learn() -> None:
    code = "import sys, handful.classifiers.evaluation; print([m for m in sys.modules if m in "
    code += "('sklearn', 'scipy', 'matplotlib', 'keras', 'jinja2')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# Comparing


@pytest.mark.parametrize(
    ("first", "second"),
    [(0, 0), (1, 0), (0, 6), (5, 5), (3, 12), (12, 3), (40, 41), (180, 9), (1200, 1100)],
)
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar_test(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_test(first, second) == mcnemar_test(second, first)


def test_mcnemar_of_many_photos_is_quick_and_a_number() -> None:
    assert 0.3 < mcnemar_test(4900, 5000) < 0.33
    assert mcnemar_test(0, 5000) == 0.0


def test_mcnemar_counts_photos() -> None:
    with pytest.raises(ValueError, match="only_first is -1 and only_second 3; expected counts"):
        mcnemar_test(-1, 3)


def outcomes(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of two classifiers was right, from how often both, one or none was."""
    ours = np.repeat([True, True, False, False], [both, first, second, neither])
    theirs = np.repeat([True, False, True, False], [both, first, second, neither])
    return ours, theirs


def test_the_paired_interval_by_hand() -> None:
    # Bonett and Price's: p12 = 16/102, p21 = 5/102, D = 11/102,
    # D -+ 1.959964 sqrt((p12 + p21 - D^2) / 102).
    interval = paired_difference_interval(*outcomes(70, 15, 4, 11))
    assert interval == pytest.approx((0.0223107, 0.1933756), abs=1e-6)


@given(
    st.tuples(*[st.integers(0, 60)] * 4).filter(lambda counts: sum(counts) > 0),
    st.sampled_from([0.5, 0.9, 0.95, 0.999]),
)
def test_the_paired_interval_is_symmetric_and_holds_the_difference(
    counts: tuple[int, int, int, int], confidence: float
) -> None:
    ours, theirs = outcomes(*counts)
    low, high = paired_difference_interval(ours, theirs, confidence)
    assert paired_difference_interval(theirs, ours, confidence) == pytest.approx((-high, -low))
    assert -1 <= low < high <= 1
    if confidence > 0.9:
        assert low <= ours.mean() - theirs.mean() <= high


@pytest.mark.parametrize(
    ("num", "shares"),
    [(30, (0.6, 0.2, 0.1, 0.1)), (100, (0.9, 0.05, 0.01, 0.04)), (1000, (0.97, 0.01, 0.01, 0.01))],
)
def test_the_paired_interval_holds_the_truth_as_often_as_it_says(
    num: int, shares: tuple[float, float, float, float]
) -> None:
    drawn = np.random.default_rng(0).multinomial(num, shares, size=800)
    held = [
        low <= shares[1] - shares[2] <= high
        for low, high in (paired_difference_interval(*outcomes(*counts)) for counts in drawn)
    ]
    assert 0.935 < np.mean(held) < 0.985


def train_often(
    rng: np.random.Generator, hardness: np.ndarray, skill: float, seeds: int, luck: float
) -> np.ndarray:
    """(S, N) outcomes of trainings whose skill varies by `luck` from seed to seed."""
    chance = rng.normal(size=(seeds, len(hardness))) + luck * rng.normal(size=(seeds, 1))
    return skill + hardness + chance > 0


def test_the_interval_over_seeds_allows_for_the_luck_of_training() -> None:
    from scipy.stats import norm

    rng, luck = np.random.default_rng(0), 0.25
    spread = np.sqrt(2 + luck**2)
    truth = norm.cdf(1.5 / spread) - norm.cdf(1.2 / spread)
    held, alone, own = [], [], []
    for _ in range(400):
        hardness = rng.normal(size=400)
        ours = train_often(rng, hardness, 1.5, 3, luck)
        theirs = train_often(rng, hardness, 1.2, 3, luck)
        low, high = paired_difference_interval(ours, theirs)
        held.append(low <= truth <= high)
        low, high = paired_difference_interval(ours[0], theirs[0])
        alone.append(low <= truth <= high)
        low, high = accuracy_interval(ours)
        own.append(low <= norm.cdf(1.5 / spread) <= high)
    assert np.mean(held) > 0.945 and np.mean(own) > 0.93
    # One training each says nothing about other seeds, as its description warns.
    assert np.mean(alone) < 0.8


def test_the_test_over_seeds_agrees_with_the_interval() -> None:
    rng = np.random.default_rng(1)
    for skill in np.linspace(1.0, 1.5, 12):
        hardness = rng.normal(size=300)
        ours = train_often(rng, hardness, skill, 4, 0.1)
        theirs = train_often(rng, hardness, 1.0, 2, 0.1)
        low, high = paired_difference_interval(ours, theirs)
        p_value = paired_difference_test(ours, theirs)
        assert (p_value < 0.05) == (low > 0 or high < 0)
        assert paired_difference_test(theirs, ours) == pytest.approx(p_value)


def test_one_training_each_is_mcnemars_test() -> None:
    assert paired_difference_test(*outcomes(70, 15, 4, 11)) == mcnemar_test(15, 4)
    once = [row[None] for row in outcomes(70, 15, 4, 11)]
    assert paired_difference_test(*once) == mcnemar_test(15, 4)


def test_trainings_that_always_end_the_same_add_nothing() -> None:
    ours, theirs = outcomes(700, 150, 40, 110)
    single = paired_difference_interval(ours, theirs)
    repeated = paired_difference_interval(np.stack([ours, ours]), theirs)
    assert repeated == pytest.approx(single, abs=2e-4)
    assert accuracy_interval(np.stack([ours, ours])) == pytest.approx(
        accuracy_interval(ours), abs=2e-4
    )


def test_the_accuracys_interval_is_wilsons_for_one_training_and_wider_for_scattered_ones() -> None:
    right = np.arange(100) < 90
    assert accuracy_interval(right) == wilson_interval(90, 100)
    low, high = accuracy_interval(np.stack([np.arange(100) < 85, np.arange(100) < 95]))
    assert low < wilson_interval(90, 100)[0] and high > wilson_interval(90, 100)[1]
    low, high = accuracy_interval(np.ones((3, 20), bool))
    assert high == 1.0 and 0.8 < low < 0.87


def test_outcomes_must_fit() -> None:
    with pytest.raises(ValueError, match="first has 3 photos and second 4; expected the same"):
        paired_difference_interval(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match=r"second has shape \(2, 0\); expected a row for each"):
        paired_difference_test(np.ones(3), np.ones((2, 0)))
    with pytest.raises(ValueError, match="correct holds other values than right"):
        accuracy_interval(np.array([0.5, 1.0]))
    with pytest.raises(ValueError, match="confidence is 95"):
        paired_difference_interval(np.ones(3), np.ones(3), 95)


def test_holm_by_hand() -> None:
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_adjusted([0.9, 0.8]) == [1.0, 1.0] and holm_adjusted([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_raises_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm_adjusted(p_values)
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))


# Resamples


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_the_resampled_interval_by_hand(confidence: float) -> None:
    from scipy.stats import t

    values = [0.9, 0.95, 0.85, 0.9, 1.0]
    width = t.ppf(0.5 + confidence / 2, 4) * np.std(values, ddof=1) * math.sqrt(1 / 5 + 20 / 80)
    low, high = resampled_interval(np.array(values), 80, 20, confidence)
    assert (low, high) == pytest.approx((0.92 - width, 0.92 + width), rel=1e-5)


def test_more_resamples_of_the_same_photos_never_make_it_narrow() -> None:
    pair = [0.8, 0.9]
    low, high = resampled_interval(np.array(pair * 5000), 80, 20)
    assert high - low == pytest.approx(2 * 1.96 * 0.05 * math.sqrt(0.25), rel=1e-3)


@given(st.floats(0, 1), st.integers(2, 30))
def test_equal_values_have_an_interval_of_no_width(value: float, number: int) -> None:
    assert resampled_interval(np.full(number, value), 80, 20) == (value, value)


def test_resamples_are_checked() -> None:
    with pytest.raises(ValueError, match="There are 1 values; expected those of 2 or more"):
        resampled_interval(np.array([0.9]), 80, 20)
    with pytest.raises(ValueError, match="num_fit is 0 and num_held_out 20; expected photos in"):
        resampled_interval(np.array([0.9, 0.8]), 0, 20)
    with pytest.raises(ValueError, match="confidence is 95"):
        resampled_interval(np.array([0.9, 0.8]), 80, 20, 95)


# Photos that a difference takes


def test_photos_for_a_difference_are_connors() -> None:
    # The example of his formula in powerandsamplesize.com: 0.45 and 0.05, power 0.9, one side.
    assert photos_for_difference(0.4, 0.5, confidence=0.9, power=0.9) == 23
    assert photos_for_difference(1.0, 1.0) == 4  # 1.96 squared
    assert photos_for_difference(0.1, 0.1, seed_variance=0.1) is None
    needed = photos_for_difference(0.1, 0.2)
    assert needed is not None
    assert (photos_for_difference(0.1, 0.2, seed_variance=0.0005) or 0) > needed


@pytest.mark.parametrize(("difference", "share"), [(0.05, 0.1), (0.1, 0.12), (0.02, 0.04)])
def test_so_many_photos_do_show_it(difference: float, share: float) -> None:
    """4 times in 5 by our exact test, which is a little stricter than the formula's."""
    num = photos_for_difference(difference, share)
    assert num is not None
    rng = np.random.default_rng(0)
    wins, losses = (share + difference) / 2, (share - difference) / 2
    counts = rng.multinomial(num, [wins, losses, 1 - share], size=2000)
    shown = np.mean([mcnemar_test(int(b), int(c)) < 0.05 for b, c, _ in counts])
    assert 0.72 <= shown <= 0.84


@given(st.floats(0, 1), st.floats(0.001, 1))
def test_independent_errors_leave_room_for_the_difference(error: float, difference: float) -> None:
    share = independent_discordance(error, difference)
    assert difference - 1e-9 <= share <= 1 + 1e-9
    assert (photos_for_difference(difference, share) or 0) >= 1


def test_independent_errors_by_hand() -> None:
    # Error rates of 9 and 11 %.
    assert independent_discordance(0.1, 0.02) == pytest.approx(0.09 * 0.89 + 0.91 * 0.11)
    assert independent_discordance(0.0, 0.02) == independent_discordance(0.01, 0.02)
    assert independent_discordance(1.0, 0.02) == pytest.approx(0.02)


@given(st.integers(4, 100_000), st.floats(0, 1))
def test_the_smallest_difference_takes_just_these_photos(num: int, error: float) -> None:
    found = smallest_difference(num, error)
    for factor, enough in ((1.001, True), (0.999, False)):
        difference = min(found * factor, 1.0)
        needed = photos_for_difference(difference, independent_discordance(error, difference))
        assert needed is not None
        assert needed <= num if enough else needed >= num
    assert smallest_difference(3, error) == 1.0


def test_a_measured_discordant_share_by_hand() -> None:
    ours, theirs = np.array([1, 1, 1, 0, 0, 1]), np.array([1, 0, 1, 1, 0, 1])
    assert discordant_share(ours, theirs) == pytest.approx((2 + 2) / (6 + 2))
    half = np.stack([ours, theirs])
    assert discordant_share(half, theirs) == pytest.approx((2 * 0.25 + 2) / (6 + 2))
    assert seed_variance(ours, theirs) == 0
    uneven = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    assert seed_variance(uneven, uneven[:1]) == pytest.approx(np.var([1, 0.5], ddof=1) / 2)


def test_a_difference_out_of_range_is_refused() -> None:
    for difference in (0.0, 1.1):
        with pytest.raises(ValueError, match=rf"difference is {difference}; expected a share"):
            photos_for_difference(difference, 1.0)
    with pytest.raises(ValueError, match=r"discordant_share is 0\.01; expected 0\.04 to 1,"):
        photos_for_difference(0.2, 0.01)
    with pytest.raises(ValueError, match=r"power is 1\.0; expected a share in"):
        photos_for_difference(0.2, 0.3, power=1.0)
    with pytest.raises(ValueError, match=r"confidence is 1\.0"):
        photos_for_difference(0.2, 0.3, confidence=1.0)


@pytest.mark.parametrize("freedom", [1.0, 1.3, 2.0, 3.7, 12.0, 200.0, 1e5])
def test_students_t_is_scipys(freedom: float) -> None:
    from scipy.stats import t

    for value in (0.0, 0.3, 1.0, 2.5, 12.0):
        expected = 2 * t.sf(value, freedom)
        assert _student_tails(value, freedom) == pytest.approx(expected, rel=1e-4)
    assert _student_quantile(0.95, freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-5)
