"""The files of a run's folder: their names, and how each is written and read back."""

import json
import math
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import FINGERPRINT_SIDE
from handful.data.remote import url_of
from handful.data.splits import Split
from handful.errors import DataError
from handful.evaluation.evaluation import Evaluation, score
from handful.files.atomic import MALFORMED, explain_damage, read_json, write_json
from handful.files.tables import read_csv, write_csv

if TYPE_CHECKING:
    from handful.run_store.run import Run

RUN_FILE = "run.json"
MANIFEST_FILE = "split.csv"
PREDICTIONS_FILE = "predictions.csv"
HISTORY_FILE = "history.csv"
TRAINING_FILE = "training.safetensors"
REPORT_FILE = "report.html"
_FORMAT, _VERSION = "handful run", 1
_TRAINING_FORMAT = "handful training photos", "1"
_PREDICTION_COLUMNS = ("path", "label", "predicted", "group")
# Some packages are installed under one of several names.
_VERSIONS_KEPT = {
    "numpy": ("numpy",),
    "openvino": ("openvino",),
    "opencv-python-headless": ("opencv-python-headless", "opencv-python"),
    "keras": ("keras", "keras-nightly"),
}


def write_metadata(run: "Run", folder: Path) -> None:
    """Write run.json: configuration, versions, figures.

    Args:
        run: The run.
        folder: Existing folder.
    """
    metadata = {
        "format": _FORMAT,
        "format_version": _VERSION,
        "photos": url_of(run.photos) or str(run.photos.resolve()),
        "data_digest": run.split.index.digest(),
        "config": asdict(run.config),
        "split_given": run.split_given,
        "note": run.note,
        "custom_objects": dict(run.custom_objects),
        "result": {**run.to_dict(), "evaluation": run.evaluation.to_dict()},
        "versions": {
            "handful": version("handful"),
            "python": platform.python_version(),
            **_installed_versions(),
        },
    }
    write_json(folder / RUN_FILE, metadata)


