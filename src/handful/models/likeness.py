"""Which photos look alike, by their embeddings: directions, k-means, groups to sort at once."""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

_DIMENSIONS = 48
_POWER_STEPS = 3
_ROUNDS = 12
# Photos in a group, on average: few enough to be of one kind, enough to be worth a click.
_FEWEST, _MOST = 8, 32


def directions(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embeddings as unit vectors around their mean: what differs between these photos.

    Args:
        embeddings: (N, D) float32.

    Returns:
        (N, D) float32; squared distances of rows are between 0 and 4.
    """
    centered = embeddings - embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
    lengths = np.linalg.norm(centered, axis=1, keepdims=True)
    return np.asarray(centered / np.maximum(lengths, 1e-12), np.float32)


def squared_distances(
    vectors: NDArray[np.float32], others: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Squared distances between two lists of vectors.

    Args:
        vectors: (N, D) float32.
        others: (M, D) float32.

    Returns:
        (N, M) float32, 0 or more.
    """
    norms = (vectors**2).sum(axis=1)[:, np.newaxis] + (others**2).sum(axis=1)
    return np.asarray(np.maximum(norms - 2 * vectors @ others.T, 0), np.float32)


def k_means(
    vectors: NDArray[np.float32],
    num_groups: int,
    *,
    weights: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Divide vectors into groups around centers.

    Args:
        vectors: (N, D) float32.
        num_groups: Groups wanted, 1 to N; there are fewer where vectors are equal.
        weights: (N,) float32 how much each counts for its center; None: all the same.
        seed: Seed of the first centers.

    Returns:
        (N,) int64 group of each vector, and (G, D) float32 centers; no group is empty.

    Source:
        Lloyd's algorithm, begun as in Arthur and Vassilvitskii, k-means++ (2007).
    """
    centers = vectors[_spread(vectors, num_groups, np.random.default_rng(seed))]
    weights = np.ones(len(vectors), np.float32) if weights is None else weights
    groups = np.full(len(vectors), -1)
    for _ in range(_ROUNDS):
        nearest = squared_distances(vectors, centers).argmin(axis=1)
        occurring, nearest = np.unique(nearest, return_inverse=True)
        if len(occurring) == len(centers) and np.array_equal(nearest, groups):
            break
        groups = nearest
        centers = _means(vectors, groups, weights, len(occurring))
    return groups, centers


def group_alike(embeddings: NDArray[np.float32], *, seed: int = 0) -> list[NDArray[np.int64]]:
    """Divide photos into groups that look alike, to be sorted by a click each.

    Args:
        embeddings: (N, D) float32.
        seed: Seed of the first centers.

    Returns:
        Rows of each group, the most typical first; the largest group first. 10,000 photos of
        1,280 features take about a second.
    """
    num = len(embeddings)
    if num < 2:
        return [np.arange(num)] if num else []
    size = min(max(np.sqrt(num) / 2, _FEWEST), _MOST)
    with threadpool_limits(1, user_api="blas"):
        vectors = principal(directions(embeddings), seed)
        groups, centers = k_means(vectors, max(2, round(num / size)), seed=seed)
        distances = ((vectors - centers[groups]) ** 2).sum(axis=1)
    order = np.lexsort((distances, groups))
    found = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return sorted(found, key=lambda rows: (-len(rows), rows[0]))


def principal(vectors: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Coordinates along the directions in which vectors differ most.

    Args:
        vectors: (N, D) float32 around their mean.
        seed: Seed of the first directions.

    Returns:
        (N, 48) float32; the vectors as they are where they are few or short.

    Source:
        Halko, Martinsson and Tropp, Finding structure with randomness (2011), algorithm 4.4.
    """
    if min(vectors.shape) <= _DIMENSIONS:
        return vectors
    basis = np.random.default_rng(seed).normal(size=(vectors.shape[1], _DIMENSIONS))
    basis = basis.astype(np.float32)
    for _ in range(_POWER_STEPS):
        basis, _ = np.linalg.qr(vectors.T @ (vectors @ basis))
    return np.asarray(vectors @ basis, np.float32)


def _spread(
    vectors: NDArray[np.float32], number: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows that lie far apart, at random: each is drawn by its squared distance to those before."""
    rows = [int(rng.integers(len(vectors)))]
    distances = np.full(len(vectors), np.inf, np.float64)
    for _ in range(number - 1):
        new = squared_distances(vectors, vectors[rows[-1:]])[:, 0]
        distances = np.minimum(distances, new)
        distances[rows[-1]] = 0
        total = distances.sum()
        if total <= 1e-9 * len(vectors):
            break  # all others are copies
        rows.append(int(rng.choice(len(vectors), p=distances / total)))
    return np.array(rows)


def _means(
    vectors: NDArray[np.float32],
    groups: NDArray[np.int64],
    weights: NDArray[np.float32],
    num_groups: int,
) -> NDArray[np.float32]:
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(num_groups))
    weighed = vectors[order] * weights[order, np.newaxis]
    sums = np.add.reduceat(weighed, starts, axis=0)
    totals = np.add.reduceat(weights[order], starts)
    return np.asarray(sums / np.maximum(totals, 1e-12)[:, np.newaxis], np.float32)
