"""Work on any number of photos, part by part: listed, done by an engine, written, gone on with."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from handful.data.index import sources_of
from handful.data.places import find_photos, read_place, write_place
from handful.data.remote import url_of
from handful.data.storage import FoundFile
from handful.engines.choice import open_engine
from handful.engines.engine import Engine, Work, in_groups
from handful.files.parts import ITEMS_A_PART, PartFolder
from handful.reporting import Reporter

if TYPE_CHECKING:
    import pyarrow

Row = TypeVar("Row")
Sources = str | Path | Sequence[str | Path]

# So many photos go to a worker at once: a second or less of work.
_PHOTOS_A_GROUP = 32


@dataclass(frozen=True)
class PartWork(Generic[Row]):
    """What is done to photos, and how what comes of them is written.

    Args:
        work: What is done to some photos, wherever an engine wants it.
        job: What decides what comes of it, as plain values.
        table: From photos and what came of each to a table and a note of what is in it.
    """

    work: Work[FoundFile, Row]
    job: Mapping[str, Any]
    table: "Callable[[list[FoundFile], list[Row]], tuple[pyarrow.Table, dict[str, Any]]]"


@dataclass
class _Open(Generic[Row]):
    """A part that is being done.

    Args:
        name: Of its file.
        files: Its photos.
        rows: What came of the groups that are done, by their first photo's place.
        num_missing: Photos that are not done.
    """

    name: str
    files: list[FoundFile]
    num_missing: int
    rows: dict[int, Sequence[Row]] = field(default_factory=dict)

    def in_order(self) -> list[Row]:
        return [row for first in sorted(self.rows) for row in self.rows[first]]


def do_parts(
    sources: Sources, output: Path, asked: PartWork[Row], engine: Engine | str, reporter: Reporter
) -> list[dict[str, Any]]:
    """Go through photos, writing a Parquet file for every thousand of them.

    Args:
        sources: As for `load_unlabeled`.
        output: Folder to make; one that the same work was begun in is gone on with, with the
            photos that were listed then.
        asked: What is done.
        engine: Who does it.
        reporter: Told of the phases "list" and "embed".

    Returns:
        The note of each part.

    Raises:
        DataError: When there are no photos.
        MissingExtraError: When an engine, or what writes Parquet, is not installed.
        OutputError: When the folder is something else, or cannot be written.
    """
    job = {**asked.job, "sources": _named(sources)}
    with reporter.phase("list"):
        folder = PartFolder.open(output, job, lambda: map(write_place, find_photos(sources)))
    with reporter.phase("embed"), open_engine(engine) as opened:
        _Doing(folder, asked, reporter).run(opened)
    return list(folder.notes())


class _Doing(Generic[Row]):
    """Parts on their way through an engine."""

    def __init__(self, folder: PartFolder, asked: PartWork[Row], reporter: Reporter) -> None:
        self.folder, self.asked, self.reporter = folder, asked, reporter
        self.num_done = 0
        # Number of a group to its part, and the place of its first photo there.
        self.places: dict[int, tuple[_Open[Row], int]] = {}

    def run(self, engine: Engine) -> None:
        """Do what is not done."""
        for number, rows in engine.map(self.asked.work, self._groups()):
            part, first = self.places.pop(number)
            part.rows[first] = rows
            part.num_missing -= len(rows)
            if not part.num_missing:
                self.folder.write(part.name, *self.asked.table(part.files, part.in_order()))
            self._count(len(rows))

    def _groups(self) -> Iterator[list[FoundFile]]:
        """Photos of parts that are not there yet; taken as the engine needs them."""
        done, number = self.folder.done(), 0
        for part in self.folder.parts():
            if part.name in done:
                self._count(len(part.lines))
                continue
            opened: _Open[Row] = _Open(
                part.name, [read_place(line) for line in part.lines], len(part.lines)
            )
            for first, group in zip(
                range(0, ITEMS_A_PART, _PHOTOS_A_GROUP),
                in_groups(opened.files, _PHOTOS_A_GROUP),
                strict=False,
            ):
                self.places[number] = opened, first
                number += 1
                yield group

    def _count(self, num_photos: int) -> None:
        self.num_done += num_photos
        self.reporter.progress(self.num_done, self.folder.num_items)


def photo_table(
    files: Sequence[FoundFile], rows: Sequence[Any], columns: Mapping[str, Any]
) -> "pyarrow.Table":
    """Lay out what came of photos: where each lies and what it was, and why there is nothing.

    Args:
        files: The photos.
        rows: What came of each, with a `digest` and a `reason`.
        columns: What else is told of them.

    Returns:
        A row for each photo.
    """
    import pyarrow

    text = pyarrow.string()
    return pyarrow.table(
        {
            "path": pyarrow.array([plain_text(file.path) for file in files], text),
            "digest": pyarrow.array([row.digest or None for row in rows], text),
            **columns,
            "reason": pyarrow.array([plain_text(row.reason) or None for row in rows], text),
        }
    )


def plain_text(text: str) -> str:
    """Make a name a text that Parquet can hold.

    Args:
        text: Any name; one that is no text has a backslash and a code for what is none.

    Returns:
        The text.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _named(sources: Sources) -> list[str]:
    """Where photos come from, wherever the job is gone on with."""
    return [plain_text(url_of(one) or os.path.abspath(one)) for one in sources_of(sources)]
