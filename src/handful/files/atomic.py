"""Files and folders that appear whole or not at all; files of users' opened without waiting.

A file name need not be valid text: Python has surrogates for the bytes in question.
"""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from handful.errors import HandfulError, OutputError
from handful.files.drafts import Draft, names_in_hand, without_draft
from handful.wording import printable

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a file stands where a folder is needed",
    # mkdir's word for a file in the way; the folder itself was looked for before.
    errno.EEXIST: "a file stands where a folder is needed",
    errno.ENOTEMPTY: "another process made it meanwhile",
    errno.ENAMETOOLONG: "its name is longer than the system allows",
    errno.ELOOP: "its links lead in a circle",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.EIO: "the disk or network drive reports an error",
}
_OTHER_KINDS = (
    (stat.S_ISDIR, "it is a folder, not a file"),
    (stat.S_ISFIFO, "it is a named pipe, not a file"),
    (stat.S_ISSOCK, "it is a socket, not a file"),
    (lambda mode: not stat.S_ISREG(mode), "it is a device, not a file"),
)
# Opening a pipe would wait for somebody to write to it; some systems lack one flag or another.
_OPEN_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _name, 0)


# What comes of taking a damaged or forged file's values for what they should be.
MALFORMED = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)

# Places in a library's own source, and what it could do elsewhere.
_OF_PROGRAMMERS = re.compile(r"Exception from \S+\.cpp:\d+: ?| Please check that model format.*")


def reason_of(error: OSError) -> str:
    """Say why the system refused, in words.

    Args:
        error: What it answered.

    Returns:
        A clause without a full stop: "the disk is full".
    """
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


