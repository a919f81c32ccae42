"""How a job says how far it is, and how it is stopped: one object from the caller to the loops."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TextIO

from handful.wording import format_duration, format_share, printable

# Called with work done and work in all. Loops that count one thing take no more than this.
Progress = Callable[[int, int], None]
# Steps that take less are not worth a line.
_A_MOMENT = 0.05


@dataclass(frozen=True)
class Epoch:
    """What an epoch of a network's training came to.

    Args:
        epoch: Its number, from 1.
        epochs: Epochs planned.
        loss: On the training photos, on average over the epoch.
        accuracy: On the training photos, in [0, 1].
        val_loss: On the validation photos; NaN where they were not looked at.
        val_accuracy: On the validation photos, in [0, 1]; NaN where they were not looked at.
        learning_rate: At its beginning.
        seconds_left: What the epochs to come will take, by those until now.
        metrics: Name to value of the user's own metrics, of training and, with "val_" before the
            name, of validation; NaN where it was not looked at.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds_left: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """A line for people."""
        line = f"epoch {self.epoch} of {self.epochs}: " + _scores(self.loss, self.accuracy)
        line += self._own(is_validation=False)
        if not math.isnan(self.val_loss):
            line += f"; validation {_scores(self.val_loss, self.val_accuracy)}"
            line += self._own(is_validation=True)
        return line + (f"; {format_duration(self.seconds_left)} left" if self.seconds_left else "")

    def _own(self, is_validation: bool) -> str:
        """The user's own metrics, of one part."""
        return "".join(
            f", {name.removeprefix('val_')} {value:.3f}"
            for name, value in self.metrics.items()
            if name.startswith("val_") == is_validation and not math.isnan(value)
        )


def _scores(loss: float, accuracy: float) -> str:
    return f"loss {loss:.3f}, accuracy {format_share(accuracy)}"


class Reporter:
    """Hears how far a job is, and may stop it; this one is silent and stops nothing.

    Override what is of interest, and give it to `train`, `check` and the like. Each of these makes
    one of its own, `Reporter(reporter)`, that times its phases, passes everything on, and heeds
    `cancelled`.

    Args:
        outer: Who is told everything that this one is told; None for nobody.
        prefix: Put before the names of phases there.

    Attributes:
        phases: Names of the phases that are going on, the outermost first.
        seconds: Phase to the time that it took. A phase inside another one is part of that, and
            two of one name are added up.

    Example:
        ```python
        class Events(Reporter):
            def log(self, line):
                print(line)

            def progress(self, done, total):
                print(f"{self.phases[-1]}: {done} of {total}")
        ```
    """

    def __init__(self, outer: "Reporter | None" = None, prefix: str = "") -> None:
        self.outer, self.prefix = outer, prefix
        self.phases: list[str] = []
        self.seconds: dict[str, float] = {}
        self._started = time.perf_counter()
        self._is_stopping = False

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop; looked at when a phase begins and at each progress."""
        return self.outer is not None and self.outer.cancelled

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what the `with` block does.

        Args:
            name: What is done, in a word or two.

        Yields:
            Nothing; call `progress` inside the block.

        Raises:
            KeyboardInterrupt: When the job is canceled.
        """
        self._heed_cancellation()
        begun = time.perf_counter()
        self.phases.append(name)
        try:
            with nullcontext() if self.outer is None else self.outer.phase(self.prefix + name):
                yield
        finally:
            self.phases.pop()
            if not self.phases:
                taken = time.perf_counter() - begun
                self.seconds[name] = self.seconds.get(name, 0.0) + taken

    def progress(self, done: int, total: int) -> None:
        """Hear how far the innermost phase is.

        Args:
            done: Work done.
            total: Work in all, in the same unit; 0 where that is not known.

        Raises:
            KeyboardInterrupt: When the job is canceled.
        """
        self._heed_cancellation()
        if self.outer is not None:
            self.outer.progress(done, total)

    def epoch(self, epoch: Epoch) -> None:
        """Hear what an epoch came to, when it has ended.

        Args:
            epoch: Its scores.
        """
        if self.outer is not None:
            self.outer.epoch(epoch)

    def score(self, accuracy: float) -> None:
        """Hear how good what there is by now is, where a job goes on to make it better.

        Args:
            accuracy: Share of photos classified correctly that it was not fitted to, in [0, 1].
        """
        if self.outer is not None:
            self.outer.score(accuracy)

    def log(self, line: str) -> None:
        """Hear a line for people.

        Args:
            line: One line of text.
        """
        if self.outer is not None:
            self.outer.log(line)

    def timings(self) -> dict[str, float]:
        """Tell what has been timed until now.

        Returns:
            A dict of its own: phase to seconds, and "total", the time since this was made.
        """
        return {**self.seconds, "total": time.perf_counter() - self._started}

    def _heed_cancellation(self) -> None:
        """Interrupt the job as Ctrl-C would, once: a training then keeps what it has, and ends."""
        if self.outer is None or self._is_stopping or not self.outer.cancelled:
            return
        reporter: Reporter | None = self
        while reporter is not None:  # The job around this one need not be interrupted again.
            reporter._is_stopping = True
            reporter = reporter.outer
        raise KeyboardInterrupt


class PrintReporter(Reporter):
    """Prints a line for each step and each epoch, and those that a job has for people.

    Args:
        file: Where to; None is standard output.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__()
        self.file = file

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Print how long the `with` block took, unless it is inside another one.

        Args:
            name: What is done, in a word or two.

        Yields:
            Nothing.
        """
        begun = time.perf_counter()
        with super().phase(name):
            yield
        taken = time.perf_counter() - begun
        if not self.phases and taken >= _A_MOMENT:
            self.log(f"{name}: {format_duration(taken)}")

    def epoch(self, epoch: Epoch) -> None:
        """Print what an epoch came to.

        Args:
            epoch: Its scores.
        """
        self.log(str(epoch))

    def log(self, line: str) -> None:
        """Print a line.

        Args:
            line: One line of text.
        """
        print(printable(line), file=self.file, flush=True)
