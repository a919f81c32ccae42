import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import beta, binom

from handful.data.target import softmax
from handful.models.calibration import (
    ERROR_RATES,
    NO_ANSWERS,
    Calibration,
    calibrate,
    fit_temperature,
    keep_answers,
)


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
        sure, np.array(correct, bool), np.where(correct, sure, 1 - sure), 1.0, "validation"
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_temperature_of_known_logits_is_found(temperature: float, num_classes: int) -> None:
    logits, labels = drawn(20_000, num_classes, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_is_scipys_optimum_with_a_prior() -> None:
    logits, labels = drawn(60, 3, 2.0)

    def loss(log_temperature: float) -> float:
        chances = softmax(logits / np.exp(log_temperature))[np.arange(60), labels]
        return -float(np.log(chances).sum()) + (log_temperature / 0.2) ** 2 / 2

    theirs = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)
    assert fit_temperature(logits, labels) == pytest.approx(theirs, rel=1e-3)


def test_photos_that_are_all_named_right_do_not_ask_for_infinite_confidence() -> None:
    labels = np.array([0, 1] * 5)
    logits = np.eye(2)[labels] * 3.0
    probabilities = softmax(logits / fit_temperature(logits, labels))
    assert 0.9 < probabilities.max() < 0.97


@pytest.mark.parametrize("num_classes", [2, 8])
def test_few_honest_answers_stay_honest(num_classes: int) -> None:
    # As if one more photo of each class had been seen, 40 honest answers became modest by a third.
    found = [np.log(fit_temperature(*drawn(40, num_classes, 1.0, seed))) for seed in range(60)]
    assert abs(np.mean(found)) < 0.03


@settings(max_examples=60)
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
    # 59 sure and right, then one wrong: of 58 trials without an error 5 % can just not be shown.
    sure = np.linspace(0.99, 0.9, 60).tolist()
    right = [True] * 59 + [False]
    found = answers(sure, right)
    # All 60 (59 trials, 1 error) and the surest 30, at the levels 2/3 and 1/3 of 5 %.
    rule = found.abstain_at(0.11)
    assert rule.is_as_asked and rule.shown_error_rate == 0.11
    assert rule.coverage == 1 and rule.observed_error == pytest.approx(1 / 60)
    # 1 error of 59 does not show 8 %, none of 58 does, which the surest 59 have.
    assert binom.cdf(1, 59, 0.08) > 0.05 * 2 / 3 and binom.cdf(0, 29, 0.14) < 0.05 / 3
    rule = found.abstain_at(0.1)
    assert binom.cdf(1, 59, 0.1) < 0.05 * 2 / 3 and rule.coverage == 1
    # Nothing shows 1 %: of the first rules all 60 show the smallest rate, two digits rounded up.
    rule = found.abstain_at(0.01)
    least = beta.ppf(1 - 0.05 * 2 / 3, 2, 58)
    assert not rule.is_as_asked and rule.error_rate == 0.01
    assert least <= rule.shown_error_rate <= least + 0.01
    assert rule.coverage == 1 and rule.threshold == pytest.approx(0.9)


def test_less_sure_photos_are_added_while_the_bound_holds() -> None:
    # 128 photos, of which the surest 100 are right: the surest half shows 8 %, and goes on to
    # where errors begin to be too many.
    right = [True] * 100 + [False] * 28
    found = answers(np.linspace(0.99, 0.6, 128).tolist(), right)
    rule = found.abstain_at(0.08)
    level = 0.05 * 2 / 7  # 4/7, 2/7 and 1/7 of 5 % for all, a half and a quarter of the photos
    kept = round(rule.coverage * 128)
    assert 100 <= kept < 128
    assert binom.cdf(kept - 100, kept - 1, 0.08) <= level
    assert binom.cdf(kept - 100 + 1, kept, 0.08) > level


def test_photos_of_equal_probability_are_answered_together() -> None:
    found = answers([0.9] * 80 + [0.5] * 20, [True] * 79 + [False] + [False] * 20)
    rule = found.abstain_at(0.1)
    assert rule.coverage == pytest.approx(0.8) and rule.threshold == pytest.approx(0.9)
    assert found.abstain_at(0.5).coverage == 1


