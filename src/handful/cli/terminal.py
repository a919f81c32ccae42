"""What the commands print: results on standard output, progress and warnings on standard error."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from handful.cli.spelling import with_options
from handful.errors import OutputError
from handful.files.atomic import json_text, reason_of
from handful.files.tables import row_line
from handful.reporting import Reporter
from handful.terminal_progress import TerminalReporter
from handful.wording import printable

if TYPE_CHECKING:
    from handful.data.index import RejectedFile


def show(*lines: str, flush: bool = False) -> None:
    """Print lines on standard output; names in them may be any.

    Args:
        *lines: What to print; none for an empty line.
        flush: Whether to send them off at once.
    """
    _write("\n".join(map(printable, lines)) + "\n")
    if flush:
        flush_output()


class ReaderGoneError(Exception):
    """Whoever read the output (head, less) has seen enough."""


def flush_output() -> None:
    """Send off what was printed.

    Raises:
        ReaderGoneError: When nobody reads it any more.
        OutputError: When it cannot be written.
    """
    _write("", flush=True)


def _write(text: str, flush: bool = False) -> None:
    if sys.stdout is None:
        return
    try:
        print(text, end="", flush=flush)
    except OSError as error:
        # Else the interpreter would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise ReaderGoneError from error
        raise OutputError(f"the output cannot be written: {reason_of(error)}") from error


def log(line: str) -> None:
    """Print a line for people, on standard error.

    Args:
        line: What to print.
    """
    if sys.stderr is not None:  # else it would go to standard output
        print(printable(with_options(line)), file=sys.stderr)


@contextmanager
def watch(quiet: bool) -> Iterator[Reporter]:
    """Show a job's lines on standard error and, to people watching, a bar with photos a second.

    Args:
        quiet: Show nothing.

    Yields:
        What to give to the job.
    """
    if quiet:
        yield Reporter()
    else:
        yield TerminalReporter(log, has_bar=sys.stderr.isatty())


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object.

    Args:
        value: Plain values.
    """
    _write(json_text(value) + "\n")


def print_csv(header: tuple[str, ...], rows: Iterable[tuple[str | float, ...]]) -> None:
    """Print a table as CSV.

    Args:
        header: Names of the columns.
        rows: One tuple a row.
    """
    for row in (header, *rows):
        line = row_line(row).removesuffix("\n")
        # Programs get the names as they are, people as they can be shown.
        _write((printable(line) if sys.stdout.isatty() else line) + "\n")


def warn(lines: Iterable[str]) -> None:
    """Say what to heed, on standard error.

    Args:
        lines: Sentences.
    """
    for line in lines:
        show(f"Warning: {with_options(line)}")


def warn_rejected(rejected: Iterable["RejectedFile"]) -> None:
    """Name the files that could not be used, on standard error.

    Args:
        rejected: `RejectedFile`s.
    """
    for file in rejected:
        log(f"Error: {file.path} {file.reason}")