def file_of(error: OSError) -> str | None:
    """Tell which file the system refused something of.

    Args:
        error: What it answered.

    Returns:
        Its path; None where the system did not say.
    """
    # Of a copy both are named, and it is the second that finds no room.
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    name = error.filename2 if is_full and error.filename2 else error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes) else None


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read; every file of a user's is opened here.

    Pipes, devices, sockets and folders are refused before they are opened: reading them could
    wait for ever, never end, or do something.

    Args:
        path: The file; links are followed.

    Returns:
        It, opened.

    Raises:
        OSError: When it cannot be read, or is no regular file.
    """
    try:
        _refuse_other_kinds(path, os.stat(path))
        descriptor = os.open(path, _OPEN_FLAGS)
    except ValueError as error:  # a null character, or surrogates that stand for no byte
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from error
    try:
        # Not to be fooled by one that took its place meanwhile.
        _refuse_other_kinds(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Read a whole file of a user's, as `open_regular` opens it.

    Args:
        path: The file.
        max_bytes: Larger ones are refused unread.

    Returns:
        As many bytes as the file said to have: what the system makes up while it is read (below
        /proc, for example) has none.

    Raises:
        OSError: When it cannot be read, is no regular file, or is too large (`errno.EFBIG`).
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise OSError(errno.EFBIG, f"larger than {max_bytes / 1e6:,.0f} MB", str(path))
        try:
            return file.read(size)
        except OSError as error:
            error.filename = str(path)
            raise


def _refuse_other_kinds(path: Path, facts: os.stat_result) -> None:
    for is_kind, words in _OTHER_KINDS:
        if is_kind(facts.st_mode):
            raise OSError(errno.EINVAL, words, str(path))


def sha256_of(path: Path) -> str:
    """Digest of a file.

    Args:
        path: The file.

    Returns:
        64 hexadecimal characters.

    Raises:
        OSError: When it cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(path: Path, replace: bool = False, keep_others: bool = False) -> Iterator[Path]:
    """Fill a folder under a temporary name beside its place, then move it there.

    An error or Ctrl-C inside the block leaves no trace, and what a killed process leaves is removed
    by the next one, see `handful.files.drafts`.

    Args:
        path: Folder to make; its parents are made too.
        replace: Whether a folder there may be replaced; it stays until the new one is whole.
        keep_others: Whether what only the old folder has, such as a list of the user's, is in the
            new one too.

    Yields:
        The temporary folder to write into.

    Raises:
        OutputError: When the folder exists, or writing fails: disk full, no permission, ...
    """
    if not replace and (path.exists() or path.is_symlink()):
        raise OutputError(f"{path} exists already; choose another `output`, or remove it first.")
    # What a link leads to is replaced, not the link.
    target = path.resolve() if path.is_symlink() else path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Draft(target.parent) as draft:
            if not replace and target.name in names_in_hand(target.parent):
                raise OutputError(
                    f"{path} is being made by another process; choose another "
                    "`output`, or wait for it."
                )
            folder = draft.place(target.name)
            folder.mkdir()
            yield folder
            if replace:
                draft.replace(target, keep_others)
            else:
                folder.rename(target)
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def new_file(path: Path, replace: bool = False) -> Iterator[Path]:
    """Write a file under a temporary name beside its place, then move it there.

    An error or Ctrl-C inside the block leaves no trace, and what a killed process leaves is removed
    by the next one.

    Args:
        path: File to make; its parents are made too.
        replace: Whether a file there may be replaced.

    Yields:
        The temporary path to write to.

    Raises:
        OutputError: When the file exists and may not be replaced, or writing fails.
    """
    if path.is_dir() or (not replace and (path.exists() or path.is_symlink())):
        raise OutputError(f"{path} exists already; choose another `output`, or remove it first.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Draft(path.parent) as draft:
            file = draft.place(path.name)
            yield file
            if replace:
                file.replace(path)
            else:
                move_to_free(file, path)
    except OSError as error:
        raise _unwritable(path, error) from error


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all.

    Args:
        path: File to make or replace; its folder exists.
        text: What to write, as UTF-8.

    Raises:
        OSError: When it cannot be written.
    """
    with Draft(path.parent) as draft:
        file = draft.place(path.name)
        file.write_text(text, encoding="utf-8")
        file.replace(path)


def move_to_free(file: Path, path: Path) -> None:
    """Give a file its name, unless another has that.

    Args:
        file: The file, on the same file system; it may still have its old name too.
        path: Its name.

    Raises:
        FileExistsError: When something of that name is there; it is left alone.
        OSError: When it cannot be written.
    """
    try:
        os.link(file, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as FAT's
        path.open("xb").close()
        file.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, for people too.

    Args:
        path: File to write.
        value: Dictionaries, lists, texts, numbers.

    Raises:
        OSError: When it cannot be written.
    """
    path.write_text(json_text(value) + "\n", encoding="utf-8")


def explain_damage(error: Exception) -> str:
    """Say what was wrong with a file that could not be made sense of.

    Args:
        error: One of `MALFORMED`.

    Returns:
        A clause, without a full stop.
    """
    if isinstance(error, OSError):
        return reason_of(error)
    if isinstance(error, LookupError):
        return f"{error} is not in it"
    text = _OF_PROGRAMMERS.sub("", " ".join(str(error).split()))
    return text[:300].rstrip(". ") or type(error).__name__


def json_text(value: Any) -> str:
    """Write plain values as JSON that can be shown as it is.

    Args:
        value: Dictionaries, lists, texts, numbers.

    Returns:
        Indented text. What cannot be seen, or is no text, stands as JSON's own escapes.
    """

    def shown(found: re.Match[str]) -> str:
        return found[0] if printable(found[0]) == found[0] else json.dumps(found[0])[1:-1]

    # Such characters are in strings only, but for the line ends of the layout.
    return re.sub(r"[^\n -~]", shown, json.dumps(value, indent=2, ensure_ascii=False))


def read_json(path: Path, max_bytes: int = 50_000_000) -> dict[str, Any]:
    """Read an object of plain values that handful wrote.

    Args:
        path: The file.
        max_bytes: Larger ones are refused unread.

    Returns:
        The object.

    Raises:
        OSError: When it cannot be read.
        ValueError: When it is no JSON object, is nested too deeply, or holds what is no number.
    """

    def refuse(text: str) -> None:
        raise ValueError(f"it holds {text}, which is no number")

    try:
        value = json.loads(read_regular(path, max_bytes).decode("utf-8"), parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it holds no object")
    return value


def _unwritable(path: Path, error: OSError) -> OutputError:
    """What to say where making an output failed; raises what was not the output's fault."""
    file = file_of(error)
    path = without_draft(path)
    if file is None:
        if error.errno not in (*_REASONS, errno.EFBIG):
            raise error
    elif not _is_of(path, Path(os.path.realpath(file))):
        raise HandfulError(f"{file} cannot be used: {reason_of(error)}.") from error
    return OutputError(
        f"{path} cannot be written: {reason_of(error)}. Free it, or choose another `output`."
    )


def _is_of(output: Path, file: Path) -> bool:
    """Whether a file is an output, a folder that it lies in, or a part of its draft."""
    place, file = Path(os.path.realpath(output)), without_draft(file)
    return file == place or file in place.parents or place in file.parents
