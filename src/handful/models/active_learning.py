"""Which photos to label next, and what those without a label probably are."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from handful.models.calibration import fit_calibrated_head
from handful.models.heads import DEFAULT_C, fit_head
from handful.models.likeness import directions, k_means, principal, squared_distances
from handful.statistics.intervals import wilson_interval

# Suggestions begin when each class has so many photos.
ENOUGH_A_CLASS = 5
# Doubtful photos that are looked at for each that is taken: fewer would be alike, of more the
# last are hardly in doubt. 3 to 5 do the same.
_DOUBTFUL_EACH = 3
# One in so many is unlike all that have a label: a class that nobody has thought of yet is in no
# doubt. More cost accuracy where photos are few.
_NEW_EACH = 12
_LABELED_COMPARED = 2_000
# Labeled photos that are right so much more rarely than all are the hard ones.
_HARD = 0.05


@dataclass(frozen=True)
class NextImage:
    """A photo that is worth a label.

    Args:
        row: Its row.
        reason: "typical": it stands for many, and there are hardly any labels yet; "doubt": the
            classifier is torn between two classes; "new": nothing like it has a label yet.
        classes: The two classes of "doubt", the likelier first; else none.
    """

    row: int
    reason: Literal["typical", "doubt", "new"]
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ExpectedAccuracy:
    """What to expect on photos like all of some, of which a part has labels.

    Args:
        accuracy: A fraction.
        interval: Its 95 % interval.
        of_labeled: Share of the labeled photos that heads fitted without them got right.
    """

    accuracy: float
    interval: tuple[float, float]
    of_labeled: float

    @property
    def is_low(self) -> bool:
        """Whether the labeled photos are the hard ones: then too little is said of all."""
        return self.accuracy - self.of_labeled > _HARD


def label_next(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_images: int = 12,
    *,
    seed: int = 0,
) -> list[NextImage]:
    """Choose photos whose labels would teach most: those in doubt, and of twelve one unlike all.

    Args:
        embeddings: (N, D) float32 of all photos.
        labels: (N,) int64, 0 or more; -1 for photos without a label.
        num_images: Photos wanted.
        seed: Seed of what is drawn at random.

    Returns:
        So many photos, fewer where there are no more, that differ from each other: what was
        labeled for one need not be labeled again for the next. With labels of fewer than two
        classes they are typical of groups of photos.

    Source:
        Doubt is the margin between the two likeliest classes, as in Scheffer, Decomain and Wrobel
        (2001); of the most doubtful, one from each of k groups: Zhdanov, Diverse mini-batch active
        learning (2019). Those unlike the rest are the farthest-first traversal of Sener and
        Savarese (2018).
    """
    unlabeled, labeled = np.flatnonzero(labels < 0), np.flatnonzero(labels >= 0)
    number = min(num_images, len(unlabeled))
    if not number:
        return []
    with threadpool_limits(1, user_api="blas"):
        vectors = directions(embeddings)
        if len(np.unique(labels[labeled])) < 2:
            short = principal(vectors, seed)[unlabeled]
            rows = _one_of_each(short, number, np.ones(len(unlabeled)), seed)
            return [NextImage(int(unlabeled[row]), "typical") for row in rows]
        num_new = number // _NEW_EACH
        found = _doubtful(embeddings, vectors, labels, unlabeled, labeled, number - num_new, seed)
        taken = {image.row for image in found}
        rest = np.array([row for row in unlabeled if row not in taken], np.int64)
        compared = np.random.default_rng(seed).permutation(labeled)[:_LABELED_COMPARED]
        compared = np.concatenate([compared, np.array(sorted(taken), np.int64)])
        return found + [
            NextImage(int(rest[place]), "new")
            for place in _farthest(vectors[rest], vectors[compared], num_new)
        ]


def suggest(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int, *, seed: int = 0
) -> NDArray[np.float64] | None:
    """Tell what photos without a label probably are.

    Args:
        embeddings: (N, D) float32 of all photos.
        labels: (N,) int64, 0 to C - 1; -1 for photos without a label.
        num_classes: Number of classes C.
        seed: Seed of the folds that probabilities are calibrated on.

    Returns:
        (N, C) float64 probabilities, calibrated on the labeled photos; None before each of two or
        more classes has five photos.
    """
    labeled = np.flatnonzero(labels >= 0)
    counts = np.bincount(labels[labeled], minlength=num_classes)
    if num_classes < 2 or counts.min() < ENOUGH_A_CLASS:
        return None
    groups = np.arange(len(labeled))
    head, _, _ = fit_calibrated_head(
        embeddings[labeled], labels[labeled], num_classes, groups=groups, seed=seed
    )
    return head.predict_proba(embeddings)


def expected_accuracy(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    groups: NDArray[np.int64],
    *,
    seed: int = 0,
) -> ExpectedAccuracy:
    """Accuracy to expect on photos like all of these, of which some have a label.

    Labeled photos are no fair sample: those in doubt were chosen, or groups that are easy
    accepted. So all photos count: a labeled one by whether heads fitted without it were right,
    another by its calibrated probability. What is uncertain is as for the labeled ones alone.

    Args:
        embeddings: (N, D) float32 of all photos.
        labels: (N,) int64, 0 to C - 1, each of them on two photos or more; -1 for photos without.
        num_classes: Number of classes C.
        groups: (N,) int64, photos with equal numbers are near-duplicates.
        seed: Seed of the folds.

    Returns:
        The accuracy and its interval.

    Raises:
        ValueError: When no labeled photo can be held out.
    """
    rows = np.flatnonzero(labels >= 0)
    head, _, held = fit_calibrated_head(
        embeddings[rows], labels[rows], num_classes, groups=groups[rows], seed=seed
    )
    if held is None:
        raise ValueError("no labeled photo can be held out; expected two of each class or more.")
    answered = ~np.isnan(held[:, 0])
    num_correct = int((held[answered].argmax(axis=1) == labels[rows][answered]).sum())
    chances = head.predict_proba(embeddings[labels < 0]).max(axis=1)
    num_held = int(answered.sum())
    accuracy = float((num_correct + chances.sum()) / (num_held + len(chances)))
    interval = wilson_interval(round(accuracy * num_held), num_held)
    return ExpectedAccuracy(accuracy, interval, num_correct / num_held)


def _doubtful(
    embeddings: NDArray[np.float32],
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    unlabeled: NDArray[np.int64],
    labeled: NDArray[np.int64],
    number: int,
    seed: int,
) -> list[NextImage]:
    """Photos between two classes, that differ from each other."""
    classes, dense = np.unique(labels[labeled], return_inverse=True)
    head = fit_head(embeddings[labeled], dense, len(classes), C=DEFAULT_C)
    probabilities = head.predict_proba(embeddings[unlabeled])
    best = np.argsort(probabilities, axis=1)[:, :-3:-1]
    first, second = np.take_along_axis(probabilities, best, axis=1).T
    doubt = 1 - (first - second)
    top = np.argsort(-doubt, kind="stable")[: _DOUBTFUL_EACH * number]
    places = top[_one_of_each(vectors[unlabeled[top]], number, doubt[top], seed)]
    return [
        NextImage(int(unlabeled[place]), "doubt", tuple(classes[best[place]].tolist()))
        for place in places
    ]


def _one_of_each(
    vectors: NDArray[np.float32], number: int, weights: NDArray[np.float64], seed: int
) -> NDArray[np.int64]:
    """The vector nearest to each of some centers; the heaviest others where centers share one."""
    _, centers = k_means(vectors, number, weights=weights.astype(np.float32), seed=seed)
    nearest = squared_distances(vectors, centers).argmin(axis=0)
    order = np.concatenate([nearest, np.argsort(-weights, kind="stable")])
    _, firsts = np.unique(order, return_index=True)
    return np.asarray(order[np.sort(firsts)][:number], np.int64)


def _farthest(vectors: NDArray[np.float32], known: NDArray[np.float32], number: int) -> list[int]:
    """The vector farthest from all that are known, then from that one too, and so on."""
    distances = squared_distances(vectors, known).min(axis=1)
    found: list[int] = []
    for _ in range(min(number, len(vectors))):
        found.append(int(distances.argmax()))
        new = squared_distances(vectors, vectors[found[-1:]])[:, 0]
        distances = np.minimum(distances, new)
        distances[found] = -1
    return found
