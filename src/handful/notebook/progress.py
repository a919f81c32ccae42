"""Progress in a notebook: bars, a table that grows with each epoch, curves on wish."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from handful.display import kernel_shell
from handful.notebook.page import render
from handful.reporting import Epoch, Reporter
from handful.reports.training_charts import history_charts

# Drawing more often than this would be seen by nobody, and costs time that the job has not.
_LEAST_SECONDS = 0.25
_SHOWN_EPOCHS, _SHOWN_LINES, _SHOWN_STEPS = 30, 8, 24
_CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")


@dataclass
class _Bar:
    """A phase that goes on."""

    name: str
    begun: float
    share: int | None = None
    left: float | None = None


class NotebookReporter(Reporter):
    """Shows a job in the output of its cell, in Jupyter, VS Code and Colab.

    A job takes one by itself where it is called in a notebook and no reporter is given.

    Args:
        curves: Whether curves of loss and accuracy are drawn below the table of epochs.

    Example:
        ```python
        handful.train("photos/", strategy="scratch", reporter=handful.NotebookReporter(curves=True))
        ```
    """

    def __init__(self, curves: bool = False) -> None:
        super().__init__()
        self.curves = curves
        self._cell: Any = None
        self._clear()

    def _begin(self) -> None:
        """Begin another output, where this is another cell than the one before."""
        cell = getattr(kernel_shell(), "execution_count", None)
        if cell != self._cell and not self._bars:
            self._cell = cell
            self._clear()

    def _clear(self) -> None:
        self._identity, self._drawn = "", 0.0
        self._bars: list[_Bar] = []
        self._steps: list[tuple[str, float]] = []
        self._lines: list[str] = []
        self._epochs: list[Epoch] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Show a bar while the `with` block runs, and then how long it took.

        Args:
            name: What is done, in a word or two.

        Yields:
            Nothing.
        """
        with super().phase(name):
            begun = time.perf_counter()
            self._begin()
            self._bars.append(_Bar(name, begun))
            self._draw()
            try:
                yield
            finally:
                self._bars.pop()
                if not self._bars:
                    self._steps.append((name, time.perf_counter() - begun))
                    self._draw()

    def progress(self, done: int, total: int) -> None:
        """Move the bar.

        Args:
            done: Work done.
            total: Work in all; 0 where that is not known.
        """
        if not self._bars or not total:
            return
        bar, now = self._bars[-1], time.perf_counter()
        bar.share, taken = min(100 * done // total, 100), now - bar.begun
        bar.left = taken * (total - done) / done if done and taken > 1 else None
        if now - self._drawn > _LEAST_SECONDS:
            self._draw()

    def epoch(self, epoch: Epoch) -> None:
        """Add a row to the table; the first epoch of another training begins it anew.

        Args:
            epoch: Its scores.
        """
        self._begin()
        if self._epochs and epoch.epoch <= self._epochs[-1].epoch:
            self._epochs = []
        self._epochs.append(epoch)
        self._draw()

    def log(self, line: str) -> None:
        """Show a line.

        Args:
            line: One line of text.
        """
        self._begin()
        self._lines.append(line)
        self._draw()

    def _draw(self) -> None:
        """Show all of it, in the place where it was shown before."""
        is_update, self._drawn = bool(self._identity), time.perf_counter()
        self._identity = self._identity or uuid.uuid4().hex
        bundle = {"text/html": self._html(), "text/plain": self._text()}
        display = import_module("IPython.display").display  # a notebook has it
        display(bundle, raw=True, display_id=self._identity, update=is_update)

    def _html(self) -> str:
        charts: tuple[Any, ...] = ()
        if self.curves and self._epochs:
            columns = {name: [getattr(one, name) for one in self._epochs] for name in _CURVES}
            charts = history_charts({"network": columns})
        return render(
            "progress.html",
            steps=self._steps[-_SHOWN_STEPS:],
            bars=self._bars,
            lines=self._lines[-_SHOWN_LINES:],
            epochs=self._epochs[-_SHOWN_EPOCHS:],
            metrics=list(dict.fromkeys(name for one in self._epochs for name in one.metrics)),
            num_hidden=max(len(self._epochs) - _SHOWN_EPOCHS, 0),
            charts=charts,
        )

    def _text(self) -> str:
        """What shows where there is no HTML."""
        if self._bars:
            bar = self._bars[-1]
            return bar.name if bar.share is None else f"{bar.name}: {bar.share} %"
        return str(self._epochs[-1]) if self._epochs else ", ".join(name for name, _ in self._steps)
