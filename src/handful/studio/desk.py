"""What all pages work with: the project, its jobs, the latest run, the classifier in use."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from handful.checks.findings import are
from handful.errors import HandfulError
from handful.files.atomic import MALFORMED, json_text, read_json
from handful.files.json_lines import JsonLines
from handful.projects.project import Project
from handful.reporting import Progress, Reporter
from handful.run_store.store import RunStore
from handful.run_store.stored_run import StoredRun
from handful.studio.check_view import FindingCard, finding_cards
from handful.studio.folder_table import FolderTable
from handful.studio.jobs import CHECK_FOLDER, LABELS_FILE, JobFolder
from handful.studio.latest_classifier import LatestClassifier
from handful.studio.photos_view import (
    HELPED,
    Hint,
    PhotosView,
    photos_view,
    suggestion_hints,
    version_of,
)
from handful.studio.results_view import ResultsView, results_view
from handful.studio.sharing import Sharing
from handful.studio.trainer import Trainer
from handful.wording import number_of
from handful.workflows.labeling import Labeler

_KEPT_FILE = "kept.jsonl"


class _Telling(Reporter):
    """Passes progress on, and nothing else."""

    def __init__(self, tell: Progress) -> None:
        super().__init__()
        self._tell = tell

    def progress(self, done: int, total: int) -> None:
        self._tell(done, total)


class Desk:
    """One project, as the studio sees it; safe to use from several threads.

    Args:
        project: The project.

    Attributes:
        classifier: The latest run's.
        folder_table: A folder that is classified.
        sharing: What classifiers were written as, for others.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.train_job, self.check_job = (
            JobFolder(project.folder, "train"),
            JobFolder(project.folder, "check"),
        )
        self.trainer = Trainer(project, self.train_job)
        self.busy, self.trouble = "", ""
        self._kept = JsonLines(project.folder / _KEPT_FILE)
        self._decided: set[tuple[str, str]] = set()
        self._runs = RunStore(project.runs)
        self.classifier = LatestClassifier(self._runs, self.latest_run)
        self.folder_table = FolderTable(project)
        self.sharing = Sharing(project.folder)
        self._labeler = Labeler(project)
        self._lock = threading.Lock()

    @property
    def jobs(self) -> tuple[JobFolder, ...]:
        """All that works in a process of its own."""
        return self.train_job, self.check_job, self.folder_table.job, self.sharing.job

    @property
    def version(self) -> str:
        """Changes with everything that pages show of photos."""
        return f"{version_of(self.project)}-{self.busy}-{self.trouble}"

    def take(self, photos: Path) -> threading.Thread:
        """Look through a folder, a zip or a file in the background; its photos stay where they are.

        Args:
            photos: Where they lie, as the user named it on the command line.

        Returns:
            The thread that does it.
        """

        def work() -> None:
            self.project.add_source(photos, self._tell("Looking through the photos"))
            if not self.project.photos:
                self.trouble = f"{photos} has no photo that can be used."
            if not self.project.labels.version:
                # Sorted already: what its folders say can be undone like all else.
                for name, ids in self.project.folder_classes(photos).items():
                    self.project.labels.assign(ids, name)
            self.project.make_thumbnails(self._tell("Making small pictures"))

        return self._in_background("Looking through the photos", work)

    def _in_background(self, what: str, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except HandfulError as error:
                self.trouble = str(error)
            finally:
                self.busy = ""

        self.busy, self.trouble = what, ""
        thread = threading.Thread(target=run, name="desk", daemon=True)
        thread.start()
        return thread

    def _tell(self, what: str) -> Callable[[int, int], None]:
        def progress(done: int, total: int) -> None:
            # A hundred steps are enough for a page.
            if done == total or done % max(total // 100, 1) == 0:
                self.busy = f"{what}: {done:,} of {total:,}"

        return progress

    def photos_view(self, shown: str) -> PhotosView:
        """The page of photos.

        Args:
            shown: A chip's key. For "alike" and "next", photos are looked at in the background
                first, once.

        Returns:
            The view.
        """
        hints: dict[str, Hint] = {}
        if shown in HELPED:
            if not self.busy and self._labeler.num_missing:
                self._in_background("Looking at the photos", self._embed)
            if shown == "alike":
                hints = suggestion_hints(self._labeler.groups())
            else:
                # There is little room below a photo.
                said = {one.id: one.reason for one in self._labeler.label_next()}
                hints = {
                    id: Hint(why.removeprefix("the classifier is ")) for id, why in said.items()
                }
        return photos_view(self.project, shown, self.busy or self.trouble, hints)

    def outlook(self) -> str:
        """Whether enough is labeled: takes seconds, for heads are fitted on parts of the photos.

        Returns:
            The answer, in a sentence or two.

        Raises:
            HandfulError: When the photos cannot be looked at.
        """
        self._embed()
        return self._labeler.outlook().sentence

    def _embed(self) -> None:
        self._labeler.embed(reporter=_Telling(self._tell("Looking at the photos")))

    def latest_run(self) -> StoredRun | None:
        """The run that was made last.

        Returns:
            It; None where there is none yet.
        """
        rows = [row for row in self._runs.list() if row.accuracy is not None]
        return self._runs.read(rows[0].path) if rows else None

    def results(self) -> ResultsView | None:
        """The page of results.

        Returns:
            The view; None before the first training.

        Raises:
            DataError: When the run's files are damaged.
        """
        run = self.latest_run()
        if run is None:
            return None
        row = next(row for row in self._runs.list() if row.path == run.path)
        made = f"{row.name}, {row.date:%Y-%m-%d %H:%M}, quality {run.config.quality}"
        return results_view(self.project, run.predictions, made)

    def check_cards(self) -> tuple[FindingCard, ...] | None:
        """The page of the check.

        Returns:
            Its cards; None before the first check.
        """
        folder = self.project.folder
        try:
            report = read_json(folder / CHECK_FOLDER / "check.json")
        except (HandfulError, *MALFORMED):
            return None
        labels: dict[str, Any] = {}
        with suppress(HandfulError, *MALFORMED):
            labels = read_json(self.check_job.folder / LABELS_FILE)
        with self._lock:
            if self._kept.has_more():
                for entry in self._kept.read_new():
                    self._decided.add((str(entry.get("kind")), str(entry.get("id"))))
            kept = set(self._decided)
        return finding_cards(self.project, report, labels, kept)

    def keep(self, kind: str, ids: list[str]) -> str:
        """Note that photos stay as they are, whatever a check found.

        Args:
            kind: Of the finding.
            ids: The photos.

        Returns:
            What was done.
        """
        with self._lock, self._kept.locked():
            self._kept.append([{"kind": kind, "id": id} for id in ids])
            self._decided.update((kind, id) for id in ids)
        return f"{number_of(len(ids))} {are(len(ids))} kept"

    @property
    def num_kept(self) -> int:
        """How many decisions to keep a photo there are."""
        return len(self._decided)

    def begin_check(self) -> None:
        """Start a check, and note which labels it looks at."""
        self.check_job.folder.mkdir(parents=True, exist_ok=True)
        text = json_text(self.project.labels.all())
        (self.check_job.folder / LABELS_FILE).write_text(text, encoding="utf-8")
        self.check_job.begin()
