"""A job's process: it trains or checks a project through the workflows, and says how far it is."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from handful.crashes import keep_traceback
from handful.environment import own_environment
from handful.errors import HandfulError
from handful.reporting import Epoch, Reporter
from handful.studio.jobs import CHECK_FOLDER, JobFolder, JobState

_INTERVAL = 0.2  # pages are looked at, not each photo's progress
_HEARTBEAT = 1.0
_NICENESS = 5  # the page answers first
_WORDS = {
    "index": "looking through the photos",
    "embed": "looking at the photos",
    "decode": "looking at the photos",
    "download": "fetching the network, once",
    "convert": "preparing the network, once",
    "fit": "learning",
    "compare": "trying networks",
    "train": "learning",
    "evaluate": "testing",
    "examine": "looking for problems",
    "report": "writing the report",
}


class StateReporter(Reporter):
    """Writes how far a job is into its folder; heeds a page's Cancel.

    Args:
        job: The folder.
        state: What is there now.
    """

    def __init__(self, job: JobFolder, state: JobState) -> None:
        super().__init__()
        self.job, self.state = job, state
        self._lock = threading.Lock()
        self._written = 0.0

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked the job to stop."""
        return self.job.is_canceled

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Say what is done now.

        Args:
            name: What is done.

        Yields:
            Nothing.
        """
        with super().phase(name):
            self.say(what=_WORDS.get(name, name), done=0, total=0)
            yield

    def progress(self, done: int, total: int) -> None:
        """Say how far it is.

        Args:
            done: Work done.
            total: Work in all.
        """
        super().progress(done, total)
        if time.time() - self._written > _INTERVAL or done == total:
            self.say(done=done, total=total)

    def epoch(self, epoch: Epoch) -> None:
        """Say what an epoch came to.

        Args:
            epoch: Its scores.
        """
        self.say(message=str(epoch), done=epoch.epoch, total=epoch.epochs)

    def log(self, line: str) -> None:
        """Keep a line for people.

        Args:
            line: One line of text.
        """
        self.say(message=line)

    def say(self, **changes: object) -> None:
        """Write the state with some fields changed.

        Args:
            **changes: Fields of `JobState`.
        """
        with self._lock:
            self.state = replace(self.state, **changes)  # type: ignore[arg-type]
            self.job.write(self.state)
            self._written = time.time()


@contextmanager
def _heartbeat(reporter: StateReporter) -> Iterator[None]:
    """Say each second that the process is alive, for embedding may be silent for longer."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT):
            reporter.say()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run_job(job: JobFolder, work: Callable[[Reporter], object]) -> JobState:
    """Do a job's work, and write how it ended.

    Args:
        job: Its folder, begun.
        work: Takes the reporter.

    Returns:
        The last state.
    """
    reporter = StateReporter(job, job.read() or JobState(job.verb, started=time.time()))
    reporter.say(status="running")
    ended: dict[str, str] = {"status": "done"}
    with _heartbeat(reporter):
        try:
            work(reporter)
        except KeyboardInterrupt:
            ended = {"status": "canceled"}
        except HandfulError as error:
            ended = {"status": "failed", "message": str(error)}
        except Exception as error:
            place = keep_traceback(error)
            what = f"This was not foreseen ({type(error).__name__}: {str(error)[:200]})."
            ended = {"status": "failed", "message": f"{what} The details are in {place}."}
    reporter.say(**ended)
    return reporter.state


def main(verb: str, folder: str, quality: str = "") -> None:
    """Train or check a project.

    Args:
        verb: "train" or "check".
        folder: The project's.
        quality: What a training is asked for; "" for a check.
    """
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # photos are decoded in threads
    os.environ.update(own_environment())
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    project = Path(folder)

    def train(reporter: Reporter) -> None:
        from handful.run_store.store import RunStore
        from handful.workflows.train import train

        store = RunStore(project / "runs")
        train(project, quality=quality or "fast", store=store, reporter=reporter)

    def check(reporter: Reporter) -> None:
        from handful.workflows.check import check

        check(project, output=project / CHECK_FOLDER, reporter=reporter)

    if verb == "train":
        run_job(JobFolder(project, "train"), train)
    else:
        run_job(JobFolder(project, "check"), check)


if __name__ == "__main__":
    main(*sys.argv[1:])
