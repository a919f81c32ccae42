"""Folder, zip or CSV -> which photos there are, what they are called and where they belong.

Formats are told by a file's first bytes, never by its name. Nothing is decoded or unpacked here.
"""

import difflib
import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from handful.errors import DataError
from handful.files import open_regular, reason_of
from handful.photos.pixels import sniff_format
from handful.photos.storage import ZipReader, read_file
from handful.tables import read_table

SPLIT_NAMES = ("train", "validation", "test")
_SPLIT_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_IGNORED = {"__macosx", "thumbs.db", "desktop.ini"}
_COLUMNS = ("path", "label", "split", "group")
_THREADS = 4

# First bytes of what is often found among photos, for reasons people understand.
_LOOKS = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive or office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\xff\x0a", "a JPEG XL picture, which is not supported; convert it to JPEG or PNG"),
)
_BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
    b"avif": "AVIF",
    b"avis": "AVIF",
}


@dataclass(frozen=True)
class RejectedFile:
    """A file that cannot be used.

    Args:
        path: As shown to people: relative to the source, with forward slashes.
        reason: A clause that follows the path: "is empty (0 bytes)".
    """

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """N photos with their classes, in the order of split, class and path.

    Args:
        source: The folder, zip or CSV that was given.
        paths: (N,) as shown to people, unique.
        labels: (N,) int64 index into `class_names`; -1 for unlabelled photos.
        class_names: Sorted names of all classes of all splits.
        splits: (N,) "train", "validation", "test", or "" where none was given.
        content_hashes: (N,) BLAKE2b of each file's bytes, 32 hexadecimal characters.
        rejected: Files that cannot be used, each with its reason.
        warnings: What is odd but no obstacle.
        readers: (N,) functions from nothing to the file's bytes.
        groups: (N,) what a table's column "group" says: photos with the same text there (one
            animal, plant, day, patient) belong together; "" where nothing is known.
    """

    source: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    content_hashes: tuple[str, ...]
    rejected: tuple[RejectedFile, ...]
    warnings: tuple[str, ...]
    readers: tuple[partial[bytes], ...] = field(default=(), repr=False)
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.groups) != len(self.paths):
            if self.groups:
                raise ValueError(f"{len(self.groups)} groups for {len(self.paths)} photos.")
            object.__setattr__(self, "groups", ("",) * len(self.paths))

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int) -> bytes:
        """Read a photo's file; safe in any number of threads.

        Args:
            row: 0 to N - 1.

        Returns:
            The file's bytes.

        Raises:
            DataError: When it cannot be read or has changed since it was indexed; a clause
                that follows the path.
        """
        data = self.readers[row]()
        if _hash(data) != self.content_hashes[row]:
            raise DataError("has changed while it was being used")
        return data

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "ImageIndex":
        """Some of the photos; class names and rejects stay.

        Args:
            rows: Rows to take, in the order wanted.

        Returns:
            An index of them.
        """
        numbers = [int(row) for row in rows]
        return replace(
            self,
            paths=tuple(self.paths[row] for row in numbers),
            labels=self.labels[numbers],
            splits=tuple(self.splits[row] for row in numbers),
            content_hashes=tuple(self.content_hashes[row] for row in numbers),
            readers=tuple(self.readers[row] for row in numbers) if self.readers else (),
            groups=tuple(self.groups[row] for row in numbers),
        )

    def without(self, reasons: Mapping[int, str]) -> "ImageIndex":
        """The index less some photos, which join the rejected.

        Args:
            reasons: Row to the reason why its photo cannot be used.

        Returns:
            An index of the others.
        """
        gone = tuple(RejectedFile(self.paths[row], reasons[row]) for row in sorted(reasons))
        kept = self.select([row for row in range(len(self)) if row not in reasons])
        return replace(kept, rejected=(*self.rejected, *gone))

    def with_class_names(self, class_names: Sequence[str]) -> "ImageIndex":
        """The same photos, their labels counted in another list of classes.

        Args:
            class_names: Names that must include all of this index's.

        Returns:
            An index with these class names.

        Raises:
            DataError: When a class is not among them.
        """
        unknown = [name for name in self.class_names if name not in class_names]
        if unknown:
            raise DataError(
                f"{self.source} has the class{'es' * (len(unknown) > 1)} {_list(unknown)}; the "
                f"classifier knows {_list(list(class_names))}. Rename the folder, or leave it out."
            )
        places = np.array([list(class_names).index(name) for name in self.class_names], np.int64)
        labels = places[self.labels] if len(self) else self.labels
        return replace(self, labels=labels, class_names=tuple(class_names))

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of photos by split and class.

        Returns:
            Split ("all" where none was given) to class name to number.
        """
        result: dict[str, dict[str, int]] = {}
        for part in (*SPLIT_NAMES, ""):
            rows = [row for row, name in enumerate(self.splits) if name == part]
            if rows:
                numbers = np.bincount(self.labels[rows], minlength=len(self.class_names))
                result[part or "all"] = dict(zip(self.class_names, numbers.tolist(), strict=True))
        return result

    def digest(self) -> str:
        """Identity of the data: contents, classes, splits, groups, whatever the names and places.

        Returns:
            32 hexadecimal characters.
        """
        lines = sorted(
            f"{content_hash}\t{self.class_names[label] if label >= 0 else ''}\t{part}"
            + (f"\t{group}" if group else "")
            for content_hash, label, part, group in zip(
                self.content_hashes, self.labels.tolist(), self.splits, self.groups, strict=True
            )
        )
        return _hash("\n".join(lines).encode())


@dataclass(frozen=True)
class _File:
    """A file found, before it is looked into."""

    path: str
    read: partial[bytes]
    class_name: str = ""
    split: str = ""
    group: str = ""


def load_index(source: str | Path, *, least_classes: int = 2) -> ImageIndex:
    """Index labelled photos.

    Args:
        source: A folder of class folders, or of `train/`, `val|valid|validation/` and `test/`
            with class folders in each; a zip of either; or a CSV with the columns path, label
            and, if wanted, split and group. One folder around all is seen through.
        least_classes: Classes there must be.

    Returns:
        The index.

    Raises:
        DataError: When there is nothing a classifier could be made of; says what and why.
    """
    path = Path(source)
    if absence := _absence(path):
        raise DataError(f"{path} {absence}")
    warnings: list[str] = []
    outside: list[RejectedFile] = []
    if path.is_dir():
        empty: list[str] = []
        files, class_depth = _by_folder(list(_walk(path, empty)), outside)
        warnings += _say_empty(empty, files, class_depth)
    elif path.suffix.lower() in (".csv", ".tsv"):
        files = _from_csv(path, warnings)
    elif (start := _starts(path)).startswith(b"PK"):
        reader = ZipReader(path)
        files, _ = _by_folder(
            [_File(name, partial(reader.read, name)) for name in reader.members], outside
        )
    else:
        raise DataError(
            f"{path} is {_looks(start)}; expected a folder of class folders, a zip, or a "
            "CSV with path,label."
        )
    index = _build(path, files, outside, warnings)
    check_classes(index, least_classes)
    return index


def load_unlabelled(sources: str | Path | Sequence[str | Path]) -> ImageIndex:
    """Index photos to be named by a classifier.

    Args:
        sources: Files, folders (searched to any depth) and zips; or one of them.

    Returns:
        An index without classes. What cannot be used, or does not exist, is in its `rejected`.

    Raises:
        ValueError: When nothing was given.
    """
    if isinstance(sources, str | Path):
        sources = [sources]
    if not sources or "" in sources:
        raise ValueError("no photos were given; expected files, folders or zips.")
    files: list[_File] = []
    rejected: list[RejectedFile] = []
    for source in map(Path, sources):
        absence = _absence(source)
        if not absence and source.resolve() == Path(source.resolve().anchor):
            absence = "is the whole disk; name a folder of photos"
        if absence:
            rejected.append(RejectedFile(str(source), absence))
            continue
        try:
            files += _unlabelled(source)
        except DataError as error:
            reason = str(error).removeprefix(f"{source} ")
            rejected.append(RejectedFile(str(source), reason))
    return _build(Path(sources[0]), files, rejected, [], keep_order=True)


def _unlabelled(source: Path) -> list[_File]:
    """Files of a folder or a zip, or the one that is given."""
    if source.is_dir():
        found = sorted(_walk(source), key=lambda file: file.path)
        return [replace(file, path=str(source / file.path)) for file in found]
    if _starts(source)[:4] != b"PK\x03\x04":
        return [_File(str(source), partial(read_file, source))]
    reader = ZipReader(source)
    names = sorted(name for name in reader.members if not _ignored(name))
    return [_File(f"{source}/{name}", partial(reader.read, name)) for name in names]


def _walk(root: Path, empty: list[str] | None = None) -> Iterator[_File]:
    """Files below a folder, hidden and system ones left out; linked folders are followed once.

    Folders with nothing in them are added to `empty`.
    """
    seen: set[tuple[int, int]] = set()
    try:
        with os.scandir(root):
            pass
    except OSError as error:
        raise DataError(
            f"{root} cannot be read ({error.strerror}); check its permissions."
        ) from error
    for folder, names, files in os.walk(root, followlinks=True):
        facts = os.stat(folder)
        if (facts.st_dev, facts.st_ino) in seen:
            names.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        names[:] = sorted(name for name in names if not _ignored(name))
        files = sorted(name for name in files if not _ignored(name))
        if empty is not None and not names and not files:
            empty.append(Path(folder).relative_to(root).as_posix())
        for name in files:
            path = Path(folder) / name
            yield _File(path.relative_to(root).as_posix(), partial(read_file, path))


def _ignored(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part.lower() in _IGNORED for part in parts)


def _by_folder(files: list[_File], outside: list[RejectedFile]) -> tuple[list[_File], int]:
    """Give files the class and split that their folders say; at which depth classes are, too."""
    files = [file for file in files if not _ignored(file.path)]
    parts = {file.path: PurePosixPath(file.path).parts for file in files}
    depth = 0
    # One folder around everything is a wrapper, unless it is itself a split or holds the photos.
    while True:
        tops = {path[depth] for path in parts.values() if len(path) > depth + 1}
        beside = any(len(path) == depth + 1 for path in parts.values())
        inside = {len(path) for path in parts.values() if len(path) > depth + 1}
        (top,) = tops if len(tops) == 1 else ("",)
        if not top or beside or top.lower() in _SPLIT_ALIASES or min(inside) <= depth + 2:
            break
        depth += 1
    has_splits = bool(tops) and all(top.lower() in _SPLIT_ALIASES for top in tops)
    class_depth = depth + has_splits
    result = []
    for file in files:
        path = parts[file.path]
        if len(path) <= class_depth + 1:
            outside.append(RejectedFile(file.path, "lies outside every class folder"))
            continue
        split = _SPLIT_ALIASES[path[depth].lower()] if has_splits else ""
        result.append(replace(file, class_name=path[class_depth], split=split))
    return result, class_depth


def _say_empty(empty: list[str], files: list[_File], class_depth: int) -> list[str]:
    """A sentence for each folder that would be a class, were there any file in it."""

    def class_folders(paths: Iterable[str]) -> set[tuple[str, ...]]:
        parts = (PurePosixPath(path).parts for path in paths)
        return {found[: class_depth + 1] for found in parts if len(found) > class_depth}

    hollow = class_folders(empty) - class_folders(file.path for file in files)
    return [
        f'The folder {"/".join(parts)} has no files in it, so "{parts[-1]}" is no class'
        for parts in sorted(hollow)
    ]


def _from_csv(path: Path, warnings: list[str]) -> list[_File]:
    """Files that a table lists."""
    table = read_table(path, "give a table of path,label")
    names = table.names
    if "path" not in names or "label" not in names:
        raise DataError(
            f"{path} has the columns {_list(names)}; expected path,label and, if wanted, "
            "split and group."
        )
    unknown = [name for name in names if name not in _COLUMNS]
    if unknown:
        raise DataError(
            f"{path} has unknown columns {_list(unknown)}; expected path,label and, if "
            "wanted, split and group. Remove them, or rename the one that is meant."
        )
    seen: dict[str, tuple[int, tuple[str, ...]]] = {}
    files, missing, duplicates = [], [], 0
    for line, row in table.rows:
        name, label, split, group = (row.get(column, "").strip() for column in _COLUMNS)
        group = unicodedata.normalize("NFC", group)
        _check_row(path, line, name, label, split)
        split = _SPLIT_ALIASES.get(split.lower(), "")
        said = (label, split, group)
        if name in seen:
            first, other = seen[name]
            if other != said:
                both = [", ".join(f'"{text}"' for text in row if text) for row in (other, said)]
                raise DataError(
                    f"{path}, lines {first} and {line}: {name} is {both[0]} and {both[1]}; "
                    "keep one."
                )
            duplicates += 1
            continue
        seen[name] = (line, said)
        file = path.parent / name
        if not file.is_file():
            missing.append(name)
        files.append(_File(Path(name).as_posix(), partial(read_file, file), *said))
    if missing:
        raise DataError(
            f"{path} lists {len(missing)} files that do not exist: {_list(missing)}. "
            f"Paths count from {path.parent.resolve()}."
        )
    if duplicates:
        warnings.append(f"{path.name} lists {duplicates} rows twice; each counts once")
    if files and all(PurePosixPath(file.path).is_absolute() for file in files):
        # What all paths share tells people nothing.
        shared = os.path.commonpath([PurePosixPath(file.path).parent for file in files])
        files = [
            replace(f, path=PurePosixPath(f.path).relative_to(shared).as_posix()) for f in files
        ]
    return files


def _check_row(path: Path, line: int, name: str, label: str, split: str) -> None:
    if not name or not label:
        raise DataError(f"{path}, line {line}: the {'label' if name else 'path'} is empty.")
    if split and split.lower() not in _SPLIT_ALIASES:
        raise DataError(
            f"{path}, line {line}: the split is {split!r}; expected one of {_list(SPLIT_NAMES)}."
        )


def _build(
    source: Path,
    files: list[_File],
    rejected: list[RejectedFile],
    warnings: list[str],
    *,
    keep_order: bool = False,
) -> ImageIndex:
    """Look into each file, in threads."""
    class_names = tuple(sorted({file.class_name for file in files} - {""}))
    numbers = {name: number for number, name in enumerate(class_names)}
    if not keep_order:
        files = sorted(files, key=lambda file: sort_key(file.split, file.class_name, file.path))
    with ThreadPoolExecutor(_THREADS) as pool:
        looked = list(pool.map(_look, files, chunksize=16))
    kept = [
        (file, found) for file, (found, reason) in zip(files, looked, strict=True) if not reason
    ]
    bad = [
        RejectedFile(file.path, reason)
        for file, (_, reason) in zip(files, looked, strict=True)
        if reason
    ]
    index = ImageIndex(
        source,
        tuple(file.path for file, _ in kept),
        np.array([numbers.get(file.class_name, -1) for file, _ in kept], dtype=np.int64),
        class_names,
        tuple(file.split for file, _ in kept),
        tuple(found for _, found in kept),
        (*rejected, *bad),
        tuple(warnings),
        tuple(file.read for file, _ in kept),
        tuple(file.group for file, _ in kept),
    )
    return replace(index, warnings=(*warnings, *label_conflicts(index)))


def sort_key(split: str, class_name: str, path: str) -> tuple[int, str, str]:
    """Place of a photo in an index.

    Args:
        split: "train", "validation", "test", or "".
        class_name: Its class.
        path: As shown to people.

    Returns:
        What photos are sorted by.
    """
    return (*SPLIT_NAMES, "").index(split), class_name, path


def _look(file: _File) -> tuple[str, str]:
    """A file's content hash, or the reason why it is no photo."""
    try:
        data = file.read()
    except DataError as error:
        return "", str(error)
    reason = why_no_picture(data)
    return ("", reason) if reason else (_hash(data), "")


