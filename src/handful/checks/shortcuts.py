"""Can the classes be told without looking at what the photos show?

A set whose cats came from one camera and whose dogs from another teaches the camera. So classes
are guessed from the files' sizes, formats and borders alone, on photos that the guess was not
fitted to; what does much better than chance is a shortcut that a network may take as well.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.data.metadata import BORDER_MEASURES, MEASURES, FileMetadata
from handful.data.splits import can_be_held_out
from handful.models.heads import out_of_fold_logits
from handful.statistics.metrics import balanced_accuracy, confusion_matrix
from handful.wording import format_share

Columns = NDArray[np.float32]
Features = dict[str, Sequence[str] | NDArray[np.floating[Any]]]

# A weak head: columns are few and coarse, and small sets must not be learned by heart.
_STRENGTH = 0.1
_MOST_BINS = 10
_PHOTOS_A_BIN = 10
_MOST_VALUES = 12
# Depends on what photos show as well as on how they were made, and no network sees it itself.
FILE_SIZE = "file size"
# Below this many photos an interval says nothing.
LEAST_PHOTOS = 20


@dataclass(frozen=True)
class Shortcut:
    """How well one kind of side information tells the classes.

    Args:
        name: What was looked at: "photo dimensions".
        balanced_accuracy: Mean share of each class's photos classified correctly, out of fold.
        interval: Its 95 % interval, fractions.
        chance: What guessing would get: 1 / number of classes.
        most_telling: The feature that alone does best, such as "width".
        by_class: (C,) what that feature is like in each class: "cats: median 500".
    """

    name: str
    balanced_accuracy: float
    interval: tuple[float, float]
    chance: float
    most_telling: str
    by_class: tuple[str, ...]

    @property
    def lift(self) -> float:
        """Lower end of the interval as a share of the way from chance to 1; below 0: no better."""
        return (self.interval[0] - self.chance) / (1 - self.chance)

    def to_dict(self) -> dict[str, Any]:
        """The shortcut in plain values.

        Returns:
            All arguments by name, and "lift".
        """
        interval, by_class = list(self.interval), list(self.by_class)
        return {**asdict(self), "interval": interval, "by_class": by_class, "lift": self.lift}


def measure_shortcuts(
    metadata: Sequence[FileMetadata],
    extensions: Sequence[str],
    measures: NDArray[np.float32],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    groups: NDArray[np.int64],
    seed: int = 0,
) -> tuple[Shortcut, ...]:
    """Guess the classes from what the photos do not show.

    Args:
        metadata: (N,) what each file says of itself.
        extensions: (N,) lower-case endings of the names.
        measures: (N, 18) float32 from `metadata.measure`.
        labels: (N,) int64, 0 to C - 1, each class at least once.
        class_names: (C,) names of the classes.
        groups: (N,) int64, photos with equal numbers are held out together.
        seed: Seed of the folds.

    Returns:
        One for each kind of information that differs between photos, the best first; none where
        there are too few photos to tell.
    """
    if len(labels) < LEAST_PHOTOS:
        return ()
    width = np.array([image.width for image in metadata], np.float64)
    height = np.array([image.height for image in metadata], np.float64)
    num_bytes = np.array([image.num_bytes for image in metadata], np.float64)
    kinds: dict[str, Features] = {
        "photo dimensions": {
            "width": width,
            "height": height,
            "proportions": width / height,
            "pixels": width * height,
        },
        FILE_SIZE: {"bytes": num_bytes, "bytes a pixel": num_bytes / (width * height)},
        "file format, encoder and camera": {
            "format": [image.format for image in metadata],
            "color mode": [image.mode for image in metadata],
            "file ending": list(extensions),
            "JPEG encoder": [image.encoder for image in metadata],
            "camera": [image.camera for image in metadata],
        },
        "border color": {
            name.replace("_", " "): measures[:, MEASURES.index(name)] for name in BORDER_MEASURES
        },
    }

    found = [_measure(name, kinds[name], labels, class_names, groups, seed) for name in kinds]
    return tuple(
        sorted((s for s in found if s is not None), key=lambda s: s.balanced_accuracy, reverse=True)
    )


def _measure(
    name: str,
    features: Features,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    groups: NDArray[np.int64],
    seed: int,
) -> Shortcut | None:
    """One kind of information; None where it is the same for all photos, or cannot be judged."""
    coded = {key: _one_hot(values) for key, values in features.items()}
    coded = {key: columns for key, columns in coded.items() if columns.shape[1] > 1}
    if not coded:
        return None
    judged = _judge(np.concatenate(list(coded.values()), axis=1), labels, groups, seed)
    if judged is None:
        return None
    best = max(coded, key=lambda key: _told_apart(coded[key], labels))
    by_class = tuple(
        f"{class_name}: {_typical(features[best], labels == label)}"
        for label, class_name in enumerate(class_names)
    )
    return Shortcut(name, *judged, 1 / len(class_names), best, by_class)


def _typical(values: Sequence[str] | NDArray[np.floating[Any]], chosen: NDArray[np.bool_]) -> str:
    """What most of the chosen photos have, in words."""
    if isinstance(values, np.ndarray):
        middle = float(np.median(values[chosen]))
        return f"median {middle:,.0f}" if middle >= 100 else f"median {middle:.2g}"
    ((value, count),) = Counter(np.asarray(values)[chosen].tolist()).most_common(1)
    return f"{value or 'none'} in {format_share(count / chosen.sum(), 0)}"


def _one_hot(values: Sequence[str] | NDArray[np.floating[Any]]) -> Columns:
    """A column for each value, or each quantile bin where there are many numbers: (N, K)."""
    array = np.asarray(values)
    if array.dtype.kind == "f" and len(np.unique(array)) > _MOST_VALUES:
        places = _bins(array)
    else:
        # What is rare counts as one: a camera with a single photo tells nothing of others.
        common = [value for value, _ in Counter(array.tolist()).most_common(_MOST_VALUES)]
        numbers = {value: number for number, value in enumerate(common)}
        places = np.array([numbers.get(value, len(common)) for value in array.tolist()])
    return np.asarray(places[:, np.newaxis] == np.unique(places), dtype=np.float32)


def _bins(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Quantile bins; a number that would fill one by itself, such as a camera's width, does."""
    num_bins = min(_MOST_BINS, max(2, len(values) // _PHOTOS_A_BIN))
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    frequent = counts >= len(values) / num_bins
    places = np.asarray(np.searchsorted(np.flatnonzero(frequent), inverse), dtype=np.int64)
    rest = ~frequent[inverse]
    if rest.any():
        edges = np.unique(np.quantile(values[rest], np.arange(1, num_bins) / num_bins))
        places[rest] = len(distinct) + np.searchsorted(edges, values[rest], side="right")
    return places


def _told_apart(columns: Columns, labels: NDArray[np.int64]) -> float:
    """Balanced accuracy of naming each column's most frequent class, on the photos themselves."""
    classes = np.asarray(labels[:, np.newaxis] == np.arange(labels.max() + 1), dtype=np.float32)
    shares = columns.T @ (classes / classes.sum(axis=0))  # (K, C)
    # Rounded, so that of equals the first is named.
    return round(float(shares.max(axis=1).sum() / classes.shape[1]), 5)


def _judge(
    columns: Columns, labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> tuple[float, tuple[float, float]] | None:
    """Out-of-fold balanced accuracy and its 95 % interval."""
    # Nothing is said of a class of one group, of which none can be held out.
    usable = can_be_held_out(labels, groups)
    columns, groups = columns[usable], groups[usable]
    _, labels = np.unique(labels[usable], return_inverse=True)
    num_classes = int(labels.max(initial=0)) + 1
    if num_classes < 2:
        return None
    logits = out_of_fold_logits(
        columns,
        labels,
        num_classes,
        _STRENGTH,
        groups=groups,
        class_weight="balanced",
        seed=seed,
    )
    assert logits is not None, "every class has two groups"
    confusion = confusion_matrix(labels, logits.argmax(axis=1), num_classes)
    # Near-duplicates answer alike: a class counts as many photos as it has groups.
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    trials = np.bincount(pairs[0], minlength=num_classes)
    recall = np.diagonal(confusion) / confusion.sum(axis=1)
    # Agresti and Coull's two more of each keep the spread of 20 of 20 from being none.
    shrunk = (recall * trials + 2) / (trials + 4)
    spread = math.sqrt(float((shrunk * (1 - shrunk) / (trials + 4)).sum())) / num_classes
    found = balanced_accuracy(confusion)
    reach = NormalDist().inv_cdf(0.975) * spread
    return found, (max(found - reach, 0.0), min(found + reach, 1.0))
