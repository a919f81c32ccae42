"""How far a score spreads: the head fitted anew on other splits of the same photos.

One split gives one figure, and another split would have given another. Fits are cheap once the
embeddings are there, so they are repeated.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.data.splits import stratified_folds, stratified_holdout
from handful.errors import DataError
from handful.models.calibration import fit_calibrated_head
from handful.reporting import Progress
from handful.statistics.intervals import (
    CalibrationError,
    calibration_error,
    resampled_interval,
    wilson_interval,
)
from handful.statistics.metrics import (
    balanced_accuracy,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    reliability_curve,
)
from handful.wording import format_share

# From rows to fit to, rows to answer and a seed to probabilities and C, see `resample`.
Answer = Callable[[NDArray[np.int64], NDArray[np.int64], int], tuple[NDArray[np.float64], float]]
# Scores of a resample, with the largest value that each can take.
SCORES = {
    "accuracy": 1.0,
    "balanced_accuracy": 1.0,
    "log_loss": np.inf,
    "expected_calibration_error": 1.0,
}


@dataclass(frozen=True)
class Resample:
    """One head, fitted to some of the photos and scored on the others.

    Args:
        seed: What its split was drawn from.
        fold: Number of its fold, from 0; None for a random split.
        num_fit: Photos that it was fitted to.
        num_held_out: Photos that it was scored on.
        C: Inverse regularization strength, chosen on the photos that it was fitted to.
        accuracy: Share of the held-out photos classified correctly.
        balanced_accuracy: Mean recall of the classes.
        log_loss: Mean -ln(probability of the true class), nats.
        expected_calibration_error: Mean gap between confidence and accuracy.
    """

    seed: int
    fold: int | None
    num_fit: int
    num_held_out: int
    C: float
    accuracy: float
    balanced_accuracy: float
    log_loss: float
    expected_calibration_error: float


@dataclass(frozen=True, eq=False)
class Spread:
    """How far one score spreads over J resamples.

    Args:
        values: (J,) float64, one for each resample.
        mean: Their mean.
        std: Their standard deviation (J - 1 in the divisor).
        range: The smallest and the largest.
        interval: 95 % interval of the mean over training sets of this size, see
            `handful.statistics.intervals.resampled_interval`. It speaks of the way of training,
            not of one classifier. Where all accuracies are equal, mostly 1, it is
            `wilson_interval` of all photos, for no spread among a few photos is no certainty about
            others.
    """

    values: NDArray[np.float64]
    mean: float
    std: float
    range: tuple[float, float]
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain values, ready for JSON.

        Returns:
            "mean", "std", "range" and "interval" (lists of two).
        """
        return {
            "mean": self.mean,
            "std": self.std,
            "range": list(self.range),
            "interval": list(self.interval),
        }


