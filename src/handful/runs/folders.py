"""Which run a classifier's folder belongs to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handful.errors import DataError
from handful.files.atomic import MALFORMED, explain_damage, read_json

RUN_FILE = "run.json"
CLASSIFIER_FOLDER = "classifier"


def run_around(path: Path) -> Path | None:
    """Find the run's folder that a classifier lies in.

    Args:
        path: Folder of a run, or the classifier's own in it.

    Returns:
        The run's folder; None for a classifier without its run.
    """
    inside = path.resolve()
    places = (path, inside.parent) if inside.name == CLASSIFIER_FOLDER else (path,)
    for folder in places:
        if (folder / RUN_FILE).is_file() and (folder / CLASSIFIER_FOLDER).is_dir():
            return folder
    return None


def find_run(
    path: Path, class_names: Sequence[str]
) -> tuple[Path, dict[str, Any]] | tuple[None, None]:
    """Find the run that a classifier was made by, and read what it says.

    Args:
        path: As for `run_around`.
        class_names: Of the classifier.

    Returns:
        The run's folder and its run.json; None and None for a classifier without its run.

    Raises:
        DataError: When there is a run.json that is not this classifier's.
    """
    folder = run_around(path)
    return (None, None) if folder is None else (folder, _read(folder / RUN_FILE, class_names))


def _read(file: Path, class_names: Sequence[str]) -> dict[str, Any]:
    try:
        facts = read_json(file)
        if facts["format"] != "handful run":
            raise ValueError("another format")
        for name in ("photos", "config", "result"):
            facts[name]
        names = list(facts["result"]["class_names"])
    except MALFORMED as error:
        raise DataError(
            f"{file} is not the run.json of a run ({explain_damage(error)}); restore it from a "
            f"copy, or use the folder {file.parent / CLASSIFIER_FOLDER} by itself elsewhere."
        ) from error
    if names != list(class_names):
        raise DataError(
            f"{file} has the classes {', '.join(map(str, names))}, and the classifier "
            f"{', '.join(class_names)}; restore the run from a copy."
        )
    return facts
