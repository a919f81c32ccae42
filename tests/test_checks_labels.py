import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import frozen_network
from handful.checks.labels import LabelReview, review_embeddings, review_labels
from handful.data.decoding import DecodeSettings
from handful.data.index import load_index
from handful.data.target import softmax
from handful.features.embed import EmbeddingSpec
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import find_backbone
from handful.features.table import embed_index
from handful.models.heads import fit_head, out_of_fold_logits


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


def drawn_probabilities(
    seed: int, num_photos: int, num_classes: int, sharpness: float = 3.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Answers of a good classifier, with every tenth label or so wrong; each class has a photo."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate(
        [np.arange(num_classes), rng.integers(0, num_classes, num_photos - num_classes)]
    )
    logits = rng.normal(size=(num_photos, num_classes))
    logits[np.arange(num_photos), labels] += sharpness
    wrong = rng.random(num_photos) < 0.1
    wrong[:num_classes] = False
    labels = np.where(wrong, rng.integers(0, num_classes, num_photos), labels)
    return softmax(logits), labels


class Reference:
    """Confident learning written down from the paper's formulas, photo by photo."""

    def __init__(self, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        num_photos, classes = len(labels), range(probabilities.shape[1])
        photos = range(num_photos)
        members = [[i for i in photos if labels[i] == j] for j in classes]
        # Equation 2: t_j, the mean self-confidence.
        self.thresholds = [
            sum(probabilities[i][j] for i in members[j]) / len(members[j]) for j in classes
        ]
        # Equation 1: X_(i, j), argmax over the classes whose threshold is reached.
        joint = [[0 for _ in classes] for _ in classes]
        for i in photos:
            reached = [j for j in classes if probabilities[i][j] >= self.thresholds[j] - 1e-9]
            if reached:
                j = max(reached, key=lambda j: probabilities[i][j])
                joint[labels[i]][j] += 1
        self.joint = joint
        # Equation 3: rows made to agree with the counts of labels, then everything to sum to 1.
        calibrated = [
            [joint[i][j] / sum(joint[i]) * len(members[i]) for j in classes] for i in classes
        ]
        total = sum(sum(row) for row in calibrated)
        self.distribution = [[cell / total for cell in row] for row in calibrated]
        self.noise_rate = sum(self.distribution[i][j] for i in classes for j in classes if i != j)
        # Pruned by noise rate: of each cell, n * Q_ij photos with the largest margin.
        self.suspected = set()
        for i in classes:
            for j in classes:
                ahead = [(probabilities[k][j] - probabilities[k][i], -k) for k in members[i]]
                number = round(num_photos * self.distribution[i][j])
                for margin, k in sorted(ahead, reverse=True)[:number]:
                    if i != j and margin > 0:
                        self.suspected.add(-k)
        # Normalized margin: how far the best other class is above the label.
        self.margins = [
            max(probabilities[i][j] for j in classes if j != labels[i])
            - probabilities[i][labels[i]]
            for i in photos
        ]


@pytest.mark.parametrize("num_classes", [2, 3, 5, 20])
@pytest.mark.parametrize("seed", range(3))
def test_the_review_is_the_papers(num_classes: int, seed: int) -> None:
    probabilities, labels = drawn_probabilities(seed, 40 * num_classes, num_classes)
    review = review_labels(probabilities, labels, names(num_classes))
    reference = Reference(probabilities, labels)
    np.testing.assert_allclose(review.thresholds, reference.thresholds)
    np.testing.assert_array_equal(review.confident_joint, reference.joint)
    assert set(review.suspected.tolist()) == reference.suspected and reference.suspected
    assert review.noise_rate == pytest.approx(reference.noise_rate)
    np.testing.assert_allclose(2 * review.scores - 1, reference.margins)
    assert np.all(np.diff(np.array(reference.margins)[review.ranking]) <= 0)


def test_a_small_review_by_hand() -> None:
    probabilities = np.array(
        [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.95, 0.05]]
    )
    review = review_labels(probabilities, np.array([0, 0, 0, 1, 1, 1]), ("cats", "dogs"))
    np.testing.assert_allclose(review.thresholds, [0.6, 1.55 / 3])
    np.testing.assert_array_equal(review.confident_joint, [[2, 1], [1, 2]])
    assert review.ranking.tolist() == [5, 2, 4, 1, 3, 0]
    assert review.suspected.tolist() == [5, 2]
    assert review.suggested.tolist() == [1, 1, 1, 0, 0, 0]
    assert review.noise_rate == pytest.approx(1 / 3)
    np.testing.assert_allclose(review.scores[[5, 2, 0]], [0.95, 0.9, 0.1])


