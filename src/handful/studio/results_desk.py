"""What the page of results works with: runs, their figures, and what is found out beside it."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from handful.errors import DataError, HandfulError, ModelFileError
from handful.evaluation.paired import compare_with_earlier
from handful.files.atomic import new_file
from handful.models.activation_maps import Explainer, overlay_thumbnail
from handful.models.classifier import Classifier
from handful.projects.project import Project
from handful.run_store.run_list import RunRow
from handful.run_store.store import RunStore
from handful.run_store.stored_run import StoredRun
from handful.wording import format_share
from handful.workflows.second_look import SecondLook, look_again

_MAPS_FOLDER, _MAP_SIDE = "maps", 320
# A run's folder and when it was written: of a run that is removed, another may get the name.
_RunKey = tuple[Path, datetime]


def _key(row: RunRow) -> _RunKey:
    return row.path, row.date


@dataclass(frozen=True)
class RunChoice:
    """A run that another may be compared with.

    Args:
        name: Its name.
        text: What a list says of it.
    """

    name: str
    text: str


class ResultsDesk:
    """The runs of a project, as the page of results sees them; safe to use from several threads.

    Args:
        project: The project.
        runs: Its runs.
        open_classifier: Gives the classifier of a run's folder.
    """

    def __init__(
        self, project: Project, runs: RunStore, open_classifier: Callable[[Path], Classifier]
    ) -> None:
        self.project, self._runs, self._open_classifier = project, runs, open_classifier
        self._listed: tuple[int, list[RunRow]] | None = None
        self._read: dict[_RunKey, StoredRun] = {}
        self._looks: dict[_RunKey, SecondLook | str | None] = {}
        self._looking: threading.Thread | None = None
        self._explainer: tuple[_RunKey, Explainer | ModelFileError] | None = None
        self._lock, self._map_lock = threading.Lock(), threading.Lock()

    @property
    def _rows(self) -> list[RunRow]:
        """The runs, the latest first; read again when one was made or removed."""
        try:
            stamp = self._runs.folder.stat().st_mtime_ns
        except OSError:
            return []
        listed = self._listed
        if listed is None or listed[0] != stamp:
            rows = [row for row in self._runs.list() if row.accuracy is not None]
            listed = self._listed = stamp, rows
            self._forget_others(rows)
        return listed[1]

    def _forget_others(self, rows: list[RunRow]) -> None:
        """Remove what was found out of runs that are gone."""
        keys = {_key(row) for row in rows}
        with self._lock:
            self._read = {key: run for key, run in self._read.items() if key in keys}
            self._looks = {key: look for key, look in self._looks.items() if key in keys}
        kept = set(map(self._maps_of, rows))
        for folder in (self.project.folder / _MAPS_FOLDER).glob("*"):
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _maps_of(self, row: RunRow) -> Path:
        return self.project.folder / _MAPS_FOLDER / f"{row.name}-{row.date:%Y%m%d%H%M%S}"

    def latest(self) -> StoredRun | None:
        """The run that was made last.

        Returns:
            It, its files read once; None where there is none yet.
        """
        rows = self._rows
        return self._stored(rows[0]) if rows else None

    def _stored(self, row: RunRow) -> StoredRun:
        with self._lock:
            return self._read.setdefault(_key(row), StoredRun(row.path))

    def _find(self, name: str) -> RunRow:
        found = next((row for row in self._rows if row.name == name), None)
        if found is None:
            raise DataError(f"There is no run {name!r}.")
        return found

    def made(self, run: StoredRun) -> str:
        """When and how a run was made.

        Args:
            run: The run.

        Returns:
            Its name, date and quality.
        """
        row = self._find(run.path.name)
        return f"{row.name}, {row.date:%Y-%m-%d %H:%M}, quality {run.config.quality}"

    def earlier(self) -> tuple[RunChoice, ...]:
        """The runs that the latest one may be compared with.

        Returns:
            The last one before it first.
        """
        found = []
        for place, row in enumerate(self._rows[1:]):
            said = f"{row.name}, {row.date:%Y-%m-%d %H:%M}, {format_share(row.accuracy or 0)}"
            found.append(RunChoice(row.name, said if place else f"the last run ({said})"))
        return tuple(found)

    def compare(self, name: str) -> str:
        """Compare the latest run with an earlier one.

        Args:
            name: The earlier one's.

        Returns:
            A sentence.

        Raises:
            DataError: When there is no such run, or its files are damaged.
        """
        latest, earlier = self.latest(), self._stored(self._find(name))
        assert latest is not None, "there is an earlier one"
        return compare_with_earlier(latest.predictions, earlier.predictions).sentence

    def second_look(self, run: StoredRun) -> SecondLook | str | None:
        """What a second look at a run's test photos shows, found out in the background.

        Args:
            run: The run.

        Returns:
            It; why there is none, as a sentence; None while it is being found out.
        """
        key = _key(self._find(run.path.name))
        with self._lock:
            if key in self._looks:
                return self._looks[key]
            self._looks[key] = None
        self._looking = threading.Thread(target=self._look, args=(key, run), daemon=True)
        self._looking.start()
        return None

    def _look(self, key: _RunKey, run: StoredRun) -> None:
        found: SecondLook | str
        try:
            classifier = self._open_classifier(run.path)
            found = look_again(classifier, run.predictions, self.project.photo_index())
        except HandfulError as error:
            found = str(error)
        with self._lock:
            self._looks[key] = found

    def wait(self) -> None:
        """Wait until the second look has ended that was begun last."""
        if self._looking is not None:
            self._looking.join()

    @property
    def num_looks(self) -> int:
        """How many second looks have ended."""
        return sum(look is not None for look in list(self._looks.values()))

    def map(self, name: str, id: str) -> bytes:
        """Where the network looked in a test photo, why its answer and not the label.

        Args:
            name: The run's.
            id: The photo.

        Returns:
            JPEG file; made once, and kept in the project's folder.

        Raises:
            DataError: When there is no such run or test photo, or it cannot be read.
            ModelFileError: When this network has no such map.
        """
        row = self._find(name)
        file = self._maps_of(row) / f"{id}.jpg"
        if file.is_file():
            return file.read_bytes()
        predicted, rival = self._answer(self._stored(row), id)
        with self._map_lock:
            found = self._explain_with(row).explain(self.project.read(id), predicted, rival)
            data = overlay_thumbnail(found, _MAP_SIDE)
            with new_file(file, replace=True) as part:
                part.write_bytes(data)
        return data

    def _explain_with(self, row: RunRow) -> Explainer:
        """What explains a run's answers; a network that has no maps is asked once."""
        key = _key(row)
        if self._explainer is None or self._explainer[0] != key:
            try:
                explainer = Explainer(self._open_classifier(row.path), _MAP_SIDE)
            except ModelFileError as error:
                self._explainer = key, error
                raise
            self._explainer = key, explainer
        kept = self._explainer[1]
        if isinstance(kept, ModelFileError):
            raise kept
        return kept

    def _answer(self, run: StoredRun, id: str) -> tuple[str, str | None]:
        """The class that a test photo was taken for; the one that it is of, where that differs."""
        evaluation, names = run.predictions, run.predictions.class_names
        path = next((photo.path for photo in self.project.photos if photo.id == id), None)
        if path is None or path not in evaluation.paths:
            raise DataError(f"{run.path.name} was not tested on the photo {id!r}.")
        place = evaluation.paths.index(path)
        predicted, label = int(evaluation.predicted[place]), int(evaluation.labels[place])
        return names[predicted], None if predicted == label else names[label]

    def report(self, name: str) -> bytes:
        """A run's whole report.

        Args:
            name: The run's.

        Returns:
            HTML.

        Raises:
            DataError: When there is no such run, or it has no report.
        """
        try:
            return StoredRun(self._find(name).path).report.read_bytes()
        except OSError as error:
            raise DataError(f"The run {name} has no report.") from error
