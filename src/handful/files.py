"""Files and folders that appear whole or not at all; tables and JSON of names that may be any.

A file name need not be valid text: Python has surrogates for the bytes in question.
"""

import csv
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from handful.errors import OutputError

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
}


def sha256_of(path: Path) -> str:
    """Digest of a file.

    Args:
        path: The file.

    Returns:
        64 hexadecimal characters.

    Raises:
        OSError: When it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """Fill a folder under a temporary name beside its place, then move it there.

    An error or Ctrl-C inside the block removes the temporary folder and leaves no trace.

    Args:
        path: Folder to make; its parents are made too.
        replace: Whether a folder there may be replaced; it stays until the new one is whole.

    Yields:
        The temporary folder to write into.

    Raises:
        OutputError: When the folder exists, or writing fails: disk full, no permission, ...
    """
    if not replace and (path.exists() or path.is_symlink()):
        raise OutputError(
            f"{path} exists already; choose another place with --output, or remove it first."
        )
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        yield temporary
        # mkdtemp makes folders private; a result is as readable as any other new folder.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        if replace and path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
            path.rename(old / path.name)
            shutil.rmtree(old, ignore_errors=True)
        temporary.rename(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def new_file(path: Path, replace: bool = False) -> Iterator[Path]:
    """Write a file under a temporary name beside its place, then move it there.

    An error or Ctrl-C inside the block removes the temporary file and leaves no trace.

    Args:
        path: File to make; its parents are made too.
        replace: Whether a file there may be replaced.

    Yields:
        The temporary path to write to.

    Raises:
        OutputError: When the file exists and may not be replaced, or writing fails.
    """
    if path.is_dir() or (not replace and (path.exists() or path.is_symlink())):
        raise OutputError(
            f"{path} exists already; choose another place with --output, or remove it first."
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a table for `read_csv`.

    Args:
        path: File to write.
        rows: Cells of each row, the names of the columns first.

    Raises:
        OSError: When it cannot be written.
    """
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        file.writelines(map(_csv_line, rows))


def _csv_line(row: Sequence[Any]) -> str:
    line = io.StringIO(newline="")
    # Cells that hold either of these ends are quoted, which "\n" alone would not see to.
    csv.writer(line, lineterminator="\r\n").writerow(row)
    return line.getvalue().removesuffix("\r\n") + "\n"


def read_csv(path: Path) -> list[list[str]]:
    """Read a table that `write_csv` wrote.

    Args:
        path: The file.

    Returns:
        Cells of each row, the names of the columns first.

    Raises:
        OSError: When it cannot be read.
        ValueError: When it is not UTF-8 text, or no table.
    """
    with path.open(encoding="utf-8", errors="surrogatepass", newline="") as file:
        try:
            return list(csv.reader(file))
        except csv.Error as error:
            raise ValueError(str(error)) from error


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, for people too.

    Args:
        path: File to write.
        value: Dictionaries, lists, texts, numbers.

    Raises:
        OSError: When it cannot be written.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # What UTF-8 cannot hold becomes JSON's own escapes, which any reader turns back.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return OutputError(
        f"{path} cannot be written: {reason}. Free it, or choose another place with --output."
    )
