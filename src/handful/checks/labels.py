"""Which photos probably bear the wrong label: confident learning on out-of-fold probabilities.

A label is judged by heads that never saw the photo, so none of them has learned the mistake by
heart. What looks wrong is listed for people to look at; nothing is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.data.splits import can_be_held_out
from handful.data.target import softmax
from handful.models.heads import DEFAULT_C, fit_head, out_of_fold_logits

# Means are rounded: without this, photos that are all equally sure would miss their own mean.
_TOLERANCE = 1e-9
# One division into folds can be an unlucky one; more than two gain nothing that was measured.
_REPETITIONS = 2


@dataclass(frozen=True, eq=False)
class LabelReview:
    """N labeled photos in the order in which they deserve a second look.

    Args:
        class_names: (C,) names of the classes.
        labels: (N,) int64 labels as given.
        probabilities: (N, C) float64 out-of-fold probabilities that the photos were judged by.
        ranking: (N,) int64 rows, the most suspicious first.
        scores: (N,) float64 suspicion of each photo, by row: 0 sure of its label, 0.5 torn between
            it and another class, 1 sure of another class.
        suspected: (S,) int64 rows that confident learning counts as wrong, in ranking order.
        suggested: (N,) int64 the most probable class other than the label, by row.
        thresholds: (C,) float64 mean probability of a class among the photos that bear its
            label; 1 for a class without photos.
        confident_joint: (C, C) int64 photos by label (row) and by the class that they confidently
            belong to (column); those that belong to none are not in it.
        noise_rate: Estimated share of wrong labels, a fraction. Hard photos count as well, so it
            is too high where the classes are hard to tell apart.
        rows: (N,) int64 which photos of a larger set these are; None for all.
    """

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    ranking: NDArray[np.int64]
    scores: NDArray[np.float64]
    suspected: NDArray[np.int64]
    suggested: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    confident_joint: NDArray[np.int64]
    noise_rate: float
    rows: NDArray[np.int64] | None = None

    def to_dict(self, paths: Sequence[str], count: int | None = None) -> dict[str, Any]:
        """The review in plain values, ready for JSON.

        Args:
            paths: (N,) path of each photo.
            count: Photos to list from the top of the ranking; None: those that are suspected.

        Returns:
            "noise_rate", "num_suspected", "thresholds" by class name, "confident_joint" as lists
            of rows, and "photos": path, label, suggested, score and suspected of each, the most
            suspicious first.

        Raises:
            ValueError: When there is not one path for each photo.
        """
        if len(paths) != len(self.labels):
            raise ValueError(f"paths are {len(paths)}; expected one a photo, {len(self.labels)}.")
        rows = self.suspected if count is None else self.ranking[:count]
        suspected = set(self.suspected.tolist())
        return {
            "noise_rate": self.noise_rate,
            "num_suspected": len(suspected),
            "thresholds": dict(zip(self.class_names, self.thresholds.tolist(), strict=True)),
            "confident_joint": self.confident_joint.tolist(),
            "photos": [
                {
                    "path": paths[row],
                    "label": self.class_names[self.labels[row]],
                    "suggested": self.class_names[self.suggested[row]],
                    "score": float(self.scores[row]),
                    "suspected": row in suspected,
                }
                for row in rows.tolist()
            ],
        }


def review_labels(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], class_names: Sequence[str]
) -> LabelReview:
    """Find labels that are probably wrong.

    A photo confidently belongs to a class when its probability reaches the class's threshold:
    what photos with that label get on average. Where it reaches several, the most probable counts,
    and of equals its own label. The share of a label's photos that so belong to another class says
    how many of the label are wrong, and as many are suspected: those for which the other class is
    the most ahead. All photos are ranked by how much more probable another class is than the label.

    Args:
        probabilities: (N, C) float64, rows sum to 1, each from a classifier that was fitted
            without the photo and its near-duplicates.
        labels: (N,) int64 labels as given, 0 to C - 1.
        class_names: (C,) names of the classes, 2 or more.

    Returns:
        The review.

    Raises:
        ValueError: When shapes disagree, a label is none of the classes, or rows are no
            probabilities.

    Source:
        Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset
        labels", JAIR 70 (2021): confident joint and thresholds (equations 1 and 2), joint
        distribution (equation 3), suspects pruned by noise rate and ranked by normalized margin
        (section 3.2). Ties go to the label given, which the paper leaves open, and as in its
        authors' cleanlab a photo whose own label is the most probable is never suspected.
    """
    _check(probabilities, labels, len(class_names))
    num_photos, num_classes = probabilities.shape
    rows = np.arange(num_photos)
    counts = np.bincount(labels, minlength=num_classes)
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    scores = (1.0 - (own - others.max(axis=1))) / 2.0
    ranking = np.argsort(-scores, kind="stable")

    sums = np.bincount(labels, weights=own, minlength=num_classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), 1.0)
    belongs = _confident_classes(probabilities, labels, thresholds, counts > 0)
    confident = belongs >= 0
    joint = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(joint, (labels[confident], belongs[confident]), 1)
    expected = joint * (counts / np.maximum(joint.sum(axis=1), 1))[:, np.newaxis]
    wrong = _pruned(probabilities, labels, np.rint(expected).astype(np.int64))
    return LabelReview(
        tuple(class_names),
        labels,
        probabilities,
        ranking,
        scores,
        ranking[wrong[ranking]],
        others.argmax(axis=1),
        thresholds,
        joint,
        float(1.0 - np.trace(expected) / num_photos),
    )


def at_their_word(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Take photos that no other vouches for at their label's word.

    Args:
        probabilities: (N, C) float64, NaN for photos that could not be held out.
        labels: (N,) int64 labels as given.

    Returns:
        (N, C) float64, with 1 for the label of these photos: they are never suspected.
    """
    given = labels[:, np.newaxis] == np.arange(probabilities.shape[1])
    return np.where(np.isnan(probabilities), given, probabilities)


