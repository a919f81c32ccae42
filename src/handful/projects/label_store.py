"""Who gave which photo which label: a log that only grows, shared by tabs and processes."""

import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from handful.data.ignored import is_ignored
from handful.data.label_log import LabelChange, LabelState, Op, entry_of
from handful.errors import UsageError
from handful.files.json_lines import JsonLines
from handful.wording import list_names

_LONGEST_NAME = 100


class LabelStore:
    """Labels of photos, and the classes there are.

    Each action is one line of the log, on the disk before the method returns. What others wrote
    is read before anything is answered or done, so that two tabs and two processes see one state.
    Safe to use from any number of threads.

    Args:
        path: The log; it need not exist yet.

    Raises:
        DataError: When it cannot be read or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)
        self._state = LabelState()
        self._lock = threading.RLock()
        self._read()

    @property
    def version(self) -> int:
        """A number that grows with each action, the same in all processes; 0 for an empty log."""
        self._refreshed()
        return self._lines.position

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order in which they were made."""
        return self._refreshed().classes

    @property
    def counts(self) -> dict[str, int]:
        """Number of photos by class, in the order of `classes`."""
        with self._lock:
            state = self._refreshed()
            numbers = Counter(state.labels().values())
            return {name: numbers[name] for name in state.classes}

    @property
    def left_out(self) -> frozenset[str]:
        """Ids of the photos that were left out."""
        with self._lock:
            return self._refreshed().left_out()

    @property
    def next_undo(self) -> LabelChange | None:
        """What `undo` would take back; None where nothing is left."""
        return self._refreshed().last_done

    @property
    def next_redo(self) -> LabelChange | None:
        """What `redo` would do again; None where there is nothing."""
        return self._refreshed().last_undone

    def of(self, id: str) -> str | None:
        """A photo's class.

        Args:
            id: The photo.

        Returns:
            Its name; None where the photo is unsorted or left out.
        """
        return self._refreshed().class_of(id)

    def is_left_out(self, id: str) -> bool:
        """Tell whether a photo was left out.

        Args:
            id: The photo.

        Returns:
            Whether it was.
        """
        return self._refreshed().is_left_out(id)

    def all(self) -> dict[str, str]:
        """All labels at one moment, which is faster than to ask for each.

        Returns:
            Id to the class's name, for the photos that have one.
        """
        with self._lock:
            return self._refreshed().labels()

    def add_class(self, name: str) -> str:
        """Make a class.

        Args:
            name: Its name.

        Returns:
            The name as it is kept, without spaces around it.

        Raises:
            UsageError: When it cannot be a class's name, or there is such a class.
            OutputError: When the log cannot be written; so for all that follow.
        """
        name = check_class_name(name)

        def change(state: LabelState) -> LabelChange:
            _refuse_known(name, state)
            return LabelChange("add_class", class_name=name)

        self._act(change)
        return name

    def rename_class(self, old: str, new: str) -> str:
        """Give a class another name; its photos stay in it.

        Args:
            old: Its name.
            new: The other one.

        Returns:
            The name as it is kept.

        Raises:
            UsageError: When there is no such class, or one of the new name, or none can have it.
        """
        new = check_class_name(new)

        def change(state: LabelState) -> LabelChange | None:
            _refuse_unknown(old, state)
            if new == old:
                return None
            _refuse_known(new, state, but=old)
            return LabelChange("rename_class", class_name=old, new_name=new)

        self._act(change)
        return new

    def remove_class(self, name: str) -> LabelChange | None:
        """Take a class away; its photos are unsorted then.

        Args:
            name: Its name.

        Returns:
            What was done, with the photos that were in it.

        Raises:
            UsageError: When there is no such class.
        """

        def change(state: LabelState) -> LabelChange:
            _refuse_unknown(name, state)
            return LabelChange("remove_class", class_name=name)

        return self._act(change)

    def assign(self, ids: Iterable[str], name: str) -> LabelChange | None:
        """Give photos a class, which is made where there is none of this name.

        Args:
            ids: The photos.
            name: The class.

        Returns:
            What was done, with the photos whose label changed; None where none did. So for
            `leave_out` and `unsort`.

        Raises:
            UsageError: When the name cannot be a class's, or an id is none.
        """
        known = name in self.classes
        return self._label("assign", ids, name if known else check_class_name(name))

    def leave_out(self, ids: Iterable[str]) -> LabelChange | None:
        """Leave photos out of all that is made of the project.

        Args:
            ids: The photos.

        Returns:
            As for `assign`.
        """
        return self._label("leave_out", ids)

    def unsort(self, ids: Iterable[str]) -> LabelChange | None:
        """Take photos' labels away; those left out come back.

        Args:
            ids: The photos.

        Returns:
            As for `assign`.
        """
        return self._label("unsort", ids)

    def undo(self) -> LabelChange | None:
        """Take back the last action that was not taken back yet, whoever did it.

        Returns:
            What was taken back; None where nothing is left.
        """
        return self._step("undo")

    def redo(self) -> LabelChange | None:
        """Do again what was taken back last; any other action in between ends that.

        Returns:
            What was done again; None where there is nothing.
        """
        return self._step("redo")

    def _label(self, op: Op, ids: Iterable[str], name: str = "") -> LabelChange | None:
        listed = list(ids)
        check_photo_ids(listed)

        def change(state: LabelState) -> LabelChange | None:
            changed = state.would_change(op, listed, name)
            return LabelChange(op, changed, name) if changed else None

        return self._act(change)

    def _act(self, decide: Callable[[LabelState], LabelChange | None]) -> LabelChange | None:
        """Decide by what is there now, write it down, and take it over."""
        with self._lock, self._lines.locked():
            self._read()
            change = decide(self._state)
            if change is None:
                return None
            return self._write(entry_of(change))

    def _step(self, op: str) -> LabelChange | None:
        with self._lock, self._lines.locked():
            self._read()
            state = self._state
            if (state.last_done if op == "undo" else state.last_undone) is None:
                return None
            return self._write({"op": op})

    def _write(self, entry: dict[str, Any]) -> LabelChange:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        self._lines.append([{**entry, "time": time}])
        return self._state.apply(entry)

    def _refreshed(self) -> LabelState:
        if self._lines.has_more():
            with self._lock:
                self._read()
        return self._state

    def _read(self) -> None:
        self._lines.apply_new(self._state.apply)