def test_photos_that_are_sure_of_nothing_are_counted_like_the_others() -> None:
    # Photos 2 and 5 reach no threshold; of the two others with label 1, one is a 0.
    probabilities = np.array(
        [
            [0.9, 0.1, 0.0],
            [0.9, 0.1, 0.0],
            [0.4, 0.2, 0.4],
            [0.0, 1.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.5, 0.25, 0.25],
            [0.0, 0.0, 1.0],
        ]
    )
    review = review_labels(probabilities, np.array([0, 0, 0, 1, 1, 1, 2]), names(3))
    np.testing.assert_array_equal(review.confident_joint, [[2, 0, 0], [1, 1, 0], [0, 0, 1]])
    assert review.noise_rate == pytest.approx(0.5 * 3 / 7)
    # One and a half photos of label 1 are wrong: the sure one and, of the others, the likeliest.
    assert review.suspected.tolist() == [4, 5]


def test_a_photo_that_is_most_probably_its_label_is_not_suspected() -> None:
    # The last photo is more of a dog than most dogs are, and still rather a cat.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.55, 0.45]])
    labels = np.array([0, 0, 1, 1, 0])
    review = review_labels(probabilities, labels, ("cats", "dogs"))
    np.testing.assert_allclose(review.thresholds, [2.35 / 3, 0.4])
    np.testing.assert_array_equal(review.confident_joint, [[2, 1], [1, 1]])
    assert review.noise_rate == pytest.approx(0.4)
    assert review.suspected.tolist() == [2]


def test_a_tie_is_no_reason_for_suspicion() -> None:
    probabilities = np.full((6, 2), 0.5)
    review = review_labels(probabilities, np.array([0, 1, 1, 0, 1, 1]), ("cats", "dogs"))
    assert review.suspected.tolist() == [] and review.noise_rate == 0.0
    np.testing.assert_array_equal(review.confident_joint, [[2, 0], [0, 4]])
    assert review.ranking.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(review.scores, 0.5)


def test_answers_that_are_all_equally_sure_reach_their_own_mean() -> None:
    probabilities = np.tile([0.1, 0.9], (3, 1))
    # What goes wrong without a tolerance: the mean of three tenths is more than a tenth.
    assert np.bincount([0, 0, 0], weights=probabilities[:, 0])[0] / 3 > 0.1
    review = review_labels(probabilities, np.zeros(3, dtype=np.int64), ("cats", "dogs"))
    np.testing.assert_array_equal(review.confident_joint, [[3, 0], [0, 0]])


def test_certainties_of_nought_and_one_are_ranked() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    probabilities = np.eye(3)[[0, 0, 1, 1, 2, 0]]
    review = review_labels(probabilities, labels, names(3))
    assert review.ranking[0] == 5 and review.suspected.tolist() == [5]
    assert review.suggested[5] == 0
    assert set(review.scores.tolist()) == {0.0, 1.0}


def test_a_class_without_photos_is_never_suggested_with_confidence() -> None:
    probabilities = np.array([[0.2, 0.1, 0.7], [0.0, 0.0, 1.0], [0.1, 0.9, 0.0]])
    review = review_labels(probabilities, np.array([0, 1, 1]), names(3))
    assert review.thresholds[2] == 1.0
    assert review.confident_joint[:, 2].tolist() == [0, 0, 0]


