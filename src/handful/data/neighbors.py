"""Which of very many unit vectors are close to one another, without comparing all with all.

Exact, and far below all pairs in work, where vectors vary mostly along a few directions, as those
of thumbnails do. Seen along some directions alone, two vectors are never farther apart than they
are: so boxes rule most pairs out, a narrow matrix product most of the others, a wider one all but a
few, and those are compared in full.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from handful.cores import in_order
from handful.files.tensors import empty_array

_NARROW, _WIDE = 15, 63  # directions; the length of what lies across them is one number more
_SAMPLE = 20_000
_BLOCK = 4096
_LEAF = 256
_ROWS_A_TASK = 8192
_PIECE = 2048  # A product of a leaf and so many others stays in a core's cache.
# A row with more candidates takes the first of them, which lie nearest in the tree.
_MOST_CANDIDATES = 1024
_ROUNDING = 1e-5  # Float32 products of unit vectors are off by less.
# Larger arrays lie in a file that the system pages in and out.
_MEMORY_BYTES = 1 << 24

Rows = NDArray[np.int64]
Pairs = tuple[Rows, Rows, NDArray[np.float32]]


class Vectors(Protocol):
    """Unit vectors of N rows, made when they are asked for; zeros are close to nothing."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]: ...


def close_pairs(
    vectors: Vectors,
    least_cosine: float,
    most: int,
    progress: Callable[[int, int], None] | None = None,
) -> Pairs:
    """Find the pairs of rows whose vectors are close.

    Args:
        vectors: (N, D) float32.
        least_cosine: Cosine from which two are close, in (0, 1).
        most: Pairs kept of a row, the closest, where it has more. A pair counts for that of its
            rows that comes first in the order of the tree; and a row with over 1,024 candidates
            looks at the nearest of these in that order.
        progress: Called with (rows done, rows in all).

    Returns:
        (P,) int64 rows, (P,) int64 others, (P,) float32 cosines, in no order.
    """
    tree = _Tree.grown(vectors)
    tasks = list(_nodes(0, len(vectors), _ROWS_A_TASK))

    def work(task: tuple[int, int]) -> Pairs:
        return _closest(vectors, tree, *task, least_cosine, most)

    found = [_no_pairs()]
    with threadpool_limits(1, user_api="blas"):
        for (_, done), pairs in zip(tasks, in_order(work, tasks), strict=True):
            found.append(pairs)
            if progress is not None:
                progress(done, len(vectors))
    left, right, cosines = zip(*found, strict=True)
    return np.concatenate(left), np.concatenate(right), np.concatenate(cosines)


