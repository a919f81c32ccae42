"""A project's folder, read: which photos there are, where they lie, and what they are.

This is what every command takes a project for. Whoever changes a project is in `projects`.
"""

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from handful.data.label_log import LabelState
from handful.data.storage import FoundFile, ZipFiles, read_file, read_known
from handful.errors import DataError
from handful.files.atomic import MALFORMED, explain_damage, read_json
from handful.files.json_lines import JsonLines
from handful.wording import number_of

PROJECT_FILE, PHOTOS_FILE, LABELS_FILE = "project.json", "photos.jsonl", "labels.jsonl"
PROJECT_FORMAT, PROJECT_VERSION = "handful project", 1
SourceKind = Literal["folder", "zip", "file"]


@dataclass(frozen=True)
class PhotoPlace:
    """A file that was looked into.

    Args:
        source: Number of the source that it was found in.
        path: Its place there, with forward slashes; "" where the source is the file itself.
        stamp: Size in bytes and time of its last change, in nanoseconds; of a member of an
            archive, those of the archive.
        id: Content hash of its bytes, 32 hexadecimal characters; "" for what is no photo.
        reason: Why it is none, as a clause; "" for a photo.
        width: Pixels, upright.
        height: Pixels, upright.
        taken: When, as "2025-06-01T12:30:00" of the camera's clock; else of the file's last change.
    """

    source: int
    path: str
    stamp: tuple[int, int]
    id: str = ""
    reason: str = ""
    width: int = 0
    height: int = 0
    taken: str = ""

    def to_entry(self) -> dict[str, Any]:
        """Plain values for a line of the log.

        Returns:
            What docs/file-formats.md has.
        """
        entry: dict[str, Any] = {"op": "photo", "source": self.source, "path": self.path}
        entry["stamp"] = list(self.stamp)
        if self.reason:
            return {**entry, "reason": self.reason}
        size = [self.width, self.height]
        return {**entry, "id": self.id, "size": size, "taken": self.taken}


def _place_of(entry: dict[str, Any]) -> PhotoPlace:
    size, changed = map(int, entry["stamp"])
    width, height = map(int, entry.get("size", (0, 0)))
    id, reason, taken = (str(entry.get(name, "")) for name in ("id", "reason", "taken"))
    source, path = int(entry["source"]), str(entry["path"])
    return PhotoPlace(source, path, (size, changed), id, reason, width, height, taken)


@dataclass
class PhotoList:
    """Sources and the files in them, after some lines of the log.

    Args:
        sources: Path, relative to the project's folder or absolute, and kind of each.
        places: By source and path, in the order found; files that are gone are not in it.
        ids: Ids of all photos in the order found, whether they are still there or not.
        refused: Id to the reason why a photo turned out not to be readable.
    """

    sources: list[tuple[str, SourceKind]] = field(default_factory=list)
    places: dict[tuple[int, str], PhotoPlace] = field(default_factory=dict)
    ids: dict[str, None] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def apply(self, entry: dict[str, Any]) -> None:
        """Take the next line of the log.

        Args:
            entry: One of docs/file-formats.md.

        Raises:
            ValueError: When it is none.
        """
        op = entry.get("op")
        if op == "source":
            self.sources.append((str(entry["path"]), entry["kind"]))
        elif op == "photo":
            place = _place_of(entry)
            self.places[place.source, place.path] = place
            if place.id:
                self.ids.setdefault(place.id)
        elif op == "gone":
            self.places.pop((entry["source"], entry["path"]), None)
        elif op == "refuse":
            self.refused[entry["id"]] = str(entry["reason"])
        else:
            raise ValueError(f"{op!r} is nothing that this version knows")

    def by_id(self) -> dict[str, list[PhotoPlace]]:
        """Where each readable photo lies.

        Returns:
            Id to its places, the first found first; in the order of `ids`.
        """
        found: dict[str, list[PhotoPlace]] = {id: [] for id in self.ids}
        for place in self.places.values():
            if place.id:
                found[place.id].append(place)
        return {id: places for id, places in found.items() if places and id not in self.refused}