@pytest.mark.slow
@settings(max_examples=100)
@given(st.integers(0, 10_000), st.floats(0.001, 0.999), st.integers(1, 12), st.integers(2, 300))
def test_no_threshold_breaks_its_word_on_the_photos_it_was_chosen_on(
    seed: int, error_rate: float, group: int, num_photos: int
) -> None:
    logits, labels = drawn(num_photos, 3, 1.0, seed)
    unlike = np.random.default_rng(seed).random(num_photos) < 0.1
    found = calibrate(logits, labels, groups=np.arange(num_photos) // group, unlike=unlike)
    rule = found.abstain_at(error_rate)
    assert rule.shown_error_rate >= error_rate and rule.confidence == 0.95
    assert rule.is_as_asked == (rule.shown_error_rate == error_rate)
    if rule.threshold is None:
        assert (rule.coverage, rule.observed_error, rule.shown_error_rate) == (0, None, 1)
        return
    answered = (found.confidence >= np.float32(rule.threshold)) & ~unlike
    assert answered.mean() == pytest.approx(rule.coverage)
    assert (~found.correct[answered]).mean() == pytest.approx(rule.observed_error)
    assert group > 1 or (rule.observed_error or 0) <= rule.shown_error_rate


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("num_photos", [40, 300])
def test_of_a_hundred_classifiers_five_at_most_err_more_often_than_they_say(
    size: int, num_photos: int
) -> None:
    rng, broken = np.random.default_rng(3), {0.01: 0, 0.15: 0, 0.25: 0}
    # Probabilities that tell nothing of a chance of 0.85: each rate below 0.15 is luck.
    groups = np.arange(num_photos) // size
    for _ in range(300):
        sure = rng.uniform(0.5, 1, num_photos).astype(np.float32)
        right = np.repeat(rng.random(num_photos) < 0.85, size)[:num_photos]
        found = Calibration(sure, right, sure, 1.0, "validation", groups)
        for rate in broken:
            broken[rate] += found.abstain_at(rate).shown_error_rate < 0.15
    # 15 of 300 are allowed; two standard errors for the luck of 300 draws.
    assert max(broken.values()) <= 15 + 8


def test_the_rate_holds_for_nearly_all_classifiers() -> None:
    rng, errors = np.random.default_rng(0), []
    for _ in range(100):
        # Honest probabilities: the true error above a threshold is the mean of 1 - probability.
        sure = rng.uniform(0.6, 1, 400).astype(np.float32)
        rule = answers(sure.tolist(), (rng.random(400) < sure).tolist()).abstain_at(0.1)
        assert rule.threshold is not None
        errors.append((1 - rule.threshold) / 2 - rule.shown_error_rate)
    assert np.mean(np.array(errors) > 0) <= 0.05


def test_few_photos_show_the_smallest_rate_that_they_can() -> None:
    rule = answers([0.99] * 30, [True] * 30).abstain_at(0.01)
    # 29 trials without an error: 0.05 ** (1 / 29) are right or more.
    assert rule.shown_error_rate == 0.099 >= 1 - 0.05 ** (1 / 29) > 0.098
    assert rule.coverage == 1 and rule.observed_error == 0 and rule.num_photos == 30
    assert answers([0.99], [True]).abstain_at(0.5).threshold is None
    assert answers([0.9, 0.8], [False, False]).abstain_at(0.5).threshold is None
    for rate in (1e-300, 1e-12, 1 - 1e-12):
        assert NO_ANSWERS.abstain_at(rate).threshold is None


def test_copies_show_no_more_than_one_photo() -> None:
    confidence, right = np.linspace(0.99, 0.6, 60), np.arange(60) % 7 > 0
    one = answers(confidence.tolist(), right.tolist())
    copies = Calibration(
        np.repeat(one.confidence, 5),
        np.repeat(one.correct, 5),
        np.repeat(one.true_probability, 5),
        1.0,
        "validation",
        np.repeat(np.arange(60), 5),
    )
    for rate in (0.01, 0.1, 0.3):
        for name in ("shown_error_rate", "threshold", "coverage"):
            found, wanted = (
                getattr(copies.abstain_at(rate), name),
                getattr(one.abstain_at(rate), name),
            )
            assert found == pytest.approx(wanted)
    for coverage in (0.5, 0.8, 0.95, 0.99):
        assert copies.set_threshold(coverage) == one.set_threshold(coverage)


def test_photos_unlike_those_of_training_are_not_answered() -> None:
    # The surest are wrong, but unlike: they are never answered, and speak against nothing.
    sure, unlike = np.linspace(0.99, 0.6, 50, dtype=np.float32), np.arange(50) < 10
    found = Calibration(sure, ~unlike, sure, 1.0, "validation", None, unlike)
    rule = found.abstain_at(0.2)
    assert rule.is_as_asked and rule.coverage == pytest.approx(0.8) and rule.observed_error == 0


@pytest.mark.parametrize("size", [1, 2, 5])
def test_sets_cover_photos_of_other_groups(size: int) -> None:
    rng, held = np.random.default_rng(1), []
    for _ in range(400):
        groups = np.arange(200) // size
        shared = rng.random(200 // size)[groups]
        scores = np.where(rng.random(200) < 0.9, shared, rng.random(200)).astype(np.float32)
        found = Calibration(scores, scores > 0, scores, 1.0, "validation", groups)
        held.append(1 - found.set_threshold(0.9))
    assert 0.9 - 0.006 < np.mean(held) < 0.93


@pytest.mark.parametrize("coverage", [5e-324, 1e-12, 1e-6, 0.5, 1 - 1e-16])
@pytest.mark.parametrize("num_photos", [0, 1, 2, 40])
def test_any_coverage_and_rate_above_0_and_below_1_is_one(coverage: float, num_photos: int) -> None:
    found = answers([0.9] * num_photos, [True] * num_photos)
    sets = found.prediction_sets(np.array([[0.7, 0.3], [0.5, 0.5]]), coverage)
    assert sets.any(axis=1).all()
    assert found.prediction_sets(np.zeros((0, 2)), coverage).shape == (0, 2)
    assert found.abstain_at(coverage).num_photos == num_photos


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_rates_and_coverages_are_shares(value: float) -> None:
    found = answers([0.9], [True])
    with pytest.raises(ValueError, match="`error_rate` is"):
        found.abstain_at(value)
    with pytest.raises(ValueError, match="`coverage` is"):
        found.set_threshold(value)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_cover_exchangeable_photos(coverage: float) -> None:
    held = []
    for seed in range(300):
        logits, labels = drawn(60, 4, 1.0, seed)
        probabilities = softmax(logits)
        found = keep_answers(probabilities[:40], labels[:40], "validation")
        sets = found.prediction_sets(probabilities[40:], coverage)
        assert sets.any(axis=1).all()
        held.append(sets[np.arange(20), labels[40:]].mean())
    # 300 draws of 20: a standard error of about half a point. At least the coverage, and, for
    # classes that are hard to tell, at most 1 / 41 more.
    assert coverage - 0.012 < np.mean(held) < coverage + 1 / 41 + 0.03


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.floats(0.0, 0.09))
def test_a_larger_coverage_never_takes_a_class_away(
    seed: int, coverage: float, more: float
) -> None:
    logits, labels = drawn(50, 4, 1.0, seed)
    probabilities = softmax(logits)
    found = keep_answers(probabilities, labels, "validation")
    small, large = (
        found.prediction_sets(probabilities, share) for share in (coverage, coverage + more)
    )
    assert (large >= small).all()


def test_too_few_photos_for_a_coverage_give_all_classes() -> None:
    found = answers([0.9] * 10, [True] * 10)
    assert found.set_threshold(0.95) == 0.0
    assert found.prediction_sets(np.array([[0.999, 0.001]]), 0.95).all()
    assert found.set_threshold(0.9) == pytest.approx(0.9)


def test_the_facts_are_plain() -> None:
    logits, labels = drawn(3000, 2)
    facts = calibrate(logits, labels).to_dict()
    assert facts["num_photos"] == 3000 and facts["source"] == "out-of-fold"
    rates = [row["error_rate"] for row in facts["abstaining"]]
    assert rates and rates == [rate for rate in ERROR_RATES if rate in rates]
    assert 0.005 not in rates  # 3,000 photos with errors among them
    few = answers([0.9] * 10, [True] * 10).to_dict()["abstaining"]
    assert [row["error_rate"] for row in few] == [0.29] and few[0]["coverage"] == 1
    assert NO_ANSWERS.to_dict()["abstaining"] == []