def why_no_picture(data: bytes) -> str:
    """Say why a file is no picture that handful takes, by its first bytes.

    Args:
        data: The whole file.

    Returns:
        A clause that follows the file's name, or "" for a picture.
    """
    if not data:
        return "is empty (0 bytes)"
    if sniff_format(data) is None:
        return f"is not a picture: it looks like {_looks(data[:512])}"
    return ""


def _looks(start: bytes) -> str:
    """What a file seems to be, in words."""
    if start[4:8] == b"ftyp":
        brand = _BRANDS.get(start[8:12])
        return (
            f"a {brand} picture, which is not supported; convert it to JPEG or PNG"
            if brand
            else "a video"
        )
    for magic, words in _LOOKS:
        if start.startswith(magic):
            return words
    if sniff_format(start):
        return "a single picture"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml")) and b"svg" in text:
        return "an SVG drawing; convert it to PNG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    printable = sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in start)
    return "text" if start and printable > 0.95 * len(start) else "data of an unknown kind"


def _starts(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(512)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason_of(error)}).") from error


def label_conflicts(index: ImageIndex) -> list[str]:
    """Find the same file in two classes.

    Args:
        index: N photos.

    Returns:
        A sentence for each copy whose class is not that of the first one.
    """
    first: dict[str, int] = {}
    lines = []
    for row, content_hash in enumerate(index.content_hashes):
        other = first.setdefault(content_hash, row)
        if index.labels[other] != index.labels[row]:
            names = [index.class_names[index.labels[place]] for place in (other, row)]
            lines.append(
                f"The same picture is labelled {names[0]} and {names[1]}: {index.paths[other]}, "
                f"{index.paths[row]}"
            )
    return lines


