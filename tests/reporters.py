"""Reporters that keep what jobs say, and that stop them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from handful.reporting import Epoch, Reporter


class Recorder(Reporter):
    """Keeps events in order: "begin", "progress", "epoch", "log", "end", and what comes with each.

    With "end" come the phase and its seconds, those so far of all phases of that name; None for a
    phase inside another one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[Any, ...]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.events.append(("begin", name))
        with super().phase(name):
            yield
        self.events.append(("end", name, None if self.phases else self.seconds[name]))

    def progress(self, done: int, total: int) -> None:
        self.events.append(("progress", *self.phases[-1:], done, total))

    def epoch(self, epoch: Epoch) -> None:
        self.events.append(("epoch", epoch))

    def log(self, line: str) -> None:
        self.events.append(("log", line))

    @property
    def lines(self) -> list[str]:
        return self.of("log")

    def of(self, kind: str) -> list[Any]:
        """What came with all events of a kind: a value each, or a tuple of several."""
        found = [event[1:] for event in self.events if event[0] == kind]
        return [event[0] if len(event) == 1 else event for event in found]


class Stopper(Recorder):
    """Interrupts or cancels a job when `when(phase, done, total)`; a phase begins with 0, 0."""

    def __init__(self, when: Callable[[str, int, int], bool], way: str = "interrupt") -> None:
        super().__init__()
        self.when, self.way, self.is_canceled = when, way, False

    @property
    def cancelled(self) -> bool:
        return self.is_canceled

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        with super().phase(name):
            self.stop(0, 0)
            yield

    def progress(self, done: int, total: int) -> None:
        super().progress(done, total)
        self.stop(done, total)

    def stop(self, done: int, total: int) -> None:
        if not self.when(self.phases[-1] if self.phases else "", done, total):
            return
        if self.way == "interrupt":
            raise KeyboardInterrupt
        self.is_canceled = True
