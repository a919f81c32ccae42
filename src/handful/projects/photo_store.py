"""Which photos a project has and where they lie: a log that only grows, shared by processes."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handful.data.decoding import read_header
from handful.data.index import RejectedFile
from handful.data.project_folder import (
    PHOTOS_FILE,
    PhotoList,
    PhotoPlace,
    PlaceReader,
    is_project,
)
from handful.data.storage import MAX_PICTURE_BYTES, hash_content
from handful.errors import DataError, UsageError
from handful.files.atomic import new_file
from handful.files.json_lines import JsonLines
from handful.projects import scanning
from handful.reporting import Progress

OWN_PHOTOS = "photos"
ZIPS_FOLDER = "zips"  # dropped on a page; sources like any other
_A_BATCH = 256
_ENDINGS = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG 2000": ".jp2"}


@dataclass(frozen=True)
class ProjectPhoto:
    """A photo of a project.

    Args:
        id: Hash of its bytes, 32 hexadecimal characters: the same wherever the file lies.
        name: Its file's name.
        path: From the folder around the project, or from the top of the disk; forward slashes.
        taken: When: "2025-06-01T12:30:00", by the camera's clock or the file's last change.
        width: Pixels, upright.
        height: Pixels, upright.
        num_bytes: Size of the file, or of the archive that it lies in.
        copies: Paths of further files with the same bytes.
    """

    id: str
    name: str
    path: str
    taken: str
    width: int
    height: int
    num_bytes: int
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Added:
    """What looking through sources found.

    Args:
        ids: Photos that were not known, in order.
        known: Number of files whose photos were known before.
        rejected: Files that are no photos, each with its reason; and sources that are not there.
        gone: Number of files that are not there any more.
    """

    ids: tuple[str, ...] = ()
    known: int = 0
    rejected: tuple[RejectedFile, ...] = ()
    gone: int = 0


class PhotoStore:
    """Photos that are taken where they lie, and those that were dropped.

    Nothing outside the folder is ever written. Safe to use from any number of threads.

    Args:
        folder: The project's.

    Raises:
        DataError: When the log cannot be read or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines = JsonLines(folder / PHOTOS_FILE)
        self._list = PhotoList()
        self._reader = PlaceReader(folder, self._list)
        self._lock = threading.RLock()
        self._shown: tuple[int, dict[str, list[PhotoPlace]], tuple[ProjectPhoto, ...]] | None = None
        self._refresh_list()

    @property
    def version(self) -> int:
        """A number that grows with each change of `photos`, the same in all processes."""
        self._refresh_list()
        return self._lines.position

    @property
    def photos(self) -> tuple[ProjectPhoto, ...]:
        """All photos, those left out too, in the order in which they were added."""
        return self._current()[2]

    @property
    def rejected(self) -> tuple[RejectedFile, ...]:
        """Files in the sources that are no photos or cannot be read, each with its reason."""
        with self._lock:
            self._refresh_list()
            bad = []
            for place in self._list.places.values():
                if reason := place.reason or self._list.refused.get(place.id, ""):
                    bad.append(RejectedFile(self._reader.name(place), reason))
            return tuple(bad)

    @property
    def sources(self) -> tuple[Path, ...]:
        """Folders, archives and files that its photos lie in; the first is the project's own."""
        with self._lock:
            self._refresh_list()
            return tuple(self._reader.root(number) for number in range(len(self._list.sources)))

    def read(self, id: str) -> bytes:
        """Read a photo.

        Args:
            id: The photo.

        Returns:
            Its file's bytes, the same as when it was added.

        Raises:
            DataError: When it is gone or has changed; a clause.
            UsageError: When there is no such photo.
        """
        return self._reader.photo(self._places(id))()

    def add_source(self, path: str | Path, progress: Progress | None = None) -> Added:
        """Take the photos of a folder, an archive or a file, where they lie.

        Args:
            path: A folder, searched to any depth, a zip or a photo. One that was added before is
                looked through again.
            progress: Called with (files looked into, files in all).

        Returns:
            What was found; it is in the project as the search goes on.

        Raises:
            DataError: When there is nothing, or nothing that can be a source.
            OutputError: When the project cannot be written.
        """
        root = Path(os.path.abspath(path))
        self._refuse_source(Path(path), root)
        kind = scanning.kind_of(root)
        with self._lock, self._lines.locked():
            self._lines.apply_new(self._list.apply)
            number = self._source_number(root)
            if number is None:
                number = len(self._list.sources)
                entry = {"op": "source", "path": self._portable(root), "kind": kind}
                self._append_locked([entry])
        return self._scan([number], progress)

    def refresh(self, progress: Progress | None = None) -> Added:
        """Look through all sources again, for files that are new, changed or gone.

        Args:
            progress: As for `add_source`; known files are not looked into.

        Returns:
            What was found. Photos of a source that is not there (a disk that is not plugged in)
            stay in the project.
        """
        with self._lock:
            self._refresh_list()
            numbers = range(len(self._list.sources))
        return self._scan(numbers, progress)

    def folder_classes(self, path: str | Path) -> dict[str, tuple[str, ...]]:
        """What a source's folders say that its photos are, where they are class folders.

        No label is given: that is for whoever is asked.

        Args:
            path: A folder or an archive that was added.

        Returns:
            Class to the ids of its photos; empty where the folders are no classes.

        Raises:
            DataError: When it cannot be read.
            UsageError: When it is no source.
        """
        number = self._source_number(Path(os.path.abspath(path)))
        if number is None:
            raise UsageError(f"{path} is no source of {self.folder}; add it first.")
        named = scanning.class_names(self._reader.root(number), self._list.sources[number][1])
        by_id = self._current()[1]
        found: dict[str, dict[str, None]] = {}
        with self._lock:
            for file, class_name in named.items():
                place = self._list.places.get((number, file))
                if place is not None and place.id in by_id:
                    found.setdefault(class_name, {})[place.id] = None
        return {name: tuple(found[name]) for name in sorted(found)}

    def keep(self, name: str, data: bytes, check: Callable[[str, bytes], Any]) -> str:
        """Keep a photo that is no file here.

        Args:
            name: Its file's name, which may be anything.
            data: Its bytes.
            check: Called with its id and bytes before it is kept; a DataError refuses it.

        Returns:
            Its id; the same as before for a photo that is there already.

        Raises:
            DataError: When it is no photo that can be used; names it.
            OutputError: When it cannot be written.
        """
        id = hash_content(data)
        if id in self._current()[1]:
            return id
        shown = plain_file_name(name)
        try:
            if len(data) > MAX_PICTURE_BYTES:
                raise DataError(f"is larger than {MAX_PICTURE_BYTES / 1e6:.0f} MB")
            place = scanning.describe(data, PhotoPlace(0, "", (len(data), time.time_ns())))
            check(id, data)
            ending = _ENDINGS.get(kind := read_header(data).format, f".{kind.lower()}")
        except DataError as error:
            raise DataError(f"{shown} {error}") from error
        stem = shown.rpartition(".")[0] or shown
        file = self.folder / OWN_PHOTOS / f"{stem}{_mark(id)}{ending}"
        with new_file(file, replace=True) as part:
            part.write_bytes(data)
        status = file.stat()
        stamp = status.st_size, status.st_mtime_ns
        self._append([replace(place, path=file.name, stamp=stamp).to_entry()])
        return id

    def refuse(self, id: str, reason: str) -> None:
        """Note that a photo cannot be decoded, which was found out later.

        Args:
            id: The photo; it is in `rejected` from now on.
            reason: Why, as a clause.
        """
        self._places(id)
        self._append([{"op": "refuse", "id": id, "reason": reason}])

    def _refresh_list(self) -> None:
        if self._lines.has_more():
            with self._lock:
                self._lines.apply_new(self._list.apply)

    def _current(self) -> tuple[int, dict[str, list[PhotoPlace]], tuple[ProjectPhoto, ...]]:
        """Places and photos of the list as it is now, made once for each version."""
        with self._lock:
            self._refresh_list()
            if self._shown is None or self._shown[0] != self._lines.position:
                by_id = self._list.by_id()
                photos = tuple(self._photo(places) for places in by_id.values())
                self._shown = self._lines.position, by_id, photos
            return self._shown

    def _photo(self, places: Sequence[PhotoPlace]) -> ProjectPhoto:
        first = places[0]
        path, *copies = (self._reader.name(place) for place in places)
        name = path.rpartition("/")[2]
        if first.source == 0:
            # What `keep` has put between name and ending is there so that two may be called alike.
            name = name.replace(_mark(first.id) + ".", ".")
        return ProjectPhoto(
            first.id,
            name,
            path,
            first.taken,
            first.width,
            first.height,
            first.stamp[0],
            tuple(copies),
        )

    def _places(self, id: str) -> list[PhotoPlace]:
        found = self._current()[1].get(id)
        if found is None:
            raise UsageError(f"{self.folder} has no photo {id!r}.")
        return found

    def _refuse_source(self, path: Path, root: Path) -> None:
        if not os.path.lexists(root):
            raise DataError(f"{path} does not exist.")
        if root == Path(root.anchor):
            raise DataError(f"{path} is the whole disk; name a folder of photos.")
        own = Path(os.path.abspath(self.folder))
        if root.is_relative_to(own) and root.parent != own / ZIPS_FOLDER:
            raise DataError(f"{path} is in the project's own folder; its photos are there already.")
        if is_project(root):
            raise DataError(f"{path} is a project; give the folder that its photos lie in.")

    def _portable(self, root: Path) -> str:
        """A source's path: from the project's folder where they may move together."""
        own = Path(os.path.abspath(self.folder))
        if root == own.parent or root.is_relative_to(own.parent):
            return Path(os.path.relpath(root, own)).as_posix()
        return root.as_posix()

    def _source_number(self, root: Path) -> int | None:
        for number in range(len(self._list.sources)):
            if Path(os.path.abspath(self._reader.root(number))) == root:
                return number
        return None

    def _scan(self, numbers: Iterable[int], progress: Progress | None) -> Added:
        """Look through sources, and write down what is new as it is found."""
        new, gone, rejected = [], [], []
        with self._lock:
            known = dict(self._list.places)
        for number in numbers:
            root, kind = self._reader.root(number), self._list.sources[number][1]
            try:
                listing = scanning.list_source(number, root, kind)
            except DataError as error:
                # Whose disk is not there today is asked tomorrow.
                rejected.append(RejectedFile(str(root), str(error).removeprefix(f"{root} ")))
                continue
            rejected += [RejectedFile(str(root / p), why) for p, why in listing.unreadable.items()]
            here = {place.path for place in listing.places}
            new += [place for place in listing.places if _is_new(place, known)]
            gone += [key for key in known if key[0] == number and key[1] not in here]
        self._append([{"op": "gone", "source": source, "path": path} for source, path in gone])
        return self._look_into(new, len(gone), rejected, progress)

    def _look_into(
        self,
        places: list[PhotoPlace],
        gone: int,
        rejected: list[RejectedFile],
        progress: Progress | None,
    ) -> Added:
        before = set(self._list.ids)
        ids: dict[str, None] = {}
        batch: list[PhotoPlace] = []
        num_known = 0
        try:
            for number, place in enumerate(scanning.look_into(places, self._reader), 1):
                batch.append(place)
                if place.reason:
                    rejected.append(RejectedFile(self._reader.name(place), place.reason))
                elif place.id in before or place.id in ids:
                    num_known += 1
                else:
                    ids[place.id] = None
                if len(batch) >= _A_BATCH:
                    self._append([found.to_entry() for found in batch])
                    batch = []
                if progress is not None:
                    progress(number, len(places))
        finally:
            self._append([found.to_entry() for found in batch])
        return Added(tuple(ids), num_known, tuple(rejected), gone)

    def _append(self, entries: list[dict[str, Any]]) -> None:
        if entries:
            with self._lock, self._lines.locked():
                self._lines.apply_new(self._list.apply)
                self._append_locked(entries)

    def _append_locked(self, entries: list[dict[str, Any]]) -> None:
        self._lines.append(entries)
        for entry in entries:
            self._list.apply(entry)


def _mark(id: str) -> str:
    return f"-{id[:8]}"


def _is_new(place: PhotoPlace, known: dict[tuple[int, str], PhotoPlace]) -> bool:
    found = known.get((place.source, place.path))
    return found is None or found.stamp != place.stamp


def plain_file_name(name: str) -> str:
    """Make a file's name of what a browser says one is.

    Args:
        name: Any text.

    Returns:
        Its last part, in letters, digits and ._- alone; "photo" where none is left.
    """
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^\w.-]+", "_", last, flags=re.ASCII).strip("._-")
    return plain[-60:].lstrip("._-") or "photo"
