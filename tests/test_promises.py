import json
from itertools import pairwise

import numpy as np
import pytest

from handful.classifiers.calibration import Calibration, keep_answers
from handful.classifiers.evaluation import Evaluation, score
from handful.trust.promises import check_promises


def judged(confidences: list[float], right: list[bool]) -> tuple[Calibration, Evaluation]:
    """Photos of class 0, named right or wrong with a confidence."""
    rows = [[p, 1 - p] if good else [1 - p, p] for p, good in zip(confidences, right, strict=True)]
    probabilities, labels = np.array(rows), np.zeros(len(rows), np.int64)
    paths = [f"{number}.jpg" for number in range(len(rows))]
    return (
        keep_answers(probabilities, labels, "out-of-fold", 1.25),
        score(probabilities, labels, ["a", "b"], paths),
    )


def test_what_is_found_is_counted_on_the_scored_photos() -> None:
    calibration, _ = judged([0.99] * 20 + [0.7] * 10, [True] * 20 + [False] * 10)
    _, scored = judged([0.995, 0.991, 0.6, 0.8], [True, False, True, True])
    found = check_promises(calibration, scored)
    assert (found.temperature, found.source, found.num_photos) == (1.25, "out-of-fold", 30)
    first, *_, last = found.abstaining
    assert first.error_rate == 0.1 and first.threshold == pytest.approx(0.99)
    assert first.promised_coverage == pytest.approx(20 / 30) and first.promised_error == 0
    assert first.coverage == 0.5 and first.error == 0.5
    low, high = first.error_interval or (0, 0)
    assert 0 < low < 0.5 < high < 1
    assert last.error_rate == 0.005 and last.threshold is None and last.coverage is None


def test_none_answered_has_no_error() -> None:
    calibration, _ = judged([0.99] * 20 + [0.7] * 10, [True] * 20 + [False] * 10)
    _, scored = judged([0.6, 0.8], [True, True])
    first = check_promises(calibration, scored).abstaining[0]
    assert first.coverage == 0 and first.error is None and first.error_interval is None


def test_sets_are_counted_on_the_scored_photos() -> None:
    calibration, _ = judged([0.99] * 20 + [0.7] * 10, [True] * 20 + [False] * 10)
    _, scored = judged([0.95, 0.6], [True, False])
    rows = check_promises(calibration, scored).sets
    assert [row.coverage_asked for row in rows] == [0.8, 0.9, 0.95, 0.99]
    # The threshold is 0.3 at 80 %: what has 0.4 is in the set, what has 0.05 is not.
    assert (rows[0].coverage, rows[0].mean_size, rows[0].single_share) == (1.0, 1.5, 0.5)
    assert all(low.mean_size <= high.mean_size for low, high in pairwise(rows))


def test_the_figures_are_plain() -> None:
    calibration, scored = judged([0.99] * 20, [True] * 20)
    facts = json.loads(json.dumps(check_promises(calibration, scored).to_dict()))
    assert set(facts) == {"temperature", "source", "num_photos", "abstaining", "sets"}
