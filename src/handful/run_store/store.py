"""Where runs lie: the one place that names, writes, lists, finds and reads them."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, Union

from handful.config import RUNS_FOLDER
from handful.data.inputs import PHOTOS, path_of
from handful.data.splits import write_manifest
from handful.errors import DataError, UsageError
from handful.files.atomic import new_folder
from handful.files.drafts import names_in_hand
from handful.models.classifier import CLASSIFIER_FOLDER, Classifier, is_classifier
from handful.run_store.files import (
    MANIFEST_FILE,
    RUN_FILE,
    write_history,
    write_metadata,
    write_predictions,
    write_training_photos,
)
from handful.run_store.run_list import RunList, RunRow, read_row
from handful.run_store.stored_run import UNFINISHED, StoredRun

if TYPE_CHECKING:
    from handful.run_store.run import Run

PageWriter = Callable[["Run", Path], None]
# Where a job writes: a path; None for one in runs/, False for nowhere.
Output = str | Path | Literal[False] | None
LATEST = "latest"
_RUN = "a run's folder, its name, the beginning of it, or latest"
_CHECKPOINT = ".checkpoint"


# What stands for a run: a path or a name, or a run that is at hand.
AnyRun: TypeAlias = Union[str, Path, StoredRun, RunRow, "Run"]


class HasPath(Protocol):
    """What a job gave, which may have been written."""

    @property
    def path(self) -> Path | None:
        """Its folder; None where it was not written."""


class RunDraft(Protocol):
    """A run's place while the run is made."""

    @property
    def checkpoint(self) -> Path | None:
        """Folder for the state of a network's training; None where none is kept."""

    def write(self, run: "Run", write_page: PageWriter | None = None) -> None:
        """Keep all of a run but its figures and times, which are not over yet.

        Args:
            run: The run.
            write_page: Writes the page about it into a folder.
        """

    def finish(self, run: "Run") -> None:
        """Keep the run's figures and times.

        Args:
            run: The run, done.
        """


class RunKeeper(Protocol):
    """Where `train` leaves a run: a `RunStore`, or whatever else gives runs a place."""

    def new(self, path: Path, *, resume: bool = False) -> AbstractContextManager[RunDraft]:
        """Begin a run, before the work: a place that cannot be had is found first.

        Args:
            path: The run's place.
            resume: Whether a training that did not end there is gone on with.

        Returns:
            The draft; no run is left of a block that ends with an error.
        """


@dataclass
class _FolderDraft:
    """A folder that gets its name when it is whole."""

    folder: Path
    checkpoint: Path
    stopped: str = ""

    def write(self, run: "Run", write_page: PageWriter | None = None) -> None:
        run.classifier.save(self.folder / CLASSIFIER_FOLDER)
        write_manifest(run.split, self.folder / MANIFEST_FILE)
        write_predictions(run.evaluation, self.folder)
        write_history(run, self.folder)
        if run.fingerprints is not None:
            write_training_photos(run.split, run.fingerprints, self.folder)
        if write_page is not None:
            write_page(run, self.folder)

    def finish(self, run: "Run") -> None:
        write_metadata(run, self.folder)
        self.stopped = run.stopped


