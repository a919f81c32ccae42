"""Append-only files of JSON objects, one a line, that threads and processes share.

A line counts once its line end is there. What a killed process left half-written is no line; the
next writer removes it.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handful.errors import DataError, OutputError
from handful.files.atomic import MALFORMED, explain_damage, open_regular, reason_of

_MAX_BYTES = 2_000_000_000
_NEWER = "If a newer version of handful wrote it, use that one."
_LOCK_PLACE = 2**31 - 2  # on Windows a locked byte cannot be read, so it lies beyond all others


class JsonLines:
    """One file of lines, and how far it was read.

    Args:
        path: The file; it need not exist yet.

    Attributes:
        position: Bytes read so far; it grows with each line and is the same in all processes that
            have read the same lines.
        num_lines: Lines read so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self.num_lines = 0
        self._thread_lock = threading.RLock()
        self._opened: int | None = None

    def has_more(self) -> bool:
        """Tell whether there may be lines that were not read yet, by the file's size."""
        try:
            return os.stat(self.path).st_size != self.position
        except FileNotFoundError:
            return self.position > 0

    def read_new(self) -> list[dict[str, Any]]:
        """Read the lines that were added since the last time.

        Returns:
            Their objects, in order.

        Raises:
            DataError: When the file cannot be read, is damaged or has become shorter.
        """
        with self._thread_lock:
            data = self._read_bytes()
            end = data.rfind(b"\n") + 1
            lines = data[:end].splitlines()
            found = _parsed_at_once(lines)
            if found is None:  # one is damaged, and is to be named
                found = [self._parse(line, number) for number, line in enumerate(lines, 1)]
            self.position += end
            self.num_lines += len(found)
            return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out for the block; readers go on.

        Raises:
            OutputError: When the file cannot be opened for writing.
        """
        with self._thread_lock:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
                self._opened = os.open(self.path, flags, 0o666)
            except OSError as error:
                raise _unwritable(self.path, error) from error
            try:
                with _lock(self._opened):
                    yield
            finally:
                os.close(self._opened)
                self._opened = None

    def append(self, entries: Sequence[dict[str, Any]]) -> None:
        """Write lines, to the disk itself, within `locked` and after `read_new`.

        Args:
            entries: Plain values. They count as read.

        Raises:
            OutputError: When they cannot be written; then none of them is there.
        """
        assert self._opened is not None, "append is for the block of `locked`"
        lines = [json.dumps(entry, ensure_ascii=True, separators=(",", ":")) for entry in entries]
        data = "".join(f"{line}\n" for line in lines).encode("ascii")
        try:
            # A killed process's half line; nobody else writes now.
            if os.fstat(self._opened).st_size != self.position:
                os.ftruncate(self._opened, self.position)
            try:
                _write_all(self._opened, data)
                os.fsync(self._opened)
            except OSError:
                os.ftruncate(self._opened, self.position)
                raise
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self.position += len(data)
        self.num_lines += len(lines)

    def apply_new(self, apply: Callable[[dict[str, Any]], object], advice: str = _NEWER) -> None:
        """Take what was written since the last time, entry by entry.

        Args:
            apply: Takes an entry; raises one of `MALFORMED` where it makes no sense.
            advice: What to do about one that makes none, a sentence.

        Raises:
            DataError: When the log cannot be read or is damaged, or an entry makes no sense.
        """
        first = self.num_lines + 1
        for number, entry in enumerate(self.read_new(), first):
            try:
                apply(entry)
            except MALFORMED as error:
                raise DataError(
                    f"{self.path}, line {number} makes no sense: {explain_damage(error)}. {advice}"
                ) from error

    def _read_bytes(self) -> bytes:
        try:
            with open_regular(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                if size < self.position:
                    raise DataError(
                        f"{self.path} has become shorter while it was in use; another program has "
                        "changed it. Open the project again."
                    )
                if size - self.position > _MAX_BYTES:
                    raise DataError(f"{self.path} is larger than {_MAX_BYTES / 1e9:g} GB.")
                file.seek(self.position)
                return file.read(size - self.position)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({reason_of(error)}).") from error

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise DataError(
                f"{self.path}, line {self.num_lines + number} is damaged: it is no JSON object. "
                "Take the line out with a text editor; the others stay as they are."
            )
        return entry


def _parsed_at_once(lines: list[bytes]) -> list[dict[str, Any]] | None:
    """The lines' objects, in half the time that it takes one by one; None where one is none."""
    try:
        found = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        return None
    is_whole = len(found) == len(lines) and all(isinstance(entry, dict) for entry in found)
    return found if is_whole else None


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written: {reason_of(error)}.")


@contextmanager
def _lock(file: int) -> Iterator[None]:
    """Wait for the lock of an open file; without one where the file system has none."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(file, _LOCK_PLACE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            os.lseek(file, _LOCK_PLACE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # some network file systems
        pass
    yield  # closing the file gives it back
