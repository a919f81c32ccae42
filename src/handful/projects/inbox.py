"""Corrections that wait for somebody to decide: photos of which it was said "wrong, it is ..."."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from handful.files.json_lines import JsonLines
from handful.projects.label_store import check_class_name, check_photo_ids


@dataclass(frozen=True)
class Correction:
    """What somebody said that a photo is.

    Args:
        id: The photo.
        class_name: The class that it is said to be of; the project need not have it.
        predicted: What a classifier took it for, or "".
        origin: Where it was said: "serve", "studio", a run's name, or "".
        time: When: "2025-06-01T12:30:00+00:00".
    """

    id: str
    class_name: str
    predicted: str = ""
    origin: str = ""
    time: str = ""


class Inbox:
    """Corrections in the order in which they came: a log that only grows, for several processes.

    They are suggestions: no label changes before somebody takes one over.

    Args:
        path: The log; it need not exist yet.

    Raises:
        DataError: When it cannot be read or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)
        self._waiting: dict[str, Correction] = {}
        self._lock = threading.RLock()
        self._read()

    @property
    def version(self) -> int:
        """A number that grows with each change, the same in all processes."""
        self.waiting  # noqa: B018 - reads what is new
        return self._lines.position

    @property
    def waiting(self) -> tuple[Correction, ...]:
        """Corrections that nobody has decided on, the last one of each photo, the oldest first."""
        with self._lock:
            self._read()
            return tuple(self._waiting.values())

    def add(self, id: str, class_name: str, *, predicted: str = "", origin: str = "") -> Correction:
        """Say what a photo is.

        Args:
            id: The photo, which should be in the project.
            class_name: The class that it is of.
            predicted: What a classifier took it for.
            origin: Where this comes from.

        Returns:
            The correction.

        Raises:
            UsageError: When the id is none, or no class can be called so.
            OutputError: When the log cannot be written.
        """
        check_photo_ids([id])
        time = datetime.now(UTC).isoformat(timespec="seconds")
        found = Correction(id, check_class_name(class_name), predicted[:200], origin[:200], time)
        entry = {"op": "suggest", "id": id, "class": found.class_name, "predicted": predicted[:200]}
        self._append({**entry, "origin": found.origin, "time": time})
        return found

    def close(self, ids: Iterable[str]) -> None:
        """Take corrections out, decided on in one way or the other.

        Args:
            ids: Photos; those that have none are passed over.
        """
        with self._lock:
            self._read()
            closed = [id for id in dict.fromkeys(ids) if id in self._waiting]
            if closed:
                self._append({"op": "close", "ids": closed})

    def _append(self, entry: dict[str, Any]) -> None:
        with self._lock, self._lines.locked():
            self._read()
            self._lines.append([entry])
            self._apply(entry)

    def _read(self) -> None:
        if not self._lines.has_more():
            return
        with self._lock:
            self._lines.apply_new(self._apply, "Take the line out with a text editor.")

    def _apply(self, entry: dict[str, Any]) -> None:
        if entry["op"] == "close":
            for id in entry["ids"]:
                self._waiting.pop(id, None)
        elif entry["op"] == "suggest":
            names = ("id", "class", "predicted", "origin", "time")
            found = Correction(*(str(entry[name]) for name in names))
            self._waiting.pop(found.id, None)
            self._waiting[found.id] = found
        else:
            raise ValueError(f"{entry['op']!r} is nothing that this version knows")
