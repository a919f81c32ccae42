import json
import math
import time

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from handful.evaluation.evaluation import ConfusedPair, Evaluation, score

NAMES = ("bird", "cat", "dog")
# Two right, then a sure mistake, an unsure one, and a right one that is hardly sure.
PROBABILITIES = np.array(
    [
        [0.9, 0.05, 0.05],
        [0.1, 0.8, 0.1],
        [0.02, 0.95, 0.03],
        [0.4, 0.5, 0.1],
        [0.3, 0.3, 0.4],
    ]
)
LABELS = np.array([0, 1, 2, 0, 2])
PATHS = tuple(f"{name}.jpg" for name in "abcde")


@pytest.fixture
def evaluation() -> Evaluation:
    return score(PROBABILITIES, LABELS, NAMES, PATHS)


def test_figures_by_hand(evaluation: Evaluation) -> None:
    assert len(evaluation) == 5 and evaluation.num_correct == 3
    assert evaluation.accuracy == 0.6
    assert evaluation.accuracy_interval == pytest.approx((0.230724, 0.882379), abs=1e-6)
    assert evaluation.balanced_accuracy == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert evaluation.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 1]]
    assert evaluation.log_loss == pytest.approx(-np.log([0.9, 0.8, 0.03, 0.4, 0.4]).mean())
    gaps = [abs(1 - 0.9), abs(1 - 0.8), abs(0 - 0.95), abs(0 - 0.5), abs(1 - 0.4)]
    assert evaluation.expected_calibration_error == pytest.approx(sum(gaps) / 5)
    assert evaluation.predicted.tolist() == [0, 1, 1, 1, 2]
    assert evaluation.confidence.tolist() == [0.9, 0.8, 0.95, 0.5, 0.4]
    assert evaluation.majority_accuracy == 0.4
    assert evaluation.uniform_log_loss == pytest.approx(math.log(3))
    expected = sklearn_metrics.roc_auc_score(LABELS, PROBABILITIES, multi_class="ovr")
    assert evaluation.roc_auc == pytest.approx(expected)


def test_class_scores(evaluation: Evaluation) -> None:
    cat = evaluation.per_class[1]
    assert (cat.name, cat.support) == ("cat", 1)
    assert (cat.precision, cat.recall) == (pytest.approx(1 / 3), 1.0)
    assert cat.f1 == pytest.approx(0.5)
    # Of the four photos that are no cat, one is given a higher probability than the cat.
    assert cat.roc_auc == pytest.approx(3 / 4)
    assert cat.recall_interval == pytest.approx((0.206549, 1.0), abs=1e-6)


def test_an_absent_class_is_undefined_and_not_zero() -> None:
    evaluation = score(PROBABILITIES[:2], LABELS[:2], NAMES, PATHS[:2])
    dog = evaluation.per_class[2]
    assert (dog.support, dog.precision, dog.recall, dog.f1, dog.roc_auc) == (0, *[None] * 4)
    assert dog.recall_interval is None
    assert evaluation.roc_auc is None
    assert evaluation.balanced_accuracy == 1.0


def test_mistakes_come_most_confident_first(evaluation: Evaluation) -> None:
    assert evaluation.mistakes().tolist() == [2, 3]
    assert evaluation.mistakes(1).tolist() == [2]
    assert evaluation.mistakes(0).tolist() == []


def test_least_certain_come_least_certain_first(evaluation: Evaluation) -> None:
    assert evaluation.least_certain().tolist() == [4, 3, 1, 0, 2]
    assert evaluation.least_certain(2).tolist() == [4, 3]


def test_equal_confidence_keeps_the_photos_order() -> None:
    same = np.tile([0.7, 0.3], (6, 1))
    evaluation = score(same, np.ones(6, np.int64), ["a", "b"], list("abcdef"))
    assert evaluation.mistakes().tolist() == list(range(6))
    assert evaluation.least_certain(4).tolist() == [0, 1, 2, 3]


