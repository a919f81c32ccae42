"""What the page of photos shows, as plain values, and what a key or a button does."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from handful.checks.findings import are
from handful.data.label_log import LabelChange
from handful.errors import UsageError
from handful.projects.project import Project
from handful.wording import format_share, number_of
from handful.workflows.labeling import PhotoGroup

Action = Literal["assign", "leave_out", "unsort", "undo", "redo", "add_class", "remove_class"]
_KEYS = 9
HELPED = ("alike", "next")


@dataclass(frozen=True)
class Chip:
    """A filter of the photos.

    Args:
        key: "all", "unsorted", "alike", "next", "left-out", or "class:" and a name.
        name: What it says.
        count: Photos that it shows; None where it takes work to tell.
        number: The key on the keyboard that assigns the class; 0 for none.
    """

    key: str
    name: str
    count: int | None
    number: int = 0


@dataclass(frozen=True)
class Hint:
    """What is said of a photo without a label.

    Args:
        text: For people: "Blight? 92 %", "nothing like it has a label yet".
        class_name: The class that Enter would give it; "" for none.
    """

    text: str
    class_name: str = ""


@dataclass(frozen=True)
class Cell:
    """A photo in the grid.

    Args:
        id: The photo.
        name: Its file's name.
        label: Its class, or "".
        left_out: Whether it was left out.
        hint: What is said of it, or None.
    """

    id: str
    name: str
    label: str
    left_out: bool
    hint: Hint | None = None


@dataclass(frozen=True)
class PhotosView:
    """The page of photos.

    Args:
        version: Changes with everything that the page shows.
        shown: Key of the chip that is chosen.
        chips: All filters, those of the classes in their order.
        cells: The photos that are shown.
        undo: What "undo" would take back, or "".
        redo: What "redo" would do again, or "".
        busy: What is going on with the photos, or "".
        rejected: Files that cannot be used, each with the reason.
    """

    version: str
    shown: str
    chips: tuple[Chip, ...]
    cells: tuple[Cell, ...]
    undo: str = ""
    redo: str = ""
    busy: str = ""
    rejected: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the page.

        Returns:
            Cells are lists, for there may be ten thousand.
        """
        cells = [
            [one.id, one.name, one.label, one.left_out]
            + ([] if one.hint is None else [one.hint.text, one.hint.class_name])
            for one in self.cells
        ]
        return {
            **{name: getattr(self, name) for name in ("version", "shown", "undo", "redo", "busy")},
            "chips": [asdict(chip) for chip in self.chips],
            "cells": cells,
            "rejected": [list(pair) for pair in self.rejected[:100]],
        }


def version_of(project: Project) -> str:
    """Tell whether something has changed.

    Args:
        project: The project.

    Returns:
        A text that is another one after each change of photos or labels.
    """
    return f"{project.version}-{project.labels.version}"


def photos_view(
    project: Project,
    shown: str = "all",
    busy: str = "",
    hints: Mapping[str, Hint] | None = None,
) -> PhotosView:
    """Make the page of photos.

    Args:
        project: What is shown.
        shown: A chip's key; one that is not there (any more) shows all.
        busy: What is going on, or "".
        hints: For "alike" and "next": what is said of which photos, in the order to show them.

    Returns:
        The view.
    """
    version, labels, left_out = version_of(project), project.labels.all(), project.labels.left_out
    names = {photo.id: photo.name for photo in project.photos}
    chips = _chips(names, labels, left_out, project.labels.classes)
    if shown not in {chip.key for chip in chips}:
        shown = "all"
    hints = {id: hint for id, hint in (hints or {}).items() if id in names and id not in left_out}
    if shown in HELPED:
        cells = [Cell(id, names[id], "", False, hints[id]) for id in hints if id not in labels]
    else:
        cells = [Cell(id, name, labels.get(id, ""), id in left_out) for id, name in names.items()]
    undone, redone = project.labels.next_undo, project.labels.next_redo
    return PhotosView(
        version,
        shown,
        chips,
        tuple(cell for cell in cells if shown in HELPED or _is_shown(cell, shown)),
        "" if undone is None else describe(undone),
        "" if redone is None else describe(redone),
        busy,
        tuple((file.path, file.reason) for file in project.rejected),
    )