class PlaceReader:
    """Reads files of a project's sources; from any number of threads.

    Args:
        folder: The project's.
        photos: Its sources.
    """

    def __init__(self, folder: Path, photos: PhotoList) -> None:
        self.folder, self._photos = folder, photos

    def root(self, source: int) -> Path:
        """Where a source lies.

        Args:
            source: Its number.

        Returns:
            Its path, as seen from where the project's folder is seen.
        """
        return Path(os.path.normpath(self.folder / self._photos.sources[source][0]))

    def file(self, place: PhotoPlace) -> Path:
        """Where a file lies; a member of an archive as if that were a folder.

        Args:
            place: The file.

        Returns:
            Its path.
        """
        return self.root(place.source) / place.path

    def name(self, place: PhotoPlace) -> str:
        """What to call a file: its path from the folder around the project, or from the top.

        Args:
            place: The file.

        Returns:
            A path with forward slashes.
        """
        around = os.path.abspath(self.folder.parent)
        path = Path(os.path.abspath(self.file(place)))
        return (path.relative_to(around) if path.is_relative_to(around) else path).as_posix()

    def read(self, place: PhotoPlace, first: int | None = None) -> bytes:
        """Read a file.

        Args:
            place: The file.
            first: As for `read_file`.

        Returns:
            Its bytes, whatever they are now.

        Raises:
            DataError: When it cannot be read; a clause.
        """
        path, name = self._plain(place)
        return ZipFiles(path)(name, first) if name else read_file(path, first)

    def photo(self, places: list[PhotoPlace]) -> partial[bytes]:
        """How a photo is read, from the first of its places where it still is.

        Args:
            places: Of one photo; one or more.

        Returns:
            As `FoundFile.read`; the bytes are the same as when it was found.
        """
        return partial(read_known, places[0].id, tuple(map(self._plain, places)))

    def _plain(self, place: PhotoPlace) -> tuple[Path, str]:
        """A file and "", or an archive and a name in it."""
        if self._photos.sources[place.source][1] == "zip":
            return self.root(place.source), place.path
        return self.file(place), ""


def is_project(path: Path) -> bool:
    """Tell whether a folder is a project's.

    Args:
        path: Any path.

    Returns:
        Whether a project's file is in it.
    """
    file = path / PROJECT_FILE
    try:
        return f'"format": "{PROJECT_FORMAT}"'.encode() in read_file(file, 512)
    except DataError:
        return False


def check_project_file(folder: Path) -> dict[str, Any]:
    """Read the file that says that a folder is a project's.

    Args:
        folder: The project's.

    Returns:
        What it says.

    Raises:
        DataError: When it is none, or of a version that is not known.
    """
    file = folder / PROJECT_FILE
    try:
        value = read_json(file, 1_000_000)
        if value["format"] != PROJECT_FORMAT:
            raise ValueError("it is of another kind")
        version = int(value["format_version"])
    except FileNotFoundError:
        raise DataError(
            f"{folder} is no project of handful's: there is no {PROJECT_FILE} in it."
        ) from None
    except MALFORMED as error:
        raise DataError(
            f"{folder} is no project of handful's: {file} cannot be used ({explain_damage(error)})."
        ) from error
    if version > PROJECT_VERSION:
        raise DataError(
            f"{folder} was made by a newer version of handful (project format {version}, this one "
            f"knows {PROJECT_VERSION}); use that version."
        )
    return value


def read_project(folder: Path) -> tuple[PhotoList, LabelState]:
    """Read what photos a project has and what they are.

    Args:
        folder: The project's.

    Returns:
        Its photos and its labels.

    Raises:
        DataError: When it is no project, or its logs cannot be read.
    """
    check_project_file(folder)
    photos, labels = PhotoList(), LabelState()
    JsonLines(folder / PHOTOS_FILE).apply_new(photos.apply)
    JsonLines(folder / LABELS_FILE).apply_new(labels.apply)
    return photos, labels


def list_labeled(folder: Path) -> tuple[list[FoundFile], list[str]]:
    """Find the photos of a project that have a class.

    Args:
        folder: The project's.

    Returns:
        Each once, whether it can be read or not; and what is odd.

    Raises:
        DataError: When there are none, or the project cannot be read.
    """
    photos, state = read_project(folder)
    labels, by_id = state.labels(), photos.by_id()
    if not any(id in labels for id in by_id):
        raise DataError(
            f"{folder} is a project with {number_of(len(by_id))}, none of them sorted into a "
            "class yet; sort some first."
        )
    reader = PlaceReader(folder, photos)
    found = [
        FoundFile(reader.name(places[0]), reader.photo(places), labels[id])
        for id, places in by_id.items()
        if id in labels
    ]
    num_unsorted = sum(id not in labels and not state.is_left_out(id) for id in by_id)
    if not num_unsorted:
        return found, []
    return found, [
        f"{number_of(num_unsorted)} of {folder} {'is' if num_unsorted == 1 else 'are'} not sorted "
        "yet; where those that are were chosen for being hard or easy, so are the figures"
    ]


def list_photos(folder: Path) -> list[FoundFile]:
    """Find the photos of a project, sorted or not, but those left out.

    Args:
        folder: The project's.

    Returns:
        Each once, by its path.

    Raises:
        DataError: When the project cannot be read.
    """
    photos, state = read_project(folder)
    reader = PlaceReader(folder, photos)
    return [
        FoundFile(str(reader.file(places[0])), reader.photo(places))
        for id, places in photos.by_id().items()
        if not state.is_left_out(id)
    ]
