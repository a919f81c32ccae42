"""Labels written out for other programs: as a table, or as a folder for each class."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from handful.data.index import RejectedFile
from handful.data.layout import arrange
from handful.data.storage import FoundFile, read_file
from handful.errors import DataError, OutputError
from handful.files.atomic import new_file, new_folder
from handful.files.tables import write_csv


@dataclass(frozen=True)
class LabeledPhoto:
    """A photo with its class.

    Args:
        name: What to call it in messages.
        file: Where it lies.
        is_file: Whether it is a file of its own, and no member of an archive.
        class_name: Its class.
        read: From nothing to its bytes; DataError where it is gone or has changed.
    """

    name: str
    file: Path
    is_file: bool
    class_name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class WrittenLabels:
    """What was written.

    Args:
        path: The table or the folder.
        counts: Number of photos by class.
        skipped: Photos that are not in it, each with its reason.
    """

    path: Path
    counts: dict[str, int]
    skipped: tuple[RejectedFile, ...]


def write_label_table(photos: Sequence[LabeledPhoto], path: Path) -> WrittenLabels:
    """Write a table of path and label, which `train` takes.

    Args:
        photos: With their classes.
        path: CSV file to make. Paths in it count from its folder.

    Returns:
        What was written; members of archives are skipped, for a table names files.

    Raises:
        DataError: When there is nothing to write.
        OutputError: When the file exists or cannot be written.
    """
    rows, counts, skipped = [], dict[str, int](), []
    around = os.path.abspath(path.parent)
    for photo in photos:
        if not photo.is_file:
            skipped.append(RejectedFile(photo.name, "lies in an archive; folders can hold it"))
            continue
        file = Path(os.path.abspath(photo.file))
        shown = file.relative_to(around) if file.is_relative_to(around) else file
        rows.append((shown.as_posix(), photo.class_name))
        counts[photo.class_name] = counts.get(photo.class_name, 0) + 1
    _refuse_nothing(rows, skipped)
    with new_file(path) as part:
        write_csv(part, [("path", "label"), *rows])
    return WrittenLabels(path, counts, tuple(skipped))


def write_class_folders(
    photos: Sequence[LabeledPhoto], folder: Path, *, links: bool = False
) -> WrittenLabels:
    """Write a folder for each class, with its photos in it.

    Args:
        photos: With their classes.
        folder: The folder to make.
        links: Whether photos that are files of their own are linked to, and not copied.

    Returns:
        What was written; photos that are gone or have changed are skipped.

    Raises:
        DataError: When there is nothing to write, or the folders would be read in another way.
        OutputError: When the folder exists or cannot be written.
    """
    counts, skipped = dict[str, int](), []
    names = _file_names(photos)
    _refuse_other_layout(photos, names)
    with new_folder(folder) as made:
        for photo, name in zip(photos, names, strict=True):
            try:
                data = photo.read()
            except DataError as error:
                skipped.append(RejectedFile(photo.name, str(error)))
                continue
            target = made / name
            target.parent.mkdir(exist_ok=True)
            if links and photo.is_file:
                target.symlink_to(photo.file.resolve())
            else:
                target.write_bytes(data)
            counts[photo.class_name] = counts.get(photo.class_name, 0) + 1
        _refuse_nothing(counts, skipped)
    return WrittenLabels(folder, counts, tuple(skipped))


def _file_names(photos: Sequence[LabeledPhoto]) -> list[str]:
    """A name in its class's folder for each photo; the second of one name gets a number."""
    taken: set[str] = set()
    names = []
    for photo in photos:
        stem, ending = photo.file.stem, photo.file.suffix
        name, number = f"{photo.class_name}/{stem}{ending}", 1
        while name.casefold() in taken:
            number += 1
            name = f"{photo.class_name}/{stem}-{number}{ending}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _refuse_nothing(written: object, skipped: Sequence[RejectedFile]) -> None:
    if not written:
        why = f": {skipped[0].path} {skipped[0].reason}" if skipped else "; sort some first"
        raise DataError(f"No photo has a class and can be written{why}.")


def _refuse_other_layout(photos: Sequence[LabeledPhoto], names: Sequence[str]) -> None:
    """Refuse classes whose folders would be taken for parts, such as "train" beside "test"."""
    files = [
        FoundFile(name, partial(read_file, photo.file))
        for name, photo in zip(names, photos, strict=True)
    ]
    try:
        found = {file.class_name for file in arrange(files).files}
    except DataError:
        found = set()
    if photos and found != {photo.class_name for photo in photos}:
        raise OutputError(
            "Folders of these classes would be taken for the parts of a data set; rename a class, "
            "or write a table instead."
        )
