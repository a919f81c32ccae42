"""A table of photos: path, label and, if wanted, split and group -> files found.

Paths are taken as they are meant, from whatever system they come; two rows on one file are one.
"""

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from handful.data.part_names import SPLIT_NAMES, find_parts
from handful.data.storage import FoundFile, read_file
from handful.errors import DataError
from handful.files.tables import read_table
from handful.wording import list_names

_COLUMNS = ("path", "label", "split", "group")
# Numbers from 0 or 1 on are codes of classes, such as digits; others, or very many, may be amounts.
_NUM_DIGITS = 10
_FEW_PHOTOS = 5  # of one number, on average
_NOT_GIVEN = ("nan", "NaN")  # pandas' words for an empty cell


def path_forms(text: str) -> Iterator[str]:
    """Ways in which a path of a user's text may be meant, the most literal first.

    Args:
        text: A path, with this system's separators or Windows', accents in one character or two.

    Yields:
        Paths with forward slashes, without steps that lead nowhere.
    """
    seen = set()
    for path in (text, text.replace("\\", "/")):
        for form in (path, *(unicodedata.normalize(name, path) for name in ("NFC", "NFD"))):
            plain = os.path.normpath(form)
            if plain not in seen:
                seen.add(plain)
                yield plain


def read_image_table(
    path: Path, *, is_for_learning: bool = True, may_be_several: bool = False
) -> tuple[list[FoundFile], list[str]]:
    """Find the files that a table lists.

    Args:
        path: The table.
        is_for_learning: Whether labels that make no classes to learn are refused.
        may_be_several: Whether one label may name several classes.

    Returns:
        The files with class, part and group, each once; and what is odd.

    Raises:
        DataError: When it is no such table, files are missing, or rows contradict each other.
    """
    table = read_table(path, "give a table of path,label")
    _check_columns(path, table.names)
    rows = [(line, _cells(row)) for line, row in table.rows]
    parts = find_parts({cells[2] for _, cells in rows} - {""})
    for line, (name, label, split, _) in rows:
        if not name or not label:
            raise DataError(f"{path}, line {line}: the {'label' if name else 'path'} is empty.")
        if split and split not in parts:
            raise DataError(
                f"{path}, line {line}: the split is {split!r}; expected one of "
                f"{', '.join(SPLIT_NAMES)}."
            )
    warnings = _check_labels(path, rows, is_for_learning, may_be_several)
    seen: dict[str, tuple[int, tuple[str, ...]]] = {}
    files, missing, duplicates = [], [], 0
    for line, (name, label, split, group) in rows:
        said = (label, parts.get(split, ""), group)
        there = (form for form in path_forms(name) if os.path.exists(path.parent / form))
        found = next(there, "")
        if not found:
            missing.append(name)
            continue
        file = path.parent / found
        first, known = seen.setdefault(os.path.abspath(file), (line, said))
        if first == line:
            files.append(FoundFile(found, partial(read_file, file), *said))
            continue
        if known != said:
            one, other = (list_names(text for text in row if text) for row in (known, said))
            raise DataError(
                f"{path}, lines {first} and {line}: {list_names([name])} is {one} and {other}; "
                "keep one."
            )
        duplicates += 1
    if missing:
        raise DataError(_say_missing(path, missing))
    if duplicates:
        warnings.append(f"{path.name} lists {duplicates} rows twice; each counts once")
    return _without_shared(files), warnings


def _check_columns(path: Path, names: Sequence[str]) -> None:
    expected = "expected path,label and, if wanted, split and group."
    if "path" not in names or "label" not in names:
        raise DataError(f"{path} has the columns {list_names(names)}; {expected}")
    unknown = [name for name in names if name not in _COLUMNS]
    if unknown:
        raise DataError(
            f"{path} has unknown columns {list_names(unknown)}; {expected} Remove them, or rename "
            "the one that is meant."
        )


def _cells(row: Mapping[str, str]) -> tuple[str, str, str, str]:
    name, *others = (row.get(column, "").strip() for column in _COLUMNS)
    label, split, group = (unicodedata.normalize("NFC", text) for text in others)
    split, group = ("" if text in _NOT_GIVEN else text for text in (split, group))
    return name, label, split, group


