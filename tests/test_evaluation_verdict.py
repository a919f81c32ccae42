import math

import numpy as np
import pytest

from handful.evaluation.evaluation import Evaluation, score
from handful.evaluation.verdict import verdict
from handful.statistics.intervals import accuracy_interval, photos_to_halve


def answered(
    num_correct: int, labels: np.ndarray, names: list[str], groups: np.ndarray | None = None
) -> Evaluation:
    """Photos of which the last ones are taken for the next class."""
    wrong = np.arange(len(labels)) >= num_correct
    probabilities = np.eye(len(names))[(labels + wrong) % len(names)]
    paths = [f"{row}.jpg" for row in range(len(labels))]
    return score(probabilities, labels, names, paths, groups=groups)


def halves(num_photos: int) -> np.ndarray:
    return np.arange(num_photos) % 2


@pytest.mark.parametrize(
    ("num_correct", "num_photos", "expected"),
    [
        (
            61,
            62,
            "Expect 91 to 100 of 100 new photos to be right. 62 test photos is few; about 120 more "
            "would halve the uncertainty.",
        ),
        (990, 1000, "Expect 981 to 995 of 1,000 new photos to be right."),
        (
            200,
            200,
            "Expect 98 to 100 of 100 new photos to be right. 200 test photos is few; about 210 "
            "more would halve the uncertainty.",
        ),
        (700, 1000, "Expect 67 to 73 of 100 new photos to be right."),
        (99_999, 100_000, "Expect 9,999 to 10,000 of 10,000 new photos to be right."),
        (500, 1000, "No better than guessing: the network has not learned."),
        (2, 2, "Perhaps no better than guessing: 2 photos cannot tell."),
    ],
)
def test_what_to_expect(num_correct: int, num_photos: int, expected: str) -> None:
    assert verdict(answered(num_correct, halves(num_photos), ["cat", "dog"])) == expected


def test_a_class_without_photos_is_named() -> None:
    found = answered(61, halves(62), ["cat", "dog", "fox"])
    assert verdict(found).startswith("Expect 91 to 100 of 100 new photos to be right. 62 test")
    assert verdict(found).endswith('No test photo shows "fox": nothing is known about it.')
    # Of cats alone, always to name cat would be right: that is not held against the classifier.
    cats = answered(350, np.zeros(400, np.int64), ["cat", "dog", "fox"])
    assert verdict(cats) == (
        'Expect 83 to 91 of 100 new photos of "cat" to be right. '
        'No test photo shows "dog", "fox": nothing is known about them.'
    )
    guessed = answered(100, halves(200), ["cat", "dog", "fox"])
    assert verdict(guessed) == (
        "No better than guessing: the network has not learned. "
        'No test photo shows "fox": nothing is known about it.'
    )


def test_near_duplicates_count_less() -> None:
    groups = np.arange(1000) // 20
    labels = groups % 2
    found = verdict(answered(800, labels, ["cat", "dog"], groups))
    assert found == (
        "Expect 66 to 89 of 100 new photos to be right. 1,000 test photos with near-duplicates "
        "count as about 50, which is few; about 160 more that all differ would halve the "
        "uncertainty."
    )


@pytest.mark.parametrize(
    ("num_correct", "more"), [(0, 66), (1, 120), (30, 198), (50, 191), (61, 120), (62, 66)]
)
@pytest.mark.parametrize("size", [1, 4])
def test_so_many_more_photos_halve_the_interval_and_no_fewer(
    num_correct: int, more: int, size: int
) -> None:
    """Four times as many photos by the root, and two times where all are right."""
    share, z = num_correct / 62, 1.959964

    def width(photos: int) -> float:
        root = math.sqrt(share * (1 - share) / photos + z * z / (4 * photos * photos))
        return 2 * z * root / (1 + z * z / photos)

    correct = np.arange(62) < num_correct
    low, high = accuracy_interval(correct)
    assert width(62) == pytest.approx(high - low, abs=1e-6)
    assert width(62 + more) <= (high - low) / 2 < width(62 + more - 1)
    copies = np.repeat(correct, size)
    found = photos_to_halve(copies, groups=np.arange(len(copies)) // size)
    assert found == pytest.approx(more, rel=0 if size == 1 else 0.1)


def test_one_photo_can_be_halved() -> None:
    assert photos_to_halve(np.array([True])) == 5