def test_one_photo_of_each_class_is_no_evidence_against_itself() -> None:
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7]])
    review = review_labels(probabilities, np.array([0, 1]), ("cats", "dogs"))
    assert review.suspected.tolist() == [] and review.ranking.tolist() == [0, 1]


@settings(max_examples=60)
@given(
    st.integers(2, 20), st.integers(0, 40), st.sampled_from([0.0, 1.0, 5.0, 60.0]), st.integers(0)
)
def test_laws_of_a_review(num_classes: int, more: int, sharpness: float, seed: int) -> None:
    probabilities, labels = drawn_probabilities(
        seed % 2**32, num_classes + more, num_classes, sharpness
    )
    review = review_labels(probabilities, labels, names(num_classes))
    rows = np.arange(len(labels))
    assert sorted(review.ranking.tolist()) == rows.tolist()
    assert np.all(np.diff(review.scores[review.ranking]) <= 0)
    assert 0 <= review.scores.min() and review.scores.max() <= 1
    assert np.all(review.scores[review.suspected] > 0.5)
    cells = num_classes * (num_classes - 1)
    assert len(review.suspected) <= review.noise_rate * len(labels) + cells / 2 + 1e-6
    place = np.argsort(review.ranking)
    assert np.all(np.diff(place[review.suspected]) > 0)
    assert np.all(review.suggested != labels)
    # The surest photo of a label belongs somewhere: no class is left out of the estimate.
    assert np.all(review.confident_joint.sum(axis=1)[np.unique(labels)] > 0)
    assert 0 <= review.noise_rate <= 1


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 6))
def test_the_order_of_photos_and_classes_does_not_matter(seed: int, num_classes: int) -> None:
    probabilities, labels = drawn_probabilities(seed, 60, num_classes)
    review = review_labels(probabilities, labels, names(num_classes))
    rng = np.random.default_rng(seed)
    rows, classes = rng.permutation(60), rng.permutation(num_classes)
    renamed = np.argsort(classes)
    other = review_labels(
        probabilities[rows][:, classes], renamed[labels[rows]], names(num_classes)
    )
    assert rows[other.suspected].tolist() == review.suspected.tolist()
    assert other.noise_rate == pytest.approx(review.noise_rate)
    np.testing.assert_array_equal(classes[other.suggested], review.suggested[rows])
    np.testing.assert_array_equal(
        other.confident_joint, review.confident_joint[np.ix_(classes, classes)]
    )


def test_the_review_in_plain_values() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    review = review_labels(probabilities, np.array([0, 0, 0, 1, 1]), ("cats", "dogs"))
    paths = [f"{number}.jpg" for number in range(5)]
    metadata = json.loads(json.dumps(review.to_dict(paths)))
    first = {
        "path": "2.jpg",
        "label": "cats",
        "suggested": "dogs",
        "score": pytest.approx(0.9),
        "suspected": True,
    }
    assert metadata["photos"] == [first] and metadata["num_suspected"] == 1
    assert metadata["thresholds"] == {"cats": pytest.approx(0.6), "dogs": pytest.approx(0.75)}
    assert metadata["confident_joint"] == [[2, 1], [0, 1]]
    assert metadata["noise_rate"] == pytest.approx(0.2)
    listed = review.to_dict(paths, count=3)["photos"]
    assert [photo["path"] for photo in listed] == ["2.jpg", "4.jpg", "1.jpg"]
    assert [photo["suspected"] for photo in listed] == [True, False, False]
    with pytest.raises(ValueError, match="paths are 2; expected one a photo, 5"):
        review.to_dict(paths[:2])


