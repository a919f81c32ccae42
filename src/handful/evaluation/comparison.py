"""Which way of training is better, and which differences are more than luck.

Every training of a comparison is scored on the same photos, so two of them are compared photo by
photo: what is hard for both cancels out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.display import Shown
from handful.evaluation.evaluation import Evaluation
from handful.statistics.intervals import (
    accuracy_interval,
    design_effect,
    discordant_share,
    holm_adjusted,
    independent_discordance,
    mcnemar_test,
    paired_difference_interval,
    paired_difference_test,
    photos_for_difference,
    seed_freedom,
    seed_variance,
    smallest_difference,
)
from handful.wording import format_points, format_share

# Columns by epoch: "loss", "accuracy", "val_loss", "val_accuracy", "seconds", ... NaN where an
# epoch was not looked at.
History = Mapping[str, Sequence[float]]

_SIGNIFICANCE = 0.05


@dataclass(frozen=True, eq=False)
class StrategyRun:
    """One training, and how good what came of it is.

    Args:
        strategy: Name of the way of training.
        seed: What its chance was drawn from.
        evaluation: Its answers on the validation photos, which are the same for all trainings.
        history: Columns by epoch, see `History`; None for a head that is fitted without epochs.
        seconds: The whole training, from photo files to a classifier.
        num_parameters: Parameters of the whole network.
        num_trainable: Those that were trained.
        num_bytes: Size of the saved classifier.
        photos_per_second: Speed of prediction.
        epochs: Epochs trained; 0 for a head that is fitted without.
        path: The run's folder, which has a report.html; None where nothing was kept.
        note: What people should know of it.
    """

    strategy: str
    seed: int
    evaluation: Evaluation
    history: History | None
    seconds: float
    num_parameters: int
    num_trainable: int
    num_bytes: int
    photos_per_second: float
    epochs: int
    path: Path | None
    note: str = ""

    @property
    def final_accuracies(self) -> tuple[float, float] | None:
        """Training and validation accuracy after the last epoch that has both, or None."""
        if self.history is None:
            return None
        columns = (self.history.get(name, ()) for name in ("accuracy", "val_accuracy"))
        ends = [pair for pair in zip(*columns, strict=False) if all(map(math.isfinite, pair))]
        return (float(ends[-1][0]), float(ends[-1][1])) if ends else None

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain values, ready for JSON; undefined ones are None.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        evaluation, ends = self.evaluation, self.final_accuracies
        return {
            "seed": self.seed,
            "accuracy": evaluation.accuracy,
            "accuracy_interval": list(evaluation.accuracy_interval),
            "balanced_accuracy": evaluation.balanced_accuracy,
            "roc_auc": evaluation.roc_auc,
            "log_loss": evaluation.log_loss,
            "expected_calibration_error": evaluation.expected_calibration_error,
            "overfitting_gap": ends and ends[0] - ends[1],
            "seconds": self.seconds,
            "epochs": self.epochs,
            "photos_per_second": self.photos_per_second,
            "run_path": None if self.path is None else str(self.path),
            "note": self.note,
        }


@dataclass(frozen=True, eq=False)
class StrategySummary:
    """One way of training over its S seeds.

    Args:
        name: The way's name.
        runs: (S,) its trainings, of different seeds.
    """

    name: str
    runs: tuple[StrategyRun, ...]

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(S, N) whether each training named each photo right."""
        return np.stack([_right(run.evaluation) for run in self.runs])

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """(N,) near-duplicates among the photos, see `Evaluation`."""
        return self.runs[0].evaluation.groups

    @property
    def accuracy(self) -> float:
        """Mean accuracy of the trainings, a fraction."""
        return float(self.correct.mean())

    @property
    def accuracy_deviation(self) -> float | None:
        """Standard deviation of the accuracy over the trainings (S - 1); None for one."""
        if len(self.runs) == 1:
            return None
        return float(self.correct.mean(axis=1).std(ddof=1))

    @cached_property
    def accuracy_interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy, see `handful.statistics.intervals.accuracy_interval`."""
        return accuracy_interval(self.correct, groups=self.groups)

    @property
    def chance_note(self) -> str:
        """As of an `Evaluation`, where it holds of each training; else ""."""
        notes = [run.evaluation.chance_note for run in self.runs]
        return notes[0] if all(notes) else ""

    @property
    def overfitting_gap(self) -> float | None:
        """Final training accuracy minus validation accuracy, mean over the trainings.

        A fraction; None without history. Above 0 it has learned its training photos by heart.
        """
        ends = [run.final_accuracies for run in self.runs]
        gaps = [end[0] - end[1] for end in ends if end is not None]
        return float(np.mean(gaps)) if gaps else None

    @property
    def seconds(self) -> float:
        """Mean duration of a training."""
        return self._mean("seconds")

    @property
    def epochs(self) -> float:
        """Mean number of epochs; patience may end one training before another."""
        return self._mean("epochs")

    @property
    def photos_per_second(self) -> float:
        """Mean speed of prediction."""
        return self._mean("photos_per_second")

    @property
    def num_bytes(self) -> int:
        """Mean size of a saved classifier."""
        return round(self._mean("num_bytes"))

    @property
    def num_parameters(self) -> int:
        """Parameters of the whole network."""
        return self.runs[0].num_parameters

    @property
    def num_trainable(self) -> int:
        """Parameters that were trained."""
        return self.runs[0].num_trainable

    @property
    def history(self) -> History | None:
        """Columns by epoch of the first training that has some: the one whose curves are drawn."""
        return next((run.history for run in self.runs if run.history), None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of its trainings, each once."""
        return tuple(dict.fromkeys(run.note for run in self.runs if run.note))

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain values, ready for JSON; undefined ones are None.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {
            "name": self.name,
            "accuracy": self.accuracy,
            "accuracy_deviation": self.accuracy_deviation,
            "accuracy_interval": list(self.accuracy_interval),
            "overfitting_gap": self.overfitting_gap,
            "seconds": self.seconds,
            "epochs": self.epochs,
            "num_parameters": self.num_parameters,
            "num_trainable": self.num_trainable,
            "num_bytes": self.num_bytes,
            "photos_per_second": self.photos_per_second,
            "runs": [run.to_dict() for run in self.runs],
        }

    def _mean(self, name: str) -> float:
        return float(np.mean([getattr(run, name) for run in self.runs]))


