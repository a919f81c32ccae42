"""What all pages work with: the project, its jobs, the latest run, the classifier in use."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from handful.datasets.registry import find_demo_data
from handful.environment import cache_folder
from handful.errors import HandfulError
from handful.projects.project import Project
from handful.reporting import Progress, Reporter
from handful.run_store.store import RunStore
from handful.run_store.stored_run import StoredRun
from handful.studio.answering import chosen_error_rate
from handful.studio.check_desk import CheckDesk
from handful.studio.folder_table import FolderTable
from handful.studio.jobs import JobFolder
from handful.studio.latest_classifier import LatestClassifier
from handful.studio.photos_view import (
    HELPED,
    Hint,
    PhotosView,
    details,
    photos_view,
    suggestion_hints,
    version_of,
)
from handful.studio.results_desk import ResultsDesk
from handful.studio.sharing import Sharing
from handful.studio.trainer import Trainer
from handful.workflows.labeling import Labeler

_LOOKING_THROUGH = "Looking through the photos"


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
        check: The last check's findings.
        classifier: The latest run's.
        results: The runs.
        folder_table: A folder that is classified.
        sharing: What classifiers were written as, for others.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.train_job = JobFolder(project.folder, "train")
        self.check = CheckDesk(project)
        self.trainer = Trainer(project, self.train_job)
        self.busy, self.trouble = "", ""
        runs = RunStore(project.runs)
        self.classifier = LatestClassifier(
            runs, self.latest_run, lambda: chosen_error_rate(project.folder)
        )
        self.results = ResultsDesk(project, runs, self.classifier.of)
        self.folder_table = FolderTable(project)
        self.sharing = Sharing(project.folder)
        self._labeler = Labeler(project)
        self._lock = threading.Lock()

    @property
    def jobs(self) -> tuple[JobFolder, ...]:
        """All that works in a process of its own."""
        return self.train_job, self.check.job, self.folder_table.job, self.sharing.job

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
        return self._in_background(_LOOKING_THROUGH, lambda: self._look_through(photos))

    def take_example(self) -> str:
        """Fetch the photos of `handful demo`, once, and look through them in the background.

        Returns:
            What is done now.
        """

        def work() -> None:
            reporter = _Telling(self._tell("Fetching the photos, once"))
            self._look_through(find_demo_data(None, cache_folder(), reporter).path)

        self._in_background("Fetching the photos, once", work)
        return "Fetching the photos"

    def _look_through(self, photos: Path) -> None:
        self.project.add_source(photos, self._tell(_LOOKING_THROUGH))
        if not self.project.photos:
            self.trouble = f"{photos} has no photo that can be used."
        if not self.project.labels.version:
            # Sorted already: what its folders say can be undone like all else.
            for name, ids in self.project.folder_classes(photos).items():
                self.project.labels.assign(ids, name)
        self.project.make_thumbnails(self._tell("Making small pictures"))

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

    def warm_up(self) -> None:
        """Read what the first page needs; what is wrong with it, the page will say."""
        with suppress(HandfulError):
            self.photos_view("all")

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

    def details(self, id: str) -> dict[str, Any]:
        """What is shown beside a large photo, see `handful.studio.photos_view.details`."""
        return details(self.project, id, self._labeler.probabilities_of(id))

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
        return self.results.latest()
