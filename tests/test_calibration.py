import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from handful.classifiers.calibration import (
    ERROR_RATES,
    Calibration,
    calibrate,
    fit_temperature,
    keep_answers,
)
from handful.classifiers.heads import softmax
from handful.errors import DataError


def drawn(
    num_photos: int, num_classes: int, temperature: float = 1.0, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits that are `temperature` times too large, and labels drawn from the honest ones."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2, (num_photos, num_classes))
    chances = softmax(honest).cumsum(axis=1)
    labels = (rng.random((num_photos, 1)) > chances).sum(axis=1)
    return honest * temperature, np.minimum(labels, num_classes - 1)


def answers(confidence: list[float], correct: list[bool]) -> Calibration:
    sure = np.array(confidence, np.float32)
    return Calibration(
        sure, np.array(correct), np.where(correct, sure, 1 - sure), 1.0, "validation"
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_temperature_of_known_logits_is_found(temperature: float, num_classes: int) -> None:
    logits, labels = drawn(20_000, num_classes, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_is_scipys_optimum_of_the_smoothed_loss() -> None:
    logits, labels = drawn(60, 3, 2.0)
    targets = np.full((60, 3), 1 / 63)
    targets[np.arange(60), labels] = (60 + 1) / 63

    def loss(log_temperature: float) -> float:
        return -float((targets * np.log(softmax(logits / np.exp(log_temperature)))).sum())

    theirs = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)
    assert fit_temperature(logits, labels) == pytest.approx(theirs, rel=1e-3)


def test_photos_that_are_all_named_right_do_not_ask_for_infinite_confidence() -> None:
    labels = np.array([0, 1] * 5)
    logits = np.eye(2)[labels] * 3.0
    probabilities = softmax(logits / fit_temperature(logits, labels))
    assert 0.9 < probabilities.max() < 0.95  # (10 + 1) / (10 + 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.2, 5.0))
def test_a_calibrated_probability_keeps_the_argmax(
    seed: int, num_classes: int, temperature: float
) -> None:
    logits, labels = drawn(40, num_classes, temperature, seed)
    found = calibrate(logits, labels)
    assert (softmax(logits / found.temperature).argmax(1) == logits.argmax(1)).all()
    assert (found.correct == (logits.argmax(1) == labels)).all()
    assert len(found) == 40 and found.source == "out-of-fold"


def test_calibration_brings_confidence_to_accuracy() -> None:
    logits, labels = drawn(5_000, 3, 3.0)
    promised = softmax(logits).max(axis=1).mean()
    found = calibrate(logits, labels)
    assert promised - found.correct.mean() > 0.1
    assert found.confidence.mean() == pytest.approx(found.correct.mean(), abs=0.01)


def test_the_threshold_answers_as_many_photos_as_the_rate_allows() -> None:
    # Sorted by confidence: right, right, right, wrong, right, wrong.
    found = answers([0.99, 0.95, 0.9, 0.8, 0.7, 0.6], [True, True, True, False, True, False])
    rule = found.abstain_at(0.34)  # (1 + 1) / (5 + 1) fits, (2 + 1) / (6 + 1) does not
    assert rule.threshold == pytest.approx(0.7)
    assert (rule.coverage, rule.observed_error) == (pytest.approx(5 / 6), pytest.approx(0.2))
    assert found.abstain_at(0.25).threshold == pytest.approx(0.9)  # (0 + 1) / (3 + 1)


def test_photos_of_equal_probability_are_answered_together() -> None:
    found = answers([0.9, 0.9, 0.9, 0.9, 0.5], [True, True, True, False, False])
    with pytest.raises(DataError):
        found.abstain_at(0.25)  # three of the four would do, but they cannot be told apart
    assert found.abstain_at(0.4).coverage == pytest.approx(0.8)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 0.5))
def test_no_threshold_breaks_its_promise_on_the_photos_it_was_chosen_on(
    seed: int, error_rate: float
) -> None:
    logits, labels = drawn(200, 3, 1.0, seed)
    found = calibrate(logits, labels)
    try:
        rule = found.abstain_at(error_rate)
    except DataError:
        return
    answered = found.confidence >= np.float32(rule.threshold)
    assert answered.mean() == pytest.approx(rule.coverage)
    assert (~found.correct[answered]).mean() == pytest.approx(rule.observed_error)
    assert rule.observed_error <= error_rate


def test_the_rate_holds_on_new_photos() -> None:
    rates = []
    for seed in range(40):
        logits, labels = drawn(1_000, 3, 1.0, seed)
        rule = calibrate(logits[:500], labels[:500]).abstain_at(0.1)
        probabilities = softmax(logits[500:])
        answered = probabilities.max(axis=1) >= rule.threshold
        rates.append((probabilities.argmax(axis=1) != labels[500:])[answered].mean())
    assert np.mean(rates) == pytest.approx(0.1, abs=0.015)


def test_few_photos_cannot_promise_a_small_rate() -> None:
    found = answers([0.99] * 40, [True] * 40)
    with pytest.raises(DataError, match=r"rate of 0\.01 cannot be shown on 40 photos: it takes 99"):
        found.abstain_at(0.01)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_rates_and_coverages_are_shares(value: float) -> None:
    found = answers([0.9], [True])
    with pytest.raises(ValueError, match="error_rate is"):
        found.abstain_at(value)
    with pytest.raises(ValueError, match="coverage is"):
        found.set_threshold(value)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_cover_exchangeable_photos(coverage: float) -> None:
    held = []
    for seed in range(300):
        logits, labels = drawn(60, 4, 1.0, seed)
        probabilities = softmax(logits)
        found = keep_answers(probabilities[:40], labels[:40], "validation")
        sets = found.sets_of(probabilities[40:], coverage)
        assert sets.any(axis=1).all()
        held.append(sets[np.arange(20), labels[40:]].mean())
    # 300 draws of 20: a standard error of about half a point. At least the coverage, and, for
    # classes that are hard to tell, at most 1 / 41 more.
    assert coverage - 0.012 < np.mean(held) < coverage + 1 / 41 + 0.03


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.floats(0.0, 0.09))
def test_a_larger_coverage_never_takes_a_class_away(
    seed: int, coverage: float, more: float
) -> None:
    logits, labels = drawn(50, 4, 1.0, seed)
    probabilities = softmax(logits)
    found = keep_answers(probabilities, labels, "validation")
    small, large = (found.sets_of(probabilities, share) for share in (coverage, coverage + more))
    assert (large >= small).all()


def test_too_few_photos_for_a_coverage_give_all_classes() -> None:
    found = answers([0.9] * 10, [True] * 10)
    assert found.set_threshold(0.95) == 0.0
    assert found.sets_of(np.array([[0.999, 0.001]]), 0.95).all()
    assert found.set_threshold(0.9) == pytest.approx(0.9)


def test_the_facts_are_plain() -> None:
    logits, labels = drawn(300, 2)
    facts = calibrate(logits, labels).to_dict()
    assert facts["num_photos"] == 300 and facts["source"] == "out-of-fold"
    rates = [row["error_rate"] for row in facts["abstaining"]]
    assert rates and rates == [rate for rate in ERROR_RATES if rate in rates]
    assert 0.005 not in rates  # 300 photos with errors among them
