"""A list of runs: a row for each, and what shows of them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from handful.config import TrainConfig
from handful.display import Shown
from handful.errors import DataError
from handful.files.atomic import MALFORMED
from handful.run_store.files import no_run
from handful.run_store.stored_run import UNFINISHED, StoredRun
from handful.wording import number_of


@dataclass(frozen=True)
class RunRow:
    """A run in a list of runs.

    Args:
        name: Its name, which finds it.
        path: Its folder.
        date: When it was written.
        photos: What it was trained on; None where that cannot be read.
        strategy: How it was trained.
        accuracy: On its validation photos.
        note: What its maker wrote about it.
        state: That its training can be gone on with, or what is wrong with the folder; or "".
    """

    name: str
    path: Path
    date: datetime
    photos: Path | None = None
    strategy: str = ""
    accuracy: float | None = None
    note: str = ""
    state: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The row in plain values, as `handful runs --json` prints it.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {
            "name": self.name,
            "path": str(self.path),
            "date": self.date.isoformat(timespec="seconds"),
            "photos": None if self.photos is None else str(self.photos),
            "strategy": self.strategy,
            "accuracy": self.accuracy,
            "note": self.note,
            "state": self.state,
        }


class RunList(Shown, tuple[RunRow, ...]):
    """Runs, the latest first; a notebook shows a table of them."""

    def _in_words(self) -> str:
        names = ", ".join(row.name for row in self[:4])
        return f"{number_of(len(self), 'run')}: {names}" + (", ..." if len(self) > 4 else "")


def read_row(file: Path) -> RunRow:
    """Read what a list says of a run.

    Args:
        file: Its run.json.

    Returns:
        The row; of a run that cannot be read it says why.
    """
    run = StoredRun(file.parent)
    row = RunRow(run.path.name, run.path, datetime.fromtimestamp(file.stat().st_mtime, UTC))
    try:
        unfinished = run.stopped in UNFINISHED
        return replace(
            row,
            photos=run.photos,
            strategy=str(run.metadata["config"].get("strategy", TrainConfig.strategy)),
            accuracy=float(run.result["accuracy"]),
            note=run.note,
            state=f"stopped ({run.stopped}); it can be resumed" if unfinished else "",
        )
    except DataError as error:
        return replace(row, state=str(error))
    except MALFORMED as error:
        return replace(row, state=str(no_run(file, error)))
