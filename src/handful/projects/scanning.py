"""What lies in a project's sources: files are listed with their stamps, and looked into."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from handful.data.decoding import DecodeSettings, check_cost, decoding_cost, read_header
from handful.data.index import why_no_image
from handful.data.layout import arrange
from handful.data.project_folder import PhotoPlace, PlaceReader, SourceKind
from handful.data.sources import list_folder, list_zip
from handful.data.storage import hash_content
from handful.errors import DataError
from handful.files.atomic import open_regular, reason_of

_THREADS = 4


@dataclass(frozen=True)
class SourceListing:
    """What lies in a source now.

    Args:
        places: Files with their stamps, not looked into.
        unreadable: Paths of folders in it that cannot be read, each with a clause that says why.
    """

    places: list[PhotoPlace]
    unreadable: dict[str, str]


def kind_of(path: Path) -> SourceKind:
    """Tell what a source is.

    Args:
        path: A folder or a file.

    Returns:
        Its kind; anything that is neither a folder nor a zip is a file.

    Raises:
        DataError: When it cannot be read.
    """
    try:
        if path.is_dir():
            return "folder"
        with open_regular(path) as file:
            return "zip" if file.read(4) == b"PK\x03\x04" else "file"
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason_of(error)}).") from error


def list_source(number: int, root: Path, kind: SourceKind) -> SourceListing:
    """List a source's files without looking into them.

    Args:
        number: Of the source.
        root: Where it lies.
        kind: What it is.

    Returns:
        The files that are there.

    Raises:
        DataError: When it is not there, or cannot be read.
    """
    try:
        root_stamp = _stamp(root)
    except OSError as error:
        raise DataError(f"{root} cannot be read ({reason_of(error)}).") from error
    if kind == "file":
        return SourceListing([PhotoPlace(number, "", root_stamp)], {})
    listing = list_folder(root) if kind == "folder" else list_zip(root)
    places, unreadable = [], dict(listing.unreadable)
    for file in sorted(listing.files, key=lambda file: file.path):
        try:
            stamp = _stamp(root / file.path) if kind == "folder" else root_stamp
        except OSError as error:
            unreadable[file.path] = f"cannot be read ({reason_of(error)})"
            continue
        places.append(PhotoPlace(number, file.path, stamp))
    return SourceListing(places, unreadable)


def class_names(root: Path, kind: SourceKind) -> dict[str, str]:
    """What folders say that the files in them are.

    Args:
        root: A source.
        kind: What it is.

    Returns:
        Path in the source to the class; empty where there are no two class folders.

    Raises:
        DataError: When it cannot be read.
    """
    if kind == "file":
        return {}
    listing = list_folder(root) if kind == "folder" else list_zip(root)
    try:
        files = arrange(listing.files, listing.empty).files
    except DataError:  # unsorted, or folders that can be read in two ways
        return {}
    found = {file.path: file.class_name for file in files if file.class_name}
    return found if len(set(found.values())) > 1 else {}


def _stamp(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def look_into(places: list[PhotoPlace], reader: PlaceReader) -> Iterator[PhotoPlace]:
    """Look into files, in threads.

    Args:
        places: Files as listed.
        reader: What reads them.

    Yields:
        Each with its id, size and date, or the reason why it is no photo; in order.
    """

    def look(place: PhotoPlace) -> PhotoPlace:
        try:
            return describe(reader.read(place), place)
        except DataError as error:
            return replace(place, reason=str(error))

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="scan") as pool:
        try:
            yield from pool.map(look, places)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def describe(data: bytes, place: PhotoPlace) -> PhotoPlace:
    """Tell what a file is without decoding it.

    Args:
        data: Its bytes.
        place: Where it lies.

    Returns:
        The place with id, size and date.

    Raises:
        DataError: When it is no photo, or costs too much to decode; a clause.
    """
    if reason := why_no_image(data):
        raise DataError(reason)
    header = read_header(data)
    check_cost(decoding_cost(data, DecodeSettings()))
    width, height = header.width, header.height
    if header.orientation >= 5:
        width, height = height, width
    changed = datetime.fromtimestamp(place.stamp[1] // 10**9).isoformat()
    taken = header.taken or changed
    return replace(place, id=hash_content(data), width=width, height=height, taken=taken)
