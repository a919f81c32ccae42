"""How far a classifier's probabilities can be believed: temperature, abstaining, prediction sets.

All of it rests on answers about photos that the answering head had not learned from.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.data.target import softmax
from handful.models.heads import LinearHead, fit_head, out_of_fold_logits
from handful.models.streaming import Vectors, taken
from handful.options import check_fraction
from handful.statistics.intervals import allowed_errors, group_shares, highest_rate

# What reports show: "at most 1 wrong answer in 100".
ERROR_RATES = (0.1, 0.05, 0.02, 0.01, 0.005)
USUAL_ERROR_RATE = 0.01  # of those who ask for "not sure" and name none
COVERAGES = (0.8, 0.9, 0.95, 0.99)
# How sure it is that no more answers are wrong than said.
CONFIDENCE = 0.95
# Fewer groups can show no rate worth a part of the 5 %: 16 without an error show 17 % or more.
_FEWEST_AT_A_START = 16
_RULES_KEPT = 100
_LOWEST, _HIGHEST = 0.05, 20.0
_STEPS = 60
_PRIOR_DEVIATION = 0.2


@dataclass(frozen=True)
class Abstention:
    """Where to say "not sure", and what that gives.

    With a confidence of `CONFIDENCE`, no more than `shown_error_rate` of all answers given by this
    rule are wrong: had the photos that it was chosen on been drawn anew, the rule would be such in
    95 of 100 draws. It speaks of photos of the same kind.

    Args:
        error_rate: Share of wrong answers that was asked for, among the photos answered.
        shown_error_rate: Share that can be shown: as asked, or, of so few photos, the smallest.
        confidence: How sure that is, `CONFIDENCE`.
        threshold: Probability of the named class from which on it is named; None where nothing
            can be shown and nothing is answered.
        coverage: Share of photos answered.
        observed_error: Share of wrong ones among the photos answered, of those that the
            threshold was chosen on; None where none is.
        num_photos: Photos that it was chosen on.
    """

    error_rate: float
    shown_error_rate: float
    confidence: float
    threshold: float | None
    coverage: float
    observed_error: float | None
    num_photos: int

    @property
    def is_as_asked(self) -> bool:
        """Whether the rate that was asked for can be shown."""
        return self.shown_error_rate <= self.error_rate


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Thresholds from the highest on, and what answering from each gives.

    `trials` and `wrong` are whole numbers of groups; `starts` are the first rules that are tested,
    from all photos to the surest few: level, place, and the place where the next one begins.
    """

    confidence: NDArray[np.float32]
    trials: NDArray[np.int64]
    wrong: NDArray[np.int64]
    starts: list[tuple[float, int, int]]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Answers on n photos that were not learned from, kept to choose thresholds by.

    Args:
        confidence: (n,) float32 probability of the class that was named.
        correct: (n,) bool, whether it was the right one.
        true_probability: (n,) float32 probability of the right class.
        temperature: What logits were divided by; 1 where they were left alone.
        source: "out-of-fold": photos of training, each answered by a head fitted without it;
            or "validation": the validation photos.
        groups: (n,) int64, photos with equal numbers are near-duplicates; None: each on its own.
        unlike: (n,) bool, whether a photo is unlike those of training, and so never answered;
            None where that cannot be told.
    """

    confidence: NDArray[np.float32]
    correct: NDArray[np.bool_]
    true_probability: NDArray[np.float32]
    temperature: float
    source: str
    groups: NDArray[np.int64] | None = None
    unlike: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.confidence)

    def abstain_at(self, error_rate: float) -> Abstention:
        """Choose the probability below which to say "not sure".

        Args:
            error_rate: Largest share of wrong answers among the photos answered, in (0, 1).

        Returns:
            The rule that answers most photos of those that keep to the rate; where so few
            photos, or such answers, cannot show so small a rate, that of the smallest rate.

        Raises:
            UsageError: When the rate is outside (0, 1).

        Source:
            Learn then Test (Angelopoulos, Bates, Candes, Jordan, Lei 2021). The rules to answer
            all photos, the surest half, the surest quarter, ... are each tested by Clopper and
            Pearson's bound at 1/2, 1/4, 1/8, ... of the 5 % that may fail. From the largest that
            holds, less and less sure photos are added while the bound holds (fixed sequence
            testing). One answer is left out of each count: that which gave the threshold. Of a
            group each photo counts as its share, as if one of them had been drawn. Where nothing
            is shown, the smallest of the first bounds is.
        """
        check_fraction(error_rate, "error_rate", 0.01)
        if error_rate not in self._rules:
            if len(self._rules) >= _RULES_KEPT:
                self._rules.clear()
            self._rules[error_rate] = self._choose(error_rate)
        return self._rules[error_rate]

    def _choose(self, error_rate: float) -> Abstention:
        ranked = self._ranked
        for level, start, end in ranked.starts:
            trials, wrong = ranked.trials[start:end], ranked.wrong[start:end]
            allowed = allowed_errors(error_rate, level, int(trials.max()))[trials]
            failed = np.flatnonzero(wrong > allowed)
            kept = int(failed[0]) if len(failed) else end - start
            if kept:
                return self._rule(error_rate, error_rate, start + kept - 1)
        return replace(self._smallest, error_rate=error_rate)

    @cached_property
    def _smallest(self) -> Abstention:
        """The rule of the smallest rate that can be shown."""
        ranked = self._ranked
        bounds = [
            highest_rate(int(ranked.wrong[start]), int(ranked.trials[start]), level)
            for level, start, _ in ranked.starts
        ]
        least = min(bounds, default=1.0)
        if least >= 1.0:
            return Abstention(1.0, 1.0, CONFIDENCE, None, 0.0, None, len(self))
        # Two digits, rounded up: what is said is what holds.
        unit = 10.0 ** (math.floor(math.log10(least)) - 1)
        shown = min(round(math.ceil(least / unit) * unit, 12), 1.0)
        return self._rule(shown, shown, ranked.starts[bounds.index(least)][1])

    def _rule(self, asked: float, shown: float, place: int) -> Abstention:
        threshold = self._ranked.confidence[place]
        answered = self.confidence >= threshold
        if self.unlike is not None:
            answered &= ~self.unlike
        return Abstention(
            error_rate=asked,
            shown_error_rate=shown,
            confidence=CONFIDENCE,
            threshold=float(threshold),
            coverage=float(answered.mean()),
            observed_error=float((~self.correct[answered]).mean()),
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
            UsageError: When the coverage is outside (0, 1).

        Source:
            Split conformal prediction with the score 1 - p(true class): Vovk, Gammerman, Shafer
            2005; Sadinle, Lei, Wasserman 2019 (least ambiguous sets). The ceil((n + 1) coverage)-th
            smallest of n exchangeable scores is exceeded by the next one with a probability of
            1 - coverage at most. With groups of near-duplicates n is that of the groups, and a
            photo counts as its share of one (Lee, Barber, Willett 2023, hierarchical conformal
            prediction). With out-of-fold scores this holds approximately (cross-conformal,
            Vovk 2015): the head that answers has learned from more photos than those that scored.
        """
        check_fraction(coverage, "coverage", 0.95)
        probabilities, counts = self._by_true_probability
        needed = (self._shares.sum() + 1) * coverage - 1e-9
        place = int(np.searchsorted(counts, needed))
        return float(probabilities[place]) if place < len(self) else 0.0

    # Sorted once, for a server asks for each request.
    @cached_property
    def _rules(self) -> dict[float, Abstention]:
        return {}

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """(n,) 1 / photos in a photo's group."""
        return group_shares(self.groups, len(self))

    @cached_property
    def _ranked(self) -> "_Ranked":
        like = np.ones(len(self), np.bool_) if self.unlike is None else ~self.unlike
        order = np.flatnonzero(like)[np.argsort(-self.confidence[like], kind="stable")]
        confidence = self.confidence[order]
        answered = np.cumsum(self._shares[order])
        wrong = np.cumsum(self._shares[order] * ~self.correct[order])
        # Photos of the same probability are answered together, or not at all.
        last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True)[: len(order)])
        answered, wrong = answered[last], wrong[last]
        trials = np.maximum(np.floor(answered - 1 + 1e-6), 0).astype(np.int64)
        starts = []
        if len(last):
            num_starts = max(1, int(math.log2(max(answered[-1] / _FEWEST_AT_A_START, 1))) + 1)
            shares = 0.5 ** np.arange(num_starts)
            places = np.searchsorted(answered, answered[-1] * shares * (1 - 1e-9))
            levels = (1 - CONFIDENCE) * shares / shares.sum()
            ends = [len(last), *places[:-1].tolist()]
            starts = list(zip(levels.tolist(), places.tolist(), ends, strict=True))
        return _Ranked(
            confidence[last],
            trials,
            np.minimum(np.ceil(wrong - 1e-6).astype(np.int64), trials),
            [start for start in starts if start[1] < start[2]],
        )

    @cached_property
    def _by_true_probability(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Probabilities of the right classes from the largest on; groups that reach each."""
        order = np.argsort(-self.true_probability, kind="stable")
        return self.true_probability[order], np.cumsum(self._shares[order])

    def prediction_sets(
        self, probabilities: NDArray[np.float64], coverage: float
    ) -> NDArray[np.bool_]:
        """Classes that a photo may be of, so that few sets miss the right one.

        The most probable class is always in the set: a set is never empty.

        Args:
            probabilities: (N, C) float64.
            coverage: Share of photos whose set shall hold their class, in (0, 1).

        Returns:
            (N, C) bool, one or more in each row.

        Raises:
            UsageError: When the coverage is outside (0, 1).
        """
        sets = probabilities.astype(np.float32) >= np.float32(self.set_threshold(coverage))
        sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
        return np.asarray(sets)

    def to_dict(self) -> dict[str, Any]:
        """The facts in plain values, ready for JSON.

        Returns:
            "temperature", "source", "num_photos", "confidence", and "abstaining": a list of
            "error_rate", "threshold", "coverage" and "observed_error" for the usual rates that
            can be shown, or else for the smallest that can.
        """
        found = [self.abstain_at(rate) for rate in ERROR_RATES]
        rules = [rule for rule in found if rule.is_as_asked]
        if not rules and self._smallest.threshold is not None:
            rules = [self._smallest]
        rows = [
            {
                "error_rate": rule.error_rate,
                "threshold": rule.threshold,
                "coverage": rule.coverage,
                "observed_error": rule.observed_error,
            }
            for rule in rules
        ]
        return {
            "temperature": self.temperature,
            "source": self.source,
            "num_photos": len(self),
            "confidence": CONFIDENCE,
            "abstaining": rows,
        }


# Of a classifier that keeps none: nothing is sure, and any class may be the right one.
NO_ANSWERS = Calibration(
    np.zeros(0, np.float32), np.zeros(0, np.bool_), np.zeros(0, np.float32), 1.0, "none"
)


def calibrate(
    logits: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    groups: NDArray[np.int64] | None = None,
    unlike: NDArray[np.bool_] | None = None,
) -> Calibration:
    """Fit a temperature to out-of-fold logits, and keep what they then say.

    Args:
        logits: (n, C) float64 of photos, each from a head fitted without it.
        labels: (n,) int64 true classes.
        groups: As in `Calibration`.
        unlike: As in `Calibration`.

    Returns:
        The calibration.
    """
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits / temperature)
    return keep_answers(
        probabilities, labels, "out-of-fold", temperature, groups=groups, unlike=unlike
    )


def fit_calibrated_head(
    embeddings: Vectors,
    labels: NDArray[np.int64],
    num_classes: int,
    *,
    groups: NDArray[np.int64],
    class_weight: str = "auto",
    seed: int = 0,
    unlike: NDArray[np.bool_] | None = None,
    judged: NDArray[np.int64] | None = None,
) -> tuple[LinearHead, Calibration | None, NDArray[np.float64] | None]:
    """Fit a head, and calibrate it by its out-of-fold answers.

    Args:
        embeddings: As for `fit_head`, as are the rest.
        labels: (N,) int64.
        num_classes: Number of classes C.
        groups: (N,) int64, photos with equal numbers are in one fold.
        class_weight: "auto", "balanced" or "none".
        seed: Seed of the folds.
        unlike: (n,) bool of the photos judged, as in `Calibration`.
        judged: (n,) int64 rows whose out-of-fold answers are asked for, as `judged_rows` draws
            them; None for all N.

    Returns:
        The head at its temperature, its calibration, and the calibrated out-of-fold probabilities
        (n, C) of the photos judged, NaN for photos that cannot be held out; the head as it is and
        twice None where none can.

    Raises:
        ValueError: As `fit_head`.
    """
    head = fit_head(
        embeddings, labels, num_classes, groups=groups, class_weight=class_weight, seed=seed
    )
    assert head.C is not None
    if judged is not None:
        embeddings = taken(embeddings, judged, memory_bytes=0)  # read when they are needed
        labels, groups = labels[judged], groups[judged]
    logits = out_of_fold_logits(
        embeddings,
        labels,
        num_classes,
        head.C,
        groups=groups,
        class_weight=class_weight,
        seed=seed,
    )
    if logits is None:
        return head, None, None
    held = ~np.isnan(logits[:, 0])
    calibration = calibrate(
        logits[held],
        labels[held],
        groups=groups[held],
        unlike=None if unlike is None else unlike[held],
    )
    temperature = calibration.temperature
    return head.at_temperature(temperature), calibration, softmax(logits / temperature)


def keep_answers(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    source: str,
    temperature: float = 1.0,
    *,
    groups: NDArray[np.int64] | None = None,
    unlike: NDArray[np.bool_] | None = None,
) -> Calibration:
    """Keep answers on photos that were not learned from.

    Args:
        probabilities: (n, C) float64.
        labels: (n,) int64 true classes.
        source: As in `Calibration`.
        temperature: As in `Calibration`.
        groups: As in `Calibration`.
        unlike: As in `Calibration`.

    Returns:
        The calibration.
    """
    return Calibration(
        probabilities.max(axis=1).astype(np.float32),
        probabilities.argmax(axis=1) == labels,
        probabilities[np.arange(len(labels)), labels].astype(np.float32),
        temperature,
        source,
        groups,
        unlike,
    )


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Find the number that logits must be divided by for honest probabilities.

    Dividing all logits of a photo by one number never changes which class is the most probable.

    Args:
        logits: (n, C) float64 of photos that were not learned from.
        labels: (n,) int64 true classes.

    Returns:
        The temperature, 0.05 to 20: above 1 where the logits promised too much.

    Source:
        Guo, Pleiss, Sun, Weinberger 2017, with a normal prior on the temperature's logarithm, of
        mean 0 and standard deviation 0.2: a head whose strength was chosen by log loss is nearly
        honest already, and photos that are all classified correctly would ask for an infinite
        confidence.
        Platt's targets (1999), as if one more photo of each class had been seen, say too much of
        so few photos: see `benchmarks/trust_temperature.py`.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        losses = np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]
        return float(losses.sum()) + (log_temperature / _PRIOR_DEVIATION) ** 2 / 2

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