def check_classes(index: ImageIndex, least_classes: int = 2) -> None:
    """Refuse what cannot be learnt from, saying what was found.

    Args:
        index: N photos.
        least_classes: Classes there must be; with 2 or more, each part must have all of them.

    Raises:
        DataError: When photos or classes are missing.
    """
    source, names = index.source, index.class_names
    if not len(index):
        found = f"{len(index.rejected)} files, none of them a usable picture"
        if index.rejected:
            found += f": {index.rejected[0].path} {index.rejected[0].reason}"
        else:
            found = "no pictures"
        raise DataError(
            f"{source} has {found}. Expected a folder for each class with pictures in it."
        )
    if len(names) < least_classes:
        raise DataError(
            f'{source} has one class, "{names[0]}"; a classifier needs 2. Put the pictures of '
            "each class in a folder of their own."
        )
    if least_classes < 2:
        return
    for part in sorted(set(index.splits) - {""}):
        rows = [row for row, name in enumerate(index.splits) if name == part]
        present = set(index.labels[rows].tolist())
        absent = [name for number, name in enumerate(names) if number not in present]
        if absent:
            raise DataError(
                f"{source}: the {part} part has no picture of {_list(absent)}, which other parts "
                "have. Add pictures, or take the class out of all parts."
            )


def _absence(path: Path) -> str:
    """Why there is nothing to read at a place, as a clause; "" where there is something."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return f"does not exist{_near(path)}"
    except OSError as error:
        return f"cannot be read ({reason_of(error)})."
    except ValueError:
        return "does not exist: no file can have this name."
    return ""


def _near(path: Path) -> str:
    """A hint at something of a like name in the same folder, or a full stop."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return "."
    close = difflib.get_close_matches(path.name, names, 1)
    return f"; did you mean {path.parent / close[0]}?" if close else "."


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "none"


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
