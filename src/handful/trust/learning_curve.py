"""How accuracy grows with the number of photos, and what more of them would bring.

Heads are fitted on ever larger parts of the photos and scored on photos that they did not see; a
power law through the scores says what to expect of more photos, and how sure that is.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from handful.classifiers.heads import fit_head
from handful.errors import DataError
from handful.networks.embeddings import available_cores
from handful.photos.splits import stratified_folds

# Nothing is said beyond so many times the photos: the power law was never seen to hold there.
REACH = 8.0
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
_CROSSING_SIZES = 400
_CONFIDENCE = 0.95
_FITS = 2
_ROUNDING = 1e-9
# Heads that disagree on single photos do so on many at once: the least share of the one variance
# that is in the other. Cats, dogs, solar cells and digits show up to four times that.
_SHARED_FLIPS = 0.005

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy of heads that were fitted on one number of photos.

    Args:
        num_photos: Photos that each head was fitted on, of all classes together; the mean over
            the heads, for groups of near-duplicates are not divided.
        photos_a_class: The same divided by the number of classes.
        accuracy: Share of held-out photos named right; each photo counts once in every draw.
        deviation: Standard deviation of the accuracy from one choice of so many photos to
            another, a fraction: falling with the root of their number, by what all sizes show.
        num_fits: Heads fitted.
    """

    num_photos: float
    photos_a_class: float
    accuracy: float
    deviation: float
    num_fits: int


