"""What more photos would bring: a learning curve, what it says and how far it can be asked.

A power law through measured accuracies tells what to expect of more photos, and how sure that is.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.display import Shown
from handful.errors import DataError
from handful.options import check_fraction
from handful.wording import format_share

# Nothing is said beyond so many times the photos: the power law was never seen to hold there.
REACH = 8.0
_CROSSING_SIZES = 400
_DRAWN_SIZES = 60
_CONFIDENCE = 0.95
_ROUNDING = 1e-9


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy of heads that were fitted on one number of photos.

    Args:
        num_photos: Photos that each head was fitted on, of all classes together; the mean over
            the heads, for groups of near-duplicates are not divided.
        photos_a_class: The same divided by the number of classes.
        accuracy: Share of held-out photos classified correctly; each photo counts once in every
            draw.
        std: Standard deviation of the accuracy from one choice of so many photos to
            another, a fraction: falling with the root of their number, by what all sizes show.
        num_fits: Heads fitted.
    """

    num_photos: float
    photos_a_class: float
    accuracy: float
    std: float
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


@dataclass(frozen=True, eq=False, repr=False)
class LearningCurve(Shown):
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

    def _in_words(self) -> str:
        return str(self.describe(self.photos_a_class)["sentence"])

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
            std = math.sqrt(self.variance_of_one / (photos_a_class * self.num_classes))
            luck = rng.normal(0, std, len(accuracies))
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
            UsageError: When the accuracy is not in (0, 1).
        """
        check_fraction(accuracy, "accuracy", 0.95)
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
        drawn = np.geomspace(self.smallest, self.largest, _DRAWN_SIZES)
        drawn = np.union1d(drawn.clip(self.smallest, self.largest), [self._measured])
        band = zip(("accuracy", "low", "high"), self.band(drawn).tolist(), strict=True)
        return {
            "num_photos": self.num_photos,
            "num_classes": self.num_classes,
            "num_draws": self.num_draws,
            "points": [dict(vars(point)) for point in self.points],
            "expected": [self.describe(size) for size in sizes],
            "band": {"photos_a_class": drawn.tolist(), **dict(band)},
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
            "sentence": f"Expected accuracy with {_count(photos_a_class)} photos per class: "
            f"{format_share(accuracy)} (95 % interval {format_share(low)} to "
            f"{format_share(high)}).",
        }

    @cached_property
    def _measured(self) -> float:
        """Largest size measured, photos a class."""
        return self.points[-1].photos_a_class

    @cached_property
    def _turns(self) -> NDArray[np.float64]:
        """(S,) growth, a logarithm, at which each draw's straying outweighs what photos bring.

        The error is a e^kg + (1 - a) e^(k - c)g: least where its two slopes are equal.
        """
        rise = np.maximum(self.strays / math.log(2), 0.0)
        falling, rising = (1 - self.floors) * (self.exponents - rise), self.floors * rise
        turns = np.full(len(rise), np.inf)
        turned = (rise > 0) & (falling <= rising)
        turns[turned] = 0.0
        later = (rising > 0) & ~turned
        ratios = np.log(falling[later]) - np.log(rising[later])
        turns[later] = ratios / self.exponents[later]
        return turns

    def _errors_at(self, photos_a_class: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S, M) errors of every draw at M sizes."""
        growth = np.log(photos_a_class / self._measured)
        # More photos do no harm, however far a draw strays.
        growth = np.minimum(growth, self._turns[:, np.newaxis])
        shares = np.exp(-self.exponents[:, np.newaxis] * growth)
        floors = self.floors[:, np.newaxis]
        strays = self.strays[:, np.newaxis] * np.maximum(growth, 0.0) / math.log(2)
        factors = (floors + (1 - floors) * shares) * np.exp(strays)
        return np.minimum(self.errors[:, np.newaxis] * factors, 1.0)

    def _check_size(self, photos_a_class: float) -> None:
        check_reach(photos_a_class, self.photos_a_class)
        check_start(photos_a_class, self.smallest)

    def _sentence(
        self, accuracy: float, more: float | None, low: float | None, high: float | None
    ) -> str:
        wanted, there = format_share(accuracy), self.photos_a_class
        if more == 0:
            expected = format_share(self.predict(there)[0])
            sure = high is not None and high <= there
            doubt = "" if sure else ", though the interval leaves it open"
            return (
                f"{wanted} is reached with the {_count(there)} photos per class there are: expect "
                f"{expected}{doubt}."
            )
        if more is not None:
            least = 0.0 if low is None else max(low - there, 0.0)
            most = f"more than {_count(self.largest - there)}"
            most = most if high is None else about_count(max(high - there, 0.0))
            return (
                f"To reach {wanted} you need about {about_count(more)} more photos per class "
                f"(95 % interval {about_count(least)} to {most})."
            )
        middle, lower, upper = self.predict(self.largest)
        before = self.predict(self.largest / 2)[0]
        interval = f"95 % interval {format_share(lower)} to {format_share(upper)}"
        end = f"{format_share(middle)} ({interval})"
        if middle - before < 0.005:
            return (
                f"{wanted} is not reachable by more photos of the same kind alone: the curve "
                f"levels off at about {end}."
            )
        return (
            f"{wanted} takes more than {REACH:.0f} times the photos there are, and nobody can say "
            f"how many: with {_count(self.largest)} per class expect {end}."
        )


def check_reach(photos_a_class: float, there: float) -> None:
    """Refuse to look further than a learning curve can be followed, or at no photos at all.

    Args:
        photos_a_class: Photos a class that are asked about.
        there: Photos a class that there are.

    Raises:
        DataError: When it is more than 8 times as many, or less than 1.
    """
    if photos_a_class < 1:
        raise DataError(
            f"{photos_a_class:g} photos per class are asked about; expected 1 to "
            f"{math.floor(REACH * there):,}."
        )
    if photos_a_class > REACH * there * (1 + _ROUNDING):
        raise DataError(
            f"{_count(photos_a_class)} photos per class are {photos_a_class / there:,.1f} times "
            f"the {_count(there)} there are, and what a learning curve does past {REACH:.0f} times "
            f"its photos nobody can say; ask for {math.floor(REACH * there):,} or fewer."
        )


def check_start(photos_a_class: float, smallest: float) -> None:
    """Refuse a size smaller than a learning curve begins with.

    Args:
        photos_a_class: Photos a class that are asked about.
        smallest: Least photos a class that were measured, or will be.

    Raises:
        DataError: When it is less.
    """
    if photos_a_class < smallest * (1 - _ROUNDING):
        what = "photo per class is" if photos_a_class == 1 else "photos per class are"
        raise DataError(
            f"{_count(photos_a_class)} {what} fewer than the "
            f"{math.ceil(smallest * (1 - _ROUNDING)):,} that the curve begins with; ask for more."
        )


def about_count(number: float) -> str:
    """Write an estimated number of photos: its first two digits are all that means something.

    Args:
        number: Photos, 0 or more.

    Returns:
        Such as "8", "1,200".
    """
    return f"{float(f'{number:.2g}'):,.0f}"


def _tails(*between: float) -> list[float]:
    return [(1 - _CONFIDENCE) / 2, *between, (1 + _CONFIDENCE) / 2]


def _interval(values: NDArray[np.float64]) -> Any:
    """Ends of the 95 % interval of draws (S, ...)."""
    return np.quantile(values, _tails(), axis=0)


def _count(number: float) -> str:
    return f"{number:,.0f}"
