"""One SQLite file of values that can be made again, keyed by what they were made from.

Deleting the file is always safe. Each row carries a checksum; a row that fails it is a miss. A
file that is not such a cache, or is damaged, is set aside under another name and started anew.
"""

import hashlib
import logging
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.errors import OutputError
from handful.files.atomic import reason_of
from handful.forks import never_end, start_anew_in_children

APPLICATION_ID = 0x48464C31  # "HFL1" in the file's header tells our files from others'.
FORMAT_VERSION = 1
_BUSY_SECONDS = 30.0
_KEYS_A_QUERY = 500  # SQLite's oldest limit of bound variables is 999.

logger = logging.getLogger("handful")
_given_up: set[Path] = set()  # a job opens the cache several times, and says so once


@dataclass(frozen=True)
class CacheInfo:
    """What a cache file holds.

    Args:
        path: The SQLite file.
        num_rows: Rows of each kind, such as {"embedding": 3000, "picture": 3000}.
        num_bytes: Size on disk, write-ahead log included.
    """

    path: Path
    num_rows: dict[str, int]
    num_bytes: int


def content_key(*parts: str) -> bytes:
    """Key of a value from everything that it depends on.

    Args:
        *parts: Texts; their order and boundaries matter.

    Returns:
        16 bytes, BLAKE2b of the parts with their lengths.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "little") + encoded)
    return digest.digest()


class ContentCache:
    """Store of byte values by content key, shared safely between threads' and users' processes.

    Use one instance in one thread. Failing to write never stops a job: the cache warns once and
    goes on without keeping anything.

    Args:
        path: The SQLite file; it and its folder are made at need.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._broken = False
        start_anew_in_children(self)

    def start_anew(self) -> None:
        """Leave the parent's connection alone, as SQLite asks forked processes to."""
        if self._connection is not None:
            never_end(self._connection)
        self._connection = None

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Values of the keys that are there and whole.

        Args:
            keys: Content keys, any number.

        Returns:
            Key to value; an absent or damaged row has no entry.
        """
        found: dict[bytes, bytes] = {}
        damaged: list[bytes] = []
        for first in range(0, len(keys), _KEYS_A_QUERY):
            chunk = list(keys[first : first + _KEYS_A_QUERY])
            marks = ",".join("?" * len(chunk))
            query = f"SELECT key, value, checksum FROM rows WHERE key IN ({marks})"
            for key, value, checksum in self._run(query, chunk):
                if checksum == _checksum(key, value):
                    found[key] = value
                else:
                    damaged.append(key)
        if damaged:
            logger.warning("%d damaged rows in %s are made again", len(damaged), self.path)
        return found

    def put_many(self, kind: str, values: Mapping[bytes, bytes]) -> None:
        """Keep values, in one transaction.

        Args:
            kind: What they are, for `info`: "embedding" or "picture".
            values: Content key to bytes.
        """
        rows = [(key, kind, value, _checksum(key, value)) for key, value in values.items()]
        if rows:
            self._run("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", rows, many=True)

    def info(self) -> CacheInfo:
        """Count what the file holds, without making one.

        Returns:
            Rows by kind and bytes on disk; zeros when there is no file.
        """
        if not os.path.exists(self.path):
            return CacheInfo(self.path, {}, 0)
        rows = self._run("SELECT kind, COUNT(*) FROM rows GROUP BY kind ORDER BY kind", ())
        num_bytes = sum(part.stat().st_size for part in _files(self.path) if part.is_file())
        return CacheInfo(self.path, {str(kind): int(count) for kind, count in rows}, num_bytes)

    def clear(self) -> None:
        """Remove the file.

        Raises:
            OutputError: When the system refuses.
        """
        self.close()
        for part in _files(self.path):
            try:
                part.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(
                    f"{part} cannot be removed ({error.strerror}); remove it by hand."
                ) from error

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> "ContentCache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(
        self, query: str, values: Sequence[Any], *, many: bool = False
    ) -> list[tuple[Any, ...]]:
        """Run one statement; a damaged file is set aside and the statement tried once more."""
        for attempt in (1, 2):
            if self._broken:
                return []
            try:
                connection = self._open()
                with connection:
                    if many:
                        connection.executemany(query, values)
                        return []
                    return connection.execute(query, values).fetchall()
            except (sqlite3.OperationalError, OSError) as error:
                # Locked for long, read-only or full: the file itself may be sound.
                reason = reason_of(error) if isinstance(error, OSError) else error
                self._give_up(f"cannot be used ({reason})")
            except sqlite3.DatabaseError as error:
                try:
                    if attempt == 1:
                        self._set_aside(str(error))
                        continue
                except OSError:
                    pass  # nor can it be moved
                self._give_up(f"is damaged ({error})")
        return []

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _set_aside(self, reason: str) -> None:
        self.close()
        stamp = f"damaged-{time.time_ns()}"
        for part in _files(self.path):
            if part.exists():
                part.rename(part.with_name(f"{part.name}.{stamp}"))
        logger.warning(
            "The embedding cache %s is damaged or not handful's (%s); it was set aside as "
            "%s.%s and is made anew",
            self.path,
            reason,
            self.path.name,
            stamp,
        )

    def _give_up(self, reason: str) -> None:
        self.close()
        self._broken = True
        if self.path not in _given_up:
            _given_up.add(self.path)
            logger.warning("The embedding cache %s %s; going on without it", self.path, reason)


def _files(path: Path) -> tuple[Path, Path, Path]:
    return path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _checksum(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=8, key=key).digest()


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait for another process's lock there, so this does."""
    give_up = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the table in an empty file; refuse a file of another program or version."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    _use_write_ahead_log(connection)
    # With WAL a crash of the machine can lose the last commits, never the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    if (application_id, version) == (APPLICATION_ID, FORMAT_VERSION):
        return
    with connection:
        # Two processes may get here at once: the write lock makes the second see the first's work.
        connection.execute("BEGIN IMMEDIATE")
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if tables and version != FORMAT_VERSION:
            raise sqlite3.DatabaseError("another program's file, or another version's")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS rows "
            "(key BLOB PRIMARY KEY, kind TEXT NOT NULL, value BLOB NOT NULL, "
            "checksum BLOB NOT NULL)"
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
