"""What a log of labels says: its lines, replayed, give each photo's class.

Classes have numbers of their own, so that renaming one changes no photo. Each step knows what was
before it: undoing goes back as far as the log.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from handful.wording import list_names

Op = Literal["assign", "leave_out", "unsort", "add_class", "rename_class", "remove_class"]
_UNSORTED, _LEFT_OUT = -2, -1


@dataclass(frozen=True)
class LabelChange:
    """One action on photos or classes.

    Args:
        op: What was done.
        ids: The photos whose label changed.
        class_name: The class concerned; "" for "leave_out" and "unsort".
        new_name: What "rename_class" made of it; "" for others.
    """

    op: Op
    ids: tuple[str, ...] = ()
    class_name: str = ""
    new_name: str = ""


@dataclass(frozen=True)
class _Step:
    """A change with what it replaced: `before` has one label for each of its ids."""

    change: LabelChange
    before: tuple[int, ...]
    after: int
    classes_before: dict[int, str]
    classes_after: dict[int, str]


class LabelState:
    """Labels and classes after some lines of a log; the lines are applied one after another."""

    def __init__(self) -> None:
        self._labels: dict[str, int] = {}
        self._classes: dict[int, str] = {}  # never changed, only replaced: steps hold them
        self._next_class = 0
        self._done: list[_Step] = []
        self._undone: list[_Step] = []

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order in which they were made."""
        return tuple(self._classes.values())

    @property
    def last_done(self) -> LabelChange | None:
        """What "undo" would take back; None where nothing is left."""
        return self._done[-1].change if self._done else None

    @property
    def last_undone(self) -> LabelChange | None:
        """What "redo" would do again; None where there is nothing."""
        return self._undone[-1].change if self._undone else None

    def class_of(self, id: str) -> str | None:
        """A photo's class.

        Args:
            id: The photo.

        Returns:
            Its name; None where the photo is unsorted or left out.
        """
        return self._classes.get(self._labels.get(id, _UNSORTED))

    def is_left_out(self, id: str) -> bool:
        """Tell whether a photo was left out.

        Args:
            id: The photo.

        Returns:
            Whether it was.
        """
        return self._labels.get(id) == _LEFT_OUT

    def labels(self) -> dict[str, str]:
        """Photos that have a class.

        Returns:
            Id to the class's name, in no order that means anything.
        """
        classes = self._classes
        return {id: classes[number] for id, number in self._labels.items() if number >= 0}

    def left_out(self) -> frozenset[str]:
        """Photos that were left out.

        Returns:
            Their ids.
        """
        return frozenset(id for id, number in self._labels.items() if number == _LEFT_OUT)

    def would_change(self, op: Op, ids: Sequence[str], class_name: str = "") -> tuple[str, ...]:
        """Those of some photos whose label an action would change, each once.

        Args:
            op: "assign", "leave_out" or "unsort".
            ids: Photos.
            class_name: The class that "assign" gives.

        Returns:
            Their ids, in the order given.
        """
        numbers = {"leave_out": _LEFT_OUT, "unsort": _UNSORTED}
        target = numbers.get(op, self._number_of(class_name))
        labels = self._labels
        return tuple(id for id in dict.fromkeys(ids) if labels.get(id, _UNSORTED) != target)

    def apply(self, entry: dict[str, Any]) -> LabelChange:
        """Take the next line of the log.

        Args:
            entry: `{"op": ...}` as docs/file-formats.md has it.

        Returns:
            What was done, undone or done again.

        Raises:
            ValueError: When it is no line of such a log, or cannot follow those before.
        """
        op = entry.get("op")
        if op == "undo":
            return self._move(self._done, self._undone, self._take_back)
        if op == "redo":
            return self._move(self._undone, self._done, self._set)
        step = self._step(_change_of(entry))
        self._set(step)
        self._done.append(step)
        self._undone.clear()
        return step.change

    def _step(self, change: LabelChange) -> _Step:
        """What a change does to what is here now."""
        # One object for the many steps that change no class.
        classes, ids, after = self._classes, change.ids, _UNSORTED
        number = self._number_of(change.class_name)
        if change.op in ("add_class", "assign") and number is None:
            number = self._next_class
            self._next_class += 1
            classes = {**classes, number: change.class_name}
        elif change.op in ("rename_class", "remove_class") and number is None:
            raise ValueError(f"there is no class {list_names([change.class_name])}")
        if change.op == "assign":
            assert number is not None
            after = number
        elif change.op == "leave_out":
            after = _LEFT_OUT
        elif change.op == "rename_class":
            assert number is not None
            classes = {**classes, number: change.new_name}
        elif change.op == "remove_class":
            assert number is not None
            classes = {n: name for n, name in classes.items() if n != number}
            ids = tuple(id for id, label in self._labels.items() if label == number)
            change = replace(change, ids=ids)
        before = tuple(self._labels.get(id, _UNSORTED) for id in ids)
        return _Step(change, before, after, self._classes, classes)

    def _set(self, step: _Step) -> None:
        self._classes = step.classes_after
        self._label(step.change.ids, [step.after] * len(step.change.ids))

    def _take_back(self, step: _Step) -> None:
        self._classes = step.classes_before
        self._label(step.change.ids, step.before)

    def _label(self, ids: Sequence[str], numbers: Sequence[int]) -> None:
        for id, number in zip(ids, numbers, strict=True):
            if number == _UNSORTED:
                self._labels.pop(id, None)
            else:
                self._labels[id] = number

    def _move(
        self, source: list[_Step], target: list[_Step], do: Callable[[_Step], None]
    ) -> LabelChange:
        if not source:
            raise ValueError("there is nothing to undo or redo")
        step = source.pop()
        do(step)
        target.append(step)
        return step.change

    def _number_of(self, class_name: str) -> int | None:
        for number, name in self._classes.items():
            if name == class_name:
                return number
        return None


_FIELDS: dict[Op, tuple[str, ...]] = {
    "assign": ("ids", "class"),
    "leave_out": ("ids",),
    "unsort": ("ids",),
    "add_class": ("class",),
    "rename_class": ("class", "to"),
    "remove_class": ("class",),
}


def entry_of(change: LabelChange) -> dict[str, Any]:
    """Write a change as a line of the log.

    Args:
        change: What is to be done.

    Returns:
        Plain values.
    """
    values = {"ids": list(change.ids), "class": change.class_name, "to": change.new_name}
    return {"op": change.op, **{name: values[name] for name in _FIELDS[change.op]}}


def _change_of(entry: dict[str, Any]) -> LabelChange:
    op = entry.get("op")
    if op not in _FIELDS:
        raise ValueError(f"{op!r} is no action that this version knows")
    ids, names = entry.get("ids", []), (entry.get("class", ""), entry.get("to", ""))
    if not isinstance(ids, list) or not {str}.issuperset(map(type, (*ids, *names))):
        raise ValueError("its photos or classes are no names")
    return LabelChange(op, tuple(ids), *names)
