"""A head fitted to more vectors than memory should hold: read in blocks, pass after pass.

The objective is that of `heads.fit_head`, and so is its optimum. Vectors are read as they lie, in
memory or in a file; standardizing them is done to the weights instead. A fit to a random part of
them comes first, so that few passes over all are needed.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.cores import in_order
from handful.data.target import Target
from handful.files.tensors import RowsOf
from handful.models.lbfgs import minimize
from handful.models.products import products

# Megabytes of vectors that a fit may hold, as float32: 50,000 photos of 1,280 features.
_MEGABYTES = 256
_ROWS_A_BLOCK = 2048
_ROWS_A_READ = 256
_BLOCKS_A_TASK = 8
# The first fit is made to a quarter of the rows, or as many as memory should hold.
_SAMPLE_SHARE = 4
_HALF_FLOATS = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)

_MOST_ITERATIONS = 100
# Steps that lower a mean loss by less are far below what another draw of so many photos changes.
_TOLERANCE = 1e-6

Vectors = NDArray[Any] | RowsOf
FittedLayer = tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]
]


def vector_memory() -> int:
    """What vectors may take that a fit holds in memory; more are read in blocks.

    Returns:
        Bytes: 256 MB, or as many MB as the environment variable `HANDFUL_VECTOR_MEMORY` says.
    """
    try:
        given = float(os.environ.get("HANDFUL_VECTOR_MEMORY", ""))
    except ValueError:
        given = 0.0
    return round(1e6 * (given if 0 < given < math.inf else _MEGABYTES))


def fits_in_memory(vectors: Vectors, memory_bytes: int | None = None) -> bool:
    """Tell whether vectors may be held as float32.

    Args:
        vectors: (N, V, D) or (N, D).
        memory_bytes: What they may take; None takes `vector_memory`.

    Returns:
        Whether they take no more.
    """
    most = vector_memory() if memory_bytes is None else memory_bytes
    return 4 * int(np.prod(vectors.shape)) <= most


def taken(array: Vectors, rows: NDArray[np.int64], memory_bytes: int | None = None) -> Vectors:
    """Take some rows of an array: now where memory holds them, else when they are asked for.

    Args:
        array: (N, ...) vectors.
        rows: (n,) int64 rows.
        memory_bytes: What they may take as float32; None takes `vector_memory`.

    Returns:
        The rows.
    """
    part = array.take(rows) if isinstance(array, RowsOf) else RowsOf(array, rows)
    return part[:] if fits_in_memory(part, memory_bytes) else part


def read_floats(vectors: Vectors) -> NDArray[np.float32]:
    """Read vectors into memory, a few at a time.

    Args:
        vectors: (N, ...) of any type of float.

    Returns:
        Their values in an array that is nobody else's.
    """
    block = np.empty(vectors.shape, np.float32)
    _read(vectors, 0, block)
    return block


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and variances of features.

    Args:
        mean: (D,) float64.
        variance: (D,) float64.
        count: Vectors that they are of.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    count: int


def moments(vectors: Vectors) -> Moments:
    """Read all vectors once.

    Args:
        vectors: (N, V, D), each of the N x V counts.

    Returns:
        Their moments.
    """
    first = np.asarray(vectors[: min(_ROWS_A_BLOCK, len(vectors))], np.float32)
    shift = first.reshape(-1, vectors.shape[2]).mean(axis=0)
    del first

    def sums(rows: slice, block: NDArray[np.float32]) -> NDArray[np.float64]:
        block -= shift  # Squares of what is left do not cancel.
        return np.stack([block.sum(axis=0), np.einsum("nd,nd->d", block, block)]).astype(np.float64)

    count = len(vectors) * vectors.shape[1]
    total, squares = _sum_of(sums, vectors) / count
    return Moments(shift + total, np.maximum(squares - total**2, 0.0), count)


@dataclass(frozen=True, eq=False)
class StreamedObjective:
    """The regularized loss of one head, and its slope, summed over blocks.

    Args:
        vectors: (N, V, D).
        labels: (N, ...) as the target has them.
        weights: (N,) float64 of each image.
        num_classes: K.
        mean: (D,) float64 that is subtracted from vectors.
        scale: (D,) float64 that they are divided by.
        target: What a label is.
        C: Inverse regularization strength.
    """

    vectors: Vectors
    labels: NDArray[Any]
    weights: NDArray[np.float64]
    num_classes: int
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    target: Target
    C: float

    def __call__(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Loss and slope at a point.

        Args:
            parameters: ((D + 1) K,) float64: weights of standardized features, then biases.

        Returns:
            The loss, per unit of weight, and its slope ((D + 1) K,).
        """
        table = parameters.reshape(-1, self.num_classes)
        weights = table[:-1] / self.scale[:, np.newaxis]
        bias = (table[-1] - self.mean @ weights).astype(np.float32)
        as_read = weights.astype(np.float32)
        num_views, dim = self.vectors.shape[1:]

        def part(rows: slice, block: NDArray[np.float32]) -> NDArray[np.float64]:
            logits = (products(block, as_read) + bias)[:, np.newaxis]
            labels = np.repeat(self.labels[rows], num_views, axis=0)
            losses, slopes = self.target.loss(logits, labels)
            shares = np.repeat(self.weights[rows] / num_views, num_views)
            found = np.zeros((dim + 2, self.num_classes))
            slope = slopes[:, 0] * shares.astype(np.float32)[:, np.newaxis]
            found[:dim] = products(block.T, slope)
            found[dim] = slope.sum(axis=0, dtype=np.float64)
            found[dim + 1, 0] = losses[:, 0] @ shares
            return found

        sums, total = _sum_of(part, self.vectors), float(self.weights.sum())
        slope = np.empty_like(table)
        slope[-1] = sums[dim]
        centered = sums[:dim] - np.outer(self.mean, sums[dim])
        slope[:-1] = centered / self.scale[:, np.newaxis] + table[:-1] / self.C
        loss = sums[dim + 1, 0] + float((table[:-1] ** 2).sum()) / (2 * self.C)
        return loss / total, slope.ravel() / total

    def of_rows(self, rows: NDArray[np.int64]) -> "StreamedObjective":
        """The same on some rows, which are held in memory, as strongly regularized."""
        weights = self.weights[rows]
        return StreamedObjective(
            np.asarray(self.vectors[rows]),
            self.labels[rows],
            weights,
            self.num_classes,
            self.mean,
            self.scale,
            self.target,
            self.C * float(self.weights.sum()) / float(weights.sum()),
        )