def test_no_mistakes() -> None:
    evaluation = score(np.eye(3), np.arange(3), NAMES, PATHS[:3])
    assert evaluation.mistakes().tolist() == [] and evaluation.confused_pairs() == []
    assert evaluation.accuracy == 1.0 and evaluation.log_loss == pytest.approx(0)
    assert evaluation.expected_calibration_error == 0.0


def test_confused_pairs() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([1, 1, 0, 0, 1, 0])
    evaluation = score(np.eye(3)[predicted], labels, NAMES, [str(i) for i in range(6)])
    pairs = evaluation.confused_pairs()
    assert pairs[0] == ConfusedPair("bird", "cat", 2, 2 / 3)
    assert pairs[1:] == [ConfusedPair("cat", "bird", 1, 0.5), ConfusedPair("dog", "bird", 1, 1.0)]
    assert evaluation.confused_pairs(1) == pairs[:1]


def test_one_photo() -> None:
    evaluation = score(np.array([[0.3, 0.7]]), np.array([1]), ["a", "b"], ["x.jpg"])
    assert evaluation.accuracy == 1.0 and evaluation.roc_auc is None
    assert evaluation.accuracy_interval[0] == pytest.approx(0.206549, abs=1e-6)
    json.dumps(evaluation.to_dict(), allow_nan=False)


def test_confidence_bands_share_out_all_photos(evaluation: Evaluation) -> None:
    bands = evaluation.confidence_bands
    assert bands.edges.tolist() == [0.0, 0.5, 0.7, 0.9, 0.99, 1.0]
    assert bands.counts.tolist() == [2, 0, 2, 1, 0]
    assert bands.num_correct.tolist() == [1, 0, 2, 0, 0]
    assert evaluation.reliability.counts.sum() == 5


def test_to_dict_is_plain_json(evaluation: Evaluation) -> None:
    facts = evaluation.to_dict()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert list(facts) == [
        "accuracy",
        "accuracy_interval",
        "num_images",
        "beats_guessing",
        "balanced_accuracy",
        "roc_auc",
        "log_loss",
        "expected_calibration_error",
        "calibration_error",
        "calibration_error_interval",
        "per_class",
        "confusion",
    ]
    assert facts["num_images"] == 5
    assert list(facts["per_class"][0]) == [
        "name",
        "support",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "recall_interval",
    ]


def test_the_callers_arrays_are_neither_kept_nor_changed() -> None:
    probabilities, labels = PROBABILITIES.copy(), LABELS.copy()
    evaluation = score(probabilities, labels, NAMES, PATHS)
    np.testing.assert_array_equal(probabilities, PROBABILITIES)
    probabilities[:] = 0
    labels[:] = 0
    np.testing.assert_array_equal(evaluation.probabilities, PROBABILITIES)
    np.testing.assert_array_equal(evaluation.labels, LABELS)


def test_float32_probabilities_are_taken() -> None:
    evaluation = score(PROBABILITIES.astype(np.float32), LABELS, NAMES, PATHS)
    assert evaluation.probabilities.dtype == np.float64
    assert evaluation.accuracy == 0.6


