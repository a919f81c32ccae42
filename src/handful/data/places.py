"""Where photos lie, as plain values: a list of photos that a job keeps in a file, and goes on with.

Nothing that is read back is run: a place names one of a few ways to read a file.
"""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from handful.data.index import RejectedFile, find_unlabeled
from handful.data.remote import read_remote
from handful.data.storage import FoundFile, ZipFiles, read_file, read_known
from handful.errors import DataError


def find_photos(sources: str | Path | Sequence[str | Path]) -> list[FoundFile]:
    """Find the photos that a job is to go through, without a look into them.

    Args:
        sources: As for `load_unlabeled`.

    Returns:
        Them, sources in order; what cannot be read is among them, and says so when it is read.

    Raises:
        DataError: When there is nothing.
        UsageError: When nothing was given.
    """
    files, rejected = find_unlabeled(sources)
    if not files:
        lines = "; ".join(f"{file.path} {file.reason}".rstrip(".") for file in rejected[:5])
        raise DataError(f"There are no photos: {lines or 'nothing was found'}.")
    return [*files, *map(_unreadable, rejected)]


def _unreadable(file: RejectedFile) -> FoundFile:
    return FoundFile(file.path, partial(refuse, file.reason))


def refuse(reason: str, first: int | None = None) -> bytes:
    """Read what cannot be read.

    Args:
        reason: Why, as a clause.
        first: As for `read_file`.

    Returns:
        Nothing, ever.

    Raises:
        DataError: Always.
    """
    raise DataError(reason)


def write_place(file: FoundFile) -> str:
    """Say where a photo lies.

    Args:
        file: The photo.

    Returns:
        A line of JSON: its path as shown, a word for how it is read, and what that takes.
    """
    function, given = file.read.func, file.read.args
    if isinstance(function, ZipFiles):
        told = ["zip", function.path, *given]
    else:
        word = next(word for word, (known, _) in _WAYS.items() if known is function)
        told = [word, *given]
    return json.dumps([file.path, *told], default=os.path.abspath)


def read_place(line: str) -> FoundFile:
    """Take a photo from where `write_place` said it lies.

    Args:
        line: What it said.

    Returns:
        The photo.
    """
    path, word, *given = json.loads(line)
    if word == "zip":
        return FoundFile(path, partial(ZipFiles(Path(given[0])), given[1]))
    function, arguments = _WAYS[word]
    return FoundFile(path, partial(function, *arguments(*given)))


# A word for each function that reads a photo, and how plain values become its arguments.
_WAYS: dict[str, tuple[Callable[..., bytes], Callable[..., tuple[Any, ...]]]] = {
    "file": (read_file, lambda path: (Path(path),)),
    "url": (read_remote, lambda url: (url,)),
    "known": (
        read_known,
        lambda digest, places: (digest, tuple((Path(path), name) for path, name in places)),
    ),
    "refused": (refuse, lambda reason: (reason,)),
}
