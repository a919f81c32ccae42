"""Photos worth a label: in doubt, different from each other, and unlike all that is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from handful.models.active_learning import expected_accuracy, label_next, suggest


def line(num: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Photos along a line, two classes that meet in the middle, and directions of noise."""
    rng = np.random.default_rng(seed)
    places = np.linspace(-1, 1, num)
    vectors = np.concatenate([5 * places[:, np.newaxis], rng.normal(size=(num, 15))], axis=1)
    return vectors.astype(np.float32), (places > 0).astype(np.int64)


def some_labels(truth: NDArray[np.int64], every: int) -> NDArray[np.int64]:
    labels = np.full(len(truth), -1)
    labels[::every] = truth[::every]
    return labels


def test_doubtful_photos_come_first() -> None:
    vectors, truth = line(400)
    labels = some_labels(truth, 20)
    found = label_next(vectors, labels)
    rows = [image.row for image in found]
    assert len(set(rows)) == 12 and (labels[rows] < 0).all()
    assert [image.reason for image in found] == ["doubt"] * 11 + ["new"]
    assert all(set(image.classes) == {0, 1} for image in found[:11])
    # Near the middle of the line, where the classes meet.
    assert np.abs(np.array(rows[:11]) - 200).mean() < 60


def test_the_likelier_class_is_named_first() -> None:
    vectors, truth = line(400)
    for image in label_next(vectors, some_labels(truth, 20))[:11]:
        assert image.classes in ((0, 1), (1, 0))


def test_they_differ_from_each_other() -> None:
    vectors, truth = line(200)
    twice = np.concatenate([vectors, vectors])  # a copy of each
    labels = np.full(400, -1)
    labels[:200] = some_labels(truth, 20)
    rows = [image.row % 200 for image in label_next(twice, labels)]
    assert len(set(rows)) >= 11


def test_what_nothing_labeled_is_like_is_shown() -> None:
    vectors, truth = line(300)
    vectors[:, 1:] /= 10
    vectors[137] = 0
    vectors[137, 15] = 40  # a kind of its own
    found = label_next(vectors, some_labels(truth, 20))
    assert 137 in {image.row for image in found}


def test_without_labels_they_are_typical_of_each_kind() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(4), 30)
    vectors = (5 * np.eye(4, 20)[kinds] + rng.normal(size=(120, 20)) / 5).astype(np.float32)
    found = label_next(vectors, np.full(120, -1), 4)
    assert {image.reason for image in found} == {"typical"}
    assert sorted(kinds[[image.row for image in found]]) == [0, 1, 2, 3]
    # One class alone says nothing about doubt either.
    labels = np.full(120, -1)
    labels[:3] = 0
    assert {image.reason for image in label_next(vectors, labels, 4)} == {"typical"}


@pytest.mark.parametrize("num_unlabeled", [0, 1, 2, 5])
def test_no_more_than_there_are(num_unlabeled: int) -> None:
    vectors, truth = line(40)
    labels = truth.copy()
    labels[:num_unlabeled] = -1
    rows = [image.row for image in label_next(vectors, labels)]
    assert sorted(rows) == list(range(num_unlabeled))


def test_labels_may_have_gaps() -> None:
    vectors, truth = line(100)
    labels = some_labels(truth, 10) * 3  # classes 0 and 3
    labels[labels < 0] = -1
    assert set(label_next(vectors, labels)[0].classes) == {0, 3}


def test_suggestions_begin_at_five_of_each_class() -> None:
    vectors, truth = line(100)
    labels = np.full(100, -1)
    labels[:5], labels[-4:] = 0, 1
    assert suggest(vectors, labels, 2) is None
    labels[-5:] = 1
    found = suggest(vectors, labels, 2)
    assert found is not None and found.shape == (100, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == truth).mean() > 0.8
    assert suggest(vectors, labels, 3) is None
    assert suggest(vectors, np.zeros(100, np.int64), 1) is None


def test_the_expected_accuracy_counts_photos_without_a_label() -> None:
    vectors, truth = line(600)
    labels = np.full(600, -1)
    hard = np.flatnonzero(np.abs(np.arange(600) - 300) < 60)  # all that are near the border
    labels[hard] = truth[hard]
    groups = np.arange(600)
    found = expected_accuracy(vectors, labels, 2, groups)
    assert found.interval[0] <= found.accuracy <= found.interval[1]
    # Cross-validation of the hard ones alone says too little.
    assert found.of_labeled < 0.95 < found.accuracy and found.is_low
    everything = expected_accuracy(vectors, truth, 2, groups)
    assert found.accuracy == pytest.approx(everything.accuracy, abs=0.05)
    assert everything.of_labeled == everything.accuracy and not everything.is_low


def test_nothing_can_be_held_out_of_one_photo_a_class() -> None:
    vectors, _ = line(10)
    labels = np.full(10, -1)
    labels[0], labels[9] = 0, 1
    with pytest.raises(ValueError, match="no labeled photo can be held out"):
        expected_accuracy(vectors, labels, 2, np.arange(10))
