"""Which of several ways of classifying the same photos is better than noise can explain."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handful.data.target import ONE_CLASS

# What noise explains, of log loss and of accuracy, in standard errors of the paired difference,
# near-duplicates counted as one photo. One photo more that is right is already one of accuracy.
_MARGINS = np.array([1.0, 2.0])


def choose(
    answers: Sequence[NDArray[np.float64]],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    first: int = 0,
) -> int:
    """Choose among ways of classifying the same photos.

    One after another is taken where log loss or accuracy is better than that of the one taken
    before, by more than noise, and the other of the two is not worse by more than noise. Log loss
    alone can be ruled by a few photos that all ways name wrongly, and each with its own confidence.

    Args:
        answers: Of each way (n, C) probabilities, NaN where a photo was not left out.
        labels: (n,) int64 true classes.
        groups: (n,) photos with equal numbers are near-duplicates and count as one.
        first: Place of the one that is taken unless another is better.

    Returns:
        The place of the one chosen.
    """
    scores = [_scores(chances, labels) for chances in answers]
    best = first
    for place, found in enumerate(scores):
        gains = found - scores[best]
        told = ~np.isnan(gains[0])
        if _is_better(gains[:, told], groups[told]):
            best = place
    return best


def _scores(chances: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(2, n) ln(probability of the true class), and whether it is the one named; NaN of none."""
    correct = np.where(np.isnan(chances[:, 0]), np.nan, ONE_CLASS.correct(chances, labels))
    return np.stack([-ONE_CLASS.log_loss(chances, labels), correct])


def _is_better(gains: NDArray[np.float64], groups: NDArray[np.int64]) -> bool:
    """Whether one of the gains (2, n) is above what noise explains, and none below."""
    different, dense = np.unique(groups, return_inverse=True)
    if len(different) < 2:
        return False
    means = gains.mean(axis=1)
    off = [np.bincount(dense, part - mean) for part, mean in zip(gains, means, strict=True)]
    noise = _MARGINS * np.sqrt(np.square(off).sum(axis=1)) / len(groups)
    return bool((means > noise).any() and (means >= -noise).all())