def review_embeddings(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> LabelReview | None:
    """Find labels that are probably wrong, from embeddings alone.

    This is all that a check of photos needs to call: it chooses a head's strength, makes
    out-of-fold probabilities and reviews them: one to two seconds for 3,000 photos.

    Args:
        embeddings: (N, D) float32.
        labels: (N,) int64 labels as given, 0 to C - 1; a class may be without photos.
        class_names: (C,) names of the classes.
        groups: (N,) int64, near-duplicates have equal numbers and are judged by heads that saw
            none of them; None: each photo on its own.
        seed: Seed of the folds.

    Returns:
        The review, or None where fewer than two classes have two groups of photos, so that
        nothing can be held out. A class of a single group is not reviewed.

    Raises:
        ValueError: When shapes disagree or a label is none of the classes.
    """
    if groups is None:
        groups = np.arange(len(labels))
    if not len(embeddings) == len(labels) == len(groups):
        raise ValueError(
            f"embeddings are {embeddings.shape}, labels {labels.shape} and groups {groups.shape}; "
            "expected (N, D), (N,) and (N,)."
        )
    _check_labels(labels, len(class_names))
    present, dense = np.unique(labels, return_inverse=True)
    if len(np.unique(dense[can_be_held_out(dense, groups)])) < 2:
        return None
    probabilities = np.zeros((len(labels), len(class_names)))
    found = _out_of_fold(embeddings, dense, len(present), groups, seed)
    probabilities[:, present] = at_their_word(found, dense)
    return review_labels(probabilities, labels, class_names)


def _out_of_fold(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    groups: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float64]:
    """(N, C) probabilities, means over several divisions into folds."""
    # Wrong labels raise the log loss of weak regularization: the strength allows for them.
    head = fit_head(embeddings, labels, num_classes, groups=groups, seed=seed)
    C = head.C or DEFAULT_C
    total = np.zeros((len(labels), num_classes))
    for number in range(_REPETITIONS):
        logits = out_of_fold_logits(
            embeddings, labels, num_classes, C, groups=groups, seed=seed + number
        )
        assert logits is not None, "two classes have two groups"
        total += softmax(logits)
    return total / _REPETITIONS


def _confident_classes(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    present: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """(N,) class that each photo confidently belongs to, -1 for none."""
    reached = (probabilities >= thresholds - _TOLERANCE) & present
    candidates = np.where(reached, probabilities, -1.0)
    best = candidates.argmax(axis=1)
    highest = candidates.max(axis=1)
    own = candidates[np.arange(len(labels)), labels]
    # A photo that might as well be what it is called gives no reason for suspicion.
    best = np.where(own >= highest - _TOLERANCE, labels, best)
    return np.where(highest >= 0, best, -1)


def _pruned(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], numbers: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(N,) whether a photo is among the `numbers` (C, C) of its label that belong elsewhere."""
    wrong = np.zeros(len(labels), dtype=bool)
    # A label is never ahead of itself, so the diagonal takes no part.
    for label, other in np.argwhere(numbers).tolist():
        rows = np.flatnonzero(labels == label)
        ahead = probabilities[rows, other] - probabilities[rows, label]
        first = np.argsort(-ahead, kind="stable")[: numbers[label, other]]
        wrong[rows[first[ahead[first] > _TOLERANCE]]] = True
    return wrong


def _check(probabilities: NDArray[np.float64], labels: NDArray[np.int64], num_classes: int) -> None:
    """Refuse what cannot be reviewed."""
    if probabilities.shape != (len(labels), num_classes) or num_classes < 2:
        raise ValueError(
            f"probabilities are {probabilities.shape}; expected (N, C) for {len(labels)} labels "
            f"and {num_classes} class_names, 2 or more."
        )
    _check_labels(labels, num_classes)
    sums = probabilities.sum(axis=1)
    if not (np.abs(sums - 1.0) < 1e-3).all() or probabilities.min() < 0:
        raise ValueError(
            f"probabilities are {probabilities.min():.3g} to {probabilities.max():.3g} and rows "
            f"sum to {sums.min():.3g} to {sums.max():.3g}; expected 0 to 1, and sums of 1."
        )


def _check_labels(labels: NDArray[np.int64], num_classes: int) -> None:
    if not len(labels):
        raise ValueError("labels are empty; expected at least one photo.")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels are {labels.min()} to {labels.max()}; expected 0 to {num_classes - 1}, for "
            f"{num_classes} class_names."
        )
