import numpy as np

from handful.evaluation.evaluation import Evaluation, score
from handful.evaluation.paired import compare_with_earlier

NAMES = ["cat", "dog"]


def evaluation(correct: list[bool], first: int = 0, names: list[str] = NAMES) -> Evaluation:
    """Photos of cats, classified correctly or wrong; "0.jpg" on."""
    rows = [[0.9, 0.1] if good else [0.1, 0.9] for good in correct]
    paths = [f"{first + number}.jpg" for number in range(len(rows))]
    return score(np.array(rows), np.zeros(len(rows), np.int64), names, paths)


def test_photos_that_both_were_tested_on_are_compared_in_pairs() -> None:
    now, then = evaluation([True] * 40 + [False]), evaluation([False] * 12 + [True] * 28, first=1)
    found = compare_with_earlier(now, then)
    assert found.num_photos == 40 and found.num_relabeled == 0
    assert (found.accuracy, found.earlier_accuracy) == (39 / 40, 28 / 40)
    assert found.is_significant and found.interval[0] > 0
    assert found.sentence.startswith(
        "97.5 % now, 70.0 % then, of the 40 photos tested in both: better by 27.5 points (95 %"
    )
    assert "worse by 27.5 points" in compare_with_earlier(then, now).sentence


def test_what_may_be_luck_is_no_real_difference() -> None:
    found = compare_with_earlier(evaluation([True] * 10), evaluation([True] * 9 + [False]))
    assert not found.is_significant and found.interval[0] < 0 < found.interval[1]
    assert ": no real difference (95 % interval -" in found.sentence


def test_both_are_judged_by_the_labels_of_now() -> None:
    then = evaluation([True] * 5 + [False])
    fixed = score(then.probabilities, np.array([0] * 5 + [1]), NAMES, list(then.paths))
    found = compare_with_earlier(fixed, then)
    assert found.num_relabeled == 1 and found.accuracy == found.earlier_accuracy == 1
    assert found.sentence.endswith(
        "1 of them has another label now, by which both are judged; by the labels of then it was "
        "83.3 %."
    )
    # A class that the earlier one did not know was never its answer.
    other = evaluation([True, True], names=["lynx", "dog"])
    assert compare_with_earlier(evaluation([True, True]), other).earlier_accuracy == 0


def test_without_a_common_photo_nothing_is_compared() -> None:
    found = compare_with_earlier(evaluation([True]), evaluation([True], first=7))
    assert found.num_photos == 0 and "cannot be compared" in found.sentence
    few = compare_with_earlier(evaluation([True] * 5), evaluation([False] * 5))
    assert few.sentence == "Only 5 photos tested in both: too few to show any difference."
    assert not few.is_significant