class RunStore:
    """Runs that lie in one folder.

    Args:
        folder: The folder; it need not be there.

    Example:
        ```python
        store = RunStore("runs")
        for row in store.list():
            print(row.name, row.accuracy)
        run = store.read(store.find("latest"))
        print(run.config.strategy, run.predictions.accuracy)
        ```
    """

    def __init__(self, folder: str | Path = RUNS_FOLDER) -> None:
        self.folder = Path(folder)

    def place(self, photos: str | Path, suffix: str = "") -> Path:
        """Where what is made of photos goes, whatever is there.

        Args:
            photos: Path of the photos.
            suffix: What to add to their name, such as "-check".

        Returns:
            A path in the folder.
        """
        return self.folder / run_name(photos, suffix)

    def new_path(self, photos: str | Path, suffix: str = "") -> Path:
        """First free place for what is made of photos: runs/photos, runs/photos-2, ...

        Args:
            photos: Path of the photos.
            suffix: What to add to their name.

        Returns:
            A path where nothing is, and that no other process is about to make.
        """
        first, taken = self.place(photos, suffix), names_in_hand(self.folder)
        path, number = first, 1
        while path.exists() or path.name in taken:
            number += 1
            path = first.with_name(f"{first.name}-{number}")
        return path

    def output(
        self, output: Output, photos: str | Path, suffix: str = "", *, once: bool = False
    ) -> Path | None:
        """Where a job writes what it makes of photos.

        Args:
            output: As the user gave it: a path; None for one in this folder, named like the
                photos; False for nowhere.
            photos: Path of the photos.
            suffix: What to add to their name.
            once: Whether there is one place for it, whatever is there; else a free one is taken.

        Returns:
            The path, or None where nothing is written.

        Raises:
            UsageError: When the photos or the output are no path.
        """
        photos = path_of(photos, "photos", PHOTOS)
        if output is False:
            return None
        if output is None:
            return self.place(photos, suffix) if once else self.new_path(photos, suffix)
        return path_of(output, "output", "a path, or False to write nothing")

    @contextmanager
    def new(self, path: Path, *, resume: bool = False) -> Iterator[RunDraft]:
        """Begin a run; its folder appears whole, or not at all.

        Args:
            path: The run's folder.
            resume: Whether a training that did not end there is gone on with, and its run
                replaced.

        Yields:
            The draft.

        Raises:
            OutputError: When the folder exists or cannot be written.
        """
        RunStore(path.parent).remove_checkpoints()
        checkpoint = checkpoint_path(path)
        goes_on = resume and checkpoint.is_dir()
        with new_folder(path, replace=goes_on, keep_others=True) as folder:
            draft = _FolderDraft(folder, checkpoint)
            yield draft
        if draft.stopped not in UNFINISHED:
            shutil.rmtree(checkpoint, ignore_errors=True)

    def write(self, run: "Run", path: str | Path) -> StoredRun:
        """Write a run that was made without a place; there is no page about it.

        Args:
            run: The run.
            path: Folder to make.

        Returns:
            The run, to be read.

        Raises:
            OutputError: When the folder exists or cannot be written.
        """
        with self.new(Path(path)) as draft:
            draft.write(run)
            draft.finish(replace(run, path=Path(path)))
        return self.read(path)

    def read(self, path: str | Path) -> StoredRun:
        """Read a run's folder.

        Args:
            path: The folder, or the run.json in it.

        Returns:
            The run; what is in it is read when asked for.
        """
        path = Path(path)
        return StoredRun(path.parent if path.name == RUN_FILE and path.is_file() else path)

    def classifier(self, run: Classifier | AnyRun, device: str = "auto") -> Classifier:
        """Open what a person means by a run.

        Args:
            run: As for `find`; or a classifier, which is given back.
            device: As for `Classifier.load`.

        Returns:
            The classifier.

        Raises:
            DataError: When several runs begin so.
            ModelFileError: When it cannot be read.
            UsageError: When it is no run.
        """
        if isinstance(run, Classifier):
            return run
        own = getattr(run, "classifier", None)  # of a run that was just trained
        return own if isinstance(own, Classifier) else Classifier.load(self.find(run), device)

    def of(self, classifier: Classifier) -> StoredRun | None:
        """The run that a classifier was loaded from.

        Args:
            classifier: The classifier.

        Returns:
            The run; None for a classifier without its run.

        Raises:
            DataError: When there is a run.json that is not this classifier's.
        """
        folder = classifier.folder
        if folder is None or folder.resolve().name != CLASSIFIER_FOLDER:
            return None
        run = StoredRun(
            folder.parent if folder.name == CLASSIFIER_FOLDER else folder.resolve().parent
        )
        if not (run.path / RUN_FILE).is_file():
            return None
        names = tuple(run.result["class_names"])
        if names != classifier.class_names:
            raise DataError(
                f"{run.path / RUN_FILE} has the classes {', '.join(map(str, names))}, and the "
                f"classifier {', '.join(classifier.class_names)}; restore the run from a copy, or "
                f"use the folder {folder} by itself elsewhere."
            )
        return run

    def list(self) -> RunList:
        """All runs in the folder.

        Returns:
            The latest first; a folder that cannot be read says so in its `state`.
        """
        found = [read_row(file) for file in self.folder.glob(f"*/{RUN_FILE}") if file.is_file()]
        return RunList(sorted(found, key=lambda row: (row.date, row.name), reverse=True))

    def find(self, run: AnyRun | HasPath) -> Path:
        """Find a run by what a person calls it.

        Args:
            run: A path; or the name of a run in the folder, a beginning that no other has, or
                "latest"; or what has a path: a run that `train` gave, or one of a list of runs.

        Returns:
            Its path; the name itself where there is no such run.

        Raises:
            DataError: When several runs begin so.
            UsageError: When it is no run, or one that was not written.
        """
        if not isinstance(run, str | os.PathLike):
            return _place_of(run)
        path, text = path_of(run, "run", _RUN), os.fspath(run)
        if path.is_file() or (path / RUN_FILE).is_file() or is_classifier(path):
            return path
        places = {row.name: row.path for row in self.list()}
        if text in places:
            return places[text]
        if text == LATEST and places:
            return next(iter(places.values()))
        if not path.exists() and path.name == text and (self.folder / text).is_dir():
            return self.folder / text  # a comparison, or what else was made of photos
        begun = [] if path.exists() else [other for other in places if other.startswith(text)]
        if len(begun) > 1:
            raise DataError(
                f"{text} may be any of the runs {', '.join(sorted(begun))} in {self.folder}; give "
                "more of the name."
            )
        return places[begun[0]] if begun else path

    def unfinished(self, photos: str | Path) -> Path:
        """Place of the latest run on these photos whose training did not end.

        Args:
            photos: Path of the photos.

        Returns:
            The run's place, such as runs/photos-2.

        Raises:
            DataError: When there is none.
        """
        self.remove_checkpoints()
        pattern = re.escape(run_name(photos)) + r"(-\d+)?" + re.escape(_CHECKPOINT)
        found = [
            path for path in self.folder.glob("*" + _CHECKPOINT) if re.fullmatch(pattern, path.name)
        ]
        if not found:
            raise DataError(
                f"There is no unfinished training on {photos} in {self.folder}; give its place "
                "as `output`, or leave `resume` out."
            )
        return max(found, key=lambda path: path.stat().st_mtime).with_suffix("")

    def remove_checkpoints(self) -> None:
        """Remove what processes that were killed at their very end did not."""
        for checkpoint in self.folder.glob("*" + _CHECKPOINT):
            with suppress(DataError):
                if StoredRun(checkpoint.with_suffix("")).stopped not in UNFINISHED:
                    shutil.rmtree(checkpoint, ignore_errors=True)


