"""How much longer a training takes; the clock is the test's."""

from handful.studio.time_left import TimeLeft
from handful.workflows.forecast import Forecast


def test_what_was_expected_gives_way_to_the_pace_that_is_seen() -> None:
    left = TimeLeft(Forecast((20.0, 60.0), 10.0), 100.0)
    assert left.at(100.0) == 90.0
    left.phase("index", 100.0)
    left.phase("embed", 101.0)
    assert left.at(103.0) == 18 + 60 + 9  # a second of the rest has passed
    left.progress(1, 101, 103.0)
    left.progress(26, 101, 113.0)  # 0.4 s a photo, where 0.2 s was expected
    assert left.at(113.0) == 75 * 0.4 + 60 + 9
    assert left.at(123.0) == 20 + 60 + 9  # nothing heard since
    left.phase("fit", 143.0)
    assert left.at(145.0) == 60 + 7
    left.phase("convert", 146.0)  # once, and no part of the rest
    left.phase("embed", 156.0)
    left.phase("report", 200.0)
    assert left.at(203.0) == 10 - 4 - 3 and left.at(300.0) is None
    left.phase("", 208.0)
    assert left.other_seconds == 1 + 3 + 8


def test_epochs_tell_themselves_how_long_they_take() -> None:
    left = TimeLeft(None, 0.0)
    assert left.at(1.0) is None
    left.phase("embed", 1.0)
    left.progress(1, 10, 2.0)
    left.progress(5, 10, 4.0)
    assert left.at(4.0) is None  # of the photos, and not of the training
    left.phase("train", 5.0)
    left.progress(0, 100, 8.0)
    left.progress(1, 100, 8.5)
    assert left.at(8.5) is None  # too early
    left.progress(10, 100, 10.0)
    assert left.at(10.0) == 18.0
    left.epoch(12.0, 12.0)
    assert left.at(14.0) == 10.0 and left.at(30.0) is None


def test_a_training_that_nobody_has_seen_before_has_no_rest() -> None:
    left = TimeLeft(Forecast((20.0,)), 0.0)
    left.phase("embed", 1.0)
    assert left.at(6.0) == 15.0
    left.phase("fit", 20.0)
    assert left.at(20.0) is None
