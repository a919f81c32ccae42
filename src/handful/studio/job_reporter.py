"""What a job's process says of itself: it writes into the job's folder how far it is."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from handful.reporting import Epoch, Reporter
from handful.studio.jobs import JobFolder, JobState
from handful.studio.time_left import TimeLeft

_INTERVAL = 0.2  # pages are looked at, not each photo's progress
_HEARTBEAT = 1.0
_WORDS = {
    "index": "looking through the photos",
    "embed": "looking at the photos",
    "decode": "looking at the photos",
    "download": "fetching the network, once",
    "convert": "preparing the network",
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
        left: Tells how much longer it takes.
    """

    def __init__(self, job: JobFolder, state: JobState, left: TimeLeft | None = None) -> None:
        super().__init__()
        self.job, self.state = job, state
        self.left = left or TimeLeft(None, time.time())
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
            self._enter(name)
            yield
        self._enter(self.phases[-1] if self.phases else "")

    def _enter(self, name: str) -> None:
        self.left.phase(name, time.time())
        # Between phases Keras may start, which takes seconds.
        self.say(what=_WORDS.get(name, name) if name else "preparing", done=0, total=0)

    def progress(self, done: int, total: int) -> None:
        """Say how far it is.

        Args:
            done: Work done.
            total: Work in all.
        """
        super().progress(done, total)
        self.left.progress(done, total, time.time())
        if time.time() - self._written > _INTERVAL or done == total:
            self.say(done=done, total=total)

    def epoch(self, epoch: Epoch) -> None:
        """Say what an epoch came to, and keep it.

        Args:
            epoch: Its scores.
        """
        self.left.epoch(epoch.seconds_left, time.time())
        values = {name: _plain(value) for name, value in asdict(epoch).items() if name != "metrics"}
        self.job.add_epoch(values)
        accuracy = values["val_accuracy"]
        known = {} if accuracy is None else {"accuracy": accuracy}
        self.say(message=str(epoch), **known)

    def score(self, accuracy: float) -> None:
        """Say how good what there is by now is.

        Args:
            accuracy: In [0, 1].
        """
        self.say(accuracy=accuracy)

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
            self.state = replace(self.state, seconds_left=self.left.at(time.time()))
            self.job.write(self.state)
            self._written = time.time()


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


@contextmanager
def heartbeat(reporter: StateReporter) -> Iterator[None]:
    """Say each second that the process is alive, for embedding may be silent for longer.

    Args:
        reporter: What says it.

    Yields:
        Nothing.
    """
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