def _no_pairs() -> Pairs:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class _Tree:
    """Rows in an order in which those that are close are near, with what they look like.

    Args:
        order: (N,) row at each place.
        narrow: (N, 16) float32 by place: along the directions in which vectors vary most, and the
            length of what lies across them.
        wide: (N, 64) float32 by row, the same with more directions.
    """

    order: Rows
    narrow: NDArray[np.float32]
    wide: NDArray[np.float32]

    @classmethod
    def grown(cls, vectors: Vectors) -> "_Tree":
        """Halve the rows again and again, each time where they are spread widest."""
        count = len(vectors)
        wide = _seen_along(vectors, _main_axes(vectors))
        order = np.arange(count)
        for start, end in _inner_nodes(0, count):
            rows = order[start:end]
            axis = wide[rows[:: max(1, len(rows) // _PIECE)], :_NARROW].var(axis=0).argmax()
            order[start:end] = rows[np.argpartition(wide[rows, axis], len(rows) // 2)]
        narrow = empty_array((count, _NARROW + 1), np.float32, _MEMORY_BYTES)
        for first in range(0, count, _BLOCK):
            seen = wide[order[first : first + _BLOCK]]
            narrow[first : first + _BLOCK, :-1] = seen[:, :_NARROW]
            narrow[first : first + _BLOCK, -1] = np.linalg.norm(seen[:, _NARROW:], axis=1)
        return cls(order, narrow, wide)


def _main_axes(vectors: Vectors) -> NDArray[np.float32]:
    """The directions (D, 63) in which vectors vary most, by a sample of them."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(vectors))[:_SAMPLE])
    products = np.zeros(1)
    for first in range(0, len(chosen), _BLOCK):
        block = vectors[chosen[first : first + _BLOCK]].astype(np.float64)
        products = products + block.T @ block
    _, axes = np.linalg.eigh(products)
    return np.asarray(axes[:, ::-1][:, :_WIDE], np.float32)


def _seen_along(vectors: Vectors, axes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coordinates along K axes (N, K + 1), and the length of what they leave out."""
    num_axes = axes.shape[1]
    seen = empty_array((len(vectors), num_axes + 1), np.float32, _MEMORY_BYTES)

    def look(first: int) -> None:
        block = vectors[np.arange(first, min(first + _BLOCK, len(vectors)))]
        part = seen[first : first + _BLOCK]
        part[:, :-1] = block @ axes
        across = np.einsum("nd,nd->n", block, block)
        across -= np.einsum("nk,nk->n", part[:, :-1], part[:, :-1])
        part[:, -1] = np.sqrt(np.maximum(across, 0.0))

    for _ in in_order(look, range(0, len(vectors), _BLOCK)):
        pass
    return seen


def _nodes(start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Spans of at most so many places, from the first to the last."""
    if end - start <= most:
        yield start, end
        return
    middle = (start + end) // 2
    yield from _nodes(start, middle, most)
    yield from _nodes(middle, end, most)


def _inner_nodes(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans that are halved, each before its halves."""
    if end - start > _LEAF:
        yield start, end
        middle = (start + end) // 2
        yield from _inner_nodes(start, middle)
        yield from _inner_nodes(middle, end)


def _closest(
    vectors: Vectors, tree: _Tree, start: int, end: int, least_cosine: float, most: int
) -> Pairs:
    """The closest of each row in a span, among the rows that come later."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for one, other in _candidates(tree.narrow, start, end, least_cosine - _ROUNDING):
        left, right = tree.order[one], tree.order[other]
        close = _cosines(tree.wide, left, right) >= least_cosine - _ROUNDING
        found.append((left[close], right[close]))
    left, right = (np.concatenate(side) for side in zip(*found, strict=True))
    rows, places = np.unique(np.concatenate([left, right]), return_inverse=True)
    cosines = _cosines(vectors[rows], places[: len(left)], places[len(left) :])
    close = cosines >= least_cosine
    left, right, cosines = left[close], right[close], cosines[close]
    kept = closest_of_rows(left, cosines, most)
    return left[kept], right[kept], cosines[kept]


def _candidates(
    points: NDArray[np.float32], start: int, end: int, least_cosine: float
) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of places, those of each leaf in a span at once: one in it, the other later."""
    stack = [(start, end, np.arange(end, len(points)), True)]
    while stack:
        start, end, others, is_due = stack.pop()
        is_leaf = end - start <= _LEAF
        if is_due or is_leaf:  # After every second halving, which is enough.
            others = others[_near_box(points, start, end, others, 2 - 2 * least_cosine)]
        if is_leaf:
            yield _leaf_candidates(points, start, end, others, least_cosine)
            continue
        middle = (start + end) // 2
        stack.append((middle, end, others, not is_due))
        later = np.concatenate([np.arange(middle, end), others])
        stack.append((start, middle, later, not is_due))


def _near_box(
    points: NDArray[np.float32], start: int, end: int, others: Rows, most_squared: float
) -> NDArray[np.bool_]:
    """Which other places are no farther than a distance from the box around a span."""
    own = points[start:end]
    low, high = own.min(axis=0), own.max(axis=0)
    near = np.empty(len(others), dtype=bool)
    for first in range(0, len(others), _BLOCK):
        block = points[others[first : first + _BLOCK]]
        block -= np.clip(block, low, high)
        near[first : first + _BLOCK] = np.einsum("nk,nk->n", block, block) <= most_squared
    return near


def _leaf_candidates(
    points: NDArray[np.float32], start: int, end: int, others: Rows, least_cosine: float
) -> tuple[Rows, Rows]:
    """Pairs of a place in a leaf and a later one."""
    own, places = points[start:end], np.concatenate([np.arange(start, end), others])
    counts = np.zeros(len(own), np.int64)
    found: list[tuple[Rows, Rows]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for first in range(0, len(places), _PIECE):
        piece = places[first : first + _PIECE]
        close = np.flatnonzero(own @ points[piece].T >= least_cosine)
        left, right = np.divmod(close, len(piece))
        right = piece[right]
        kept = (right > left + start) & (counts[left] < _MOST_CANDIDATES)
        found.append((left[kept] + start, right[kept]))
        counts += np.bincount(left[kept], minlength=len(own))
        if counts.min() >= _MOST_CANDIDATES:
            break
    lefts, rights = zip(*found, strict=True)
    return np.concatenate(lefts), np.concatenate(rights)


def _cosines(vectors: NDArray[np.float32], left: Rows, right: Rows) -> NDArray[np.float32]:
    cosines = np.empty(len(left), np.float32)
    for first in range(0, len(left), _BLOCK):
        part = slice(first, first + _BLOCK)
        cosines[part] = np.einsum("pd,pd->p", vectors[left[part]], vectors[right[part]])
    return cosines


def closest_of_rows(rows: Rows, cosines: NDArray[np.float32], most: int) -> NDArray[np.bool_]:
    """Tell which pairs are among the closest of their row, however many it has.

    Args:
        rows: (P,) row of each pair.
        cosines: (P,) how close it is.
        most: Pairs to keep of a row.

    Returns:
        (P,) bool.
    """
    order = np.lexsort((-cosines, rows))
    ordered = rows[order]
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - np.searchsorted(ordered, ordered)
    return np.asarray(rank < most)
