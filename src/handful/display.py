"""How jobs and values show themselves where people work: in a notebook, a terminal, a script.

What draws for notebooks lies above all that it draws, so it is imported by its name, and only when
something is shown.
"""

import sys
from importlib import import_module
from typing import Any

from handful.reporting import PrintReporter, Reporter
from handful.terminal_progress import TerminalReporter
from handful.wording import printable


def job_reporter(reporter: Reporter | None) -> Reporter:
    """What a job tells how far it is.

    Args:
        reporter: As the user gave it; None takes one that suits the place: bars in a notebook and
            on a terminal, a line a step in a script, on standard error.

    Returns:
        A reporter of the job's own.
    """
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
    print(printable(line), file=sys.stderr)


def kernel_shell() -> Any:
    """The shell of the notebook that this runs in.

    Returns:
        IPython's shell in a kernel of Jupyter, VS Code or Colab; None anywhere else.
    """
    # Where it is not imported, this is no notebook.
    find = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if find is None else find()
    return shell if getattr(shell, "kernel", None) is not None else None