@pytest.mark.parametrize(
    ("probabilities", "labels", "count", "message"),
    [
        (np.full((3, 2), 0.5), [0, 1], 2, r"probabilities are \(3, 2\); expected \(N, C\) for 2"),
        (np.full((2, 3), 1 / 3), [0, 1], 2, r"\(2, 3\); expected .* and 2 class_names"),
        (np.ones((2, 1)), [0, 0], 1, "1 class_names, 2 or more"),
        (np.full((2, 2), 0.5), [0, 2], 2, "labels are 0 to 2; expected 0 to 1"),
        (np.full((2, 2), 0.5), [-1, 1], 2, "labels are -1 to 1; expected 0 to 1"),
        (np.zeros((0, 2)), [], 2, "labels are empty; expected at least one photo"),
        (np.array([[2.0, -1.0], [0.0, 1.0]]), [0, 1], 2, "probabilities are -1 to 2 and rows"),
        (np.array([[0.2, 0.3], [0.0, 1.0]]), [0, 1], 2, "sum to 0.5 to 1; expected 0 to 1"),
        (np.full((2, 2), np.nan), [0, 1], 2, "probabilities are nan"),
    ],
)
def test_what_cannot_be_reviewed_is_refused(
    probabilities: NDArray[np.float64], labels: list[int], count: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        review_labels(probabilities, np.array(labels, dtype=np.int64), names(count))


def flipped_blobs(
    num_photos: int, num_classes: int, num_flipped: int, seed: int = 0, spread: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Embeddings around class centers, labels of which some are wrong, and the wrong rows."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_photos) % num_classes
    embeddings = rng.normal(size=(num_classes, 30))[labels]
    embeddings = embeddings + spread * rng.normal(size=(num_photos, 30))
    rows = rng.choice(num_photos, num_flipped, replace=False)
    labels[rows] = (labels[rows] + rng.integers(1, num_classes, num_flipped)) % num_classes
    return embeddings.astype(np.float32), labels, rows


@pytest.mark.parametrize("num_classes", [2, 7])
def test_flipped_labels_are_found(num_classes: int) -> None:
    embeddings, labels, wrong = flipped_blobs(400, num_classes, 20)
    review = review_embeddings(embeddings, labels, names(num_classes))
    assert review is not None
    assert np.isin(wrong, review.ranking[:30]).mean() >= 0.9
    assert np.isin(review.suspected, wrong).mean() > 0.9 and len(review.suspected) >= 10
    assert 0.02 < review.noise_rate < 0.08
    found = review.suspected[np.isin(review.suspected, wrong)]
    true_labels = np.arange(400) % num_classes
    assert (review.suggested[found] == true_labels[found]).mean() > 0.85


def test_a_review_of_embeddings_is_one_of_out_of_fold_probabilities() -> None:
    embeddings, labels, _ = flipped_blobs(120, 3, 6)
    review = review_embeddings(embeddings, labels, names(3), seed=4)
    assert review is not None
    C = fit_head(embeddings, labels, 3, seed=4).C
    assert C is not None
    logits = [out_of_fold_logits(embeddings, labels, 3, C, seed=s) for s in (4, 5)]
    mean = np.mean([softmax(part) for part in logits if part is not None], axis=0)
    np.testing.assert_allclose(review.probabilities, mean)
    np.testing.assert_array_equal(review.ranking, review_labels(mean, labels, names(3)).ranking)


def test_a_copy_does_not_vouch_for_a_wrong_label() -> None:
    embeddings, labels, wrong = flipped_blobs(200, 2, 10, seed=5)
    twice = np.concatenate([embeddings, embeddings[wrong], embeddings[wrong], embeddings[wrong]])
    labels_twice = np.concatenate([labels, labels[wrong], labels[wrong], labels[wrong]])
    groups = np.concatenate([np.arange(200), wrong, wrong, wrong])

    def caught(review: LabelReview | None) -> float:
        assert review is not None
        return float(review.scores[wrong].mean())

    together = caught(review_embeddings(twice, labels_twice, names(2), groups))
    alone = caught(review_embeddings(twice, labels_twice, names(2)))
    assert together > alone + 0.25


def test_the_same_seed_gives_the_same_review() -> None:
    embeddings, labels, _ = flipped_blobs(90, 3, 5, spread=2.0)
    first, again, other = (
        review_embeddings(embeddings, labels, names(3), seed=seed) for seed in (1, 1, 2)
    )
    assert first is not None and again is not None and other is not None
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert not np.array_equal(first.probabilities, other.probabilities)


def test_a_class_without_photos_takes_no_part() -> None:
    embeddings, labels, wrong = flipped_blobs(200, 2, 10)
    without = review_embeddings(embeddings, labels, names(2))
    review = review_embeddings(embeddings, labels * 2, names(3))
    assert without is not None and review is not None
    np.testing.assert_array_equal(review.ranking, without.ranking)
    np.testing.assert_array_equal(review.suspected, without.suspected)
    assert review.probabilities[:, 1].max() == 0.0
    assert set(review.suggested.tolist()) == {0, 2} and len(wrong)


def test_where_nothing_can_be_held_out_there_is_no_review() -> None:
    embeddings = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert review_embeddings(embeddings, labels, names(2)) is not None
    assert review_embeddings(embeddings, labels, names(2), np.array([0, 1, 2, 3, 3, 3])) is None
    assert review_embeddings(embeddings, np.array([0, 0, 0, 0, 0, 1]), names(2)) is None
    assert review_embeddings(embeddings, np.zeros(6, dtype=np.int64), names(2)) is None


def test_embeddings_that_do_not_fit_their_labels_are_refused() -> None:
    embeddings = np.zeros((4, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=r"embeddings are \(4, 3\), labels \(3,\) and groups"):
        review_embeddings(embeddings, np.array([0, 1, 1]), names(2))
    with pytest.raises(ValueError, match=r"groups \(2,\); expected \(N, D\), \(N,\) and \(N,\)"):
        review_embeddings(embeddings, np.array([0, 1, 1, 0]), names(2), np.array([0, 1]))
    with pytest.raises(ValueError, match="labels are 0 to 5; expected 0 to 1"):
        review_embeddings(embeddings, np.array([0, 5, 5, 0]), names(2))


@pytest.mark.real
def test_nine_in_ten_wrong_labels_of_real_photos_are_at_the_top(
    shared_folder: Path, tmp_path: Path
) -> None:
    index = load_index(shared_folder / "data" / "cats_and_dogs_filtered.zip")
    index = index.select([row for row, part in enumerate(index.splits) if part == "train"][::5])
    embedder = OpenVinoExtractor(frozen_network(find_backbone(), tmp_path, "int8"), "int8")
    embeddings = embed_index(index, EmbeddingSpec(embedder, DecodeSettings())).embeddings[:, 0]
    wrong = np.random.default_rng(0).choice(400, 20, replace=False)
    labels = index.labels.copy()
    labels[wrong] = 1 - labels[wrong]
    review = review_embeddings(embeddings, labels, index.class_names)
    assert review is not None and len(index) == 400
    assert np.isin(wrong, review.ranking[:30]).mean() >= 0.9
    assert 15 <= len(review.suspected) <= 25


def test_a_class_of_one_group_is_not_reviewed_and_stops_no_review() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 40 + [1] * 40 + [2] * 3)
    groups = np.concatenate([np.arange(80), [80] * 3])
    embeddings = (np.eye(8)[labels] * 3 + rng.normal(size=(83, 8)) * 0.3).astype(np.float32)
    given = labels.copy()
    given[5] = 1
    found = review_embeddings(embeddings, given, ["a", "b", "c"], groups)
    assert found is not None and found.ranking[0] == 5
    assert (found.probabilities[80:] == [0, 0, 1]).all()
