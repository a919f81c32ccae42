"""A folder that is classified: sent by a browser or lying here; its table corrected, saved, sorted.

One at a time. Its files lie in the project's jobs/classify: answers.json, and photos/ with those
that a browser has sent.
"""

import os
import shutil
import threading
from pathlib import Path, PurePosixPath
from typing import Any

from handful.data.index import ImageIndex, load_unlabeled
from handful.errors import DataError, HandfulError, UsageError
from handful.files.atomic import MALFORMED, new_file
from handful.files.tables import row_line
from handful.projects.project import Project
from handful.projects.thumbnails import Thumbnails
from handful.run_store.stored_run import StoredRun
from handful.studio.corrections_view import correct
from handful.studio.folder_answers import FolderAnswers
from handful.studio.folder_view import folder_view
from handful.studio.jobs import JobFolder
from handful.wording import number_of
from handful.workflows.prediction_table import prediction_rows
from handful.workflows.sorting import check_sorting_folder, plain_name, sort_photos

ANSWERS_FILE = "answers.json"
_PHOTOS, _SORTED = "photos", "sorted"
_MOST_PARTS = 12


class FolderTable:
    """The table of a project's classified folder; safe to use from several threads.

    Args:
        project: The project.

    Attributes:
        job: Classifies.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.job = JobFolder(project.folder, "classify", "handful.studio.use_worker")
        self._uploads = self.job.folder / _PHOTOS
        self._thumbnails = Thumbnails(self.job.folder / "thumbnails")
        self._lock = threading.RLock()
        self._read: tuple[int, FolderAnswers] | None = None
        self._index: tuple[int, ImageIndex] | None = None

    @property
    def sources(self) -> tuple[Path, ...]:
        """What may be classified where it lies: what the user named on the command line."""
        return tuple(Path(os.path.normpath(path)) for path in self.project.sources[1:])

    def clear(self) -> None:
        """Forget the table, and the photos that were sent."""
        with self._lock:
            self.job.cancel()
            (self.job.folder / ANSWERS_FILE).unlink(missing_ok=True)
            shutil.rmtree(self._uploads, ignore_errors=True)
            shutil.rmtree(self._thumbnails.folder, ignore_errors=True)
            self._read = self._index = None

    def add(self, name: str, data: bytes) -> None:
        """Keep a photo that was sent, until the table is forgotten.

        Args:
            name: Its path in the folder that was chosen, which may be anything.
            data: Its bytes.

        Raises:
            OutputError: When it cannot be written.
        """
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        *folders, last = [plain_name(part) for part in parts[-_MOST_PARTS:]] or ["photo"]
        folder = self._uploads.joinpath(*folders)
        target, number = folder / last, 1
        with self._lock:
            while target.exists():
                number += 1
                target = folder / f"{Path(last).stem}-{number}{Path(last).suffix}"
            with new_file(target) as part:
                part.write_bytes(data)

    def begin(self, run: StoredRun | None, source: int | None = None) -> None:
        """Classify, in a process of its own.

        Args:
            run: The run to take.
            source: Which of `sources`; None takes what was sent.

        Raises:
            UsageError: When there is no run or no such source.
        """
        if run is None:
            raise UsageError("There is no classifier yet; train one first.")
        if source is not None and not 0 <= source < len(self.sources):
            raise UsageError("There is no such folder.")
        if source is None:
            place, title = self._uploads, self._sent_name()
        else:
            place = self.sources[source]
            title = place.name.removesuffix(".zip")
            self.clear()
        self.job.begin("", str(run.path), str(place), title)

    @property
    def version(self) -> int:
        """Changes with the answers; 0 where there are none."""
        try:
            return (self.job.folder / ANSWERS_FILE).stat().st_mtime_ns
        except OSError:
            return 0

    def view(self, shown: str, first: int) -> dict[str, Any]:
        """The table, as the page shows it.

        Args:
            shown: A chip's key, see `folder_view`.
            first: The first row.

        Returns:
            Plain values; "chips" is empty where nothing is classified yet.
        """
        state, answers = self.job.read(), self._answers()
        busy = trouble = ""
        if state is not None and state.status == "running":
            count = f": {state.done:,} of {state.total:,}" if state.total else ""
            busy = f"Classifying{count} ..."
        elif state is not None and state.status == "failed":
            trouble = state.message
        sources = [path.name for path in self.sources]
        found: dict[str, Any] = {"busy": busy, "trouble": trouble, "sources": sources, "chips": []}
        if answers is None or busy:
            return found
        labels = self._labels(answers)
        rows = folder_view(answers, labels, self.project.labels.classes, shown, first)
        return {**found, **rows, "version": self.version}

    def thumbnail(self, row: int) -> bytes:
        """A small copy of a row's photo.

        Args:
            row: The row.

        Returns:
            WebP file.

        Raises:
            DataError: When it is gone, or has changed.
            UsageError: When there is no such row.
        """
        id = self._id(row)
        return self._thumbnails.get(id) or self._thumbnails.make(id, self._bytes(row))

    def correct(self, row: int, class_name: str) -> str:
        """Say what a row's photo is: it becomes one of the project's photos, with that label.

        Args:
            row: The row.
            class_name: The class.

        Returns:
            What was done.

        Raises:
            DataError: When the photo is gone, or has changed.
            UsageError: When there is no such row, or no class can be called so.
        """
        answers = self._must()
        self._id(row)
        name = PurePosixPath(answers.predictions[row].path).name
        return correct(self.project, name, self._bytes(row), class_name)

    def csv(self) -> bytes:
        """The table as `handful predict --csv` prints it, with the corrections.

        Returns:
            A file.

        Raises:
            UsageError: When nothing is classified.
        """
        answers = self._must()
        found = answers.corrected(self._labels(answers))
        names = tuple(answers.predictions[0].probabilities) if answers.predictions else ()
        header, rows = prediction_rows(found, names)
        if answers.source == self._uploads:  # nobody knows where that is
            rows = [(answers.name_of(str(row[0])), *row[1:]) for row in rows]
        return "".join(map(row_line, [header, *rows])).encode("utf-8", "surrogatepass")

    def sort(self) -> str:
        """Copy the photos into a folder for each class, as `handful predict --sort-into` does.

        Returns:
            What was copied, and where it lies.

        Raises:
            HandfulError: When that cannot be.
        """
        answers = self._must()
        target = self.project.folder / _SORTED / plain_name(answers.title)
        check_sorting_folder(target, [answers.source])
        target.parent.mkdir(exist_ok=True)
        found = sort_photos(self._photos(), answers.corrected(self._labels(answers)), target)
        parts = [f"{name} {count:,}" for name, count in found.counts.items()]
        if found.num_kept:
            parts.append(f"{found.num_kept:,} were there before")
        if found.skipped:
            parts.append(f"{number_of(len(found.skipped))} left out, gone or changed")
        total = number_of(sum(found.counts.values()))
        return f"{total} copied to {target} ({', '.join(parts)})"

    def _answers(self) -> FolderAnswers | None:
        version = self.version
        with self._lock:
            if not version:
                return None
            if self._read is None or self._read[0] != version:
                try:
                    self._read = version, FolderAnswers.read(self.job.folder / ANSWERS_FILE)
                except (OSError, HandfulError, *MALFORMED):
                    return None
            return self._read[1]

    def _must(self) -> FolderAnswers:
        answers = self._answers()
        if answers is None:
            raise UsageError("No folder is classified; choose one first.")
        return answers

    def _id(self, row: int) -> str:
        ids = self._must().ids
        if not 0 <= row < len(ids):
            raise UsageError("There is no such photo in the table.")
        return ids[row]

    def _labels(self, answers: FolderAnswers) -> list[str | None]:
        """What the project's labels say of the rows that a person was asked about."""
        labels = self.project.labels.all()
        return [labels.get(id) for id in answers.ids]

    def _photos(self) -> ImageIndex:
        """The rows' photos as an index, in the rows' order."""
        answers, version = self._must(), self.version
        with self._lock:
            if self._index is None or self._index[0] != version:
                found = load_unlabeled(answers.source)
                places = {path: place for place, path in enumerate(found.paths)}
                gone = [one.path for one in answers.predictions if one.path not in places]
                if gone:
                    raise DataError(f"{len(gone)} photos are gone, such as {gone[0]}; begin again.")
                rows = [places[one.path] for one in answers.predictions]
                self._index = version, found.select(rows)
            return self._index[1]

    def _bytes(self, row: int) -> bytes:
        return self._photos().read(row)

    def _sent_name(self) -> str:
        """What the folder was called that a browser has sent."""
        try:
            (only,) = self._uploads.iterdir()
        except (OSError, ValueError):
            return "photos"
        return only.name if only.is_dir() else "photos"