@dataclass(frozen=True)
class Difference:
    """What lies between two ways of training, measured on the same photos.

    It is called real when two things hold: its 95 % interval leaves 0 out, and its p-value, raised
    for the number of pairs that are compared (Holm), is below 0.05. Otherwise these photos and
    trainings cannot tell the two apart, which does not say that they are equally good: the
    interval says how much better either may be.

    Args:
        first: Name of the one with the higher accuracy, or of the earlier one.
        second: Name of the other.
        difference: Accuracy of the first minus that of the second, a fraction, 0 or more.
        interval: Its 95 % interval, fractions.
        p_value: Chance of such a difference if both are equally good; of this pair alone.
        adjusted_p_value: The same, raised for the number of pairs.
        num_pairs: Pairs in the comparison.
        photos_needed: Validation photos of which a difference of this size would be called real
            4 times in 5, p-values raised for the number of pairs and all; None where there is no
            difference, or more photos alone would not do and more seeds are wanted.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    p_value: float
    adjusted_p_value: float
    num_pairs: int = 1
    photos_needed: int | None = None

    @property
    def is_significant(self) -> bool:
        """Whether it is more than luck."""
        return self._excludes_zero and self.adjusted_p_value < _SIGNIFICANCE

    @property
    def _excludes_zero(self) -> bool:
        return self.interval[0] > 0 or self.interval[1] < 0

    @property
    def sentence(self) -> str:
        """In plain words, without a full stop."""
        low, high = map(format_points, self.interval)
        points = f"{format_points(self.difference)} points"
        interval = f"95 % interval {low} to {high}"
        if self.is_significant:
            return f"{self.first} beats {self.second} by {points} ({interval})"
        if self._excludes_zero and self.num_pairs > 1:
            interval += f"; too little for one of {self.num_pairs} pairs compared"
        elif self._excludes_zero:
            interval += f", but p = {self.adjusted_p_value:.2f}"
        wanted = ""
        if self.photos_needed is not None:
            wanted = f"; {about(self.photos_needed)} photos would show one of this size"
        elif self.difference > 0:
            wanted = "; more seeds, not more photos, would show one of this size"
        return (
            f"no proven difference between {self.first} and {self.second} ({points}, {interval})"
            f"{wanted}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain values, ready for JSON.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {
            "first": self.first,
            "second": self.second,
            "difference": self.difference,
            "interval": list(self.interval),
            "p_value": self.p_value,
            "adjusted_p_value": self.adjusted_p_value,
            "is_significant": self.is_significant,
            "photos_needed": self.photos_needed,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """Several ways of training on one split, and what can be said of them.

    Args:
        photos: Name of the data.
        recipe: Name of the recipe that all followed.
        quick: Whether training was cut short to have a first look.
        num_train: Training photos.
        num_validation: Validation photos, N.
        class_names: The C classes' names.
        summaries: The ways of training, in the order given.
        differences: All pairs; the most accurate way's come first.
        asked_difference: Difference of two accuracies that the photos should be able to show.
        warnings: What is odd about the photos and their split.
        path: The comparison's folder, or None where nothing was written.
    """

    photos: str
    recipe: str
    quick: bool
    num_train: int
    num_validation: int
    class_names: tuple[str, ...]
    summaries: tuple[StrategySummary, ...]
    differences: tuple[Difference, ...]
    asked_difference: float = 0.02
    warnings: tuple[str, ...] = ()
    path: Path | None = None

    def _in_words(self) -> str:
        return f"{len(self.summaries)} ways of training on {self.photos[-60:]}. {self.verdict}"

    @property
    def ranked(self) -> list[StrategySummary]:
        """The ways of training by accuracy, highest first; equal ones as given."""
        return sorted(self.summaries, key=lambda summary: -summary.accuracy)

    @property
    def best(self) -> list[StrategySummary]:
        """The most accurate way of training, and those that are not really worse than it."""
        top = self.ranked[0]
        worse = {
            row.second for row in self.differences if row.first == top.name and row.is_significant
        }
        return [summary for summary in self.ranked if summary.name not in worse]

    @property
    def verdict(self) -> str:
        """What the whole says, in a few plain sentences."""
        sentences = [_best_sentence(self)]
        if 1 < len(self.best):
            quickest = min(self.best, key=lambda summary: summary.seconds)
            sentences.append(f"Of these, {quickest.name} is trained fastest.")
        elif len(self.summaries) > 2:
            last = self.ranked[-1]
            sentences.append(f"The last is {last.name} with {format_share(last.accuracy)}.")
        if self.quick:
            sentences.append(
                "This is a short comparison: its networks have not been trained to the end, "
                "and a full one may rank them otherwise."
            )
        return " ".join(sentences)

    @property
    def limitations(self) -> tuple[str, ...]:
        """What the intervals do not allow for."""
        once = [summary.name for summary in self.summaries if len(summary.runs) == 1]
        found = []
        if len(once) == len(self.summaries):
            found.append(
                "Each way was trained once: the intervals allow for the luck of the photos, not "
                "for that of training. Another seed may move a network by a point or more, and "
                "reverse a small difference."
            )
        elif once:
            found.append(
                f"Trained once, so that the luck of training is not in the intervals: "
                f"{', '.join(once)}."
            )
        guessing = [
            f"{summary.name}: {summary.chance_note}"
            for summary in self.summaries
            if summary.chance_note
        ]
        return (*guessing, *found, *filter(None, [self._too_few]))

    @property
    def _too_few(self) -> str:
        """Which number of photos would tell apart the pairs that are not, or ""."""
        runs = {summary.name: summary.correct for summary in self.summaries}
        open_pairs = [row for row in self.differences if not row.is_significant]
        needed = [
            _photos_to_show(
                self.asked_difference,
                runs[row.first],
                runs[row.second],
                row.num_pairs,
                self.summaries[0].groups,
            )
            for row in open_pairs
        ]
        points = f"{self.asked_difference * 100:g} point{'s' * (self.asked_difference != 0.01)}"
        if None in needed:
            return (
                f"Trainings of one way vary so much from seed to seed that {points} between two "
                "ways cannot be shown with any number of photos: more seeds would help."
            )
        most = max(filter(None, needed), default=0)
        if most <= self.num_validation:
            return ""
        return (
            f"{self.num_validation:,} validation photos are too few to show a difference of "
            f"{points} in each pair that is not told apart: {about(most)} would do."
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain values, ready for JSON; undefined ones are None.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {
            "photos": self.photos,
            "recipe": self.recipe,
            "quick": self.quick,
            "num_train": self.num_train,
            "num_validation": self.num_validation,
            "class_names": list(self.class_names),
            "verdict": self.verdict,
            "limitations": list(self.limitations),
            "warnings": list(self.warnings),
            "strategies": [summary.to_dict() for summary in self.summaries],
            "asked_difference": self.asked_difference,
            "differences": [difference.to_dict() for difference in self.differences],
        }


def build_comparison(
    runs: Sequence[StrategyRun],
    *,
    photos: str,
    recipe: str,
    num_train: int,
    quick: bool = False,
    difference: float = 0.02,
) -> Comparison:
    """Compare trainings that were scored on the same photos.

    Args:
        runs: The trainings; those of one strategy are its seeds.
        photos: Name of the data.
        recipe: Name of the recipe that all followed.
        num_train: Training photos.
        quick: Whether training was cut short to have a first look.
        difference: Difference of two accuracies that the photos should be able to show.

    Returns:
        The comparison; its strategies are in the order in which they first appear.

    Raises:
        ValueError: When there is no run, a strategy has a seed twice, or the runs were not scored
            on the same photos in the same order with the same labels.
    """
    _check_runs(runs)
    groups: dict[str, list[StrategyRun]] = {}
    for run in runs:
        groups.setdefault(run.strategy, []).append(run)
    summaries = tuple(StrategySummary(name, tuple(group)) for name, group in groups.items())
    evaluation = runs[0].evaluation
    return Comparison(
        photos=photos,
        recipe=recipe,
        quick=quick,
        num_train=num_train,
        num_validation=len(evaluation),
        class_names=evaluation.class_names,
        summaries=summaries,
        differences=_differences(summaries),
        asked_difference=difference,
    )


def too_few_photos(
    num_photos: int, num_wrong: int, difference: float, design_effect: float = 1.0
) -> str:
    """Say whether photos are too few to show a difference between two classifiers.

    Args:
        num_photos: Photos that a classifier was scored on.
        num_wrong: Those that it classified wrong.
        difference: Difference of two accuracies that the photos should show, in (0, 1].
        design_effect: Photos that count as one, see
            `handful.statistics.intervals.design_effect`.

    Returns:
        A sentence with the number that would do and the difference that these do show; "" where
        they are enough. Both classifiers are taken to err as often as this one, give or take half
        the difference, and independently; "show" is p below 0.05 in 4 of 5 cases. See
        `handful.statistics.intervals.photos_for_difference`.
    """
    # As if one more had been classified wrong and one right: none wrong of twenty is not never
    # wrong.
    error_rate = (num_wrong + 1) / (num_photos + 2)
    share = independent_discordance(error_rate, difference)
    fewest = _fewest_photos(_SIGNIFICANCE)
    needed = max(photos_for_difference(difference, share) or 0, fewest)
    needed, counted = math.ceil(needed * design_effect), int(num_photos / design_effect)
    if needed <= num_photos:
        return ""
    shown = f"one of {math.ceil(smallest_difference(counted, error_rate) * 100)} points"
    if counted < fewest:
        shown = "none, however large"
    return (
        f"{num_photos:,} validation photo{'s' * (num_photos != 1)} cannot show a difference of "
        f"{difference * 100:g} point{'s' * (difference != 0.01)} between two classifiers: "
        f"{about(needed)} would; these can show {shown}."
    )


def about(number: int) -> str:
    """Write an estimated number of photos with two digits, rounded up.

    Args:
        number: 1 or more.

    Returns:
        Such as "about 7", "about 1,300".
    """
    unit = 10 ** max(len(str(number)) - 2, 0)
    return f"about {-(-number // unit) * unit:,}"


def _differences(summaries: Sequence[StrategySummary]) -> tuple[Difference, ...]:
    ranked = sorted(summaries, key=lambda summary: -summary.accuracy)
    pairs = list(combinations(ranked, 2))
    groups = summaries[0].groups
    p_values = [paired_difference_test(a.correct, b.correct, groups=groups) for a, b in pairs]
    found = [
        Difference(
            first=first.name,
            second=second.name,
            difference=first.accuracy - second.accuracy,
            interval=paired_difference_interval(first.correct, second.correct, groups=groups),
            p_value=p_value,
            adjusted_p_value=adjusted,
            num_pairs=len(pairs),
            photos_needed=_photos_to_show(
                first.accuracy - second.accuracy, first.correct, second.correct, len(pairs), groups
            ),
        )
        for (first, second), p_value, adjusted in zip(
            pairs, p_values, holm_adjusted(p_values), strict=True
        )
    ]
    return tuple(map(_without_too_small_a_number, found, (len(a.correct[0]) for a, _ in pairs)))


def _without_too_small_a_number(found: Difference, num_photos: int) -> Difference:
    """Ask for no fewer photos than have just failed to show the difference.

    With more photos the seeds weigh more, and their few degrees of freedom with them.
    """
    if found.is_significant or found.photos_needed is None or found.photos_needed > num_photos:
        return found
    return replace(found, photos_needed=None)


def _photos_to_show(
    difference: float,
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    num_pairs: int,
    groups: NDArray[np.int64] | None,
) -> int | None:
    """Photos that would tell two ways apart, were they `difference` apart; None: no number."""
    if difference <= 0:
        return None
    # The most that Holm's correction may ask for.
    significance = _SIGNIFICANCE / num_pairs
    needed = photos_for_difference(
        difference,
        max(discordant_share(first, second), difference),
        confidence=1 - significance,
        seed_variance=seed_variance(first, second),
        seed_freedom=seed_freedom(first, second),
    )
    if needed is None:
        return None
    # Of photos with as many near-duplicates as these.
    alike = design_effect(first.mean(axis=0) - second.mean(axis=0), groups)
    return math.ceil(max(needed, _fewest_photos(significance)) * alike)


def _fewest_photos(significance: float) -> int:
    """Photos with which McNemar's exact test can fall below a p-value at all."""
    return next(number for number in count(1) if mcnemar_test(number, 0) < significance)