@dataclass(frozen=True)
class PhotosNeeded:
    """How many photos an accuracy takes.

    Args:
        accuracy: The accuracy asked for, a fraction.
        photos_a_class: Photos a class with which it is reached as likely as not; None where that
            is more than the curve is followed to.
        low: Lower end of the 95 % interval, photos a class; None likewise.
        high: Upper end; None likewise.
        more_a_class: `photos_a_class` less those that there are, 0 or more; None likewise.
        chance: How likely it is that the accuracy is reached with 8 times the photos.
        sentence: The answer in words.
    """

    accuracy: float
    photos_a_class: float | None
    low: float | None
    high: float | None
    more_a_class: float | None
    chance: float
    sentence: str


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Measured accuracies, and the power laws that agree with them.

    The error of a head fitted on n photos is a + b n^-c. Which a, b and c it is the measurements
    leave open; S draws from what they allow are kept, each as the error at the largest size
    measured, the share of it that no number of photos removes, and the exponent.

    Args:
        points: What was measured, by rising size.
        num_photos: Photos there are, N.
        num_classes: Number of classes C.
        num_draws: Times that all photos were held out in turn.
        errors: (S,) errors at the largest size measured, fractions.
        floors: (S,) shares of it that stay, in [0, 1): a is errors * floors.
        exponents: (S,) exponents c, positive.
        strays: (S,) by how much the logarithm of the error strays from the power law with each
            doubling past the largest size measured.
        variance_of_one: Variance of the accuracy from one choice of n photos to another, times n.
    """

    points: tuple[CurvePoint, ...]
    num_photos: int
    num_classes: int
    num_draws: int
    errors: NDArray[np.float64]
    floors: NDArray[np.float64]
    exponents: NDArray[np.float64]
    strays: NDArray[np.float64]
    variance_of_one: float

    @property
    def photos_a_class(self) -> float:
        """Photos of each class that there are, on average."""
        return self.num_photos / self.num_classes

    @property
    def smallest(self) -> float:
        """Least photos a class that `predict` answers for."""
        return self.points[0].photos_a_class

    @property
    def largest(self) -> float:
        """Most photos a class that `predict` answers for: 8 times those that there are."""
        return REACH * self.photos_a_class

    def predict(
        self, photos_a_class: float, *, num_test: int | None = None
    ) -> tuple[float, float, float]:
        """Accuracy to expect of a head fitted on so many photos.

        Args:
            photos_a_class: Photos of each class, on average; all other things are as they are.
            num_test: Photos that the accuracy will be measured on. Their luck is then in the
                interval, as is that of the photos fitted on; None means on all photos there
                could be.

        Returns:
            Accuracy, and the lower and upper end of its 95 % interval, fractions in [0, 1].

        Raises:
            DataError: When the size is more than 8 times that there is, or less than was
                measured.
        """
        self._check_size(photos_a_class)
        accuracies = 1 - self._errors_at(np.array([photos_a_class]))[:, 0]
        middle = float(np.median(accuracies))
        if num_test is not None:
            rng = np.random.default_rng(0)
            deviation = math.sqrt(self.variance_of_one / (photos_a_class * self.num_classes))
            luck = rng.normal(0, deviation, len(accuracies))
            chances = np.clip(accuracies + luck, 0, 1)
            accuracies = rng.binomial(num_test, chances) / num_test
        low, high = (float(end) for end in _interval(accuracies))
        return middle, min(low, middle), max(high, middle)

    def band(self, photos_a_class: NDArray[np.float64]) -> NDArray[np.float64]:
        """`predict` of many sizes at once, to draw.

        Args:
            photos_a_class: (M,) sizes, none of them past what `predict` answers for.

        Returns:
            (3, M): accuracy, lower and upper end of its 95 % interval.
        """
        for size in (photos_a_class.min(), photos_a_class.max()):
            self._check_size(float(size))
        accuracies = 1 - self._errors_at(photos_a_class)
        return np.stack([np.median(accuracies, axis=0), *_interval(accuracies)])

    def photos_for(self, accuracy: float) -> PhotosNeeded:
        """Photos that an accuracy takes.

        Args:
            accuracy: The accuracy wanted, a fraction in (0, 1).

        Returns:
            The number with its interval, and the answer in words, which may be that it is out
            of reach.

        Raises:
            ValueError: When the accuracy is not in (0, 1).
        """
        check_target(accuracy)
        sizes = np.geomspace(self.smallest, self.largest, _CROSSING_SIZES)
        reached = self._errors_at(sizes) <= 1 - accuracy
        needed = np.where(reached.any(axis=1), sizes[reached.argmax(axis=1)], math.inf)
        low, middle, high = np.quantile(needed, _tails(0.5), method="nearest")
        if self.predict(self.photos_a_class)[0] >= accuracy:
            middle = min(middle, self.photos_a_class)
        found = [float(value) if math.isfinite(value) else None for value in (middle, low, high)]
        more = None if found[0] is None else max(found[0] - self.photos_a_class, 0.0)
        chance = float(np.isfinite(needed).mean())
        sentence = self._sentence(accuracy, more, found[1], found[2])
        return PhotosNeeded(accuracy, found[0], found[1], found[2], more, chance, sentence)

    def to_dict(self) -> dict[str, Any]:
        """The curve in plain values, ready for JSON.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        sizes = [self.photos_a_class * factor for factor in (1, 2, 4, REACH)]
        return {
            "num_photos": self.num_photos,
            "num_classes": self.num_classes,
            "num_draws": self.num_draws,
            "points": [dict(vars(point)) for point in self.points],
            "expected": [self.describe(size) for size in sizes],
            "power_law": {
                "error_at_largest": float(np.median(self.errors)),
                "floor": float(np.median(self.errors * self.floors)),
                "exponent": float(np.median(self.exponents)),
            },
            "largest_photos_a_class": self.largest,
        }

    def describe(self, photos_a_class: float) -> dict[str, Any]:
        """`predict` in plain values and in words, ready for JSON.

        Args:
            photos_a_class: As for `predict`.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        accuracy, low, high = self.predict(photos_a_class)
        return {
            "photos_a_class": photos_a_class,
            "accuracy": accuracy,
            "accuracy_interval": [low, high],
            "sentence": f"At {_count(photos_a_class)} photos a class expect {_percent(accuracy)} "
            f"(95 % interval {_percent(low)} to {_percent(high)}).",
        }

    @cached_property
    def _measured(self) -> float:
        """Largest size measured, photos a class."""
        return self.points[-1].photos_a_class

    def _errors_at(self, photos_a_class: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S, M) errors of every draw at M sizes."""
        growth = np.log(photos_a_class / self._measured)
        shares = np.exp(-self.exponents[:, np.newaxis] * growth)
        floors = self.floors[:, np.newaxis]
        strays = self.strays[:, np.newaxis] * np.maximum(growth, 0.0) / math.log(2)
        factors = (floors + (1 - floors) * shares) * np.exp(strays)
        # More photos do no harm, however far a draw strays.
        factors = np.where(growth > 0, np.minimum(factors, 1.0), factors)
        return np.minimum(self.errors[:, np.newaxis] * factors, 1.0)

    def _check_size(self, photos_a_class: float) -> None:
        check_reach(photos_a_class, self.photos_a_class)
        if photos_a_class < self.smallest * (1 - _ROUNDING):
            raise DataError(
                f"{_count(photos_a_class)} photos a class are fewer than the "
                f"{_count(self.smallest)} that the curve begins with; ask for more."
            )

    def _sentence(
        self, accuracy: float, more: float | None, low: float | None, high: float | None
    ) -> str:
        wanted, there = _percent(accuracy), self.photos_a_class
        if more == 0:
            expected = _percent(self.predict(there)[0])
            sure = high is not None and high <= there
            doubt = "" if sure else ", though the interval leaves it open"
            return (
                f"{wanted} is reached with the {_count(there)} photos a class there are: expect "
                f"{expected}{doubt}."
            )
        if more is not None:
            least = 0.0 if low is None else max(low - there, 0.0)
            most = f"more than {_count(self.largest - there)}"
            most = most if high is None else about_count(max(high - there, 0.0))
            return (
                f"To reach {wanted} you need about {about_count(more)} more photos a class "
                f"(95 % interval {about_count(least)} to {most})."
            )
        middle, lower, upper = self.predict(self.largest)
        before = self.predict(self.largest / 2)[0]
        end = f"{_percent(middle)} (95 % interval {_percent(lower)} to {_percent(upper)})"
        if middle - before < 0.005:
            return (
                f"{wanted} is not reachable by more photos of the same kind alone: the curve "
                f"levels off at about {end}."
            )
        return (
            f"{wanted} takes more than {REACH:.0f} times the photos there are, and nobody can say "
            f"how many: with {_count(self.largest)} a class expect {end}."
        )


