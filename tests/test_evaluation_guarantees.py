import json
from itertools import pairwise

import numpy as np
import pytest

from handful.evaluation.evaluation import Evaluation, score
from handful.evaluation.guarantees import answering_steps, check_guarantees
from handful.models.calibration import Calibration, keep_answers


def judged(confidences: list[float], right: list[bool]) -> tuple[Calibration, Evaluation]:
    """Photos of class 0, classified correctly or wrong with a confidence."""
    rows = [[p, 1 - p] if good else [1 - p, p] for p, good in zip(confidences, right, strict=True)]
    probabilities, labels = np.array(rows), np.zeros(len(rows), np.int64)
    paths = [f"{number}.jpg" for number in range(len(rows))]
    return (
        keep_answers(probabilities, labels, "out-of-fold", 1.25),
        score(probabilities, labels, ["a", "b"], paths),
    )


def test_what_is_found_is_counted_on_the_scored_photos() -> None:
    calibration, _ = judged([0.99] * 60 + [0.7] * 30, [True] * 60 + [False] * 30)
    _, scored = judged([0.995, 0.991, 0.6, 0.8], [True, False, True, True])
    found = check_guarantees(calibration, scored)
    assert (found.temperature, found.source, found.num_photos) == (1.25, "out-of-fold", 90)
    first, *_, last = found.abstaining
    assert first.error_rate == first.shown_error_rate == 0.1 and found.confidence == 0.95
    assert first.threshold == pytest.approx(0.99)
    assert first.guaranteed_coverage == pytest.approx(60 / 90) and first.guaranteed_error == 0
    assert first.coverage == 0.5 and first.error == 0.5
    low, high = first.error_interval or (0, 0)
    assert 0 < low < 0.5 < high < 1
    # 59 trials without an error show 7 % at most: the smallest rate stands in the place of others.
    assert (last.error_rate, last.is_as_asked) == (0.005, False)
    assert 0.05 < last.shown_error_rate < 0.1 and last.coverage == 0.5
    assert [row.error_rate for row in found.shown] == [0.1, 0.05]


def test_what_is_checked_is_what_abstaining_does() -> None:
    # The sure mistake is unlike the training photos: predicting never calls it sure.
    calibration, _ = judged([0.99] * 60 + [0.7] * 30, [True] * 60 + [False] * 30)
    _, scored = judged([0.995, 0.991, 0.6, 0.8], [True, False, True, True])
    found = check_guarantees(calibration, scored, np.array([False, True, False, False]))
    assert found.abstaining[0].coverage == 0.25 and found.abstaining[0].error == 0


def test_the_interval_of_what_is_found_knows_near_duplicates() -> None:
    calibration, scored = judged([0.99] * 60, [True] * 60)
    paths, copies = list(scored.paths), np.arange(60) // 10
    grouped = score(scored.probabilities, scored.labels, ["a", "b"], paths, groups=copies)
    alone, together = (check_guarantees(calibration, one) for one in (scored, grouped))
    few, many = (one.abstaining[0].error_interval or (0, 0) for one in (together, alone))
    assert few[1] > 3 * many[1] > 0


def test_none_answered_has_no_error() -> None:
    calibration, _ = judged([0.99] * 60 + [0.7] * 30, [True] * 60 + [False] * 30)
    _, scored = judged([0.6, 0.8], [True, True])
    first = check_guarantees(calibration, scored).abstaining[0]
    assert first.coverage == 0 and first.error is None and first.error_interval is None
    nothing, _ = judged([0.9], [True])
    first = check_guarantees(nothing, scored).abstaining[0]
    assert first.threshold is None and first.coverage == 0 and first.shown_error_rate == 1


def test_sets_are_counted_on_the_scored_photos() -> None:
    calibration, _ = judged([0.99] * 20 + [0.7] * 10, [True] * 20 + [False] * 10)
    _, scored = judged([0.95, 0.6], [True, False])
    rows = check_guarantees(calibration, scored).sets
    assert [row.coverage_asked for row in rows] == [0.8, 0.9, 0.95, 0.99]
    # The threshold is 0.3 at 80 %: what has 0.4 is in the set, what has 0.05 is not.
    assert (rows[0].coverage, rows[0].mean_size, rows[0].single_share) == (1.0, 1.5, 0.5)
    assert all(low.mean_size <= high.mean_size for low, high in pairwise(rows))


def test_the_figures_are_plain() -> None:
    calibration, scored = judged([0.99] * 20, [True] * 20)
    facts = json.loads(json.dumps(check_guarantees(calibration, scored).to_dict()))
    assert set(facts) == {
        "temperature",
        "source",
        "num_photos",
        "confidence",
        "abstaining",
        "sets",
    } | {
        "calibration_error",
        "calibration_error_interval",
    }


def test_steps_are_the_rules_that_differ() -> None:
    calibration, _ = judged([0.99] * 60 + [0.7] * 30, [True] * 60 + [False, True] * 15)
    _, scored = judged([0.995, 0.991, 0.6, 0.8], [True, False, True, True])
    all_but_one, sure = answering_steps(calibration, scored)
    assert (all_but_one.threshold, sure.threshold) == pytest.approx((0.7, 0.99))
    assert (all_but_one.coverage, sure.coverage) == (0.75, 0.5)
    # Of one threshold the smallest rate that it can be shown for stands, and no smaller one.
    assert all_but_one.is_as_asked and not sure.is_as_asked and sure.shown_error_rate < 0.1
    last = check_guarantees(calibration, scored).abstaining[-1]
    assert (sure.shown_error_rate, sure.error) == (last.shown_error_rate, last.error)
    nothing, _ = judged([0.9], [True])
    assert answering_steps(nothing, scored) == ()
