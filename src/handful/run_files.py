"""A run's folder: what `train` made, written out and read back."""

import csv
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from handful.classifier import Classifier
from handful.config import TrainConfig
from handful.errors import DataError
from handful.evaluation import Evaluation, score
from handful.pixels import thumbnail
from handful.plots import save_history
from handful.report import ReportData, ReportPicture, write_report
from handful.splits import Split, write_manifest
from handful.strategies import Trained

RUN_FILE = "run.json"
MANIFEST_FILE = "split.csv"
PREDICTIONS_FILE = "predictions.csv"
HISTORY_FILE = "history.csv"
CURVES_FILE = "curves.png"
_VERSIONS_KEPT = ("numpy", "openvino", "opencv-python-headless", "keras")
_PICTURES_A_SECTION = 24
_EXAMPLES_A_CLASS = 6
_CLASSES_WITH_EXAMPLES = 40


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


def next_run_path(photos: str | Path, folder: Path = Path("runs")) -> Path:
    """First free place for a run on these photos: runs/photos, runs/photos-2, ...

    Args:
        photos: Path of the photos; its name becomes the run's.
        folder: Folder of all runs.

    Returns:
        A path where nothing is.
    """
    name = Path(photos).resolve().stem or "photos"
    number = 1
    while (path := folder / (name if number == 1 else f"{name}-{number}")).exists():
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
    file = Path(path) / RUN_FILE if Path(path).is_dir() else Path(path)
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return Path(facts["photos"]), TrainConfig(**facts["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is not the run.json of a run ({error}); give the folder that "
            "`handful train` made."
        ) from error


def write_run(run: Run, folder: Path) -> None:
    """Write a run's classifier, split, history, predictions and report.

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
        save_history(run.trained.fitted.history, run.config.strategy, folder / CURVES_FILE)
    rows = zip(*columns.values(), strict=True)
    _write_csv(folder / HISTORY_FILE, [list(columns), *map(list, rows)])
    data = report_data(run)
    if run.trained is not None:
        data = replace(data, curves=(folder / CURVES_FILE).read_bytes())
    write_report(data, folder)


def _write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _write_predictions(evaluation: Evaluation, path: Path) -> None:
    names = evaluation.class_names
    rows = [
        (photo, names[label], names[predicted], *probabilities)
        for photo, label, predicted, probabilities in zip(
            evaluation.paths,
            evaluation.labels,
            evaluation.predicted,
            evaluation.probabilities.tolist(),
            strict=True,
        )
    ]
    _write_csv(path, [("path", "label", "predicted", *names), *rows])


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
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        names = header[3:]
        labels = np.array([names.index(row[1]) for row in rows], np.int64)
        probabilities = np.array([[float(value) for value in row[3:]] for row in rows])
        return score(probabilities, labels, names, [row[0] for row in rows])
    except (OSError, ValueError, IndexError) as error:
        raise DataError(
            f"{path} is not the predictions.csv of a run ({error}); train the run again."
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
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if header[0] != "epoch":
            return None
        return {
            name: [math.nan if row[place] == "" else float(row[place]) for row in rows]
            for place, name in enumerate(header)
        }
    except (OSError, ValueError, IndexError) as error:
        raise DataError(
            f"{path} is not the history.csv of a run ({error}); train the run again."
        ) from error


def write_facts(run: Run, folder: Path) -> None:
    """Write run.json: configuration, versions, figures.

    Args:
        run: The run.
        folder: Existing folder.
    """
    facts = {
        "format": "handful run",
        "format_version": 1,
        "photos": str(run.photos.resolve()),
        "data_digest": run.split.index.digest(),
        "config": asdict(run.config),
        "result": {**run.to_dict(), "evaluation": run.evaluation.to_dict()},
        "versions": {
            "handful": version("handful"),
            "python": platform.python_version(),
            **{name: version(name) for name in _VERSIONS_KEPT},
        },
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    (folder / RUN_FILE).write_text(text, encoding="utf-8")


def report_data(run: Run) -> ReportData:
    """Gather what the report page shows.

    Args:
        run: The run.

    Returns:
        Scores, thumbnails and texts.
    """
    index, evaluation = run.split.index, run.evaluation
    row_of = {index.paths[row]: int(row) for row in run.split.validation}
    predicted = evaluation.predicted

    def judged(number: int) -> ReportPicture:
        path = evaluation.paths[number]
        return ReportPicture(
            path,
            thumbnail(index.read(row_of[path])),
            index.class_names[evaluation.labels[number]],
            index.class_names[predicted[number]],
            float(evaluation.probabilities[number, predicted[number]]),
        )

    examples = {
        name: [
            ReportPicture(index.paths[row], thumbnail(index.read(row)), name, None, None)
            for row in run.split.train[index.labels[run.split.train] == number][:_EXAMPLES_A_CLASS]
        ]
        for number, name in enumerate(index.class_names[:_CLASSES_WITH_EXAMPLES])
    }
    return ReportData(
        title=run.photos.resolve().stem,
        evaluation=evaluation,
        evaluated_on="validation photos, which fitting never saw",
        counts=_part_counts(run.split),
        examples=examples,
        mistakes=[judged(number) for number in evaluation.mistakes(_PICTURES_A_SECTION)],
        least_certain=[judged(number) for number in evaluation.least_certain(_PICTURES_A_SECTION)],
        problems=_problem_lines(run.problems()),
        settings=_settings(run),
        seconds=run.seconds,
    )


def _part_counts(split: Split) -> dict[str, dict[str, int]]:
    names = split.index.class_names
    return {
        part: {
            name: int((split.index.labels[getattr(split, part)] == number).sum())
            for number, name in enumerate(names)
        }
        for part in ("train", "validation", "test")
        if len(getattr(split, part))
    }


def _problem_lines(problems: Mapping[str, Any]) -> dict[str, list[str]]:
    """Problems as headings with lines, for people; headings without lines are left out."""
    lines = {
        "Files that could not be used": [
            f"{file['path']} {file['reason']}" for file in problems["rejected"]
        ],
        "Leaks: near-duplicates in different parts": [" = ".join(p) for p in problems["leaks"]],
        "Near-duplicates, kept together": [
            " = ".join(p) for p in problems["near_duplicates"] if p not in problems["leaks"]
        ],
        "Training photos left out because they leaked": problems["dropped"],
        "Warnings": problems["warnings"],
    }
    return {heading: found for heading, found in lines.items() if found}


def _settings(run: Run) -> dict[str, str]:
    config, network = run.config, run.classifier.network
    about, decoding = run.classifier.about, run.classifier.settings
    settings = {
        "Strategy": f"{config.strategy}, recipe {config.recipe}",
        "Picture size": f"{network.image_size} x {network.image_size} pixels, {decoding.resize}",
        "Precision": run.classifier.embedder.precision,
    }
    if run.trained is None:
        settings |= {
            "Backbone": f"{about['backbone']}, frozen, {network.embedding_dim} features",
            "Head": f"logistic regression, strength C = {run.classifier.head.strength:.2g}, "
            "chosen by cross-validation on the training photos",
            "Views of each training photo": str(config.views),
        }
    else:
        fitted, recipe = run.trained.fitted, run.trained.recipe
        settings |= {
            "Network": f"{about['backbone']}, {run.trained.num_parameters:,} parameters, "
            f"{run.trained.num_trainable:,} trained",
            "Epochs": f"{fitted.epochs} of {fitted.planned_epochs}"
            + (f", stopped: {fitted.stopped}" if fitted.stopped else ""),
            "Optimizer": f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}"
            + (", warm-up and cosine" if recipe.cosine else ""),
            "Batch size": str(recipe.batch_size),
            "Augmentation": "none" if recipe.policy is None else str(recipe.policy),
        }
        if recipe.patience is not None:
            settings["Weights"] = (
                f"of epoch {fitted.best_epoch}, chosen by the loss on the photos scored here, "
                "which flatters the scores a little"
            )
    return settings | {
        "Mirror at prediction": "yes" if run.classifier.test_time_mirror else "no",
        "Seed": str(config.seed),
        "handful": version("handful"),
    }
