"""A run's classifier written for others: the offline page, and files for programs."""

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from handful.errors import HandfulError, UsageError
from handful.exporting.export_jobs import EXPORT_FILE, FORMATS, export
from handful.exporting.export_runtime import FILE_NAMES
from handful.exporting.web_page import size_note
from handful.files.atomic import MALFORMED, read_json
from handful.reporting import Reporter
from handful.run_store.stored_run import StoredRun
from handful.studio.jobs import JobFolder

WEB = "web"
_SHARED = "shared"


@dataclass(frozen=True)
class Shared:
    """What was made for others, and may be downloaded.

    Args:
        format: One of `FORMATS`.
        path: The file: the page itself, or a zip of the model with its card.
        num_bytes: Size of the model.
        largest_difference: Of its probabilities from handful's, on the photos that it was tried on.
        tells_unusual: Whether it tells photos that are unlike those of training.
        note: What to know of its size, a sentence; or "".
    """

    format: str
    path: Path
    num_bytes: int
    largest_difference: float
    tells_unusual: bool
    note: str = ""


class Sharing:
    """What a project's classifiers were written as.

    Args:
        folder: The project's.

    Attributes:
        job: Writes.
        addresses: Where others reach this studio, with the token; empty where they do not.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _SHARED
        self.job = JobFolder(folder, "share", "handful.studio.use_worker")
        self.addresses: tuple[str, ...] = ()

    def begin(self, run: StoredRun | None, format: str) -> None:
        """Write a classifier, in a process of its own.

        Args:
            run: The run to take.
            format: One of `FORMATS`.

        Raises:
            UsageError: When there is no run, or no such format.
        """
        if run is None:
            raise UsageError("There is no classifier yet; train one first.")
        if format not in FORMATS:
            raise UsageError(f"{format} is none of {', '.join(FORMATS)}.")
        self.job.begin(format, str(run.path))

    def made(self, run: StoredRun) -> dict[str, Shared]:
        """What a run was written as.

        Args:
            run: The run.

        Returns:
            Format to what was made.
        """
        found = (_read(self._place(run.path, format), format) for format in FORMATS)
        return {one.format: one for one in found if one is not None}

    def write(self, run: Path, format: str, reporter: Reporter) -> None:
        """Write a classifier; what was there of the same run and format is replaced.

        Args:
            run: The run's folder.
            format: One of `FORMATS`.
            reporter: Told how far it is.

        Raises:
            HandfulError: As `export` does.
        """
        place = self._place(run, format)
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        made = export(run, format, output=place, reporter=reporter)
        if format != WEB:
            with zipfile.ZipFile(_zip_of(place), "w") as archive:  # weights are not compressed
                for file in sorted(made.path.iterdir()):
                    archive.write(file, f"{place.name}/{file.name}")

    def _place(self, run: Path, format: str) -> Path:
        return self._folder / f"{run.resolve().name}-{format}"


def _zip_of(place: Path) -> Path:
    return place.with_name(place.name + ".zip")


def _read(place: Path, format: str) -> Shared | None:
    path = place / FILE_NAMES[WEB] if format == WEB else _zip_of(place)
    try:
        told = read_json(place / EXPORT_FILE)
        num_bytes = int(told["bytes"])
        return Shared(
            format,
            path.resolve(strict=True),
            num_bytes,
            float(told["parity"]["largest_difference"]),
            bool(told["tells_unusual"]),
            size_note(num_bytes) if format == WEB else "",
        )
    except (OSError, HandfulError, *MALFORMED):
        return None
