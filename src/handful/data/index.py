"""Folder, zip or CSV -> which photos there are, what they are called and where they belong.

Formats are told by a file's first bytes, never by its name. Nothing is decoded or unpacked here.
"""

import difflib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.data.columns import (
    Column,
    DigestColumn,
    NameColumn,
    TextColumn,
    content_order,
    digest_column,
    equal_numbers,
    reader_column,
    take_readers,
)
from handful.data.formats import looks_like, why_not_read
from handful.data.found_files import FoundFiles
from handful.data.ignored import is_figure, is_ignored
from handful.data.inputs import PHOTOS, path_of
from handful.data.layout import arrange
from handful.data.part_names import SPLIT_NAMES
from handful.data.photo_tables import read_image_table
from handful.data.project_folder import is_project, list_labeled, list_photos
from handful.data.remote import list_remote, url_of
from handful.data.sources import Listing, list_folder, list_zip
from handful.data.storage import FoundFile, hash_content, read_file
from handful.data.target import ONE_CLASS, Target
from handful.display import Shown
from handful.engines.engine import Engine, LocalEngine, in_groups
from handful.errors import DataError, UsageError
from handful.files.atomic import open_regular, reason_of
from handful.wording import list_names, name_counts, number_of, printable

_FILES_A_GROUP = 16
_NAMED = 5
_ROWS_A_BLOCK = 16_384


