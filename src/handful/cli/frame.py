"""What commands share: options, and how each ends."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from handful.cli import terminal
from handful.crashes import keep_traceback
from handful.errors import HandfulError, UsageError
from handful.files.atomic import file_of, reason_of

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object instead of text.", rich_help_panel="Output"),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress on stderr.", rich_help_panel="Output"),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Compute every embedding, and keep none.", rich_help_panel="Output"
    ),
]
_PHOTOS = typer.Argument(
    help="Folder of class folders, or of train/ and validation/; a zip; a CSV with "
    "path,label[,split][,group]; or a project's folder."
)
Photos = Annotated[Path, _PHOTOS]
PhotosIfAny = Annotated[Path | None, _PHOTOS]
Images = Annotated[
    list[Path],
    typer.Argument(
        help="Photos, folders or zips of photos; a project's folder; s3://bucket/folder."
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="Who computes: local (this process) or ray (the cluster of RAY_ADDRESS, or processes "
        'of this machine); the latter needs the extra "ray".',
        rich_help_panel="Device",
    ),
]
RunPath = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="Folder that `train` made; or the name of a run in runs/, its beginning, or latest.",
    ),
]


# The option for where a result goes.
makes = partial(typer.Option, "--output", "-o")


@contextmanager
def errors(
    kept: str = "nothing half-written is left; finished embeddings are cached, and finished "
    "epochs kept for --resume",
) -> Iterator[None]:
    """End in one line and an exit code: 2 for wrong usage, 130 for Ctrl-C, 1 for all else.

    What nobody foresaw keeps its traceback in a file, which the line names. It decorates commands.

    Args:
        kept: What is left of the work after an interrupt.

    Yields:
        Nothing.
    """
    try:
        yield
        terminal.flush_output()
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except UsageError as error:
        _fail(str(error), 2)
    except HandfulError as error:
        _fail(str(error), 1)
    except terminal.ReaderGoneError:
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        _fail(f"interrupted; {kept}", 130)
    except MemoryError:
        _fail("out of memory; close other programs or use fewer photos at a time", 1)
    except OSError as error:
        _fail(_refused(error), 1)
    except Exception as error:
        _fail(_unforeseen(error), 1)


def _refused(error: OSError) -> str:
    """What the system refused, in words, and of which file."""
    if (file := file_of(error)) is not None:
        return f"{file} cannot be used: {reason_of(error)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"a file cannot be written: {reason_of(error)}; make room, and try again"
    return _unforeseen(error)


def _unforeseen(error: Exception) -> str:
    place = keep_traceback(error)
    lines = str(error).strip().splitlines() or [""]
    what = type(error).__name__ + (f": {lines[0][:300]}" if lines[0] else "")
    details = "No details could be kept" if place is None else f"The details are in {place}"
    return f"this was not foreseen and is a fault of handful's ({what}). {details}."


def _fail(message: str, code: int) -> NoReturn:
    with suppress(OSError):  # the reader of standard error has left
        terminal.log(f"Error: {message}")
    raise typer.Exit(code) from None