def run_name(photos: str | Path, suffix: str = "") -> str:
    """Name of what is made of photos.

    Args:
        photos: Path of the photos.
        suffix: What to add, such as "-check".

    Returns:
        A name for a folder.
    """
    return (Path(photos).resolve().stem or "photos") + suffix


def checkpoint_path(path: Path) -> Path:
    """Folder that keeps the state of the training of a run.

    Args:
        path: The run's folder.

    Returns:
        A folder beside it.
    """
    return path.with_name(path.name + _CHECKPOINT)


def runs(folder: str | Path = RUNS_FOLDER) -> RunList:
    """List the runs in a folder, the latest first.

    Args:
        folder: The folder that they lie in.

    Returns:
        A row for each; a notebook shows them as a table.

    Raises:
        UsageError: When the folder is no path.

    Example:
        ```python
        for run in handful.runs():
            print(run.name, run.date, run.strategy, run.accuracy, run.note)
        ```
    """
    return RunStore(path_of(folder, "folder", "the folder that runs lie in")).list()


def _place_of(run: Any) -> Path:
    """The folder of what is at hand: a run, one of a list, a comparison, a learning curve."""
    if not hasattr(run, "path"):
        return path_of(run, "run", _RUN)
    if run.path is None:
        raise UsageError("`run` was not written; expected one that was made with an `output`.")
    return path_of(run.path, "run", _RUN)
