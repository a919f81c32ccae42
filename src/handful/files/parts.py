"""A folder of Parquet files that a job fills part by part, and goes on filling after it was killed.

What is to be done is written down when it begins, a line for each item, so that a part is always
the same items. A part's name has the digest of the job and of its items; it appears whole or not at
all, so whatever is there is done.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.errors import OutputError
from handful.extras import require
from handful.files.atomic import MALFORMED, new_file, new_folder, read_json, write_json

if TYPE_CHECKING:
    import pyarrow

ITEMS_A_PART = 1024
# Readers of Parquet pass over names that begin so.
JOB_FILE, ITEMS_FILE = "_job.json", "_items.jsonl"
_FORMAT, _VERSION = "handful parts", 1
_NOTE = b"handful"


@dataclass(frozen=True)
class Part:
    """Some of a job's items.

    Args:
        name: Of its file.
        lines: An item each.
    """

    name: str
    lines: tuple[str, ...]


class PartFolder:
    """The folder of a job that was begun.

    Args:
        path: The folder.
        job: What the job is, as plain values.
        num_items: Items in all.
    """

    def __init__(self, path: Path, job: Mapping[str, Any], num_items: int) -> None:
        self.path, self.job, self.num_items = path, dict(job), num_items

    @classmethod
    def open(
        cls, path: Path, job: Mapping[str, Any], items: Callable[[], Iterable[str]]
    ) -> "PartFolder":
        """Begin a job, or go on with it.

        Args:
            path: The job's folder; or where to make it.
            job: What the job is, as plain values: what decides what comes of an item.
            items: Finds the items; not asked where the job was begun before. No line has an end.

        Returns:
            The folder.

        Raises:
            MissingExtraError: When what writes Parquet is not installed.
            OutputError: When it is something else, or another job's.
        """
        require("parquet", "Writing Parquet", "pyarrow")
        plain = json.loads(json.dumps(job))
        if not path.exists():
            with new_folder(path) as draft:
                num_items = 0
                with open(draft / ITEMS_FILE, "w", encoding="ascii") as file:
                    for line in items():
                        file.write(f"{line}\n")
                        num_items += 1
                told = {"format": _FORMAT, "format_version": _VERSION, "num_items": num_items}
                write_json(draft / JOB_FILE, {**told, "job": plain})
        found = _read_job(path)
        if found["job"] != plain:
            wrong = next(name for name in plain if found["job"].get(name) != plain[name])
            raise OutputError(
                f"{path} holds what came of other work: `{wrong}` was "
                f"{_short(found['job'].get(wrong))} and is {_short(plain[wrong])}. Choose another "
                "`output`."
            )
        return cls(path, plain, found["num_items"])

    def parts(self) -> Iterator[Part]:
        """All parts of the job, done or not.

        Yields:
            Each, in order.
        """
        about = json.dumps(self.job, sort_keys=True).encode()
        with open(self.path / ITEMS_FILE, encoding="ascii") as file:
            number = 0
            while lines := tuple(line.rstrip("\n") for line in islice(file, ITEMS_A_PART)):
                text = "\n".join((str(number), *lines)).encode()
                digest = hashlib.blake2b(about + text, digest_size=8).hexdigest()
                yield Part(f"part-{number:06d}-{digest}.parquet", lines)
                number += 1

    def done(self) -> set[str]:
        """Names of the parts that are there."""
        return {file.name for file in self.path.glob("part-*.parquet")}

    def write(self, name: str, table: "pyarrow.Table", note: Mapping[str, Any]) -> None:
        """Write a part, whole.

        Args:
            name: Its file's.
            table: What came of its items.
            note: What to keep beside it, as plain values.

        Raises:
            OutputError: When it cannot be written.
        """
        from pyarrow import parquet

        metadata = {**(table.schema.metadata or {}), _NOTE: json.dumps(note).encode()}
        with new_file(self.path / name, replace=True) as draft:
            parquet.write_table(table.replace_schema_metadata(metadata), draft, compression="zstd")

    def notes(self) -> Iterator[dict[str, Any]]:
        """What was kept beside each part that is there.

        Yields:
            A note for each, in order.

        Raises:
            OutputError: When a part was damaged.
        """
        from pyarrow import ArrowException, parquet

        for part in self.parts():
            file = self.path / part.name
            try:
                yield json.loads(parquet.read_metadata(file).metadata[_NOTE])
            except (ArrowException, *MALFORMED) as error:
                raise OutputError(
                    f"{file} is damaged; remove it and repeat the command, which makes it anew."
                ) from error


def _read_job(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path / JOB_FILE)
        if found["format"] != _FORMAT or found["format_version"] != _VERSION:
            raise ValueError("it is of another kind")
        int(found["num_items"]), dict(found["job"])
    except MALFORMED as error:
        raise OutputError(
            f"{path} exists already and is nothing to go on with; choose another `output`, or "
            "remove it first."
        ) from error
    return found


def _short(value: Any) -> str:
    if value is None:
        return "not given"
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:77]}..."
