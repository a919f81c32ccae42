"""Work for engines' tests, and photos whose reading ends processes; workers import it by name."""

import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from handful.data.storage import FoundFile, read_file
from handful.errors import DataError


class Pids:
    """Says which process did an item, after a while."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self, group: Sequence[int]) -> list[tuple[int, int]]:
        time.sleep(self.seconds)
        return [(item, os.getpid()) for item in group]

    def give_up(self, item: int, reason: str) -> tuple[int, str]:
        return item, reason


class Raising(Pids):
    def __call__(self, group: Sequence[int]) -> list[tuple[int, int]]:
        raise DataError("is no number")


class Fatal(Pids):
    """Ends the process that has one of some items in hand."""

    def __init__(self, items: Sequence[int]) -> None:
        super().__init__(0.02)
        self.items = frozenset(items)

    def __call__(self, group: Sequence[int]) -> list[tuple[int, int]]:
        if self.items & set(group):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(group)


def read_after_a_crash(path: Path, mark: Path, first: int | None = None) -> bytes:
    """Read a file; the first time, the process that tries ends."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return read_file(path, first)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it goes on")


def crashing(path: Path, mark: Path) -> FoundFile:
    return FoundFile(str(path), partial(read_after_a_crash, path, mark))
