"""Learning curves measured: heads fitted on ever larger parts of the photos, a power law on them.

Each head is scored on photos that it did not see.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from handful.cores import available_cores
from handful.data.splits import stratified_folds
from handful.errors import DataError
from handful.evaluation.learning_curve import CurvePoint, LearningCurve, check_start
from handful.models.heads import fit_head
from handful.reporting import Progress

NUM_FOLDS = 5
LEAST_A_CLASS = 5
LEAST_MEAN_A_CLASS = 8
_MOST_SIZES = 9
# The smallest size fitted is this share of the largest, or a few photos a class.
_SPAN = 64
_FIRST_A_CLASS = 4
# About so many photos are fitted in all draws together, so that large sets take no longer.
_PHOTOS_IN_ALL_DRAWS = 2_500
_FEWEST_DRAWS, _MOST_DRAWS = 2, 8
# Real curves are not power laws: with each doubling their error strays by about this share.
STRAY_A_DOUBLING = 0.07
# Squares: many curves have no floor in sight, and the grid is the prior.
_FLOORS = np.linspace(0.0, 0.99, 50) ** 2
_EXPONENTS = np.geomspace(0.05, 2.0, 50)
_TYPICAL_EXPONENT, _EXPONENT_SPREAD = 0.45, 0.6
_NUM_RESAMPLES, _SAMPLES_A_RESAMPLE = 500, 8
_FITS = 2
# Heads that disagree on single photos do so on many at once: the least share of the one variance
# that is in the other. Cats, dogs, solar cells and digits show up to four times that.
_SHARED_FLIPS = 0.005


def measure_curve(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    groups: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
    num_draws: int | None = None,
    class_weight: str = "auto",
    class_names: Sequence[str] | None = None,
    sizes: Sequence[float] = (),
    progress: Progress | None = None,
) -> LearningCurve:
    """Measure how accuracy grows with the number of photos.

    In each draw the photos are divided into 5 folds. Each fold in turn is held out, and heads are
    fitted on ever larger parts of the others, each part holding the one before it: so every photo
    is scored once a draw at every size. Near-duplicates are never both fitted on and scored, and
    are taken in together, as more photos of the same kind would come.

    Args:
        embeddings: (N, D) float32.
        labels: (N,) int64, 0 to C - 1.
        num_classes: Number of classes C, 2 or more.
        groups: (N,) int64, photos with equal numbers are near-duplicates; None: there are none.
        seed: Seed of folds and parts.
        num_draws: Draws, 2 or more; None takes 2 for 1,000 photos and up, to 8 for 300 and fewer.
        class_weight: As for `fit_head`.
        class_names: (C,) names for messages.
        sizes: Photos a class that the curve will be asked about; those that it begins after are
            refused before any head is fitted.
        progress: Called with (heads fitted, heads in all).

    Returns:
        The curve.

    Raises:
        DataError: When there are too few classes or photos to hold some out, or a size is less
            than will be measured.
        ValueError: When shapes disagree or there are fewer than 2 draws.

    Source:
        C. Cortes et al., "Learning curves: asymptotic values and rate of convergence", NIPS 1993:
        error(n) = a + b n^-c. J. Hestness et al., "Deep learning scaling is predictable,
        empirically", 2017. T. Viering & M. Loog, "The shape of learning curves: a review", IEEE
        TPAMI 2022, on where it fails, which is why errors may stray from it. All sizes are scored
        on the same photos, so their errors rise and fall together: the photos are weighed at
        random 500 times, whole groups alike (D. B. Rubin, "The Bayesian bootstrap", Annals of
        Statistics 9, 1981). Each weighing has its own posterior of a, b, c on a grid, given the
        luck of the photos fitted on and a random walk in log2(n) for the straying.
    """
    labels = np.asarray(labels, np.int64)
    _, groups = np.unique(np.arange(len(labels)) if groups is None else groups, return_inverse=True)
    groups = groups.astype(np.int64)
    _check(embeddings, labels, num_classes, groups, class_names)
    if num_draws is None:
        fitting = round(_PHOTOS_IN_ALL_DRAWS / len(labels))
        num_draws = min(max(fitting, _FEWEST_DRAWS), _MOST_DRAWS)
    if num_draws < 2:
        raise ValueError(f"num_draws is {num_draws}; expected 2 or more, to see how they differ.")
    trial = _Trial(embeddings, labels, groups, num_classes, class_weight)
    draws = trial.draw(seed, num_draws)
    smallest = np.mean([draw.ends[:, 0] for draw in draws]) / num_classes
    for size in sizes:
        check_start(size, float(smallest))
    measured = trial.run(draws, progress)
    return _fit(measured, labels, groups, num_classes, seed)


@dataclass(frozen=True, eq=False)
class _Measured:
    """What all heads answered.

    Args:
        sizes: (M,) mean number of photos fitted on.
        wrong: (R, N, M) whether each photo was classified wrong, in each draw and at each size.
        folds: (R, N) the fold that each photo was held out with.
    """

    sizes: NDArray[np.float64]
    wrong: NDArray[np.bool_]
    folds: NDArray[np.int64]

    @cached_property
    def variances(self) -> NDArray[np.float64]:
        """(M,) estimated variance of the error over heads fitted on different photos.

        A head's error on its fold less that of all draws' heads on the same photos; what single
        photos flip by chance is taken off, so that an estimate may be below 0.
        """
        num_draws = len(self.wrong)
        excess = self.wrong - self.wrong.mean(axis=0)  # (R, N, M)
        found = []
        for draw, folds in enumerate(self.folds):
            for fold in range(int(folds.max()) + 1):
                part = excess[draw, folds == fold]
                flips = part.var(axis=0) / max(len(part) - 1, 1)
                found.append(part.mean(axis=0) ** 2 - flips)
        return np.asarray(np.mean(found, axis=0) * num_draws / (num_draws - 1))

    @property
    def variance_of_one(self) -> float:
        """The v with which these variances are about v / size, by least squares.

        Small sizes say most: the heads of large ones were fitted on nearly the same photos. Where
        folds are too small to see it, it is what the photos on which heads disagree suggest.
        """
        num_draws = len(self.wrong)
        flips = self.wrong.var(axis=0).mean(axis=0) * num_draws / (num_draws - 1)
        expected = 1 / self.sizes
        seen, least = (
            float(part @ expected / (expected @ expected))
            for part in (self.variances, _SHARED_FLIPS * flips)
        )
        return max(seen, least)

    @property
    def fitting_covariance(self) -> NDArray[np.float64]:
        """(M, M) covariance of the mean errors from the luck of the photos fitted on."""
        num_draws, num_photos, _ = self.wrong.shape
        # Two choices of n of N photos have n / N of them in common.
        least = np.minimum.outer(self.sizes, self.sizes)
        shared = np.maximum(least / num_photos, 1 / (NUM_FOLDS * num_draws))
        sizes = np.sqrt(np.outer(self.sizes, self.sizes))
        return np.asarray(self.variance_of_one / sizes * shared)


@dataclass(frozen=True, eq=False)
class _Draw:
    """One division into F folds.

    Args:
        folds: (N,) fold that each photo is held out with.
        orders: For each fold the rows of the other photos, as they are taken in.
        ends: (F, M) number of rows that are fitted on at each size.
    """

    folds: NDArray[np.int64]
    orders: list[NDArray[np.int64]]
    ends: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Trial:
    """The photos that heads are fitted on, and how."""

    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    num_classes: int
    class_weight: str

    def draw(self, seed: int, num_draws: int) -> list[_Draw]:
        """Draw folds and parts of all draws, so that what cannot be fitted is found before."""
        rng = np.random.default_rng(seed)
        targets = _sizes(len(self.labels) * (NUM_FOLDS - 1) // NUM_FOLDS, self.num_classes)
        draws = []
        for _ in range(num_draws):
            folds = stratified_folds(self.labels, self.groups, NUM_FOLDS, int(rng.integers(2**31)))
            _check_folds(folds, self.labels)
            orders = [self._order(np.flatnonzero(folds != fold), rng) for fold in range(NUM_FOLDS)]
            ends = np.stack([self._ends(order, targets) for order in orders])
            draws.append(_Draw(folds, orders, ends))
        return draws

    def run(self, draws: Sequence[_Draw], progress: Progress | None) -> _Measured:
        """Fit all heads, those of a draw at the same time."""
        folds, sizes = np.stack([d.folds for d in draws]), np.stack([d.ends for d in draws])
        num_sizes = sizes.shape[2]
        wrong = np.zeros((*folds.shape, num_sizes), dtype=bool)
        num_done = 0
        # Limited from outside: a thread that ends must not lift the others' limit.
        with (
            threadpool_limits(1, user_api="blas"),
            ThreadPoolExecutor(available_cores(), thread_name_prefix="curve") as pool,
        ):
            for number, draw in enumerate(draws):
                # Cross-validation takes most of the time. One fold's choice of strengths serves
                # the draw, another's the next: its luck is in the mean as it is in real life.
                for fold, answers in self._folds(draw, number % NUM_FOLDS, pool):
                    wrong[number, draw.folds == fold] = answers
                    num_done += num_sizes
                    if progress is not None:
                        progress(num_done, sizes.size)
        return _Measured(sizes.mean(axis=(0, 1)), wrong, folds)

    def _folds(
        self, draw: _Draw, first: int, pool: ThreadPoolExecutor
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Each fold with (n, M) wrong answers to its photos; the first chooses the strengths."""
        strengths, wrong = self._chain(draw, first, None)
        yield first, wrong
        rest = [fold for fold in range(NUM_FOLDS) if fold != first]
        futures = [pool.submit(self._chain, draw, fold, strengths) for fold in rest]
        for fold, future in zip(rest, futures, strict=True):
            yield fold, future.result()[1]

    def _chain(
        self, draw: _Draw, fold: int, strengths: Sequence[float] | None
    ) -> tuple[list[float], NDArray[np.bool_]]:
        """Strengths used for nested parts, and their heads' (n, M) wrong answers to the fold."""
        used, wrong = [], []
        held = draw.folds == fold
        for place, end in enumerate(draw.ends[fold]):
            rows = draw.orders[fold][:end]
            head = fit_head(
                self.embeddings[rows],
                self.labels[rows],
                self.num_classes,
                groups=self.groups[rows],
                class_weight=self.class_weight,
                C=None if strengths is None else strengths[place],
            )
            answers = head.predict_proba(self.embeddings[held]).argmax(axis=1)
            wrong.append(answers != self.labels[held])
            used.append(head.C or 0.0)
        return used, np.stack(wrong, axis=1)

    def _order(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows in a random order whose every beginning has the classes in proportion."""
        labels, groups = self.labels[rows], self.groups[rows]
        shuffled = rng.permutation(int(self.groups.max()) + 1)[groups]
        order = np.argsort(shuffled, kind="stable")
        # How much of its class comes before a photo; a group goes with its first photo.
        before = np.empty(len(rows))
        for label in np.unique(labels):
            mine = order[labels[order] == label]
            before[mine] = np.arange(len(mine)) / len(mine)
        first = np.full(int(self.groups.max()) + 1, 2.0)
        np.minimum.at(first, groups, before)
        return rows[np.lexsort((shuffled, first[groups]))]

    def _ends(self, order: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """(M,) numbers of photos near the targets: no group is divided, every class is there."""
        groups = self.groups[order]
        ends = np.flatnonzero(np.append(groups[1:] != groups[:-1], True)) + 1
        _, first = np.unique(self.labels[order], return_index=True)
        ends = ends[ends > first.max()]
        return np.asarray(ends[np.abs(ends - targets[:, np.newaxis]).argmin(axis=1)])


def _sizes(largest: int, num_classes: int) -> NDArray[np.int64]:
    """Numbers of photos to fit on, evenly spaced in their logarithm."""
    least = max(_FIRST_A_CLASS * num_classes, largest / _SPAN)
    if largest < 4 * least:
        least = 2 * num_classes
    steps = round(math.log(largest / least) / math.log(1.5))
    sizes = np.geomspace(least, largest, min(max(steps + 1, 3), _MOST_SIZES))
    return np.unique(np.rint(sizes).astype(np.int64))


def _fit(
    measured: _Measured,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    num_classes: int,
    seed: int,
) -> LearningCurve:
    """Draw from the power laws that agree with what was measured."""
    num_draws, num_photos, _ = measured.wrong.shape
    shares = measured.wrong.mean(axis=0)  # (N, M)
    points = tuple(
        CurvePoint(
            num_photos=float(size),
            photos_a_class=float(size) / num_classes,
            accuracy=1 - float(share),
            std=math.sqrt(measured.variance_of_one / float(size)),
            num_fits=num_draws * NUM_FOLDS,
        )
        for size, share in zip(measured.sizes, shares.mean(axis=0), strict=True)
    )
    rng = np.random.default_rng(seed)
    errors = _resampled_errors(shares, groups, rng)
    usual = (shares.sum(axis=0) + 0.5) / (num_photos + 1)
    for _ in range(_FITS):
        fitted = measured.fitting_covariance / np.outer(usual, usual)
        levels, floors, exponents = _posterior(measured.sizes, np.log(errors), fitted, rng)
        # Measured errors that are low by luck seem doubtful in their logarithm, those high by
        # luck sure, and the curve would be too high: expected ones scale the next covariance.
        shapes = _shapes(floors, exponents, measured.sizes)
        usual = np.exp(np.median(levels[:, np.newaxis] + shapes, axis=0))
    return LearningCurve(
        points=points,
        num_photos=num_photos,
        num_classes=num_classes,
        num_draws=num_draws,
        errors=np.minimum(np.exp(levels), 1.0),
        floors=floors,
        exponents=exponents,
        strays=rng.normal(0.0, STRAY_A_DOUBLING, len(levels)),
        variance_of_one=measured.variance_of_one,
    )


def _resampled_errors(
    shares: NDArray[np.float64], groups: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """(B, M) errors with the photos scored (N, M) weighed at random, whole groups alike.

    Half an error more than was seen is added, as in Jeffreys' prior: no error in 20 is not none
    at all. Where each photo is right or wrong, this draws from Jeffreys' posterior of the error.
    """
    num_groups = int(groups.max()) + 1
    weights = rng.exponential(size=(_NUM_RESAMPLES, num_groups))[:, groups]
    half = rng.gamma(0.5, size=(_NUM_RESAMPLES, 1))
    wrong = weights @ shares + half
    return np.asarray(wrong / (weights.sum(axis=1, keepdims=True) + half))


def _posterior(
    sizes: NDArray[np.float64],
    logarithms: NDArray[np.float64],
    fitted: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(S,) log errors at the largest size, floors and exponents that agree with log errors (B, M).

    Each resampling's errors are taken as exact but for the luck of the photos fitted on, whose
    covariance `fitted` is, and for straying from the power law. The level has a flat prior and is
    integrated out; floor and exponent are on a grid, with a prior on the floor f that falls as
    1 / sqrt(f) and a broad one, log-normal, on the exponent.
    """
    floors, exponents = (a.ravel() for a in np.meshgrid(_FLOORS, _EXPONENTS, indexing="ij"))
    shapes = _shapes(floors, exponents, sizes)  # (G, M)
    doublings = np.log2(sizes[-1] / sizes)
    stray = STRAY_A_DOUBLING**2 * np.minimum.outer(doublings, doublings)
    precision = np.linalg.inv(fitted + stray + 1e-6 * np.eye(len(sizes)))
    total = float(precision.sum())
    # What is left of the precision when the level is free.
    free = precision - np.outer(precision.sum(axis=0), precision.sum(axis=0)) / total
    own = np.einsum("gm,mk,gk->g", shapes, free, shapes)
    own += (np.log(exponents / _TYPICAL_EXPONENT) / _EXPONENT_SPREAD) ** 2
    misfits = own - 2 * logarithms @ free @ shapes.T  # (B, G), but for a constant of each row
    weights = np.exp((misfits.min(axis=1, keepdims=True) - misfits) / 2).cumsum(axis=1)
    cells = []
    for row in weights:
        cells.append(np.searchsorted(row, rng.uniform(0, row[-1], _SAMPLES_A_RESAMPLE)))
    found = np.minimum(np.stack(cells), len(floors) - 1)  # (B, K)
    levels = (logarithms[:, np.newaxis] - shapes[found]) @ precision.sum(axis=0) / total
    levels += rng.normal(0.0, 1 / math.sqrt(total), levels.shape)
    return levels.ravel(), floors[found].ravel(), exponents[found].ravel()


def _shapes(
    floors: NDArray[np.float64], exponents: NDArray[np.float64], sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(G, M) logarithms of G power laws at M sizes, less that at the last."""
    shares = np.exp(-np.outer(exponents, np.log(sizes / sizes[-1])))
    return np.asarray(np.log(floors[:, np.newaxis] + (1 - floors[:, np.newaxis]) * shares))


def _check(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    groups: NDArray[np.int64],
    class_names: Sequence[str] | None,
) -> None:
    """Refuse photos that cannot be held out in turn."""
    if embeddings.ndim != 2 or not len(embeddings) == len(labels) == len(groups):
        raise ValueError(
            f"embeddings are {embeddings.shape}, labels {labels.shape} and groups {groups.shape}; "
            "expected (N, D), (N,) and (N,)."
        )
    if num_classes < 2:
        raise DataError(
            f"There is {num_classes} class; a learning curve needs 2 or more to tell apart."
        )
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    different = np.bincount(pairs[0], minlength=num_classes)
    fewest = int(different.argmin())
    name = f'"{class_names[fewest]}"' if class_names else str(fewest)
    if different[fewest] < LEAST_A_CLASS:
        copies = np.count_nonzero(labels == fewest) > different[fewest]
        raise DataError(
            f"Class {name} has {different[fewest]} different "
            f"photo{'' if different[fewest] == 1 else 's'}"
            f"{', near-duplicates counted once' if copies else ''}; a learning curve needs "
            f"{LEAST_A_CLASS} of each class, to hold some out in turn. Add different photos, or "
            "merge the class."
        )
    if different.sum() < LEAST_MEAN_A_CLASS * num_classes:
        raise DataError(
            f"There are {different.sum()} different photos of {num_classes} classes; a learning "
            f"curve needs {LEAST_MEAN_A_CLASS * num_classes}, {LEAST_MEAN_A_CLASS} per class. Add "
            "photos."
        )


def _check_folds(folds: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
    """Refuse folds that groups of near-duplicates have left empty, or with all of a class."""
    found = np.zeros((int(labels.max()) + 1, NUM_FOLDS), dtype=bool)
    found[labels, folds] = True
    if not found.any(axis=0).all() or found.sum(axis=1).min() < 2:
        raise DataError(
            f"The photos cannot be held out in {NUM_FOLDS} turns: groups of near-duplicates are "
            "too large, or in too many classes at once, to be divided. Leave copies out, or add "
            "different photos."
        )
