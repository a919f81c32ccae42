"""What `train` made, as a value."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.checks.labels import LabelReview
from handful.config import TrainConfig
from handful.data.splits import Split
from handful.display import Shown
from handful.errors import UsageError
from handful.evaluation.comparison import too_few_photos
from handful.evaluation.evaluation import Evaluation
from handful.evaluation.guarantees import Guarantees, check_guarantees
from handful.evaluation.learning_curve import LearningCurve
from handful.evaluation.resampling import Resampling
from handful.features.devices import device_of
from handful.models.classifier import Classifier
from handful.statistics.intervals import design_effect
from handful.training.jobs import TrainedNetwork
from handful.training.rungs import Ladder

# A classifier that is right less often is told what may make it better.
_GOOD_ENOUGH = 0.95

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False, repr=False)
class Run(Shown):
    """What `train` made.

    Args:
        classifier: Ready to predict.
        evaluation: Its scores on the validation photos, which fitting never saw.
        split: Which photo went where, with near-duplicates and leaks.
        config: What was asked.
        photos: The folder, zip or CSV trained on.
        seconds: Time of each phase and in all; "decode" is summed over threads and overlaps
            "embed", "convert" is the network's one-time conversion.
        cache: "hits" and "misses" of the embedding cache.
        path: The run's folder, or None when nothing was written.
        trained: History and facts of a network's training; None where a head was fitted.
        custom_objects: Names of what the user brought from Python, see `CustomObjects.names`: a run
            with any is repeated by giving them again.
        photos_per_second: Speed of prediction from files to probabilities, where it was measured.
        resampling: Scores of heads on other splits of these photos, where they were asked for.
        distances: (m,) distance of each validation photo from the training photos, see
            `NoveltyDetector`; None where that cannot be told.
        label_review: Which labels of the training photos are doubtful, in the order of
            `split.train`, or of those of its rows that were reviewed; None for a trained network,
            or where nothing can be held out.
        learning_curve: Accuracy by number of photos, where it was asked for.
        fingerprints: (N, 1024) uint8 thumbnails of all photos of the split, by which those learned
            from are known again.
        split_given: Whether the split came from a manifest or ready-made, and follows from the
            photos and the configuration no more.
        ladder: What was tried for quality "best", and what each brought.
        note: What its maker wrote about it.
    """

    classifier: Classifier
    evaluation: Evaluation
    split: Split
    config: TrainConfig
    photos: Path
    seconds: dict[str, float]
    cache: dict[str, int]
    path: Path | None = None
    trained: TrainedNetwork | None = None
    custom_objects: Mapping[str, Any] = field(default_factory=dict)
    photos_per_second: float | None = None
    resampling: Resampling | None = None
    distances: NDArray[np.float64] | None = None
    label_review: LabelReview | None = None
    learning_curve: LearningCurve | None = None
    fingerprints: NDArray[np.uint8] | None = None
    split_given: bool = False
    ladder: Ladder | None = None
    note: str = ""

    def _in_words(self) -> str:
        made = f"{self.config.strategy}, {self.classifier.provenance.get('backbone', '')}"
        place = "" if self.path is None else f"; {str(self.path)[-60:]}"
        return f"{self.evaluation.summary('validation photos')}; {made}{place}"

    @cached_property
    def guarantees(self) -> Guarantees | None:
        """Error rates and coverages, promised and found; None where nothing was held out."""
        calibration = self.classifier.calibration
        if calibration is None:
            return None
        reference, unlike = self.classifier.reference, None
        if reference is not None and self.distances is not None:
            unlike = reference.unlike(self.distances)
        return check_guarantees(calibration, self.evaluation, unlike)

    @property
    def is_out_of_distribution(self) -> NDArray[np.int64] | None:
        """Places of the validation photos unlike the training photos, the farthest first."""
        if self.distances is None or self.classifier.reference is None:
            return None
        order = np.argsort(-self.distances, kind="stable")
        return order[self.classifier.reference.unlike(self.distances[order])]

    @property
    def limitations(self) -> tuple[str, ...]:
        """That it is no better than guessing; what the validation photos are too few to say."""
        evaluation, difference = self.evaluation, self.config.difference
        wrong = len(evaluation) - evaluation.num_correct
        alike = design_effect(evaluation.predicted == evaluation.labels, evaluation.groups)
        limitation = too_few_photos(len(evaluation), wrong, difference, alike)
        return tuple(filter(None, [evaluation.chance_note, limitation]))

    @property
    def advice(self) -> str:
        """What may make a classifier that is often wrong a better one; "" of another."""
        next_quality = {"fast": "good", "good": "best"}.get(self.config.quality)
        is_good = self.evaluation.accuracy >= _GOOD_ENOUGH
        decides = self.config.fits_head and self.config.backbone is None
        # Where no training photo can be held out, `best` has nothing to compare networks by.
        is_blind = next_quality == "best" and self.classifier.calibration is None
        if not decides or next_quality is None or is_good or is_blind:
            return ""
        how = {
            "good": "looks at more of the network's layers, at little more time",
            "best": "tries several networks and larger photos, in minutes",
        }[next_quality]
        return f"To be right more often, set `quality` to {next_quality}: it {how}."

    @property
    def model(self) -> "keras.Model":
        """The network that was trained, as Keras has it: look at its layers, or save it.

        It takes the recipe's values (pixels times `trained.recipe.scale`), and is there until the
        process ends: a run's folder has its form for prediction, see `handful.keras_model`.
        """
        if self.trained is None or self.trained.model is None:
            raise UsageError(
                f"strategy {self.config.strategy!r} fits a head and trains no Keras model; "
                "handful.keras_model(run) makes one of the whole classifier."
            )
        return self.trained.model

    @property
    def stopped(self) -> str:
        """Why training ended early: "interrupted", "time", "patience", "callback", or ""."""
        return "" if self.trained is None else self.trained.fitted.stopped

    def problems(self) -> dict[str, Any]:
        """What was found wrong with the photos.

        Returns:
            "rejected" (path and reason), "near_duplicates" and "leaks" (pairs of paths),
            "dropped" (paths), "warnings" (texts).
        """
        return split_problems(self.split)

    def to_dict(self) -> dict[str, Any]:
        """The run in plain values, as `handful train --json` prints it.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {
            "accuracy": self.evaluation.accuracy,
            "accuracy_interval": list(self.evaluation.accuracy_interval),
            "num_train": len(self.split.train),
            "num_validation": len(self.split.validation),
            "class_names": list(self.classifier.class_names),
            "strategy": self.config.strategy,
            "recipe": self.config.recipe,
            "backbone": self.classifier.provenance["backbone"],
            "provenance": dict(self.classifier.provenance),
            "device": device_of(self.classifier.extractor),
            "ladder": None if self.ladder is None else self.ladder.to_dict(),
            "training": None if self.trained is None else self.trained.to_dict(),
            "photos_per_second": self.photos_per_second,
            "resampling": None if self.resampling is None else self.resampling.to_dict(),
            "limitations": list(self.limitations),
            "advice": self.advice,
            "learning_curve": None
            if self.learning_curve is None
            else self.learning_curve.to_dict(),
            "guarantees": None if self.guarantees is None else self.guarantees.to_dict(),
            "num_unlike_training": None
            if self.is_out_of_distribution is None
            else len(self.is_out_of_distribution),
            "num_doubtful_labels": None
            if self.label_review is None
            else len(self.label_review.suspected),
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "cache": dict(self.cache),
            "problems": self.problems(),
            "run_path": None if self.path is None else str(self.path),
        }


def split_problems(split: Split) -> dict[str, Any]:
    """What a split's photos have wrong with them, in plain values.

    Args:
        split: The split.

    Returns:
        As `Run.problems`.
    """
    index = split.index

    def paths(pairs: Sequence[tuple[int, int]]) -> list[list[str]]:
        return [[index.paths[i], index.paths[j]] for i, j in pairs]

    return {
        "rejected": [asdict(file) for file in index.rejected],
        "near_duplicates": paths(split.duplicates),
        "leaks": paths(split.leaks),
        "dropped": [index.paths[row] for row in split.dropped],
        "warnings": list(index.warnings),
    }