def fit_streamed(
    vectors: Vectors,
    labels: NDArray[Any],
    weights: NDArray[np.float64],
    num_classes: int,
    target: Target,
    C: float,
    *,
    seed: int,
    memory_bytes: int,
) -> FittedLayer:
    """Fit a head to vectors that are read in blocks: to a part of them first, then to all.

    Args:
        vectors: (N, V, D) of any type of float.
        labels: (N, ...) as the target has them.
        weights: (N,) float64 of each image in the loss.
        num_classes: K.
        target: What a label is.
        C: Inverse regularization strength.
        seed: Another seed, another part.
        memory_bytes: What the vectors of the part may take, as float32.

    Returns:
        Mean (D,) and scale (D,) of features, weights (D, K) and biases (K,), float32.
    """
    found = moments(vectors)
    scale = shrunk_scale(found.variance, found.count).astype(np.float64)
    objective = StreamedObjective(
        vectors, labels, weights, num_classes, found.mean, scale, target, C
    )
    most = min(memory_bytes // (4 * int(np.prod(vectors.shape[1:]))), len(vectors) // _SAMPLE_SHARE)
    rows = np.sort(np.random.default_rng(seed).permutation(len(vectors))[: max(most, 1)])
    point = np.zeros((len(scale) + 1) * num_classes)
    # The part is not held while all are read.
    point = minimize(objective.of_rows(rows), point, _MOST_ITERATIONS, _TOLERANCE)
    point = minimize(objective, point, _MOST_ITERATIONS, _TOLERANCE)
    table = point.astype(np.float32).reshape(-1, num_classes)
    return found.mean.astype(np.float32), scale.astype(np.float32), table[:-1], table[-1]


def shrunk_scale(variances: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """Standard deviations of features, kept away from zero.

    A handful of photos estimates a single feature's spread badly, so each variance is shrunk
    towards the mean of all of them; with thousands of photos this changes little.

    Args:
        variances: (D,) float64.
        count: Vectors that they are of.

    Returns:
        (D,) float32, positive.
    """
    shrinkage = 300.0 / (300.0 + count)
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.mean()
    least = 1e-6 * max(float(variances.mean()), 1e-12)
    return np.asarray(np.sqrt(np.maximum(shrunk, least)), dtype=np.float32)


def _sum_of(
    part: Callable[[slice, NDArray[np.float32]], NDArray[np.float64]], vectors: Vectors
) -> NDArray[np.float64]:
    """Sum what blocks of vectors give, a line for each view, in threads and always in one order."""
    num_views, dim = vectors.shape[1:]
    size = _ROWS_A_BLOCK * _BLOCKS_A_TASK

    def task(start: int) -> NDArray[np.float64]:
        total = np.zeros(1)
        memory = np.empty((_ROWS_A_BLOCK, num_views, dim), np.float32)
        for first in range(start, min(start + size, len(vectors)), _ROWS_A_BLOCK):
            rows = slice(first, min(first + _ROWS_A_BLOCK, len(vectors)))
            block = memory[: rows.stop - first]
            _read(vectors, first, block)
            total = total + part(rows, block.reshape(-1, dim))
        return total

    sums = np.zeros(1)
    for found in in_order(task, range(0, len(vectors), size)):
        sums = sums + found
    return sums


def _read(vectors: Vectors, first: int, block: NDArray[np.float32]) -> None:
    """Fill a block with vectors from a row on.

    A table of all half floats takes a third of NumPy's time, and 8 bytes a number for a moment.
    """
    for start in range(0, len(block), _ROWS_A_READ):
        part = block[start : start + _ROWS_A_READ]
        given = vectors[first + start : first + start + len(part)]
        if given.dtype == np.float16:
            np.take(_HALF_FLOATS, given.view(np.uint16), out=part, mode="clip")
        else:
            part[:] = given
