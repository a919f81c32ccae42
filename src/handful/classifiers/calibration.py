"""How far a classifier's probabilities can be believed: temperature, abstaining, prediction sets.

All of it rests on answers about photos that the answering head had not learnt from.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.classifiers.heads import LinearHead, fit_head, out_of_fold_logits, softmax
from handful.errors import DataError, UsageError

# What reports show: "at most 1 wrong answer in 100".
ERROR_RATES = (0.1, 0.05, 0.02, 0.01, 0.005)
COVERAGES = (0.8, 0.9, 0.95, 0.99)
_LOWEST, _HIGHEST = 0.05, 20.0
_STEPS = 60


@dataclass(frozen=True)
class Abstention:
    """Where to say "not sure", and what that gives.

    Args:
        error_rate: Share of wrong answers that was asked for, among the photos answered.
        threshold: Probability of the named class from which on it is named.
        coverage: Share of photos answered.
        observed_error: Share of wrong ones among the photos answered, of those that the
            threshold was chosen on.
        num_photos: Photos that it was chosen on.
    """

    error_rate: float
    threshold: float
    coverage: float
    observed_error: float
    num_photos: int


@dataclass(frozen=True, eq=False)
class Calibration:
    """Answers on n photos that were not learnt from, kept to choose thresholds by.

    Args:
        confidence: (n,) float32 probability of the class that was named.
        correct: (n,) bool, whether it was the right one.
        true_probability: (n,) float32 probability of the right class.
        temperature: What logits were divided by; 1 where they were left alone.
        source: "out-of-fold": photos of training, each answered by a head fitted without it;
            or "validation": the validation photos.
    """

    confidence: NDArray[np.float32]
    correct: NDArray[np.bool_]
    true_probability: NDArray[np.float32]
    temperature: float
    source: str

    def __len__(self) -> int:
        return len(self.confidence)

    def abstain_at(self, error_rate: float) -> Abstention:
        """Choose the probability below which to say "not sure".

        Of all thresholds at which (wrong answers + 1) / (answers + 1) is at most the rate, the one
        that answers most photos is taken. The 1 stands for the next photo, as in conformal
        prediction: few photos cannot promise a small rate.

        The threshold is the best of n, chosen on the answers that it is judged by. So the rate is
        kept on average, over many classifiers whose confidences tell right answers from wrong
        ones, and not by each of them: nearly half exceed it, by more the fewer the photos. Where
        confidences tell nothing, luck alone now and then promises a rate that cannot be kept.

        Args:
            error_rate: Largest share of wrong answers among the photos answered, in (0, 1).

        Returns:
            The threshold, and what it gives.

        Raises:
            ValueError: When the rate is outside (0, 1).
            DataError: When so few photos, or such answers, cannot show so small a rate.
        """
        if not 0.0 < error_rate < 1.0:
            raise UsageError(f"error_rate is {error_rate}; expected 0 to 1, such as 0.01.")
        confidence, wrong, smallest_rates = self._ranked
        allowed = smallest_rates <= error_rate
        if not allowed.any():
            least = math.ceil(1 / error_rate) - 1
            raise DataError(
                f"an error rate of {error_rate:g} cannot be shown on {len(self)} photos: it takes "
                f"{least} or more that are answered without an error. Ask for a larger rate, or "
                "train on more photos."
            )
        place = int(np.flatnonzero(allowed)[-1])
        return Abstention(
            error_rate=error_rate,
            threshold=float(confidence[place]),
            coverage=(place + 1) / len(self),
            observed_error=float(wrong[place] / (place + 1)),
            num_photos=len(self),
        )

    def set_threshold(self, coverage: float) -> float:
        """Choose the probability from which on a class belongs into a photo's set.

        Args:
            coverage: Share of photos whose set shall hold their class, in (0, 1).

        Returns:
            The threshold; 0 where so few photos cannot promise the coverage, so that sets hold
            all classes.

        Raises:
            ValueError: When the coverage is outside (0, 1).

        Source:
            Split conformal prediction with the score 1 - p(true class): Vovk, Gammerman, Shafer
            2005; Sadinle, Lei, Wasserman 2019 (least ambiguous sets). The ceil((n + 1) coverage)-th
            smallest of n exchangeable scores is exceeded by the next one with a probability of
            1 - coverage at most. With out-of-fold scores this holds approximately (cross-conformal,
            Vovk 2015): the head that answers has learnt from more photos than those that scored.
        """
        if not 0.0 < coverage < 1.0:
            raise UsageError(f"coverage is {coverage}; expected 0 to 1, such as 0.95.")
        rank = math.ceil((len(self) + 1) * coverage - 1e-9)
        if rank > len(self):
            return 0.0
        return float(self._sorted_true_probability[len(self) - rank])

    # Sorted once, for a server asks for each request.
    @cached_property
    def _ranked(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
        """Confidences from the largest on; of each as a threshold, errors and the rate allowed."""
        order = np.argsort(-self.confidence, kind="stable")
        confidence = self.confidence[order]
        wrong = np.cumsum(~self.correct[order], dtype=np.int64)
        rates = (wrong + 1) / np.arange(2, len(self) + 2)
        # Photos of the same probability are answered together, or not at all.
        rates[:-1][confidence[1:] == confidence[:-1]] = np.inf
        return confidence, wrong, rates

    @cached_property
    def _sorted_true_probability(self) -> NDArray[np.float32]:
        return np.sort(self.true_probability)

    def sets_of(self, probabilities: NDArray[np.float64], coverage: float) -> NDArray[np.bool_]:
        """Classes that a photo may be of, so that few sets miss the right one.

        The most probable class is always in the set: a set is never empty.

        Args:
            probabilities: (N, C) float64.
            coverage: Share of photos whose set shall hold their class, in (0, 1).

        Returns:
            (N, C) bool, one or more in each row.

        Raises:
            ValueError: When the coverage is outside (0, 1).
        """
        sets = probabilities.astype(np.float32) >= np.float32(self.set_threshold(coverage))
        sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
        return np.asarray(sets)

    def to_dict(self) -> dict[str, Any]:
        """The facts in plain values, ready for JSON.

        Returns:
            "temperature", "source", "num_photos", and "abstaining": a list of "error_rate",
            "threshold", "coverage" and "observed_error" for the rates that can be promised.
        """
        rows = []
        for rate in ERROR_RATES:
            try:
                found = self.abstain_at(rate)
            except DataError:
                continue
            rows.append(
                {
                    "error_rate": rate,
                    "threshold": found.threshold,
                    "coverage": found.coverage,
                    "observed_error": found.observed_error,
                }
            )
        return {
            "temperature": self.temperature,
            "source": self.source,
            "num_photos": len(self),
            "abstaining": rows,
        }


def calibrate(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """Fit a temperature to out-of-fold logits, and keep what they then say.

    Args:
        logits: (n, C) float64 of photos, each from a head fitted without it.
        labels: (n,) int64 true classes.

    Returns:
        The calibration.
    """
    temperature = fit_temperature(logits, labels)
    return keep_answers(softmax(logits / temperature), labels, "out-of-fold", temperature)


def fit_calibrated_head(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    *,
    groups: NDArray[np.int64],
    class_weight: str = "auto",
    seed: int = 0,
) -> tuple[LinearHead, Calibration | None, NDArray[np.float64] | None]:
    """Fit a head, and calibrate it by its out-of-fold answers.

    Args:
        embeddings: As for `fit_head`, as are the rest.
        labels: (N,) int64.
        num_classes: Number of classes C.
        groups: (N,) int64, photos with equal numbers are in one fold.
        class_weight: "auto", "balanced" or "none".
        seed: Seed of the folds.

    Returns:
        The head at its temperature, its calibration, and the calibrated out-of-fold probabilities
        (N, C); the head as it is and twice None where nothing can be held out.

    Raises:
        ValueError: As `fit_head`.
    """
    head = fit_head(
        embeddings, labels, num_classes, groups=groups, class_weight=class_weight, seed=seed
    )
    assert head.strength is not None
    logits = out_of_fold_logits(
        embeddings,
        labels,
        num_classes,
        head.strength,
        groups=groups,
        class_weight=class_weight,
        seed=seed,
    )
    if logits is None:
        return head, None, None
    calibration = calibrate(logits, labels)
    temperature = calibration.temperature
    return head.at_temperature(temperature), calibration, softmax(logits / temperature)


def keep_answers(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    source: str,
    temperature: float = 1.0,
) -> Calibration:
    """Keep answers on photos that were not learnt from.

    Args:
        probabilities: (n, C) float64.
        labels: (n,) int64 true classes.
        source: As in `Calibration`.
        temperature: As in `Calibration`.

    Returns:
        The calibration.
    """
    return Calibration(
        probabilities.max(axis=1).astype(np.float32),
        probabilities.argmax(axis=1) == labels,
        probabilities[np.arange(len(labels)), labels].astype(np.float32),
        temperature,
        source,
    )


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Find the number that logits must be divided by for honest probabilities.

    Dividing all logits of a photo by one number never changes which class is the most probable.

    Args:
        logits: (n, C) float64 of photos that were not learnt from.
        labels: (n,) int64 true classes.

    Returns:
        The temperature, 0.05 to 20: above 1 where the logits promised too much.

    Source:
        Guo, Pleiss, Sun, Weinberger 2017, with the targets of Platt 1999: as if one more photo of
        each class had been seen, spread over all photos. Without them, photos that are all
        named right would ask for an infinite confidence.
    """
    num_photos, num_classes = logits.shape
    targets = np.full((num_photos, num_classes), 1.0 / (num_photos + num_classes))
    targets[np.arange(num_photos), labels] += num_photos / (num_photos + num_classes)

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        normalisers = np.log(np.exp(scaled).sum(axis=1))
        return float(normalisers.mean() - (targets * scaled).sum(axis=1).mean())

    return math.exp(_least(loss, math.log(_LOWEST), math.log(_HIGHEST)))


def _least(function: Any, low: float, high: float) -> float:
    """Where a function with one valley is least: golden-section search."""
    shrink = (math.sqrt(5) - 1) / 2
    left, right = high - shrink * (high - low), low + shrink * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - shrink * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + shrink * (high - low)
            at_right = function(right)
    return (low + high) / 2