def _chips(
    ids: Collection[str], labels: Mapping[str, str], left_out: Set[str], classes: Iterable[str]
) -> tuple[Chip, ...]:
    counts = dict.fromkeys(classes, 0)
    for id in ids:
        if id in labels:
            counts[labels[id]] += 1
    num_out = sum(id in left_out for id in ids)
    chips = [
        Chip("all", "All", len(ids)),
        Chip("unsorted", "Unsorted", len(ids) - num_out - sum(counts.values())),
    ]
    if ids and counts:
        chips += [Chip("alike", "Suggestions", None), Chip("next", "Label next", None)]
    for number, (name, count) in enumerate(counts.items(), 1):
        chips.append(Chip(f"class:{name}", name, count, number if number <= _KEYS else 0))
    if num_out:
        chips.append(Chip("left-out", "Left out", num_out))
    return tuple(chips)


def suggestion_hints(groups: Iterable[PhotoGroup]) -> dict[str, Hint]:
    """What is said of unsorted photos: those that look alike stand together.

    Args:
        groups: As `Labeler.groups` gives them.

    Returns:
        Id to hint, in the order to show them.
    """
    hints = {}
    for group in groups:
        hint = Hint("")
        if (found := group.suggestion) is not None:
            hint = Hint(f"{found.class_name}? {format_share(found.probability)}", found.class_name)
        hints.update(dict.fromkeys(group.ids, hint))
    return hints


def details(project: Project, id: str, probabilities: Mapping[str, float]) -> dict[str, Any]:
    """What is shown beside a large photo.

    Args:
        project: Whose photo it is.
        id: The photo.
        probabilities: Class to probability, the likeliest first.

    Returns:
        Plain values: "label", "left_out", and "bars" of (name, share, text).
    """
    return {
        "label": project.labels.of(id) or "",
        "left_out": project.labels.is_left_out(id),
        "bars": [[name, p, format_share(p)] for name, p in list(probabilities.items())[:5]],
    }


def _is_shown(cell: Cell, shown: str) -> bool:
    if shown == "unsorted":
        return not cell.label and not cell.left_out
    if shown == "left-out":
        return cell.left_out
    return shown == "all" or shown == f"class:{cell.label}"


def describe(change: LabelChange) -> str:
    """Say what was done.

    Args:
        change: The action.

    Returns:
        A clause such as "3 photos are Blight".
    """
    photos = f"{number_of(len(change.ids))} {are(len(change.ids))}"
    return {
        "assign": f"{photos} {change.class_name}",
        "leave_out": f"{photos} left out",
        "unsort": f"{photos} unsorted",
        "add_class": f"there is a class {change.class_name}",
        "rename_class": f"{change.class_name} is called {change.new_name}",
        "remove_class": f"the class {change.class_name} is gone",
    }[change.op]


def act(project: Project, action: Action, ids: Sequence[str] = (), name: str = "") -> str:
    """Do what a key, a button or a click asks for.

    Args:
        project: Whose labels change.
        action: What to do.
        ids: The photos.
        name: The class.

    Returns:
        What was done, for the toast; "" where nothing changed.

    Raises:
        UsageError: When it cannot be done; a sentence.
    """
    labels = project.labels
    if action == "add_class":
        return f"There is a class {labels.add_class(name)} now"
    if action in ("undo", "redo"):
        change = labels.undo() if action == "undo" else labels.redo()
        if change is None:
            return ""
        return f"{'Taken back' if action == 'undo' else 'Done again'}: {describe(change)}"
    if action == "assign":
        change = labels.assign(ids, name)
    elif action == "leave_out":
        change = labels.leave_out(ids)
    elif action == "unsort":
        change = labels.unsort(ids)
    elif action == "remove_class":
        change = labels.remove_class(name)
    else:
        raise UsageError(f"{action!r} is nothing that can be done.")
    if change is None:
        return ""
    said = describe(change)
    return f"{said[0].upper()}{said[1:]} now"


def source_name(path: Path) -> str:
    """What a project made of a folder is called.

    Args:
        path: The folder, zip or file.

    Returns:
        Its name, without an archive's ending.
    """
    name = path.resolve().name
    return (name[:-4] if name.lower().endswith(".zip") else name) or "photos"