def check_photo_ids(ids: Iterable[str]) -> None:
    """Refuse what can be no photo's id.

    Args:
        ids: Texts of a browser or a file.

    Raises:
        UsageError: When one of them is not 32 hexadecimal characters in lower case.
    """
    for id in ids:
        if len(id) != 32 or not set(id) <= set("0123456789abcdef"):
            raise UsageError(f"{id!r} is no photo's id; expected 32 hexadecimal characters.")


def check_class_name(name: str) -> str:
    """Refuse what no class can be called, for its folder would be called so too.

    Args:
        name: As a person typed it.

    Returns:
        It, without spaces around it, accents in one character each.

    Raises:
        UsageError: When it is empty, too long, or no folder could be called so.
    """
    plain = " ".join(unicodedata.normalize("NFC", name).split())
    if not plain:
        raise UsageError("The class has no name; type one.")
    if len(plain) > _LONGEST_NAME or len(plain.encode("utf-8", "replace")) > 200:
        raise UsageError(f"The class's name is longer than {_LONGEST_NAME} characters; shorten it.")
    if not plain.isprintable() or set(plain) & set("/\\"):
        raise UsageError(
            f"No class can be called {list_names([plain])}: slashes and invisible characters "
            "cannot stand in a folder's name; use others."
        )
    if is_ignored(plain) or plain.endswith("."):
        raise UsageError(
            f"No class can be called {list_names([plain])}: names like that are the system's; use "
            "another one."
        )
    return plain


def _refuse_known(name: str, state: LabelState, but: str = "") -> None:
    folded = name.casefold()
    same = [known for known in state.classes if known.casefold() == folded and known != but]
    if same:
        raise UsageError(f"There is a class {list_names(same)} already; choose another name.")


def _refuse_unknown(name: str, state: LabelState) -> None:
    if name not in state.classes:
        raise UsageError(
            f"There is no class {list_names([name])}; there are {list_names(state.classes)}."
        )
