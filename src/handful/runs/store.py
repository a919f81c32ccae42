"""A run's folder: what `train` made, written out and read back."""

import math
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from handful.checks.labels import LabelReview
from handful.config import TrainConfig
from handful.data.splits import Split, write_manifest
from handful.errors import DataError
from handful.evaluation.comparison import too_few_photos
from handful.evaluation.evaluation import Evaluation, score
from handful.evaluation.guarantees import Promises, check_promises
from handful.evaluation.learning_curve import LearningCurve
from handful.evaluation.resampling import Resampling
from handful.files.atomic import MALFORMED, explain_damage, read_json, write_json
from handful.files.drafts import names_in_hand
from handful.files.tables import read_csv, write_csv
from handful.models.classifier import Classifier
from handful.runs.folders import RUN_FILE
from handful.statistics.intervals import design_effect
from handful.training.strategies import Trained

MANIFEST_FILE = "split.csv"
PREDICTIONS_FILE = "predictions.csv"
HISTORY_FILE = "history.csv"
CURVES_FILE = "curves.png"
_VERSION = 1
_PREDICTION_COLUMNS = ("path", "label", "predicted", "group")
# Some packages are installed under one of several names.
_VERSIONS_KEPT = {
    "numpy": ("numpy",),
    "openvino": ("openvino",),
    "opencv-python-headless": ("opencv-python-headless", "opencv-python"),
    "keras": ("keras", "keras-nightly"),
}


