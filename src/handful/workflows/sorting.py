"""Copies of classified photos, sorted into a folder for each class."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from handful.data.index import ImageIndex, RejectedFile
from handful.errors import DataError, OutputError, UsageError
from handful.files.atomic import move_to_free, reason_of, write_json
from handful.files.drafts import Draft
from handful.models.classifier import Prediction

MARK_FILE = ".handful-sorted.json"
NOT_SURE, UNUSUAL = "not sure", "unusual"
_FORMAT = "handful sorted photos"
# What Windows, or any other system, has no files of.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_LONGEST = 200


@dataclass(frozen=True)
class SortedPhotos:
    """What was copied.

    Args:
        folder: The folder with a folder for each class in it.
        counts: Name of each folder in it -> photos copied there.
        num_kept: Photos that had been copied there before, under the same name.
        skipped: Photos that are gone, or have changed since they were classified.
    """

    folder: Path
    counts: Mapping[str, int]
    num_kept: int
    skipped: tuple[RejectedFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """What was copied, in plain values, as `handful predict --json` prints it.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {
            "folder": str(self.folder),
            "counts": dict(self.counts),
            "num_kept": self.num_kept,
            "skipped": [{"path": file.path, "reason": file.reason} for file in self.skipped],
        }


def check_sorting_folder(folder: Path, sources: Iterable[Path]) -> None:
    """Find out, before the work, whether photos may be copied into a folder.

    Args:
        folder: It need not be there; or it is empty, or `sort_photos` made it.
        sources: What the photos come from.

    Raises:
        OutputError: When the folder is there, and is not one of ours.
        UsageError: When it lies in a folder of the photos, where the copies would be taken for
            photos the next time.
    """
    place = folder.resolve()
    for source in sources:
        if source.is_dir() and place.is_relative_to(source.resolve()):
            raise UsageError(
                f"`sort_into` is {folder}, in the folder {source} that the photos come from; the "
                "copies would be classified again the next time. Choose a folder beside it."
            )
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; expected a folder to copy photos into.")
    if any(folder.iterdir()) and not (folder / MARK_FILE).is_file():
        raise OutputError(
            f"{folder} holds files that handful did not copy there; choose an empty folder, or "
            "one that does not exist."
        )


def sort_photos(
    index: ImageIndex,
    predictions: Sequence[Prediction],
    folder: Path,
) -> SortedPhotos:
    """Copy photos into a folder for each class; none is moved, changed or overwritten.

    A photo goes to its most probable class. Where predictions say how sure they are, those that
    are unlike the training photos go to "unusual", and others that are not sure to "not sure".
    The second photo of a name gets a number; one that lies there already is not copied again.

    Args:
        index: N photos.
        predictions: (N,) of them, in order.
        folder: As `check_sorting_folder` allows it.

    Returns:
        What was copied.

    Raises:
        OutputError: When something cannot be written; copies that were made stay.
    """
    counts, num_kept, skipped = Counter[str](), 0, []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / MARK_FILE, {"format": _FORMAT, "format_version": 1})
        with Draft(folder) as draft:
            for row, (prediction, name) in enumerate(
                zip(predictions, _folders(predictions), strict=True)
            ):
                try:
                    data = index.read(row)
                except DataError as error:
                    skipped.append(RejectedFile(prediction.path, str(error)))
                    continue
                target = folder / name / plain_name(PurePosixPath(prediction.path).name)
                target.parent.mkdir(exist_ok=True)
                part = draft.place("photo")
                if _copy(data, part, target):
                    counts[name] += 1
                else:
                    num_kept += 1
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {reason_of(error)}. What was copied before is whole; "
            "make room or choose another folder, and try again."
        ) from error
    return SortedPhotos(folder, dict(sorted(counts.items())), num_kept, tuple(skipped))


def _folders(predictions: Sequence[Prediction]) -> list[str]:
    """The folder of each photo."""
    if not predictions:
        return []
    # What a person has said may be another class than the classifier knows.
    labels = dict.fromkeys([*predictions[0].probabilities, *(one.label for one in predictions)])
    *classes, not_sure, unusual = folder_names([*labels, NOT_SURE, UNUSUAL])
    of_class = dict(zip(labels, classes, strict=True))
    found = []
    for one in predictions:
        if one.is_confident is False:
            found.append(unusual if one.is_out_of_distribution else not_sure)
        else:
            found.append(of_class[one.label])
    return found


def folder_names(names: Sequence[str]) -> list[str]:
    """A folder for each name, on every system.

    Args:
        names: Such as class names; any texts.

    Returns:
        Names that differ in more than case; those that are taken get a number.
    """
    taken, result = set[str](), []
    for plain in map(plain_name, names):
        free, number = plain, 1
        while free.casefold() in taken:
            number += 1
            free = f"{plain} ({number})"
        taken.add(free.casefold())
        result.append(free)
    return result


def plain_name(name: str) -> str:
    """A name that a file or folder can have on every system.

    Args:
        name: Any text.

    Returns:
        It, with "_" for what cannot stand in a name; never empty, hidden, or longer than 200 bytes.
    """
    plain = _FORBIDDEN.sub("_", name).rstrip(". ").lstrip()
    stem, dot, ending = plain.rpartition(".")
    if len(ending.encode()) > 8 or not dot:
        stem, dot, ending = plain, "", ""
    room = _LONGEST - len((dot + ending).encode())
    plain = stem.encode()[:room].decode(errors="ignore") + dot + ending
    if not plain or plain.startswith(".") or _RESERVED.fullmatch(plain):
        plain = "_" + plain
    return plain


def _copy(data: bytes, part: Path, target: Path) -> bool:
    """Write a file under its name or, where another has that, with a number.

    Returns:
        False where the same file is there already.
    """
    part.write_bytes(data)
    number, free = 1, target
    try:
        while True:
            with suppress(FileExistsError):
                move_to_free(part, free)
                return True
            if free.is_file() and free.stat().st_size == len(data) and free.read_bytes() == data:
                return False
            number += 1
            free = target.with_name(f"{target.stem}-{number}{target.suffix}")
    finally:
        part.unlink(missing_ok=True)