@pytest.mark.parametrize(
    ("probabilities", "labels", "paths", "message"),
    [
        (np.zeros((0, 3)), LABELS[:0], (), "There are 0 photos to score; expected 1 or more"),
        (PROBABILITIES[:, :2], LABELS, PATHS, r"shape \(5, 2\) and labels \(5,\); expected \(5, 3"),
        (PROBABILITIES, LABELS[:, None], PATHS, r"labels \(5, 1\); expected \(5, 3\) and \(5,\)"),
        (PROBABILITIES, LABELS, PATHS[:4], "paths has 4 entries; expected 5, one per photo"),
        (PROBABILITIES * np.nan, LABELS, PATHS, "holds NaN or infinity; expected numbers"),
        (PROBABILITIES * 2, LABELS, PATHS, "ranges from 0.04 to 1.9; expected 0 to 1"),
        (PROBABILITIES - 0.1, LABELS, PATHS, "ranges from -0.08 to 0.85; expected 0 to 1"),
        (PROBABILITIES * 0.5, LABELS, PATHS, "photo 0 sum to 0.5; expected 1"),
        (PROBABILITIES, LABELS + 1, PATHS, "labels holds classes 1 to 3; expected 0 to 2"),
    ],
)
def test_what_cannot_be_scored(
    probabilities: np.ndarray, labels: np.ndarray, paths: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        score(probabilities, labels, NAMES, paths)


def test_many_classes_take_no_long_time() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 400, 6000)
    logits = rng.normal(size=(6000, 400))
    logits[np.arange(6000), labels] += 4
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    begun = time.process_time()
    evaluation = score(probabilities, labels, [f"{i}" for i in range(400)], ["x"] * 6000)
    # About 0.15 s here; a pass over all pairs, or a sort for each photo, would take minutes.
    assert time.process_time() - begun < 30
    assert evaluation.roc_auc is not None and evaluation.roc_auc > 0.95


def answered(num_correct: int, num_photos: int, groups: np.ndarray | None = None) -> Evaluation:
    """Photos of two classes, as many of each, so many classified correctly."""
    labels = np.arange(num_photos) % 2
    named = np.where(np.arange(num_photos) < num_correct, labels, 1 - labels)
    paths = [f"{row}.jpg" for row in range(num_photos)]
    return score(np.eye(2)[named] * 0.8 + 0.1, labels, ["a", "b"], paths, groups=groups)


def test_intervals_know_near_duplicates() -> None:
    groups = np.arange(100) // 10 * 7
    alone, copies = answered(80, 100), answered(80, 100, groups)
    assert alone.accuracy == copies.accuracy == 0.8
    assert copies.accuracy_interval == pytest.approx(answered(8, 10).accuracy_interval, abs=0.03)
    assert alone.accuracy_interval[0] - copies.accuracy_interval[0] > 0.15
    before, after = (found.per_class[0].recall_interval or (0, 0) for found in (alone, copies))
    assert after[0] < before[0] - 0.1
    with pytest.raises(ValueError, match="groups has 3 entries; expected 100"):
        answered(80, 100, np.arange(3))


GUESSING = "No better than guessing: the network has not learned."


@pytest.mark.parametrize(
    ("num_correct", "num_photos", "note"),
    [
        (50, 100, GUESSING),
        (0, 100, GUESSING),
        (52, 100, GUESSING),
        (500, 1000, GUESSING),
        (1, 2, GUESSING),
        (70, 100, ""),
        (560, 1000, ""),
        (10, 10, ""),
        (2, 2, "Perhaps no better than guessing: 2 photos cannot tell."),
        (7, 10, "Perhaps no better than guessing: 10 photos cannot tell."),
    ],
)
def test_guessing_is_called_guessing(num_correct: int, num_photos: int, note: str) -> None:
    found = answered(num_correct, num_photos)
    assert found.chance_note == note and found.beats_guessing == (not note)
    assert found.to_dict()["beats_guessing"] == (not note)


def test_to_name_the_rare_class_is_better_than_guessing() -> None:
    # 95 and 5: always "a" is right 95 times, this one 92 times, but it names 4 of 5 "b".
    labels = np.arange(100) >= 95
    named = labels ^ np.isin(np.arange(100), [*range(7), 99])
    paths = [str(row) for row in range(100)]
    found = score(np.eye(2)[named.astype(int)], labels.astype(int), ["a", "b"], paths)
    assert found.accuracy < found.majority_accuracy and found.beats_guessing
    always = score(np.eye(2)[np.zeros(100, int)], labels.astype(int), ["a", "b"], paths)
    assert always.chance_note == GUESSING
