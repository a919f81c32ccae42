"""How much memory of its own a process takes, while something runs."""

import threading
from pathlib import Path
from types import TracebackType


def own_memory() -> float:
    """Megabytes that this process holds and no file does: the system can drop the rest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class PeakMemory:
    """The most of it within a `with`, looked at every hundredth of a second.

    Attributes:
        before: Megabytes at the beginning.
        most: The most since then.
    """

    def __enter__(self) -> "PeakMemory":
        self.before = self.most = own_memory()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self.most = max(self.most, own_memory())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def megabytes(self) -> float:
        """How much more it was than at the beginning."""
        return max(self.most, own_memory()) - self.before
