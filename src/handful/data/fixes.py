"""The fix list: what was decided about single photos, as a table that spreadsheets open.

Photos are never deleted or moved: a fix list changes what is made of a folder, not the folder.
"""

import difflib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from handful.data.index import ImageIndex, check_classes, label_conflicts, load_index, sort_key
from handful.data.photo_tables import path_forms
from handful.engines.engine import Engine
from handful.errors import DataError, OutputError
from handful.files.atomic import new_file
from handful.files.tables import read_table, write_csv
from handful.wording import list_names

Action = Literal["remove", "relabel", "keep"]
ACTIONS: tuple[Action, ...] = get_args(Action)
_COLUMNS = ("path", "action", "label", "reason")


@dataclass(frozen=True)
class Fix:
    """One decision about one photo.

    Args:
        path: The photo, as the index names it.
        action: "remove" leaves it out, "relabel" gives it another class, "keep" changes nothing.
        label: The class that "relabel" gives; "" for the other actions.
        reason: Why, for people.
    """

    path: str
    action: Action
    label: str
    reason: str


def read_fixes(path: str | Path) -> tuple[Fix, ...]:
    """Read a fix list, as `write_fixes` or a spreadsheet wrote it.

    Args:
        path: CSV with the columns path and action, and label where a class changes; commas,
            semicolons or tabs. Lines without an action, and other columns, count for nothing.

    Returns:
        One fix for each path, in the order of the file.

    Raises:
        DataError: When the file is missing or no fix list; names the line.
    """
    file = Path(path)
    table = read_table(file, "give a fix list that `handful check` wrote, saved as CSV UTF-8")
    names = table.names
    if "path" not in names or "action" not in names:
        raise DataError(
            f"{file} has the columns {','.join(names) or 'none'}; a fix list has "
            f"{','.join(_COLUMNS)}."
        )
    found: dict[str, tuple[int, Fix]] = {}
    for line, row in table.rows:
        fix = _read_row(file, line, row)
        if fix is None:
            continue
        first, known = found.setdefault(fix.path, (line, fix))
        if (known.action, known.label) != (fix.action, fix.label):
            raise DataError(
                f"{file}, lines {first} and {line}: {fix.path} is to {_words(known)} and "
                f"to {_words(fix)}; keep one of the lines."
            )
    return tuple(fix for _, fix in found.values())


def _read_row(file: Path, line: int, row: Mapping[str, str]) -> Fix | None:
    """One line of the table; None for one that says nothing."""
    path, action, label, reason = (row.get(name, "") for name in _COLUMNS)
    action = action.strip().lower()
    if not action:
        return None
    if not path:
        raise DataError(f"{file}, line {line}: the path is empty.")
    if action not in ACTIONS:
        raise DataError(
            f"{file}, line {line}: the action is {action!r}; expected one of {', '.join(ACTIONS)}."
        )
    if action == "relabel" and not label:
        raise DataError(
            f"{file}, line {line}: {path} is to be relabeled, and the label is empty; write the "
            "name of a class there."
        )
    return Fix(path, action, label if action == "relabel" else "", reason)


def _words(fix: Fix) -> str:
    return f'get the class "{fix.label}"' if fix.action == "relabel" else f"be {_DONE[fix.action]}"


_DONE = {"remove": "removed", "relabel": "relabelled", "keep": "kept"}


def write_fixes(fixes: Sequence[Fix], path: str | Path) -> None:
    """Write a fix list for a person to go through.

    Args:
        fixes: What is suggested.
        path: CSV file to make; its folder is made too.

    Raises:
        OutputError: When the file exists, for decisions may be in it, or cannot be written.
    """
    refuse_existing(path)
    rows = ((fix.path, fix.action, fix.label, fix.reason) for fix in fixes)
    with new_file(Path(path)) as part:
        write_csv(part, [_COLUMNS, *rows])


def refuse_existing(path: str | Path) -> None:
    """Find out before the work whether a fix list may be written.

    Args:
        path: The file to make.

    Raises:
        OutputError: When something is there.
    """
    if Path(path).exists():
        raise OutputError(
            f"The fix list {path} exists already, and may hold decisions of yours; give another "
            "`fix_list`, or remove the file first."
        )


