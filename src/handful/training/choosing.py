"""Which of several ways of classifying the same photos is better than noise can explain."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# A way is taken where its mean loss is lower than that of the one taken before by so many standard
# errors of the difference, group by group.
MARGIN = 1.0
_LEAST_CHANCE = 1e-12


def choose(
    losses: Sequence[NDArray[np.float64]],
    groups: NDArray[np.int64],
    first: int = 0,
    margin: float = MARGIN,
) -> int:
    """Choose among ways of classifying the same photos.

    Args:
        losses: Of each way (n,) -ln(probability of the true class), NaN where a photo was not
            left out.
        groups: (n,) photos with equal numbers are near-duplicates and count as one.
        first: Place of the one that is taken unless another is better by more than noise.
        margin: Standard errors of the paired difference.

    Returns:
        The place of the one chosen: one after another is taken where its mean loss is lower than
        that of the one taken before by more than `margin` standard errors of the paired
        difference.
    """
    best = first
    for place in range(len(losses)):
        gains = losses[best] - losses[place]
        told = ~np.isnan(gains)
        if not told.any():
            continue
        _, dense = np.unique(groups[told], return_inverse=True)
        off = np.bincount(dense, gains[told] - gains[told].mean())
        error = np.sqrt((off**2).sum()) / told.sum()
        if len(off) > 1 and gains[told].mean() > margin * error:
            best = place
    return best


def true_losses(chances: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """How wrong probabilities are of each photo.

    Args:
        chances: (n, C) probabilities, NaN where a photo was not left out.
        labels: (n,) int64 true classes.

    Returns:
        (n,) -ln(probability of the true class).
    """
    true = chances[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.maximum(true, _LEAST_CHANCE)))
