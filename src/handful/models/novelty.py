"""Which photos are unlike those of training, whatever name a classifier would give them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from handful.files.tensors import RowsOf

NEIGHBORS = 5
# Photos like those of training that are flagged all the same: 1 in 100.
FALSE_ALARM_RATE = 0.01
# 4,000 photos of 1,280 features in half precision are 10 MB, and take 3 ms a photo.
_MOST_PHOTOS = 4_000
_ROWS_A_BLOCK = 512
# Standard deviations, of the logarithm of the distance, beyond which a photo of a set is odd: 4 of
# 3,000 cats and dogs (a logo, a drawing, a lobby, a cage), 22 of 2,624 solar cells.
OUTLIER_DEVIATIONS = 3.0
_FEWEST_TO_COMPARE = 20


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """Training photos, as a network sees them, that others are held against.

    Args:
        directions: (m, D) float16 embeddings of unit length.
        threshold: Distance above which a photo is unlike them.
        num_neighbors: Nearest training photos whose distance is averaged.
        false_alarm_rate: Share of photos like those of training that is flagged all the same, on
            average over many such references: 0.01, or more where few photos set the threshold.
        groups: (m,) near-duplicates among them; None where that was not kept.
    """

    directions: NDArray[np.float16]
    threshold: float
    num_neighbors: int
    false_alarm_rate: float = FALSE_ALARM_RATE
    groups: NDArray[np.int64] | None = None

    @cached_property
    def _columns(self) -> NDArray[np.float32]:
        """(D, m) float32 directions."""
        return self.directions.astype(np.float32).T

    def distances(
        self, embeddings: NDArray[np.float32] | RowsOf, groups: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Distance of photos from the training photos nearest to them.

        Args:
            embeddings: (N, D) float32.
            groups: (N,) of training photos: each is held against those of other groups.

        Returns:
            (N,) float64, mean of 1 - cosine over the nearest, 0 (among them) to 2.

        Source:
            Sun, Ming, Zhu, Li 2022, Out-of-Distribution Detection with Deep Nearest Neighbors.
        """
        found = np.empty(len(embeddings))
        for first in range(0, len(embeddings), _ROWS_A_BLOCK):
            rows = slice(first, first + _ROWS_A_BLOCK)
            found[rows] = _mean_distances(
                _unit(embeddings[rows]),
                self._columns,
                self.num_neighbors,
                None if groups is None else groups[rows],
                self.groups,
            )
        # BLAS sums in an order that depends on the number of rows: this takes most of it away.
        return found.astype(np.float32).astype(np.float64)

    def unlike(self, distances: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which distances are beyond what training photos have from one another.

        Args:
            distances: (N,) from `distances`.

        Returns:
            (N,) bool.
        """
        return np.asarray(distances > self.threshold)


def reference_of(
    embeddings: NDArray[np.float32] | RowsOf,
    groups: NDArray[np.int64],
    seed: int = 0,
    *,
    held_out: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
) -> NoveltyDetector | None:
    """Keep training photos as a reference, with a distance that 1 in 100 like them exceeds.

    Args:
        embeddings: (N, D) float32 of the training photos.
        groups: (N,) int64; photos with equal numbers are near-duplicates.
        seed: Of more than 4,000 photos a random 4,000 are kept.
        held_out: Embeddings (n, D) and groups (n,) of other photos like them, whose distances set
            the threshold. A network that was trained on its photos draws these together, and
            needs others; for one that was not, None takes the training photos' own distances,
            each without itself and its near-duplicates.

    Returns:
        The reference; None where fewer than three photos are no near-duplicates of each other.
    """
    if len(np.unique(groups)) < 3:
        return None
    if len(embeddings) > _MOST_PHOTOS:
        chosen = np.random.default_rng(seed).permutation(len(embeddings))[:_MOST_PHOTOS]
        chosen = np.sort(chosen)
        kept, groups = embeddings[chosen], groups[chosen]
    else:
        kept = embeddings[:]
    directions = _unit(kept).astype(np.float16)
    largest_group = int(np.bincount(np.unique(groups, return_inverse=True)[1]).max())
    num_neighbors = min(NEIGHBORS, len(groups) - largest_group)
    rounded = directions.astype(np.float32)
    if held_out is None:
        judged = groups
        found = _mean_distances(rounded, rounded.T, num_neighbors, groups, groups)
    else:
        judged = held_out[1]
        found = _mean_distances(_unit(held_out[0]), rounded.T, num_neighbors)
    threshold, rate = _exceeded_by(FALSE_ALARM_RATE, found, judged)
    return NoveltyDetector(directions, threshold, num_neighbors, rate, groups)


def _exceeded_by(
    rate: float, distances: NDArray[np.float64], groups: NDArray[np.int64]
) -> tuple[float, float]:
    """Distance that one more photo, of another group, exceeds with that chance; and the chance.

    As in conformal prediction: the next photo is as likely in any place among those there are. Few
    give the largest, which is exceeded more often. A photo counts as its share of a group.
    """
    _, dense, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(distances, kind="stable")
    below = np.cumsum(1 / sizes[dense[order]]) / (len(sizes) + 1)
    place = min(int(np.searchsorted(below, 1 - rate - 1e-9)), len(order) - 1)
    return float(distances[order[place]]), max(float(1 - below[place]), rate)


def find_outliers(
    embeddings: NDArray[np.float32], groups: NDArray[np.int64], seed: int = 0
) -> NDArray[np.int64]:
    """Find photos that are far from all others of their set, whatever their labels.

    The logarithm of a photo's distance from its nearest others is held against the median of all,
    in robust standard deviations (1.4826 times the median absolute deviation).

    Args:
        embeddings: (N, D) float32.
        groups: (N,) int64; photos with equal numbers are near-duplicates, and do not count.
        seed: Photos are compared with a random 4,000 where there are more.

    Returns:
        (k,) int64 rows, the farthest first; none of fewer than 20 photos.
    """
    if len(np.unique(groups)) < _FEWEST_TO_COMPARE:
        return np.zeros(0, np.int64)
    chosen = np.arange(len(embeddings))
    if len(chosen) > _MOST_PHOTOS:
        chosen = np.random.default_rng(seed).permutation(len(chosen))[:_MOST_PHOTOS]
    directions = _unit(embeddings)
    distances = _mean_distances(directions, directions[chosen].T, NEIGHBORS, groups, groups[chosen])
    logarithms = np.log(np.maximum(distances, 1e-6))
    middle = np.median(logarithms)
    std = 1.4826 * np.median(np.abs(logarithms - middle))
    far = np.flatnonzero(logarithms > middle + OUTLIER_DEVIATIONS * max(std, 1e-6))
    return far[np.argsort(-distances[far], kind="stable")]


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(lengths, 1e-9), dtype=np.float32)


def _mean_distances(
    queries: NDArray[np.float32],
    columns: NDArray[np.float32],
    num_neighbors: int,
    query_groups: NDArray[np.int64] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Mean of 1 - cosine over the nearest; with groups, never over a query's own."""
    result = np.empty(len(queries))
    for first in range(0, len(queries), _ROWS_A_BLOCK):
        rows = slice(first, first + _ROWS_A_BLOCK)
        cosines = queries[rows] @ columns
        if query_groups is not None:
            cosines[query_groups[rows, np.newaxis] == groups] = -1.0
        nearest = np.partition(cosines, -num_neighbors, axis=1)[:, -num_neighbors:]
        # Neighbors in order: a photo's distance is the same alone and among others.
        result[rows] = 1.0 - np.sort(nearest, axis=1).mean(axis=1, dtype=np.float64)
    return result