def _installed_versions() -> dict[str, str]:
    """Versions of what figures depend on; a package that says none is left out."""
    found: dict[str, str] = {}
    for kept, names in _VERSIONS_KEPT.items():
        for name in names:
            with suppress(PackageNotFoundError):
                found.setdefault(kept, version(name))
    return found


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read run.json.

    Args:
        folder: Folder of a run.

    Returns:
        As `write_metadata` wrote it; "photos" is a text, "config" and "result" are dictionaries.

    Raises:
        DataError: When it is missing, or not a run's.
    """
    file = folder / RUN_FILE
    try:
        metadata = read_json(file)
        if metadata["format"] != _FORMAT:
            raise ValueError("another format")
        if metadata.get("format_version", _VERSION) != _VERSION:
            raise DataError(
                f"{file} has format version {metadata.get('format_version')}; this handful reads "
                f"{_VERSION}. Use the handful that made it, or train again."
            )
        for name, kind in (("photos", str), ("config", dict), ("result", dict)):
            if not isinstance(metadata[name], kind):
                raise ValueError(f"{name} is {metadata[name]!r}")
        list(metadata["result"]["class_names"])
        if "cautions" in metadata["result"]:  # as handful 0.1 called them
            metadata["result"]["limitations"] = metadata["result"].pop("cautions")
    except MALFORMED as error:
        raise no_run(file, error) from error
    return metadata


def no_run(file: Path, error: Exception) -> DataError:
    """What to say of a run.json that cannot be made sense of.

    Args:
        file: The file.
        error: What went wrong.

    Returns:
        An error to raise.
    """
    return DataError(
        f"{file} is not the run.json of a run ({explain_damage(error)}); restore it from a copy, "
        "or give another folder that `handful train` made."
    )


def write_predictions(evaluation: Evaluation, folder: Path) -> None:
    """Write predictions.csv: the probabilities of validation photos.

    Args:
        evaluation: They, and what the photos are.
        folder: Existing folder.
    """
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
    write_csv(folder / PREDICTIONS_FILE, [(*_PREDICTION_COLUMNS, *names), *rows])


def read_predictions(folder: Path) -> Evaluation:
    """Read back the probabilities of a run's validation photos.

    Args:
        folder: Folder of a run.

    Returns:
        The evaluation that the run made.

    Raises:
        DataError: When the file is missing or not a run's.
    """
    try:
        header, *rows = read_csv(folder / PREDICTIONS_FILE)
        if tuple(header[:4]) != _PREDICTION_COLUMNS:
            raise ValueError(f"its first columns are {','.join(header[:4])}")
        names = header[4:]
        labels = np.array([names.index(row[1]) for row in rows], np.int64)
        probabilities = np.array([[float(value) for value in row[4:]] for row in rows])
        groups = np.array([int(row[3]) for row in rows])
        return score(probabilities, labels, names, [row[0] for row in rows], groups=groups)
    except MALFORMED as error:
        raise _no_table(folder / PREDICTIONS_FILE, error) from error


def write_history(run: "Run", folder: Path) -> None:
    """Write history.csv: a network's epochs, or the cross-validation of a head.

    Args:
        run: The run.
        folder: Existing folder.
    """
    columns: dict[str, Iterable[Any]]
    if run.trained is None:
        scores = run.classifier.head.scores
        names = ("C", "log_loss", "accuracy")
        columns = {name: [getattr(row, name) for row in scores] for name in names}
    else:
        columns = {
            name: ["" if math.isnan(value) else value for value in values]
            for name, values in run.trained.fitted.history.items()
        }
    rows = zip(*columns.values(), strict=True)
    write_csv(folder / HISTORY_FILE, [list(columns), *rows])


def read_history(folder: Path) -> dict[str, list[float]] | None:
    """Read back a network's history by epoch.

    Args:
        folder: Folder of a run.

    Returns:
        Column name to values, NaN where validation was not looked at; None for a head that was
        fitted without epochs.

    Raises:
        DataError: When the file is missing or not a run's.
    """
    try:
        header, *rows = read_csv(folder / HISTORY_FILE)
        if header[0] != "epoch":
            return None
        return {
            name: [math.nan if row[place] == "" else float(row[place]) for row in rows]
            for place, name in enumerate(header)
        }
    except MALFORMED as error:
        raise _no_table(folder / HISTORY_FILE, error) from error


def _no_table(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file} is not the {file.name} of a run ({explain_damage(error)}); train the run again."
    )


def write_training_photos(split: Split, fingerprints: NDArray[np.uint8], folder: Path) -> None:
    """Write the thumbnails of a run's training photos, and the groups that they are of.

    Args:
        split: Which photos are for training.
        fingerprints: (N, 1024) uint8 thumbnails of all photos of the split.
        folder: Existing folder.
    """
    from safetensors.numpy import save

    groups = sorted({split.index.groups[row] for row in split.train} - {""})
    name, number = _TRAINING_FORMAT
    metadata = {"format": name, "format_version": number, "groups": json.dumps(groups)}
    tensors = {"fingerprints": fingerprints[split.train]}
    # Written here, for `save_file` gives the file to its owner alone.
    (folder / TRAINING_FILE).write_bytes(save(tensors, metadata=metadata))


def read_training_photos(folder: Path) -> tuple[NDArray[np.uint8], frozenset[str]] | None:
    """Read what a run keeps of the photos it learned from, to know them again.

    Args:
        folder: Folder of a run.

    Returns:
        (n, 1024) uint8 thumbnails and names of groups; None for a run of an older version.

    Raises:
        DataError: When the file is not a run's.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / TRAINING_FILE
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            found = metadata.get("format"), metadata.get("format_version")
            if found != _TRAINING_FORMAT:
                raise ValueError(f"its format is {found}")
            fingerprints = opened.get_tensor("fingerprints")
        if fingerprints.dtype != np.uint8 or fingerprints.shape[1:] != (FINGERPRINT_SIDE**2,):
            raise ValueError(f"fingerprints are {fingerprints.dtype} {fingerprints.shape}")
        return fingerprints, frozenset(map(str, json.loads(metadata["groups"])))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(
            f"{file} does not hold a run's training photos ({error}); restore it from a copy, or "
            "remove it: only exact copies are known again without it."
        ) from error