def check_reach(photos_a_class: float, there: float) -> None:
    """Refuse to look further than a learning curve can be followed.

    Args:
        photos_a_class: Photos a class that are asked about.
        there: Photos a class that there are.

    Raises:
        DataError: When it is more than 8 times as many.
    """
    if photos_a_class > REACH * there * (1 + _ROUNDING):
        raise DataError(
            f"{_count(photos_a_class)} photos a class are {photos_a_class / there:,.1f} times the "
            f"{_count(there)} there are, and what a learning curve does past {REACH:.0f} times "
            f"its photos nobody can say; ask for {math.floor(REACH * there):,} or fewer."
        )


def check_target(accuracy: float) -> None:
    """Refuse a target that is no accuracy between none and all.

    Args:
        accuracy: The accuracy wanted.

    Raises:
        ValueError: When it is not in (0, 1).
    """
    if not 0.0 < accuracy < 1.0:
        raise ValueError(
            f"The accuracy wanted is {accuracy:g}; expected a share in (0, 1), such as 0.95."
        )


def about_count(number: float) -> str:
    """Write an estimated number of photos: its first two digits are all that means something.

    Args:
        number: Photos, 0 or more.

    Returns:
        Such as "8", "1,200".
    """
    return f"{float(f'{number:.2g}'):,.0f}"


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
        progress: Called with (heads fitted, heads in all).

    Returns:
        The curve.

    Raises:
        DataError: When there are too few classes or photos to hold some out.
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
    measured = trial.run(seed, num_draws, progress)
    return _fit(measured, labels, groups, num_classes, seed)