@dataclass(frozen=True, eq=False)
class Run:
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
        photos_per_second: Speed of prediction from files to probabilities, where it was measured.
        resampling: Scores of heads on other splits of these photos, where they were asked for.
        distances: (m,) distance of each validation photo from the training photos, see
            `TrainingReference`; None where that cannot be told.
        label_review: Which labels of the training photos are doubtful, in the order of
            `split.train`; None for a trained network, or where nothing can be held out.
        learning_curve: Accuracy by number of photos, where it was asked for.
        fingerprints: (N, 1024) uint8 thumbnails of all photos of the split, by which those learnt
            from are known again.
        split_given: Whether the split came from a manifest or ready-made, and follows from the
            photos and the configuration no more.
    """

    classifier: Classifier
    evaluation: Evaluation
    split: Split
    config: TrainConfig
    photos: Path
    seconds: dict[str, float]
    cache: dict[str, int]
    path: Path | None = None
    trained: Trained | None = None
    photos_per_second: float | None = None
    resampling: Resampling | None = None
    distances: NDArray[np.float64] | None = None
    label_review: LabelReview | None = None
    learning_curve: LearningCurve | None = None
    fingerprints: NDArray[np.uint8] | None = None
    split_given: bool = False

    @cached_property
    def promises(self) -> Promises | None:
        """Error rates and coverages, promised and found; None where nothing was held out."""
        calibration = self.classifier.calibration
        if calibration is None:
            return None
        reference, unlike = self.classifier.reference, None
        if reference is not None and self.distances is not None:
            unlike = reference.unlike(self.distances)
        return check_promises(calibration, self.evaluation, unlike)

    @property
    def unlike_training(self) -> NDArray[np.int64] | None:
        """Places of the validation photos unlike the training photos, the farthest first."""
        if self.distances is None or self.classifier.reference is None:
            return None
        order = np.argsort(-self.distances, kind="stable")
        return order[self.classifier.reference.unlike(self.distances[order])]

    @property
    def cautions(self) -> tuple[str, ...]:
        """That it is no better than guessing; what the validation photos are too few to say."""
        evaluation, difference = self.evaluation, self.config.difference
        wrong = len(evaluation) - evaluation.num_right
        alike = design_effect(evaluation.predicted == evaluation.labels, evaluation.groups)
        caution = too_few_photos(len(evaluation), wrong, difference, alike)
        return tuple(filter(None, [evaluation.chance_note, caution]))

    @property
    def stopped(self) -> str:
        """Why training ended early: "interrupted", "time", "patience", or ""."""
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
            "backbone": self.classifier.about["backbone"],
            "training": None if self.trained is None else self.trained.to_dict(),
            "photos_per_second": self.photos_per_second,
            "resampling": None if self.resampling is None else self.resampling.to_dict(),
            "cautions": list(self.cautions),
            "learning_curve": None
            if self.learning_curve is None
            else self.learning_curve.to_dict(),
            "promises": None if self.promises is None else self.promises.to_dict(),
            "num_unlike_training": None
            if self.unlike_training is None
            else len(self.unlike_training),
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


def run_name(photos: str | Path, suffix: str = "") -> str:
    """Name of what is made of photos.

    Args:
        photos: Path of the photos.
        suffix: What to add, such as "-check".

    Returns:
        A name for a folder.
    """
    return (Path(photos).resolve().stem or "photos") + suffix


def next_run_path(photos: str | Path, folder: Path = Path("runs"), *, suffix: str = "") -> Path:
    """First free place for a run on these photos: runs/photos, runs/photos-2, ...

    Args:
        photos: Path of the photos; its name becomes the run's.
        folder: Folder of all runs.
        suffix: What to add to the name.

    Returns:
        A path where nothing is, and that no other process is about to make.
    """
    name = run_name(photos, suffix)
    number, taken = 1, names_in_hand(folder)
    while (path := folder / (name if number == 1 else f"{name}-{number}")).exists() or (
        path.name in taken
    ):
        number += 1
    return path


def read_run_config(path: str | Path) -> tuple[Path, TrainConfig]:
    """Photos and configuration of an earlier run.

    Args:
        path: A run.json, or the run's folder.

    Returns:
        Path of the photos, and the configuration.

    Raises:
        DataError: When the file is missing or not a run's.
    """
    file = _run_file(path)
    facts = _read_facts(file)
    try:
        for name, kind in get_type_hints(TrainConfig).items():
            value = facts["config"].get(name)
            whole = int if isinstance(0.5, kind) else kind  # JSON writes some floats without a dot
            if value is not None and not isinstance(value, kind | whole):
                raise ValueError(f"{name} is {value!r}")
        return Path(facts["photos"]), TrainConfig(**facts["config"])
    except MALFORMED as error:
        raise _no_run(file, error) from error


def read_data_digest(path: str | Path) -> str:
    """Identity of the photos that a run was made of, as `ImageIndex.digest` tells it.

    Args:
        path: A run.json, or the run's folder.

    Returns:
        32 hexadecimal characters; "" where none was written down.

    Raises:
        DataError: When the file is missing or not a run's.
    """
    return str(_read_facts(_run_file(path)).get("data_digest", ""))


def read_stopped(path: str | Path) -> str:
    """Why the training of a run ended early, see `Run.stopped`.

    Args:
        path: A run.json, or the run's folder.

    Returns:
        A word, or "".

    Raises:
        DataError: When the file is missing or not a run's.
    """
    file = _run_file(path)
    try:
        return str((_read_facts(file)["result"]["training"] or {}).get("stopped", ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_run(file, error) from error


def manifest_to_repeat(path: str | Path) -> Path | None:
    """The split that a run has to be given when it is repeated.

    Args:
        path: A run.json, or the run's folder.

    Returns:
        The split.csv beside it where the run was made on a given split; None where photos,
        configuration and seed give the same split again, and for runs that do not tell.

    Raises:
        DataError: When the file is missing or not a run's, or its split is missing.
    """
    file = _run_file(path)
    if not _read_facts(file).get("split_given", False):
        return None
    manifest = file.parent / MANIFEST_FILE
    if not manifest.is_file():
        raise DataError(
            f"{file.parent} has no {MANIFEST_FILE}, and was made on a split that it was given; "
            "restore the file from a copy, or give a split as `manifest`."
        )
    return manifest


def _run_file(path: str | Path) -> Path:
    return Path(path) / RUN_FILE if Path(path).is_dir() else Path(path)


def _read_facts(file: Path) -> dict[str, Any]:
    try:
        facts = read_json(file)
    except (OSError, ValueError) as error:
        raise _no_run(file, error) from error
    if facts.get("format_version", _VERSION) != _VERSION:
        raise DataError(
            f"{file} has format version {facts.get('format_version')}; this handful reads "
            f"{_VERSION}. Use the handful that made it, or train again."
        )
    return facts


def _no_run(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file} is not the run.json of a run ({explain_damage(error)}); give the folder "
        "that `handful train` made."
    )


def write_run(run: Run, folder: Path) -> None:
    """Write a run's classifier, split, history and predictions.

    Args:
        run: The run.
        folder: Existing folder.
    """
    run.classifier.save(folder / "classifier")
    write_manifest(run.split, folder / MANIFEST_FILE)
    _write_predictions(run.evaluation, folder / PREDICTIONS_FILE)
    if run.trained is None:
        scores = run.classifier.head.scores
        columns: dict[str, list[Any]] = {
            name: [getattr(row, name) for row in scores]
            for name in ("strength", "log_loss", "accuracy")
        }
    else:
        columns = {
            name: ["" if math.isnan(value) else value for value in values]
            for name, values in run.trained.fitted.history.items()
        }
    rows = zip(*columns.values(), strict=True)
    write_csv(folder / HISTORY_FILE, [list(columns), *rows])


def _write_predictions(evaluation: Evaluation, path: Path) -> None:
    names, groups = evaluation.class_names, evaluation.groups
    rows = [
        (photo, names[label], names[predicted], group, *probabilities)
        for photo, label, predicted, group, probabilities in zip(
            evaluation.paths,
            evaluation.labels,
            evaluation.predicted,
            range(len(evaluation)) if groups is None else groups.tolist(),
            evaluation.probabilities.tolist(),
            strict=True,
        )
    ]
    write_csv(path, [(*_PREDICTION_COLUMNS, *names), *rows])


def read_predictions(path: Path) -> Evaluation:
    """Read back the probabilities of a run's validation photos.

    Args:
        path: The predictions.csv of a run.

    Returns:
        The evaluation that the run made.

    Raises:
        DataError: When the file is missing or not a run's.
    """
    try:
        header, *rows = read_csv(path)
        if tuple(header[:4]) != _PREDICTION_COLUMNS:
            raise ValueError(f"its first columns are {','.join(header[:4])}")
        names = header[4:]
        labels = np.array([names.index(row[1]) for row in rows], np.int64)
        probabilities = np.array([[float(value) for value in row[4:]] for row in rows])
        groups = np.array([int(row[3]) for row in rows])
        return score(probabilities, labels, names, [row[0] for row in rows], groups=groups)
    except MALFORMED as error:
        raise DataError(
            f"{path} is not the predictions.csv of a run ({explain_damage(error)}); train the run "
            "again."
        ) from error


def read_history(path: Path) -> dict[str, list[float]] | None:
    """Read back a network's history by epoch.

    Args:
        path: The history.csv of a run.

    Returns:
        Column name to values, NaN where validation was not looked at; None for a head that was
        fitted without epochs.

    Raises:
        DataError: When the file is missing or not a run's.
    """
    try:
        header, *rows = read_csv(path)
        if header[0] != "epoch":
            return None
        return {
            name: [math.nan if row[place] == "" else float(row[place]) for row in rows]
            for place, name in enumerate(header)
        }
    except MALFORMED as error:
        raise DataError(
            f"{path} is not the history.csv of a run ({explain_damage(error)}); train the run "
            "again."
        ) from error


def write_facts(run: Run, folder: Path) -> None:
    """Write run.json: configuration, versions, figures.

    Args:
        run: The run.
        folder: Existing folder.
    """
    facts = {
        "format": "handful run",
        "format_version": _VERSION,
        "photos": str(run.photos.resolve()),
        "data_digest": run.split.index.digest(),
        "config": asdict(run.config),
        "split_given": run.split_given,
        "result": {**run.to_dict(), "evaluation": run.evaluation.to_dict()},
        "versions": {
            "handful": version("handful"),
            "python": platform.python_version(),
            **_installed_versions(),
        },
    }
    write_json(folder / RUN_FILE, facts)


def _installed_versions() -> dict[str, str]:
    """Versions of what figures depend on; a package that says none is left out."""
    found: dict[str, str] = {}
    for kept, names in _VERSIONS_KEPT.items():
        for name in names:
            with suppress(PackageNotFoundError):
                found.setdefault(kept, version(name))
    return found
