"""Progress on a terminal: a bar for the phase that goes on, by rich, and lines above it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from handful.reporting import Epoch, Reporter
from handful.wording import printable

if TYPE_CHECKING:
    from rich.progress import Progress


class TerminalReporter(Reporter):
    """Writes lines; shows a bar while a phase goes on, where there is a terminal to show it on.

    Args:
        write: Given each line; prints it on standard error.
        has_bar: Whether standard error is a terminal.
    """

    def __init__(self, write: Callable[[str], None], has_bar: bool) -> None:
        super().__init__()
        self.write, self.shown = write, ""
        self.bar = _bar() if has_bar else None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Show a phase.

        Args:
            name: What is done, in a word or two.

        Yields:
            Nothing.
        """
        is_outermost = not self.phases
        try:
            with super().phase(name):
                if is_outermost and self.bar is not None:
                    self.bar.start()
                self.progress(0, 0)
                yield
        finally:
            if is_outermost and self.bar is not None:
                self.bar.stop()

    def progress(self, done: int, total: int) -> None:
        """Move the bar.

        Args:
            done: Work done.
            total: Work in all; 0 where that is not known.
        """
        if self.bar is None:
            return
        if self.shown != self.phases[-1] or not self.bar.tasks:
            for number in self.bar.task_ids:
                self.bar.remove_task(number)
            self.shown = self.phases[-1]
            self.bar.add_task(printable(self.shown), total=None, count="")
        task = self.bar.tasks[0]
        count = f"{done:,}/{total:,}" if total else ""
        count += f"  {task.speed:,.0f}/s" if task.speed and total else ""
        self.bar.update(task.id, completed=done, total=total or None, count=count)

    def epoch(self, epoch: Epoch) -> None:
        """Write what an epoch came to.

        Args:
            epoch: Its scores.
        """
        self.log(str(epoch))

    def log(self, line: str) -> None:
        """Write a line, above the bar.

        Args:
            line: One line of text.
        """
        self.write(line)


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description:<9}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
