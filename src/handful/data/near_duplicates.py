"""Which photos show the same shot, told by small thumbnails alone.

Re-saved, shrunk, blurred, darkened and slightly moved or cropped copies are found, and the shots of
a burst. Strategies, checks and splits of one's own all ask here, so they all get one answer.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from handful.cores import in_order
from handful.data.decoding import FINGERPRINT_SIDE
from handful.data.neighbors import close_pairs, closest_of_rows
from handful.reporting import Progress

# Correlation of two centered 16x16 thumbnails less what all photos share: below, pairs are not
# looked at any closer. In 3,000 photos of cats and dogs one pair is above, and it is a true one.
CORRELATION = 0.92
# Correlation of what 32x32 thumbnails show in detail, the one shifted against the other until they
# fit best. Pairs of one magnetic tile or leaflet are above, of two bags on one table at 0.3.
DETAIL = 0.6
# Re-encoding keeps the small thumbnails' correlation above 0.998, halving above 0.99: so high, less
# detail will do, as in a blurred or darkened copy, and none where there is none to compare.
SURE_CORRELATION, SURE_DETAIL = 0.97, 0.4

# Up to here all pairs are compared, past it those that may be close: see `neighbors`.
ALL_PAIRS = 10_000

_BLOCK = 2048
_PAIRS_A_BLOCK = 4096
_MATCHES_A_ROW = 64
_SHIFT, _BLUR = 2, 2.0  # of 32


def near_duplicate_pairs(
    fingerprints: NDArray[np.uint8],
    *,
    all_pairs: int = ALL_PAIRS,
    progress: Progress | None = None,
) -> list[tuple[int, int]]:
    """Find pairs of photos that show the same shot.

    Thumbnails are compared by correlation after subtracting what all photos of the set have in
    common, or else pictures of one kind of object (solar cells, petri dishes) would all be
    called duplicates of one another: first as a whole, then, for the pairs left, in detail.
    Photos that are flat (no contrast) match nothing.

    Args:
        fingerprints: (N, 1024) uint8 thumbnails from `pixels.fingerprint`.
        all_pairs: With more photos than this a tree leaves out pairs that cannot be alike; the same
            pairs are found.
        progress: Called with (photos compared, photos in all), where a tree is used.

    Returns:
        Pairs (i, j), i < j, sorted. A photo with very many copies is paired with the 64 likest of
        those after it, which is enough to connect them into one group; where a tree is used, of
        those after it in the tree, and 1,024 of them are looked at.
    """
    are_few = len(fingerprints) <= all_pairs
    thumbnails = _Residuals(fingerprints, coarse_fingerprints, contrast=1.0, is_kept=are_few)
    if are_few:
        left, right, correlations = _correlated(thumbnails)
    else:
        one, other, correlations = close_pairs(thumbnails, CORRELATION, _MATCHES_A_ROW, progress)
        left, right = np.minimum(one, other), np.maximum(one, other)
        order = np.lexsort((right, left))
        left, right, correlations = left[order], right[order], correlations[order]
    details = _detail_agreement(fingerprints, left, right)
    sure = (correlations >= SURE_CORRELATION) & ~(details < SURE_DETAIL)  # NaN: no detail
    keep = (details >= DETAIL) | sure
    return list(zip(left[keep].tolist(), right[keep].tolist(), strict=True))


def _correlated(
    thumbnails: "_Residuals",
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Pairs of rows whose thumbnails correlate, and how much, all pairs compared."""
    directions = thumbnails.all()
    found = [np.zeros((0, 2), np.int64)]
    alike = [np.zeros(0, np.float32)]
    for first in range(0, len(directions), _BLOCK):
        products = directions[first : first + _BLOCK] @ directions[first:].T
        places = np.flatnonzero(products >= CORRELATION)
        pairs = np.stack(np.divmod(places, products.shape[1]), axis=1)
        later = pairs[:, 0] < pairs[:, 1]
        pairs, correlations = pairs[later], products.ravel()[places[later]]
        kept = closest_of_rows(pairs[:, 0], correlations, _MATCHES_A_ROW)
        found.append(pairs[kept] + first)
        alike.append(correlations[kept])
    left, right = np.concatenate(found).T
    return left, right, np.concatenate(alike)


