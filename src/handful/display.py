"""How values and jobs show themselves where people work: in a notebook, a terminal, a script.

What draws for notebooks lies above all that it draws, so it is imported by its name, and only when
something is shown.
"""

import logging
import sys
from importlib import import_module
from typing import Any

from handful.errors import UsageError
from handful.reporting import PrintReporter, Reporter
from handful.terminal_progress import TerminalReporter
from handful.wording import printable

_LONGEST = 240  # characters of a value's line
_logger = logging.getLogger("handful")


class Shown:
    """A value that shows itself: as one line of text, and in a notebook as HTML.

    Neither ever raises: who looks at a value wants to see it, not an error. A dataclass of this
    kind is made with `repr=False`.
    """

    def _in_words(self) -> str:
        """What it is, in some words."""
        raise NotImplementedError

    def __repr__(self) -> str:
        try:
            words = printable(self._in_words())
        except Exception:
            _logger.debug("a value could not be written as a line", exc_info=True)
            words = "..."
        words = words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
        return f"<{type(self).__name__}: {words}>"

    def _repr_html_(self) -> str | None:
        """HTML for notebooks, which ask for it by this name; None shows the line."""
        try:
            html = import_module("handful.notebook.values").html_of(self)
        except Exception:
            _logger.debug("a value could not be shown as HTML", exc_info=True)
            return None
        return str(html)


def job_reporter(reporter: Reporter | None) -> Reporter:
    """What a job tells how far it is.

    Args:
        reporter: As the user gave it; None takes one that suits the place: bars in a notebook and
            on a terminal, a line a step in a script, on standard error.

    Returns:
        A reporter of the job's own.

    Raises:
        UsageError: When it is no reporter.
    """
    if reporter is not None and not isinstance(reporter, Reporter):
        raise UsageError(f"`reporter` is {reporter!r}; expected a `handful.Reporter`.")
    return Reporter(_of_this_place() if reporter is None else reporter)


def _of_this_place() -> Reporter:
    if kernel_shell() is not None:
        made = import_module("handful.notebook.progress").NotebookReporter()
        assert isinstance(made, Reporter)
        return made
    if sys.stderr is None:
        return Reporter()
    if sys.stderr.isatty():
        return TerminalReporter(_write, has_bar=True)
    return PrintReporter(sys.stderr)


def _write(line: str) -> None:
    # While a bar is shown, lines go above it by way of this name.
    PrintReporter(sys.stderr).log(line)


def kernel_shell() -> Any:
    """The shell of the notebook that this runs in.

    Returns:
        IPython's shell in a kernel of Jupyter, VS Code or Colab; None anywhere else.
    """
    # Where it is not imported, this is no notebook.
    find = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if find is None else find()
    return shell if getattr(shell, "kernel", None) is not None else None