@dataclass(frozen=True, eq=False)
class _Measured:
    """What all heads answered.

    Args:
        sizes: (M,) mean number of photos fitted on.
        wrong: (R, N, M) whether each photo was named wrong, in each draw and at each size.
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
class _Trial:
    """The photos that heads are fitted on, and how."""

    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    num_classes: int
    class_weight: str

    def run(self, seed: int, num_draws: int, progress: Progress | None) -> _Measured:
        """Fit all heads, those of a draw at the same time."""
        rng = np.random.default_rng(seed)
        num_photos = len(self.labels)
        targets = _sizes(num_photos * (NUM_FOLDS - 1) // NUM_FOLDS, self.num_classes)
        wrong = np.zeros((num_draws, num_photos, len(targets)), dtype=bool)
        sizes = np.zeros((num_draws, NUM_FOLDS, len(targets)))
        folds = np.zeros((num_draws, num_photos), dtype=np.int64)
        num_done = 0
        # Limited from outside: a thread that ends must not lift the others' limit.
        with (
            threadpool_limits(1, user_api="blas"),
            ThreadPoolExecutor(available_cores(), thread_name_prefix="curve") as pool,
        ):
            for draw in range(num_draws):
                folds[draw] = stratified_folds(
                    self.labels, self.groups, NUM_FOLDS, int(rng.integers(2**31))
                )
                for fold, answers in self._draw(folds[draw], targets, draw, rng, pool):
                    wrong[draw, folds[draw] == fold], sizes[draw, fold] = answers
                    num_done += len(targets)
                    if progress is not None:
                        progress(num_done, sizes.size)
        return _Measured(sizes.mean(axis=(0, 1)), wrong, folds)

    def _draw(
        self,
        folds: NDArray[np.int64],
        targets: NDArray[np.int64],
        draw: int,
        rng: np.random.Generator,
        pool: ThreadPoolExecutor,
    ) -> Iterator[tuple[int, tuple[NDArray[np.bool_], NDArray[np.int64]]]]:
        """Each fold with (n, M) wrong answers to its photos and (M,) numbers fitted on."""
        orders = [self._order(np.flatnonzero(folds != fold), rng) for fold in range(NUM_FOLDS)]
        # Cross-validation takes most of the time. One fold's choice of strengths serves the draw,
        # another's the next: its luck is in the mean as it is in real life.
        first = draw % NUM_FOLDS
        strengths, wrong, sizes = self._chain(orders[first], targets, folds == first, None)
        yield first, (wrong, sizes)
        rest = [fold for fold in range(NUM_FOLDS) if fold != first]
        futures = [
            pool.submit(self._chain, orders[fold], targets, folds == fold, strengths)
            for fold in rest
        ]
        for fold, future in zip(rest, futures, strict=True):
            _, wrong, sizes = future.result()
            yield fold, (wrong, sizes)

    def _chain(
        self,
        order: NDArray[np.int64],
        targets: NDArray[np.int64],
        held: NDArray[np.bool_],
        strengths: Sequence[float] | None,
    ) -> tuple[list[float], NDArray[np.bool_], NDArray[np.int64]]:
        """Strengths, (n, M) wrong answers to those held out, and (M,) sizes of nested parts."""
        used, wrong, sizes = [], [], []
        ends = self._ends(order)
        for place, target in enumerate(targets):
            rows = order[: ends[np.argmin(np.abs(ends - target))]]
            head = fit_head(
                self.embeddings[rows],
                self.labels[rows],
                self.num_classes,
                groups=self.groups[rows],
                class_weight=self.class_weight,
                strength=None if strengths is None else strengths[place],
            )
            answers = head.predict_proba(self.embeddings[held]).argmax(axis=1)
            wrong.append(answers != self.labels[held])
            sizes.append(len(rows))
            used.append(head.strength or 0.0)
        return used, np.stack(wrong, axis=1), np.array(sizes)

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

    def _ends(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of photos at which no group is divided and every class is there."""
        groups = self.groups[order]
        ends = np.flatnonzero(np.append(groups[1:] != groups[:-1], True)) + 1
        _, first = np.unique(self.labels[order], return_index=True)
        return np.asarray(ends[ends > first.max()])


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
            deviation=math.sqrt(measured.variance_of_one / float(size)),
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
            f"curve needs {LEAST_MEAN_A_CLASS * num_classes}, {LEAST_MEAN_A_CLASS} a class. Add "
            "photos."
        )


def _tails(*between: float) -> list[float]:
    return [(1 - _CONFIDENCE) / 2, *between, (1 + _CONFIDENCE) / 2]


def _interval(values: NDArray[np.float64]) -> Any:
    """Ends of the 95 % interval of draws (S, ...)."""
    return np.quantile(values, _tails(), axis=0)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _count(number: float) -> str:
    return f"{number:,.0f}"