def _say_missing(path: Path, missing: Sequence[str]) -> str:
    far = any(re.match(r"[A-Za-z]:[\\/]|\\\\|[a-z]+://", name) for name in missing)
    hint = " Paths of another computer lead nowhere here: write them as seen from the table."
    return (
        f"{path} lists {len(missing)} files that do not exist: {list_names(missing)}. "
        f"Paths count from {path.parent.resolve()}.{hint if far else ''}"
    )


def _check_labels(
    path: Path,
    rows: Sequence[tuple[int, tuple[str, str, str, str]]],
    is_for_learning: bool,
    may_be_several: bool,
) -> list[str]:
    """Refuse what no classes can be made of; a warning where they may not be meant."""
    counts = Counter(label for _, (_, label, _, _) in rows)
    for line, (_, label, _, _) in rows:
        if label in _NOT_GIVEN:
            raise DataError(
                f'{path}, line {line}: the label is "{label}", which stands for an empty cell; '
                "write the class there, or take the line out."
            )
    numbers = {label: number for label in counts if (number := _number(label)) is not None}
    warnings = []
    if 2 * len(numbers) > len(counts):  # "unknown" among them changes nothing
        num_photos = sum(counts.pop(label) for label in numbers)
        warnings = _check_numbers(path, sorted(numbers.values()), num_photos, is_for_learning)
    for line, (_, label, _, _) in rows:
        several = _several(label, counts) if label in counts and not may_be_several else []
        if several:
            raise DataError(
                f"{path}, line {line}: the label {list_names([label])} seems to be several: "
                f"{list_names(several)}. A photo has one class here: keep one of them, make a "
                "table for each question, or join them by a hyphen where the pair is a class."
            )
    pairs = [label for label in counts if "," in label]
    pieces = Counter(piece.strip() for label in pairs for piece in label.split(","))
    if any(number > 1 for number in pieces.values()):
        warnings.append(f"Each of these labels is one class, commas and all: {list_names(pairs)}")
    return warnings


def _several(label: str, known: Mapping[str, int]) -> list[str]:
    """The labels that one cell holds; empty for a single one."""
    inner = re.fullmatch(r"[\[({](.*)[\])}]", label)
    always = r"[;|,]" if inner else r"[;|]"
    pieces = [piece.strip(" '\"") for piece in re.split(always, inner[1] if inner else label)]
    pieces = [piece for piece in pieces if piece]
    if len(pieces) > 1:
        return pieces
    # These may stand in the name of a class as well.
    by_comma = [piece.strip() for piece in label.split(",")]
    if len(by_comma) > 1 and any(piece in known for piece in by_comma):
        return by_comma
    pieces = [piece for piece in re.split(r"[\s+&/]+", label) if piece]
    return pieces if len(pieces) > 1 and all(piece in known for piece in pieces) else []


def _number(label: str) -> float | None:
    try:
        value = float(label.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_numbers(
    path: Path, values: Sequence[float], num_photos: int, is_for_learning: bool
) -> list[str]:
    """Say that numbers are classes, where they may be amounts."""
    are_few_photos = num_photos < _FEW_PHOTOS * len(values)
    are_codes = (
        all(value.is_integer() for value in values)
        and values[0] in (0, 1)
        and values[-1] - values[0] < 2 * len(values)
    )
    if are_codes and (len(values) <= _NUM_DIGITS or not are_few_photos):
        return []
    found = (
        f"the labels are numbers, {len(values)} different ones for {num_photos} photos, and each "
        "is a class of its own"
    )
    advice = (
        'if they are amounts, write ranges as labels ("0 to 10"), for handful tells classes apart '
        "and measures nothing"
    )
    if is_for_learning and are_few_photos and not are_codes:
        codes = 'if they are codes, write a word before each ("no. 7")'
        raise DataError(f"{path}: {found}; {advice}; {codes}.")
    return [f"{path.name}: {found}; {advice}"]


def _without_shared(files: list[FoundFile]) -> list[FoundFile]:
    """The files, without the folders around all of them where paths are absolute."""
    if not files or not all(PurePosixPath(file.path).is_absolute() for file in files):
        return files
    shared = os.path.commonpath([PurePosixPath(file.path).parent for file in files])
    return [
        replace(file, path=PurePosixPath(file.path).relative_to(shared).as_posix())
        for file in files
    ]