def _best_sentence(comparison: Comparison) -> str:
    ranked, best = comparison.ranked, comparison.best
    top, photos = ranked[0], f"{comparison.num_validation:,} validation photos"
    if len(ranked) == 1:
        return (
            f"{top.name} classifies {format_share(top.accuracy)} of {photos} correctly; "
            "there is nothing to compare it with."
        )
    if len(best) == 1:
        ahead = format_points(top.accuracy - ranked[1].accuracy)
        return (
            f"{top.name} is best: {format_share(top.accuracy)} of {photos} correct, {ahead} "
            f"points more than {ranked[1].name}{', the next' if len(ranked) > 2 else ''}."
        )
    names = _listed([summary.name for summary in best])
    rates = _listed([format_share(summary.accuracy) for summary in best])
    if len(best) == len(ranked):
        return f"{photos} cannot tell {names} apart: they were right for {rates}."
    return f"{names} are best and cannot be told apart: {rates} of {photos} correct."


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _right(evaluation: Evaluation) -> NDArray[np.bool_]:
    return np.asarray(evaluation.predicted == evaluation.labels)


def _check_runs(runs: Sequence[StrategyRun]) -> None:
    if not runs:
        raise ValueError("There are 0 runs to compare; expected 1 or more.")
    seen = set()
    for run in runs:
        if (run.strategy, run.seed) in seen:
            raise ValueError(
                f"strategy {run.strategy!r} has seed {run.seed} twice; expected different seeds."
            )
        seen.add((run.strategy, run.seed))
    for before, after in pairwise(runs):
        ours, theirs = before.evaluation, after.evaluation
        same = {
            "class names": ours.class_names == theirs.class_names,
            "photos": ours.paths == theirs.paths,
            "labels": np.array_equal(ours.labels, theirs.labels),
        }
        wrong = [name for name, equal in same.items() if not equal]
        if wrong:
            raise ValueError(
                f"{before.strategy} (seed {before.seed}) and {after.strategy} (seed {after.seed}) "
                f"were scored on different {wrong[0]}; expected the same, in the same order. "
                "Train and score all of them on one split."
            )
