import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.errors import DataError
from handful.evaluation.learning_curve import (
    REACH,
    CurvePoint,
    LearningCurve,
    check_reach,
    check_start,
)


def make_curve(
    errors: np.ndarray,
    floors: np.ndarray | float,
    exponents: np.ndarray | float,
    strays: np.ndarray | float = 0.0,
    num_photos: int = 200,
) -> LearningCurve:
    """A curve of two classes measured at 10 to 80 photos a class."""
    points = tuple(CurvePoint(2.0 * n, float(n), 0.8, 0.02, 10) for n in (10, 20, 40, 80))
    full = [np.broadcast_to(part, errors.shape) for part in (floors, exponents, strays)]
    return LearningCurve(points, num_photos, 2, 2, errors, *full, variance_of_one=0.02)


@given(
    error=st.floats(0.001, 0.6),
    floor=st.floats(0, 0.99),
    exponent=st.floats(0.05, 2),
    stray=st.floats(0, 0.2),
    sizes=st.lists(st.floats(10, 800), min_size=2, max_size=6),
)
@settings(max_examples=60)
def test_more_photos_never_promise_less(
    error: float, floor: float, exponent: float, stray: float, sizes: list[float]
) -> None:
    rng = np.random.default_rng(0)
    errors = error * np.exp(rng.normal(0, 0.1, 200))
    curve = make_curve(errors, floor, exponent, rng.normal(0, stray, 200))
    found = curve.band(np.array(sorted(sizes)))
    assert np.all((found >= 0) & (found <= 1))
    assert np.all(np.diff(found[0]) >= -1e-12)
    assert np.all(found[1] <= found[0] + 1e-12) and np.all(found[0] <= found[2] + 1e-12)
    accuracy, low, high = curve.predict(sizes[0])
    assert low <= accuracy <= high


def test_a_curve_is_the_power_law_that_it_says() -> None:
    curve = make_curve(np.full(3, 0.2), 0.25, 0.5)
    for size in (10, 80, 320):
        assert curve.predict(size)[0] == pytest.approx(1 - (0.05 + 0.15 * (size / 80) ** -0.5))
    law = curve.to_dict()["power_law"]
    assert law == pytest.approx({"error_at_largest": 0.2, "floor": 0.05, "exponent": 0.5})


def test_a_draw_that_strays_upwards_stays_at_its_least_error() -> None:
    # An error as 0.9 + 0.1 / n that grows by 5 % a doubling is least soon after the last size.
    curve = make_curve(np.full(3, 0.4), 0.9, 1.0, 0.05)
    sizes = np.geomspace(80, 800, 200)
    growth = sizes / 80
    strayed = 1 - 0.4 * (0.9 + 0.1 / growth) * growth ** (0.05 / math.log(2))
    assert 0 < strayed.argmax() < 199
    expected = np.maximum.accumulate(strayed)
    assert curve.band(sizes)[0] == pytest.approx(expected, abs=1e-4)


def test_the_luck_of_a_test_widens_the_interval() -> None:
    curve = make_curve(np.full(4000, 0.2), 0.5, 0.5)
    assert curve.predict(80)[1:] == pytest.approx((0.8, 0.8))
    accuracy, low, high = curve.predict(80, num_test=100)
    luck = math.sqrt(0.8 * 0.2 / 100 + 0.02 / 160)
    assert accuracy == pytest.approx(0.8)
    assert (high - low) / 2 == pytest.approx(1.96 * luck, rel=0.1)


def test_photos_needed_are_those_with_which_it_is_expected() -> None:
    rng = np.random.default_rng(0)
    curve = make_curve(rng.normal(0.2, 0.01, 4000), rng.uniform(0, 0.2, 4000), 0.5)
    needed = curve.photos_for(0.86)
    assert needed.photos_a_class is not None and needed.low is not None
    assert needed.more_a_class == pytest.approx(needed.photos_a_class - 100)
    assert curve.predict(needed.photos_a_class)[0] == pytest.approx(0.86, abs=0.003)
    assert needed.low < needed.photos_a_class and needed.chance > 0.95
    assert curve.predict(needed.low)[2] == pytest.approx(0.86, abs=0.005)
    about = f"{float(f'{needed.more_a_class:.2g}'):,.0f}"
    assert needed.sentence.startswith(
        f"To reach 86.0 % you need about {about} more photos per class"
    )


def test_the_answer_says_when_there_are_photos_enough() -> None:
    curve = make_curve(np.full(50, 0.2), 0.0, 0.5)
    needed = curve.photos_for(0.75)
    assert needed.more_a_class == 0 and needed.chance == 1
    assert needed.sentence == (
        "75.0 % is reached with the 100 photos per class there are: expect 82.1 %."
    )
    doubtful = make_curve(np.linspace(0.1, 0.3, 50), 0.0, 0.5).photos_for(0.82)
    assert doubtful.more_a_class == 0 and "though the interval leaves it open" in doubtful.sentence


def test_the_answer_says_when_the_curve_levels_off() -> None:
    needed = make_curve(np.full(50, 0.2), 0.95, 1.0).photos_for(0.95)
    assert needed.photos_a_class is needed.low is needed.high is needed.more_a_class is None
    assert needed.chance == 0
    assert "not reachable by more photos of the same kind alone" in needed.sentence
    assert "levels off at about 80.9 %" in needed.sentence


def test_the_answer_says_when_it_is_too_far() -> None:
    needed = make_curve(np.full(50, 0.2), 0.0, 0.5).photos_for(0.95)
    assert needed.photos_a_class is None
    assert "95.0 % takes more than 8 times the photos there are" in needed.sentence
    assert "with 800 per class expect 93.7 %" in needed.sentence


def test_an_open_upper_end_is_said() -> None:
    errors = np.concatenate([np.full(70, 0.2), np.full(30, 0.5)])
    needed = make_curve(errors, 0.0, 0.5).photos_for(0.85)
    assert needed.high is None and needed.chance == pytest.approx(0.7)
    assert needed.sentence.endswith("to more than 700).")


def test_nothing_is_said_past_eight_times_the_photos() -> None:
    curve = make_curve(np.full(5, 0.2), 0.0, 0.5)
    assert curve.predict(800)[0] > 0.9 and REACH == 8
    match = "900 photos per class are 9.0 times the 100 there are.*ask for 800 or fewer"
    for ask in (curve.predict, lambda size: curve.band(np.array([20.0, size]))):
        with pytest.raises(DataError, match=match):
            ask(900)
    with pytest.raises(DataError, match="past 8 times its photos nobody can say"):
        check_reach(81, 10)
    check_reach(80, 10)
    with pytest.raises(DataError, match="9 photos per class are fewer than the 10 that the curve"):
        curve.predict(9)
    with pytest.raises(
        DataError, match="1 photo per class is fewer than the 13 that the curve beg"
    ):
        check_start(1, 12.5)
    check_start(12.5, 12.5)
    with pytest.raises(DataError, match="-5 photos per class are asked about; expected 1 to 80"):
        check_reach(-5, 10)


@pytest.mark.parametrize("target", [0.0, 1.0, 95, -0.1])
def test_a_target_is_a_share(target: float) -> None:
    told = "`accuracy` is .*; expected a number between 0 and 1, such as"
    with pytest.raises(ValueError, match=told):
        make_curve(np.full(5, 0.2), 0.0, 0.5).photos_for(target)