def coarse_fingerprints(fingerprints: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Halve thumbnails.

    Args:
        fingerprints: (N, 1024) uint8 from `pixels.fingerprint`.

    Returns:
        (N, 256) float32 means of 2 x 2 values.
    """
    half = FINGERPRINT_SIDE // 2
    fours = fingerprints.reshape(-1, half, 2, half, 2)
    sums = fours[:, :, 0].sum(axis=3, dtype=np.float32) + fours[:, :, 1].sum(
        axis=3, dtype=np.float32
    )
    return np.asarray((sums / 4).reshape(-1, half**2))


def near_duplicates_among(
    fingerprints: NDArray[np.uint8], others: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Tell which photos show the same shot as one of some other photos.

    Args:
        fingerprints: (N, 1024) uint8 thumbnails of the photos.
        others: (M, 1024) uint8 thumbnails of the others.

    Returns:
        (N,) whether each is a near-duplicate of one of the others.
    """
    found = np.zeros(len(fingerprints), dtype=bool)
    for left, right in near_duplicate_pairs(np.concatenate([fingerprints, others])):
        if left < len(found) <= right:
            found[left] = True
    return found


class _Residuals:
    """Unit vectors of views of thumbnails less what all share, made for the rows asked for.

    Views without contrast (root mean square about their mean) above the limit become zero. Those of
    all rows are made once where they are to be kept.
    """

    def __init__(
        self,
        fingerprints: NDArray[np.uint8],
        view: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
        contrast: float,
        is_kept: bool = False,
    ) -> None:
        self.fingerprints, self.view, self.contrast = fingerprints, view, contrast
        self.kept: list[NDArray[np.float32]] = []
        total = np.zeros(1)
        blocks = [slice(first, end) for first, end in _spans(len(fingerprints), _BLOCK)]
        for units in in_order(self._units, blocks):
            total = total + units.sum(axis=0, dtype=np.float64)
            self.kept += [units] if is_kept else []
        # The mean of few rows is mostly those rows themselves, so it is shrunk.
        self.shared = (total / (len(fingerprints) + 32.0)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.fingerprints)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        found = [self._residuals(rows[n : n + _BLOCK]) for n in range(0, len(rows) or 1, _BLOCK)]
        return np.concatenate(found)

    def all(self) -> NDArray[np.float32]:
        """Those of all rows, where they were kept."""
        kept, self.kept = self.kept, []
        found = [self._less_shared(units) for units in kept]
        return np.concatenate(found or [self[np.zeros(0, np.int64)]])

    def _residuals(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._less_shared(self._units(rows))

    def _less_shared(self, units: NDArray[np.float32]) -> NDArray[np.float32]:
        flat = ~units.any(axis=1)
        units -= self.shared
        units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-6)
        units[flat] = 0.0
        return units

    def _units(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        units = self.view(self.fingerprints[rows])
        units -= units.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(units, axis=1, keepdims=True)
        units /= np.maximum(lengths, 1e-6)
        units[lengths[:, 0] <= self.contrast * np.sqrt(units.shape[1])] = 0.0
        return units


def _details(fingerprints: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails less their blur: (n, 1024)."""
    side = np.arange(FINGERPRINT_SIDE)
    blur = np.exp(-0.5 * ((side[:, None] - side) / _BLUR) ** 2)
    blur = (blur / blur.sum(axis=1, keepdims=True)).astype(np.float32)
    images = fingerprints.reshape(-1, FINGERPRINT_SIDE, FINGERPRINT_SIDE).astype(np.float32)
    return np.asarray((images - blur @ images @ blur.T).reshape(len(images), FINGERPRINT_SIDE**2))


def _detail_agreement(
    fingerprints: NDArray[np.uint8], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Correlation of the details of pairs of thumbnails, at the shift where it is best.

    NaN where one of the two has no detail. Pairs that agree as they are are not shifted.
    """
    if not len(left):
        return np.zeros(0, np.float32)
    details = _Residuals(fingerprints, _details, contrast=0.5)
    return np.concatenate(
        [
            _best_agreement(details, left[first:end], right[first:end])
            for first, end in _spans(len(left), _PAIRS_A_BLOCK)
        ]
    )


def _best_agreement(
    details: _Residuals, left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The same for pairs whose details fit into memory."""
    rows, places = np.unique(np.concatenate([left, right]), return_inverse=True)
    maps = details[rows]
    bare = np.logical_not(maps.any(axis=1))
    maps = maps.reshape(-1, FINGERPRINT_SIDE, FINGERPRINT_SIDE)
    left, right = places[: len(left)], places[len(left) :]
    best = np.empty(len(left), np.float32)
    steps = range(-_SHIFT, _SHIFT + 1)
    for first, end in _spans(len(left), _BLOCK):
        part = np.arange(first, end)
        best[part] = _shifted_products(maps[left[part]], maps[right[part]], 0, 0)
        part = part[best[part] < DETAIL]
        one, other = maps[left[part]], maps[right[part]]
        for down, across in product(steps, steps):
            best[part] = np.maximum(best[part], _shifted_products(one, other, down, across))
    best[bare[left] | bare[right]] = np.nan
    return best


def _spans(count: int, size: int) -> list[tuple[int, int]]:
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def _shifted_products(
    one: NDArray[np.float32], other: NDArray[np.float32], down: int, across: int
) -> NDArray[np.float32]:
    """Cosine of each pair of maps, the other moved; taken to go on beyond the edges as inside."""
    height, width = one.shape[1:]
    here, there = (
        array[:, max(sign * down, 0) : height + min(sign * down, 0)][
            :, :, max(sign * across, 0) : width + min(sign * across, 0)
        ]
        for array, sign in ((one, 1), (other, -1))
    )
    share = (height - abs(down)) * (width - abs(across)) / (height * width)
    return np.asarray(np.einsum("phw,phw->p", here, there) / share, dtype=np.float32)