@dataclass(frozen=True)
class RejectedFile:
    """A file that cannot be used.

    Args:
        path: As shown to people: relative to the source, with forward slashes.
        reason: A clause that follows the path: "is empty (0 bytes)".
    """

    path: str
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class ImageIndex(Shown):
    """N photos with their classes, in the order of split, class and path.

    Args:
        source: The folder, zip or CSV that was given.
        paths: (N,) as shown to people, unique.
        labels: (N, ...) as `target` has them: (N,) int64 index into `class_names`, -1 for
            unlabeled photos, where each is of one class.
        class_names: Sorted names of all classes of all splits.
        splits: (N,) "train", "validation", "test", or "" where none was given.
        content_hashes: (N,) BLAKE2b of each file's bytes, 32 hexadecimal characters.
        rejected: Files that cannot be used, each with its reason.
        warnings: What is odd but no obstacle.
        readers: (N,) functions from nothing to the file's bytes.
        groups: (N,) what a table's column "group" says: photos with the same text there (one
            animal, plant, day, patient) belong together; "" where nothing is known.
        target: What a label is.
    """

    source: Path
    paths: Sequence[str]
    labels: NDArray[Any]
    class_names: tuple[str, ...]
    splits: Sequence[str]
    content_hashes: Sequence[str]
    rejected: tuple[RejectedFile, ...]
    warnings: tuple[str, ...]
    readers: Sequence[partial[bytes]] = ()
    groups: Sequence[str] = ()
    target: Target = ONE_CLASS

    def __post_init__(self) -> None:
        paths = TextColumn.of(self.paths)
        groups = self.groups or NameColumn(np.zeros(len(paths), np.uint8), ("",))
        if len(groups) != len(paths):
            raise UsageError(f"{len(groups)} groups for {len(paths)} photos.")
        columns: dict[str, Sequence[Any]] = {
            "paths": paths,
            "splits": NameColumn.of(self.splits),
            "content_hashes": digest_column(self.content_hashes),
            "readers": reader_column(self.readers, paths),
            "groups": NameColumn.of(groups),
        }
        for name, column in columns.items():
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.paths)

    def _in_words(self) -> str:
        counts = dict(zip(self.class_names, self.class_counts().tolist(), strict=True))
        what = f" of {len(counts)} classes ({name_counts(counts)})" if counts else ""
        bad = f"; {number_of(len(self.rejected), 'file')} cannot be used" if self.rejected else ""
        return f"{number_of(len(self))}{what}, from {str(self.source)[-60:]}{bad}"

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
        return read_unchanged(self.readers[row], self.content_hashes[row])

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "ImageIndex":
        """Some of the photos; class names and rejects stay.

        Args:
            rows: Rows to take, in the order wanted.

        Returns:
            An index of them.
        """
        numbers = np.asarray(rows, dtype=np.int64)
        paths = TextColumn.of(self.paths).take(numbers)
        return replace(
            self,
            paths=paths,
            labels=self.labels[numbers],
            splits=_take(self.splits, numbers),
            content_hashes=_take(self.content_hashes, numbers),
            readers=take_readers(self.readers, numbers, paths),
            groups=_take(self.groups, numbers),
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
                f"{self.source} has the class{'es' * (len(unknown) > 1)} {list_names(unknown)}; "
                f"the classifier knows {list_names(class_names)}. Rename the folder, or leave it "
                "out."
            )
        labels = self.target.encode(self.label_names(), class_names)
        return replace(self, labels=labels, class_names=tuple(class_names))

    def label_names(self) -> list[str]:
        """What each photo's label says.

        Returns:
            N texts; "" for unlabeled photos.
        """
        return self.target.decode(self.labels, self.class_names)

    def members(self) -> NDArray[np.bool_]:
        """Which photo is of which class.

        Returns:
            (N, C) bool.
        """
        return self.target.members(self.labels, len(self.class_names))

    def class_counts(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Number of photos of each class.

        Args:
            rows: Photos to count; None counts all.

        Returns:
            (C,) int64.
        """
        labels = self.labels if rows is None else self.labels[rows]
        counts = np.zeros(len(self.class_names), np.int64)
        for first in range(0, len(labels), _ROWS_A_BLOCK):
            block = labels[first : first + _ROWS_A_BLOCK]
            counts += self.target.members(block, len(counts)).sum(axis=0)
        return counts

    def strata(self) -> NDArray[np.int64]:
        """What splits are stratified by.

        Returns:
            (N,) int64: the class, where each photo is of one.
        """
        return self.target.strata(self.labels)

    def rows_of(self, part: str) -> NDArray[np.int64]:
        """Rows of the photos that came in a part.

        Args:
            part: "train", "validation", "test", or "".

        Returns:
            (n,) int64 rows in order.
        """
        return np.flatnonzero(np.fromiter((name == part for name in self.splits), bool))

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of photos by split and class.

        Returns:
            Split ("all" where none was given) to class name to number.
        """
        result: dict[str, dict[str, int]] = {}
        for part in (*SPLIT_NAMES, ""):
            rows = self.rows_of(part)
            if len(rows):
                numbers = self.class_counts(rows)
                result[part or "all"] = dict(zip(self.class_names, numbers.tolist(), strict=True))
        return result

    def digest(self) -> str:
        """Identity of the data: contents, classes, splits, groups, whatever the names and places.

        Returns:
            32 hexadecimal characters.
        """
        hasher = hashlib.blake2b(digest_size=16)
        order = content_order(self.content_hashes)
        for first, end in self._spans_by_content(order):
            part = self.select(order[first:end])
            lines = sorted(
                f"{content_hash}\t{label}\t{split}" + (f"\t{group}" if group else "")
                for content_hash, label, split, group in zip(
                    part.content_hashes, part.label_names(), part.splits, part.groups, strict=True
                )
            )
            text = "\n" * (first > 0) + "\n".join(lines)
            hasher.update(text.encode("utf-8", "surrogatepass"))
        return hasher.hexdigest()

    def _spans_by_content(self, order: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Spans of an order by content, copies always in one."""
        first = 0
        while first < len(order):
            end = min(first + _ROWS_A_BLOCK, len(order))
            last = self.content_hashes[order[end - 1]]
            while end < len(order) and self.content_hashes[order[end]] == last:
                end += 1
            yield first, end
            first = end


def _take(values: Sequence[Any], rows: NDArray[np.int64]) -> Sequence[Any]:
    """Some of the values of a column, or of what cannot be one."""
    return values.take(rows) if isinstance(values, Column) else [values[row] for row in rows]


def load_index(
    source: str | Path,
    *,
    least_classes: int = 2,
    target: Target = ONE_CLASS,
    engine: Engine | None = None,
) -> ImageIndex:
    """Index labeled photos.

    Args:
        source: A folder of class folders, or of `train/`, `validation/` and `test/` (or other
            names in use for these) with class folders in each; a zip of either; a CSV with the
            columns path, label and, if wanted, split and group; or the folder of a project.
            Folders around all are seen through. A folder may lie in a bucket: "s3://bucket/photos".
        least_classes: Classes there must be.
        target: What a label is, and how a folder or a table says it.
        engine: What reads the files; None takes threads of this process.

    Returns:
        The index.

    Raises:
        DataError: When there is nothing a classifier could be made of; says what and why.
    """
    path = path_of(source, "photos", PHOTOS)
    url = url_of(path)
    shown = url or path
    if not url and (absence := _absence(path)):
        raise DataError(f"{path} {absence}")
    warnings: list[str] = []
    outside: list[str] = []
    files: Sequence[FoundFile]
    if path.suffix.lower() in (".csv", ".tsv") and not path.is_dir():
        files, warnings = read_image_table(
            path, is_for_learning=least_classes > 1, may_be_several=target.is_several
        )
    elif is_project(path):
        files, warnings = list_labeled(path)
    elif url or path.is_dir() or (start := _starts(path)).startswith(b"PK"):
        listing = _listing(path, url)
        try:
            layout = arrange(listing.files, listing.empty)
        except DataError as error:
            raise DataError(f"{shown} {printable(str(error))}") from None
        files, outside = layout.files, layout.outside
        warnings = [*_say_listing(listing), *layout.warnings]
    else:
        raise DataError(
            f"{path} is {looks_like(start)}; expected a folder of class folders, a zip, or a "
            "CSV with path,label."
        )
    rejected = [RejectedFile(name, "lies outside every class folder") for name in outside]
    index = _build(path, files, rejected, warnings, target, engine)
    check_classes(index, least_classes)
    return index


def _listing(path: Path, url: str) -> Listing:
    """What a bucket's folder, a folder or a zip holds."""
    if url:
        return list_remote(url)
    return list_folder(path) if path.is_dir() else list_zip(path)


def load_unlabeled(sources: str | Path | Sequence[str | Path]) -> ImageIndex:
    """Index photos to be named by a classifier.

    Args:
        sources: Files, folders (searched to any depth), zips and projects, or folders and files in
            a bucket, such as "s3://bucket/photos"; or one of them.

    Returns:
        An index without classes. What cannot be used, or does not exist, is in its `rejected`.

    Raises:
        UsageError: When nothing was given, or something that is no path.
    """
    files, rejected = find_unlabeled(sources)
    return _build(sources_of(sources)[0], files, rejected, [], ONE_CLASS, keep_order=True)


def sources_of(sources: str | Path | Sequence[str | Path]) -> list[Path]:
    """List where photos to be named lie.

    Args:
        sources: As for `load_unlabeled`.

    Returns:
        A path for each; whether something is there is not looked at.

    Raises:
        UsageError: When nothing was given, or something that is no path.
    """
    expected = "files, folders or zips"
    listed = [sources] if isinstance(sources, str | os.PathLike) else sources
    if not isinstance(listed, list | tuple):
        return [path_of(sources, "photos", expected)]
    if not listed or "" in listed:
        raise UsageError(f"no photos were given; expected {expected}.")
    return [path_of(one, "photos", expected) for one in listed]


def find_unlabeled(
    sources: str | Path | Sequence[str | Path],
) -> tuple[list[FoundFile], list[RejectedFile]]:
    """Find photos to be named, without a look into them.

    Args:
        sources: As for `load_unlabeled`.

    Returns:
        Files, and what cannot be used or does not exist.

    Raises:
        UsageError: As for `load_unlabeled`.
    """
    files: list[FoundFile] = []
    rejected: list[RejectedFile] = []
    # Shells name the system's folders too, where all is asked for.
    named = sources_of(sources)
    for source in [path for path in named if not is_ignored(path.name, hidden=False)] or named:
        url = url_of(source)
        absence = "" if url else _absence(source)
        if not url and not absence and source.resolve() == Path(source.resolve().anchor):
            absence = "is the whole disk; name a folder of photos"
        if absence:
            rejected.append(RejectedFile(str(source), absence))
            continue
        shown = url or str(source)
        try:
            listing = _unlabeled(source, url)
        except DataError as error:
            rejected.append(RejectedFile(shown, str(error).removeprefix(f"{shown} ")))
            continue
        files += listing.files
        if not listing.files and not listing.unreadable:
            rejected.append(RejectedFile(shown, "has no photos in it"))
        rejected += [RejectedFile(path, reason) for path, reason in listing.unreadable.items()]
        rejected += [
            RejectedFile(path, "is there several times; the last file of this name was taken")
            for path in listing.repeated
        ]
    return files, rejected


def _unlabeled(source: Path, url: str) -> Listing:
    """What a folder or a zip holds, or the one file that is given; paths begin with its own."""
    if url:
        return list_remote(url).below(url)
    if is_project(source):
        return Listing(list_photos(source))
    if source.is_dir():
        listing = list_folder(source)
    elif _starts(source)[:4] == b"PK\x03\x04":
        listing = list_zip(source)
    else:
        return Listing([FoundFile(str(source), partial(read_file, source))])
    return listing.below(str(source))


def _say_listing(listing: Listing) -> list[str]:
    """A sentence on each folder that is missing from what was found, and on files that are."""
    lines = [
        f"The folder {path} {why}, so its photos are missing; check its permissions"
        for path, why in listing.unreadable.items()
    ]
    lines += [
        f"The folder {path} is {known} again, so its photos are counted there"
        for path, known in listing.linked.items()
    ]
    if listing.repeated:
        lines.append(
            "The archive holds several files under one name, of which the last counts: "
            f"{list_names(listing.repeated)}"
        )
    return lines


def _build(
    source: Path,
    files: Sequence[FoundFile],
    rejected: list[RejectedFile],
    warnings: list[str],
    target: Target,
    engine: Engine | None = None,
    *,
    keep_order: bool = False,
) -> ImageIndex:
    """Look into each file."""
    found = FoundFiles.of(files)
    class_names = target.class_names(found.class_names)
    if not keep_order:
        found = found.take(_sorted_rows(found))
    digests, reasons = _look_into(found, engine or LocalEngine())
    bad = [RejectedFile(found.paths[row], reason) for row, reason in reasons.items()]
    if reasons:
        rows = np.setdiff1d(np.arange(len(found)), [*reasons])
        found, digests = found.take(rows), digests[rows]
    index = ImageIndex(
        source,
        found.paths,
        target.encode(found.class_names, class_names),
        class_names,
        found.splits,
        DigestColumn(digests),
        (*rejected, *bad),
        tuple(warnings),
        found.readers,
        found.groups,
        target,
    )
    return replace(index, warnings=(*warnings, *_look_alikes(class_names), *label_conflicts(index)))


def _look_alikes(class_names: Sequence[str]) -> list[str]:
    """A sentence on classes whose names differ in case or spaces alone."""
    alike: dict[str, list[str]] = {}
    for name in class_names:
        alike.setdefault("".join(name.casefold().split()), []).append(name)
    return [
        f"The classes {list_names(names)} differ in capitals or spaces alone; give them one name "
        "if they are one class"
        for names in alike.values()
        if len(names) > 1
    ]


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


def read_unchanged(read: partial[bytes], content_hash: str) -> bytes:
    """Read a photo's file, as long as it is what it was.

    Args:
        read: From nothing to the file's bytes.
        content_hash: Of the bytes that are expected.

    Returns:
        The file's bytes.

    Raises:
        DataError: When it cannot be read or has changed; a clause that follows the path.
    """
    data = read()
    if hash_content(data) != content_hash:
        raise DataError("has changed while it was being used")
    return data


def _sorted_rows(files: FoundFiles) -> NDArray[np.int64]:
    """Rows by `sort_key`; paths are sorted for one class at a time, as they are texts for that."""
    pairs = [
        sort_key(split, name, "")
        for split in files.splits.names
        for name in files.class_names.names
    ]
    place = {pair: number for number, pair in enumerate(sorted(pairs))}
    places = np.array([place[pair] for pair in pairs], np.int64)
    kinds = files.splits.codes.astype(np.int64) * len(files.class_names.names)
    kinds = places[kinds + files.class_names.codes]
    order = np.argsort(kinds, kind="stable")
    ends = np.cumsum(np.bincount(kinds, minlength=len(pairs)))
    for start, end in pairwise([0, *ends.tolist()]):
        order[start:end] = sorted(order[start:end].tolist(), key=files.paths.value)
    return order


def _look_into(files: FoundFiles, engine: Engine) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Content hash of each file (N, 16), and the reasons why some are no photos, by row."""
    digests, reasons = np.zeros((len(files), 16), np.uint8), {}
    for number, looked in engine.map(_Looking(), in_groups(files, _FILES_A_GROUP)):
        for row, (found, reason) in enumerate(looked, number * _FILES_A_GROUP):
            if reason:
                reasons[row] = reason
            else:
                digests[row] = np.frombuffer(bytes.fromhex(found), np.uint8)
    return digests, dict(sorted(reasons.items()))


class _Looking:
    """Reads files, wherever an engine wants it."""

    def __call__(self, group: Sequence[FoundFile]) -> list[tuple[str, str]]:
        return [self._look(file) for file in group]

    def give_up(self, item: FoundFile, reason: str) -> tuple[str, str]:
        return "", reason

    def _look(self, file: FoundFile) -> tuple[str, str]:
        try:
            data = file.read()
        except DataError as error:
            return "", str(error)
        reason = why_no_image(data)
        return ("", reason) if reason else (hash_content(data), "")


def why_no_image(data: bytes) -> str:
    """Say why a file is no picture that handful takes, by its first bytes.

    Args:
        data: The whole file.

    Returns:
        A clause that follows the file's name, or "" for a picture.
    """
    return "is a figure that handful drew" if is_figure(data) else why_not_read(data)


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
    numbers = equal_numbers(index.content_hashes)
    _, firsts, places = np.unique(numbers, return_index=True, return_inverse=True)
    copies = np.flatnonzero(firsts[places] != np.arange(len(index)))
    pairs = np.stack([firsts[places[copies]], copies], axis=1)
    names = dict(
        zip(pairs.ravel().tolist(), index.select(pairs.ravel()).label_names(), strict=True)
    )
    return [
        f"The same photo is labeled {names[other]} and {names[row]}: "
        f"{index.paths[other]}, {index.paths[row]}"
        for other, row in pairs.tolist()
        if names[other] != names[row]
    ]


def check_classes(index: ImageIndex, least_classes: int = 2) -> None:
    """Refuse what cannot be learned from, saying what was found.

    Args:
        index: N photos.
        least_classes: Classes there must be; with 2 or more, each part must have all of them.

    Raises:
        DataError: When photos or classes are missing.
    """
    source, names = index.source, index.class_names
    notes = "".join(f" {line}." for line in index.warnings[:_NAMED])
    if len(index) and index.rejected:
        first = index.rejected[0]
        notes += f" {len(index.rejected)} files cannot be used: {first.path} {first.reason}."
    if not len(index):
        found = f"{len(index.rejected)} files, none of them a usable photo"
        if index.rejected:
            found += f": {index.rejected[0].path} {index.rejected[0].reason}"
        else:
            found = "no photos"
        raise DataError(
            f"{source} has {found}. Expected a folder for each class with photos in it.{notes}"
        )
    if len(names) < least_classes:
        raise DataError(
            f'{source} has one class, "{names[0]}"; a classifier needs 2. Put the photos of '
            f"each class in a folder of their own.{notes}"
        )
    if least_classes < 2:
        return
    for part in sorted(set(index.splits) - {""}):
        numbers = index.class_counts(index.rows_of(part)).tolist()
        absent = [name for name, number in zip(names, numbers, strict=True) if not number]
        if absent:
            raise DataError(
                f"{source}: the {part} part has no photo of {list_names(absent)}, which other "
                f"parts have. Add photos, or take the class out of all parts.{notes}"
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