@dataclass(frozen=True, eq=False)
class Resampling:
    """Heads that were fitted on J different splits of the same photos.

    Args:
        resamples: (J,) in the order in which they were drawn, J of 2 or more.
        num_seeds: Random splits; with folds, repetitions of the cross-validation.
        num_folds: Folds of each repetition; None for random splits.
        num_photos: Photos that were held out once or more often.
        calibration_error: Of all held-out answers together, a photo's own counted as one: bins of
            a single fold hold so few photos that honest probabilities too show several points.
        num_groups: Groups of near-duplicates among them; None where that is not known.
    """

    resamples: tuple[Resample, ...]
    num_seeds: int
    num_folds: int | None
    num_photos: int
    calibration_error: CalibrationError | None = None
    num_groups: int | None = None

    @property
    def num_fit(self) -> int:
        """Photos that a head is fitted to, on average."""
        return round(self._mean("num_fit"))

    @property
    def num_held_out(self) -> int:
        """Photos that a head is scored on, on average."""
        return round(self._mean("num_held_out"))

    @cached_property
    def accuracy(self) -> Spread:
        """Spread of the accuracy, fractions."""
        return self.spread("accuracy")

    def spread(self, score: str) -> Spread:
        """Sum up one score.

        Args:
            score: "accuracy", "balanced_accuracy", "log_loss" or "expected_calibration_error".

        Returns:
            Its values, mean, deviation, range and interval, which stays in the score's own range.

        Raises:
            ValueError: When there is no such score.
        """
        if score not in SCORES:
            raise ValueError(f"score is {score!r}; expected one of {', '.join(SCORES)}.")
        values = np.array([getattr(resample, score) for resample in self.resamples])
        low, high = resampled_interval(values, self._mean("num_fit"), self._mean("num_held_out"))
        equal = np.ptp(values) == 0
        if equal and score in ("accuracy", "balanced_accuracy"):
            # Near-duplicates are no more photos.
            count = self.num_groups or self.num_photos
            low, high = wilson_interval(round(values[0] * count), count)
        return Spread(
            values=values,
            mean=float(values[0] if equal else values.mean()),
            std=0.0 if equal else float(values.std(ddof=1)),
            range=(float(values.min()), float(values.max())),
            interval=(max(low, 0.0), min(high, SCORES[score])),
        )

    @property
    def what(self) -> str:
        """Which splits these are, in words such as "5 folds" or "3 times 5 folds"."""
        if self.num_folds is None:
            return f"{self.num_seeds} random splits"
        times = f"{self.num_seeds} times " if self.num_seeds > 1 else ""
        return f"{times}{self.num_folds} folds"

    @property
    def sentences(self) -> tuple[str, str]:
        """What the accuracies say, and of what they speak: two lines for people."""
        found = self.accuracy
        (low, high), ends = map(format_share, found.range), map(format_share, found.interval)
        alike = found.std == 0
        spread = "all alike" if alike else f"standard deviation {100 * found.std:.1f} points"
        reason = f", by the number of photos, {self.num_photos:,}" if alike else ""
        if alike and self.num_groups not in (None, self.num_photos):
            reason = f", by the number of different photos, {self.num_groups:,}"
        return (
            f"Over {self.what}: {format_share(found.mean)} on average, {low} to {high}; {spread}; "
            f"95 % interval {' to '.join(ends)}{reason}",
            f"(each a classifier trained again on about {self.num_fit:,} photos and tested on "
            f"{self.num_held_out:,} others; the classifier kept is still the one above)",
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain values, ready for JSON.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        pooled = self.calibration_error
        return {
            "num_seeds": self.num_seeds,
            "num_folds": self.num_folds,
            "num_fit": self.num_fit,
            "num_held_out": self.num_held_out,
            "num_photos": self.num_photos,
            "calibration_error": None if pooled is None else pooled.error,
            "calibration_error_interval": None if pooled is None else list(pooled.interval),
            **{score: self.spread(score).to_dict() for score in SCORES},
            "resamples": [asdict(resample) for resample in self.resamples],
        }

    def _mean(self, name: str) -> float:
        return float(np.mean([getattr(resample, name) for resample in self.resamples]))


def resample_head(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    num_seeds: int = 1,
    num_folds: int | None = None,
    fraction: float = 0.2,
    num_tested_views: int = 1,
    class_weight: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> Resampling:
    """Fit and score a head on many splits of the same photos.

    Each head chooses its own strength and temperature on the photos it is fitted to. No group of
    near-duplicates is on both sides of a split; with folds, each repetition holds out every photo
    once.

    Args:
        embeddings: (N, D) float32, or (N, V, D) with V views of each photo.
        labels: (N,) int64, 0 to C - 1.
        groups: (N,) int64, photos with equal numbers stay together.
        class_names: (C,) names, for messages.
        num_seeds: Random splits; with folds, repetitions. Their seeds are `seed`, `seed` + 1, ...
        num_folds: Folds of each cross-validation; None for random splits.
        fraction: Share of each class that a random split holds out, in (0, 1).
        num_tested_views: The first so many views are averaged to score a photo; a head is fitted
            to the photo itself and the views after these.
        class_weight: "auto", "balanced" or "none".
        seed: The first seed.
        progress: Called with (heads fitted, heads in all).

    Returns:
        The scores of `num_seeds`, or `num_seeds` times `num_folds`, heads.

    Raises:
        DataError: When a class has too few groups, or groups are too large, for such splits.
        ValueError: When fewer than two heads are asked for, or fraction is not in (0, 1).

    Example:
        ```python
        import numpy as np
        from handful.evaluation.resampling import resample_head

        labels = np.arange(40) % 2
        embeddings = (np.eye(2)[labels] + np.eye(40)).astype(np.float32)
        print(resample_head(embeddings, labels, np.arange(40), "ab", num_folds=5).accuracy.mean)
        ```
    """
    if embeddings.ndim == 2:
        embeddings = embeddings[:, np.newaxis]
    tested = embeddings[:, :num_tested_views].mean(axis=1)
    fitted = np.delete(embeddings, np.arange(1, num_tested_views), axis=1)

    def answer(
        rows: NDArray[np.int64], others: NDArray[np.int64], split_seed: int
    ) -> tuple[NDArray[np.float64], float]:
        head, _, _ = fit_calibrated_head(
            fitted[rows],
            labels[rows],
            int(labels.max()) + 1,
            groups=groups[rows],
            class_weight=class_weight,
            seed=split_seed,
        )
        assert head.C is not None
        return head.predict_proba(tested[others]), head.C

    return resample(
        answer,
        labels,
        groups,
        class_names,
        num_seeds=num_seeds,
        num_folds=num_folds,
        fraction=fraction,
        seed=seed,
        progress=progress,
    )


def resample(
    answer: Answer,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    num_seeds: int = 1,
    num_folds: int | None = None,
    fraction: float = 0.2,
    seed: int = 0,
    progress: Progress | None = None,
) -> Resampling:
    """Score any way of fitting a head on many splits of the same photos, see `resample_head`.

    Args:
        answer: Fits to some photos and answers for others: from the rows (n,) fitted to, those
            (m,) to answer and the split's seed to probabilities (m, C) and the C that was chosen.
        labels: As for `resample_head`, as are the rest.
        groups: (N,) int64.
        class_names: (C,) names.
        num_seeds: Random splits, or repetitions.
        num_folds: Folds of each repetition, or None.
        fraction: Share that a random split holds out.
        seed: The first seed.
        progress: Called with (heads fitted, heads in all).

    Returns:
        The scores.

    Raises:
        DataError: As `resample_head`.
        ValueError: As `resample_head`.
    """
    if num_seeds * (num_folds or 1) < 2 or num_seeds < 1:
        raise ValueError(
            f"`seeds` is {num_seeds} and `folds` {num_folds}; expected 2 or more of either."
        )
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction is {fraction}; expected a share in (0, 1), such as 0.2.")
    _, groups = np.unique(groups, return_inverse=True)
    _check_groups(labels, groups, class_names, num_folds)
    splits = list(draw_splits(labels, groups, num_seeds, num_folds, fraction, seed))
    for split_seed, fold, held in splits:
        _check_split(labels, held, class_names, split_seed, fold)
    found, answers = [], []
    for split_seed, fold, held in splits:
        rows, others = np.flatnonzero(~held), np.flatnonzero(held)
        probabilities, C = answer(rows, others, split_seed)
        scores = _scores(probabilities, labels[others])
        right = probabilities.argmax(axis=1) == labels[others]
        answers.append((probabilities.max(axis=1), right, groups[others]))
        found.append(Resample(split_seed, fold, len(rows), len(others), C=C, **scores))
        if progress is not None:
            progress(len(found), len(splits))
    num_photos = int(np.any([held for _, _, held in splits], axis=0).sum())
    pooled = calibration_error(*(np.concatenate(part) for part in zip(*answers, strict=True)))
    num_groups = len(np.unique(np.concatenate([part for _, _, part in answers])))
    return Resampling(tuple(found), num_seeds, num_folds, num_photos, pooled, num_groups)


def draw_splits(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    num_seeds: int,
    num_folds: int | None,
    fraction: float,
    seed: int = 0,
) -> Iterator[tuple[int, int | None, NDArray[np.bool_]]]:
    """Draw the splits of `resample_head`.

    Args:
        labels: (N,) int64 class numbers.
        groups: (N,) int64 group numbers 0, 1, ..., none left out.
        num_seeds: As there.
        num_folds: As there.
        fraction: As there.
        seed: As there.

    Yields:
        Seed, fold (None of a random split), and (N,) bool: which photos are held out.
    """
    for split_seed in range(seed, seed + num_seeds):
        if num_folds is None:
            yield split_seed, None, stratified_holdout(labels, groups, fraction, split_seed)
            continue
        folds = stratified_folds(labels, groups, num_folds, split_seed)
        for fold in range(num_folds):
            yield split_seed, fold, folds == fold


def _scores(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        "accuracy": int(np.trace(confusion)) / len(labels),
        "balanced_accuracy": balanced_accuracy(confusion),
        "log_loss": log_loss(probabilities, labels),
        "expected_calibration_error": expected_calibration_error(
            reliability_curve(probabilities, labels)
        ),
    }


def _check_groups(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    class_names: Sequence[str],
    num_folds: int | None,
) -> None:
    """Refuse a class that cannot be spread over the folds, or over two parts."""
    needed = num_folds or 2
    counts = [len(np.unique(groups[labels == label])) for label in range(len(class_names))]
    smallest = int(np.argmin(counts))
    fewest, photos = counts[smallest], int((labels == smallest).sum())
    if fewest >= needed:
        return
    what = f"{num_folds} folds" if num_folds else "random splits"
    fix = f"Set `folds` to {fewest}, add" if fewest >= 2 else "Add"
    raise DataError(
        f'Class "{class_names[smallest]}" has {photos} training and validation photos in {fewest} '
        f"group{'s' * (fewest != 1)} of near-duplicates; {what} need {needed} groups of each "
        f"class. {fix} different photos, or merge the class."
    )


def _check_split(
    labels: NDArray[np.int64],
    held: NDArray[np.bool_],
    class_names: Sequence[str],
    seed: int,
    fold: int | None,
) -> None:
    """Refuse a split that large groups of near-duplicates have left one-sided."""
    where = f"the random split of seed {seed}"
    if fold is not None:
        where = f"fold {fold + 1} of the cross-validation of seed {seed}"
    missing = set(range(len(class_names))) - set(labels[~held].tolist())
    if missing:
        raise DataError(
            f'Class "{class_names[min(missing)]}" is held out as a whole by {where}: its groups of '
            "near-duplicates are too large to divide. Ask for fewer folds, or add different photos."
        )
