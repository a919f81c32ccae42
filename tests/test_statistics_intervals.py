"""Intervals and tests, against their formulas, SciPy and simulations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.statistics.intervals import (
    _student_quantile,
    _student_tails,
    accuracy_interval,
    calibration_error,
    design_effect,
    discordant_share,
    holm_adjusted,
    independent_discordance,
    mcnemar_test,
    paired_difference_interval,
    paired_difference_test,
    photos_for_difference,
    resampled_interval,
    seed_freedom,
    seed_variance,
    smallest_difference,
    wilson_interval,
)
from handful.statistics.metrics import expected_calibration_error, reliability_curve

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


@pytest.mark.slow
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


@pytest.mark.slow
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
    beside_seeds = photos_for_difference(0.1, 0.2, seed_variance=0.0005)
    assert beside_seeds is not None and beside_seeds > needed
    # What is estimated from few trainings counts less than what is known.
    estimated = photos_for_difference(0.1, 0.2, seed_variance=0.0005, seed_freedom=6)
    assert estimated is not None and estimated > beside_seeds
    assert photos_for_difference(0.1, 0.2, seed_variance=0.0005, seed_freedom=1) is None


@pytest.mark.slow
@given(st.floats(0.01, 0.3), st.floats(0, 0.01), st.sampled_from([1.0, 2.0, 3.3, 8.0]))
def test_photos_beside_seeds_would_pass_the_test(
    difference: float, share_of_variance: float, df: float
) -> None:
    seeds = share_of_variance * difference**2
    photos = photos_for_difference(
        difference, max(difference, 0.1), seed_variance=seeds, seed_freedom=df
    )
    if photos is not None:
        variance = max(difference, 0.1) / photos + seeds
        noise = (variance - seeds) ** 2 / max(photos - 1, 1) + seeds**2 / df
        t = difference / math.sqrt(variance)
        assert _student_tails(t, variance**2 / noise) < 0.05


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
    # Two trainings tell one thing; of two such ways with equal variances Welch's count is 2.
    assert seed_freedom(uneven, uneven[:1]) == pytest.approx(1)
    assert seed_freedom(uneven, uneven) == pytest.approx(2)
    assert seed_freedom(ours, theirs) == math.inf


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


@pytest.mark.parametrize("df", [1.0, 1.3, 2.0, 3.7, 12.0, 200.0, 1e5])
def test_students_t_is_scipys(df: float) -> None:
    from scipy.stats import t

    for value in (0.0, 0.3, 1.0, 2.5, 12.0):
        expected = 2 * t.sf(value, df)
        assert _student_tails(value, df) == pytest.approx(expected, rel=1e-4)
    assert _student_quantile(0.95, df) == pytest.approx(t.ppf(0.975, df), rel=1e-5)


# Near-duplicates


def grouped(
    rng: np.random.Generator, size: int, chances: list[float]
) -> tuple[np.ndarray, np.ndarray]:
    """200 draws of categories in groups of a size, correlated by 0.8 within a group; groups."""
    groups = np.repeat(np.arange(200 // size), size)
    shared = rng.choice(len(chances), 200 // size, p=chances)[groups]
    own = rng.choice(len(chances), 200, p=chances)
    return np.where(rng.random(200) < math.sqrt(0.8), shared, own), groups


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 5, 10])
@pytest.mark.parametrize("accuracy", [0.7, 0.9])
def test_the_accuracy_interval_holds_the_truth_whatever_the_groups(
    size: int, accuracy: float
) -> None:
    rng, held = np.random.default_rng(7), 0
    for _ in range(1000):
        right, groups = grouped(rng, size, [1 - accuracy, accuracy])
        low, high = accuracy_interval(right, groups=groups)
        held += low <= accuracy <= high
    assert 930 <= held <= 970


@pytest.mark.parametrize("size", [1, 2, 5])
def test_differences_hold_the_truth_and_raise_no_alarm_whatever_the_groups(size: int) -> None:
    rng, held, alarms = np.random.default_rng(5), 0, 0
    for _ in range(600):
        # Both right, only the first, only the second, none: equally good.
        kinds, groups = grouped(rng, size, [0.6, 0.15, 0.15, 0.1])
        first, second = kinds < 2, np.isin(kinds, (0, 2))
        low, high = paired_difference_interval(first, second, groups=groups)
        held += low <= 0 <= high
        alarms += paired_difference_test(first, second, groups=groups) < 0.05
    assert 558 <= held <= 582 + 6  # two standard errors above 97 in 100
    assert alarms <= 42  # an exact test is careful: at most 5 in 100, and luck


def test_copies_count_as_one_photo() -> None:
    right, groups = np.arange(40) % 4 > 0, np.arange(40)
    copies, copied = np.repeat(right, 5), np.repeat(groups, 5)
    assert design_effect(copies, copied) == pytest.approx(5, rel=0.01)
    found = accuracy_interval(copies, groups=copied)
    assert found == pytest.approx(accuracy_interval(right), abs=0.005)
    assert design_effect(right, groups) == design_effect(copies, None) == 1
    other = np.roll(right, 1)
    assert paired_difference_test(
        copies, np.repeat(other, 5), groups=copied
    ) == paired_difference_test(right, other)
    trainings = np.stack([copies, copies])
    assert accuracy_interval(trainings, groups=copied) == pytest.approx(found, abs=0.01)


def test_a_group_is_one_toss() -> None:
    # Three photos of one shot for the first, one for the second: 3 - 1, as good as 1 - 3, and
    # 3 + 1 and -3 - 1, which are more uneven: every toss of two coins is as uneven or more.
    first, second = np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1])
    assert paired_difference_test(first, second, groups=np.array([0, 0, 0, 1])) == 1.0
    both = np.array([1, 1, 1, 1]), np.array([0, 0, 0, 0])
    assert paired_difference_test(*both, groups=np.array([0, 0, 0, 1])) == 0.5


def test_all_alike_is_no_certainty() -> None:
    right, groups = np.ones(50), np.arange(50) // 5
    assert design_effect(right, groups) == 5
    assert accuracy_interval(right, groups=groups) == pytest.approx(wilson_interval(10, 10))


# Calibration error


@pytest.mark.slow
def test_honest_confidences_show_no_error_however_few_the_photos() -> None:
    rng, errors, held, binned = np.random.default_rng(2), [], 0, []
    for _ in range(300):
        confidence = rng.uniform(0.5, 1, 80)
        right = rng.random(80) < confidence
        found = calibration_error(confidence, right)
        errors.append(found.error)
        held += found.interval[0] == 0
        answers = np.stack([confidence, 1 - confidence], axis=1)
        curve = reliability_curve(answers, (~right).astype(int))
        binned.append(expected_calibration_error(curve))
    # In fifteen bins they would seem to be off by 13 points.
    assert np.mean(binned) > 0.1 and np.median(errors) < 0.03 and held >= 285


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4])
def test_a_gap_is_found_and_its_interval_holds_it(size: int) -> None:
    rng, errors, held = np.random.default_rng(3), [], 0
    groups = np.arange(400) // size
    for _ in range(100):
        confidence = rng.uniform(0.6, 0.85, 400 // size)[groups]
        right = rng.random(400 // size)[groups] < confidence + 0.1
        found = calibration_error(confidence, right, groups)
        errors.append(found.error)
        low, high = found.interval
        assert 0 <= low <= found.error <= high <= 1
        held += low <= 0.1 <= high
    assert np.mean(errors) == pytest.approx(0.1, abs=0.02) and held >= 88


def test_few_photos_cannot_tell_and_many_can() -> None:
    few = calibration_error(np.full(12, 0.9), np.arange(12) > 0)
    assert few.interval[0] == 0 and few.interval[1] > 0.1 and not few.is_told
    many = calibration_error(np.full(5000, 0.9), np.arange(5000) % 10 > 0)
    assert many.error < 0.01 and many.is_told and many.num_photos == 5000
    off = calibration_error(np.full(500, 0.9), np.arange(500) % 2 > 0)
    assert off.error == pytest.approx(0.4, abs=0.01) and off.is_told