def apply_fixes(index: ImageIndex, fixes: Sequence[Fix], source: str | Path) -> ImageIndex:
    """Leave out and relabel the photos that a fix list names; files stay as they are.

    Args:
        index: N labeled photos.
        fixes: One for each path.
        source: The fix list's file, for messages.

    Returns:
        The index with the fixes made, in the order of an index. What was unusable and is to be
        removed is no longer among the rejected.

    Raises:
        DataError: When the list names photos or classes that are not there, or empties a class.
    """
    fixes = _as_indexed(index, fixes, source)
    for fix in fixes:
        if fix.action == "relabel":
            _check_label(index, fix, source)
    removed = {fix.path for fix in fixes if fix.action == "remove"}
    labels = {fix.path: fix.label for fix in fixes if fix.action == "relabel"}
    old = index.label_names()
    new = [labels.get(path, name) for path, name in zip(index.paths, old, strict=True)]
    kept = [row for row, path in enumerate(index.paths) if path not in removed]
    emptied = set(old) - {new[row] for row in kept}
    if emptied:
        name = min(emptied)
        raise DataError(
            f'{source} leaves the class "{name}" of {index.source} without a photo; keep some of '
            "its photos, or take its folder away."
        )
    kept.sort(key=lambda row: sort_key(index.splits[row], new[row], index.paths[row]))
    numbers = {name: number for number, name in enumerate(index.class_names)}
    fixed = replace(
        index.select(kept),
        labels=np.array([numbers[new[row]] for row in kept], np.int64),
        rejected=tuple(file for file in index.rejected if file.path not in removed),
    )
    stale = set(label_conflicts(index))
    num_relabeled = sum(new[row] != old[row] for row in kept)
    return replace(
        fixed,
        warnings=(
            *(line for line in index.warnings if line not in stale),
            *label_conflicts(fixed),
            f"{Path(source).name}: {len(removed)} photos left out, {num_relabeled} relabeled",
        ),
    )


def load_fixed_index(
    source: str | Path,
    fixes: str | Path | None = None,
    *,
    least_classes: int = 2,
    engine: Engine | None = None,
) -> ImageIndex:
    """Index labeled photos, and make the fixes of a fix list.

    Args:
        source: As for `load_index`.
        fixes: The fix list, or None for the photos as they are.
        least_classes: Classes there must be.
        engine: As for `load_index`.

    Returns:
        The index.

    Raises:
        DataError: When there is nothing a classifier could be made of, or the list does not fit.
    """
    if fixes is None:
        return load_index(source, least_classes=least_classes, engine=engine)
    # The list is read first: a mistyped name is found before the work.
    decided = read_fixes(fixes)
    # A part may lack a class only until photos are relabeled.
    index = apply_fixes(load_index(source, least_classes=1, engine=engine), decided, fixes)
    check_classes(index, least_classes)
    return index


def _as_indexed(index: ImageIndex, fixes: Sequence[Fix], source: str | Path) -> list[Fix]:
    """The fixes with paths as the index has them, each once."""
    known = {*index.paths, *(file.path for file in index.rejected)}
    folder = index.source if index.source.is_dir() else index.source.parent
    found: dict[str, Fix] = {}
    unknown = []
    for fix in fixes:
        forms = list(path_forms(fix.path))
        # As seen from the current folder, too.
        forms += [os.path.relpath(form, folder).replace(os.sep, "/") for form in forms]
        path = next((form for form in (fix.path, *forms) if form in known), None)
        if path is None:
            unknown.append(fix.path)
            continue
        plain = replace(fix, path=path, label=unicodedata.normalize("NFC", fix.label))
        other = found.setdefault(path, plain)
        if (other.action, other.label) != (plain.action, plain.label):
            raise DataError(
                f"{source}: {path} is to {_words(other)} and to {_words(plain)}; keep one of the "
                "lines."
            )
    if not unknown:
        return list(found.values())
    close = difflib.get_close_matches(unknown[0], sorted(known), 1)
    hint = f"did you mean {list_names(close)}? " if close else ""
    raise DataError(
        f"{source} names {len(unknown)} photo{'s' * (len(unknown) != 1)} that {index.source} does "
        f"not have: {list_names(unknown)}; {hint}Give the photos that the list was made of, or "
        "take the lines out."
    )


def _check_label(index: ImageIndex, fix: Fix, source: str | Path) -> None:
    if fix.label in index.class_names:
        return
    close = difflib.get_close_matches(fix.label, index.class_names, 1)
    hint = f"; did you mean {list_names(close)}?" if close else "."
    raise DataError(
        f"{source} gives {list_names([fix.path])} the class {list_names([fix.label])}; "
        f"{index.source} has {list_names(index.class_names)}{hint}"
    )
