"""Named data sets: find, download, verify, unpack safely."""

import contextlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from handful.datasets.solar_cells import (
    NUM_SOLAR_CELLS,
    SOLAR_CELLS,
    SOLAR_CELLS_CREDIT,
    fetch_solar_cells,
)
from handful.errors import DataError, OutputError
from handful.files.atomic import sha256_of, write_whole
from handful.files.download import DownloadError, download, remove_part
from handful.reporting import Reporter

DATA_VARIABLE = "HANDFUL_DATA"

Fetched = TypeVar("Fetched")


@dataclass(frozen=True)
class Archive:
    """A zip of photos in class folders that is downloaded as it is, and read without unpacking.

    Args:
        file_name: Its name in the cache.
        url: Where it is published.
        num_bytes: Its exact size.
        counts: Folder in the zip -> number of JPEG files right in it; other files are not counted.
        credit: Who made it, and on what terms.
    """

    file_name: str
    url: str
    num_bytes: int
    counts: Mapping[str, int]
    credit: str


@dataclass(frozen=True)
class DemoData:
    """The photos that `handful demo` works on.

    Args:
        path: What `load_index` takes.
        name: Name of the data set, for people.
        note: Lines on which photos were taken, why the ones preferred to them were not, and the
            credit.
        credit: Who made them, and on what terms; empty for photos of the user's own.
    """

    path: Path
    name: str
    note: str
    credit: str


CATS_AND_DOGS = Archive(
    file_name="cats_and_dogs_filtered.zip",
    url="https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",
    num_bytes=68_606_236,
    counts={
        "cats_and_dogs_filtered/train/cats": 1000,
        "cats_and_dogs_filtered/train/dogs": 1000,
        "cats_and_dogs_filtered/validation/cats": 500,
        "cats_and_dogs_filtered/validation/dogs": 500,
    },
    credit="Photos: a subset of Kaggle's Dogs vs. Cats, published by Google for its machine "
    "learning courses.",
)


class _Story(Reporter):
    """Keeps the lines on what was tried and why it was not taken."""

    def __init__(self, outer: Reporter | None) -> None:
        super().__init__(outer)
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)
        super().log(line)


def find_demo_data(
    data: Path | None,
    cache_folder: Path,
    reporter: Reporter | None = None,
) -> DemoData:
    """Find photos to show the main job on, fetching some if there are none.

    The first of these is taken: the path given; the path in `HANDFUL_DATA`;
    `../shared/data/cats_and_dogs_filtered.zip` beside the current folder or beside the project;
    the public archive of that name, downloaded once; the solar cells of PyPI's `elpv-dataset`,
    installed into the cache folder once.

    Args:
        data: Photos to take: a zip, folder or CSV as `load_index` takes them, or a folder with
            `cats_and_dogs_filtered.zip` in it. None looks for some.
        cache_folder: What is fetched is kept in its folder `data`.
        reporter: Told each line of the note as it happens, before the long waits, and how far a
            download is.

    Returns:
        The photos and where they come from.

    Raises:
        DataError: When a path is given and nothing is there, or when every source fails.
        OutputError: When the cache folder cannot be written.
    """
    story = _Story(reporter)
    path = _find_given(data, story) or _find_shared([CATS_AND_DOGS.file_name], story)
    if path is not None:
        return DemoData(path, path.stem, "\n".join(story.lines), "")
    return fetch_into(cache_folder, lambda folder: _find_published(folder, story))


def find_archive(
    archive: Archive,
    cache_folder: Path,
    reporter: Reporter | None = None,
) -> Path:
    """Find a published archive, fetching it if it is not there.

    The first of these is taken: the file that `HANDFUL_DATA` names, or the archive in the folder
    that it names; the archive in `../shared/data` beside the current folder or beside the project;
    in the cache; the published one, downloaded once.

    Args:
        archive: Which one.
        cache_folder: What is fetched is kept in its folder `data`.
        reporter: Told each step before it is taken, and how far a download is.

    Returns:
        Path of the zip, its checksums and layout verified.

    Raises:
        DataError: When a file is not that archive, or none can be had.
        OutputError: When the cache folder cannot be written.
    """
    reporter = Reporter(reporter)
    path = find_named_file([archive.file_name], reporter)
    if path is None:
        return fetch_into(cache_folder, lambda folder: _fetch_only(archive, folder, reporter))
    # Packed again by other hands it has another size, and the same photos.
    problem = archive_problem(path, replace(archive, num_bytes=path.stat().st_size))
    if problem:
        raise DataError(
            f"{path} {problem}. Put {archive.url} in its place, or name another in {DATA_VARIABLE}."
        )
    return path


def find_named_file(file_names: Sequence[str], reporter: Reporter) -> Path | None:
    """Find a data set's file where the user keeps it: `HANDFUL_DATA`, then `../shared/data`.

    Args:
        file_names: Names that it may have, the one to prefer first.
        reporter: Told what was found or not.

    Returns:
        A file of one of these names, or any of the same ending that the variable names outright;
        None when there is none.

    Raises:
        DataError: When the variable names something that does not exist.
    """
    named = os.environ.get(DATA_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.exists():
            raise DataError(
                f"{path}, given by the environment variable {DATA_VARIABLE}, does not exist; "
                f"expected {' or '.join(file_names)}, or a folder with it. Correct the path, or "
                "unset the variable to have it fetched."
            )
        found = [path / name for name in file_names if (path / name).is_file()]
        if path.is_file() and path.suffix in {Path(name).suffix for name in file_names}:
            found = [path]
        if found:
            reporter.log(f"Taking {found[0]}, given by the environment variable {DATA_VARIABLE}.")
            return found[0]
        reporter.log(f"{path}, given by {DATA_VARIABLE}, has no {' or '.join(file_names)}.")
    return _find_shared(file_names, reporter)


def fetch_into(cache_folder: Path, fetch: Callable[[Path], Fetched]) -> Fetched:
    """Fetch into the cache's folder `data`, one process at a time.

    Args:
        cache_folder: The cache.
        fetch: Called with the folder, which exists.

    Returns:
        What it gave.

    Raises:
        OutputError: When the folder cannot be written.
    """
    folder = cache_folder / "data"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder / ".lock"):
            return fetch(folder)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror or error}. Free it, or name another "
            "place in the environment variable HANDFUL_CACHE."
        ) from error


def _find_given(data: Path | None, story: _Story) -> Path | None:
    """Photos that the user points at; nothing there is an error and not a reason to go on."""
    named = os.environ.get(DATA_VARIABLE)
    if data is not None:
        path, by = data, "`data`"
    elif named:
        path, by = Path(named).expanduser(), f"the environment variable {DATA_VARIABLE}"
    else:
        story.log(f"No photos were given by `data` or {DATA_VARIABLE}.")
        return None
    if not path.exists():
        raise DataError(
            f"{path}, given by {by}, does not exist; expected a zip, a folder or a CSV of "
            "photos. Correct the path, or leave it out to have photos fetched."
        )
    inside = path / CATS_AND_DOGS.file_name
    path = inside if inside.is_file() else path
    story.log(f"Taking {path}, given by {by}.")
    return path


def _find_shared(file_names: Sequence[str], reporter: Reporter) -> Path | None:
    """A file in `../shared/data`, seen from here or from the project's own checkout."""
    places = [Path("..")]
    project = Path(__file__).resolve().parents[3]
    if (project / "pyproject.toml").is_file():
        places.append(project.parent)
    for place in places:
        for name in file_names:
            path = place / "shared" / "data" / name
            if path.is_file():
                reporter.log(f"Taking {path}.")
                return path
    reporter.log(f"There is no {' or '.join(file_names)} in ../shared/data.")
    return None


def _fetch_only(archive: Archive, folder: Path, reporter: Reporter) -> Path:
    """The published archive, with no other photos to fall back on."""
    try:
        return fetch_archive(archive, folder, reporter)
    except DataError as error:
        raise DataError(
            f"{error} Put {archive.url} at {folder / archive.file_name}, or name the file or its "
            f"folder in the environment variable {DATA_VARIABLE}."
        ) from error


def _find_published(folder: Path, story: _Story) -> DemoData:
    """The public archive, or with no network the solar cells."""
    try:
        path = fetch_archive(CATS_AND_DOGS, folder, story)
    except DataError as error:
        reason = str(error)
        story.log(reason)
    else:
        story.log(
            f"Taking {path}, the public archive, verified by its size, the checksums inside and "
            "its layout (no digest of it is published)."
        )
        story.log(CATS_AND_DOGS.credit)
        return DemoData(path, path.stem, "\n".join(story.lines), CATS_AND_DOGS.credit)
    try:
        path = fetch_solar_cells(folder, story)
    except DataError as error:
        raise DataError(
            f"No photos for the demo were given or found. {reason} {error} Give photos of your "
            f"own as `data`, or put {CATS_AND_DOGS.url} at "
            f"{folder / CATS_AND_DOGS.file_name}."
        ) from error
    story.log(f"Taking the {NUM_SOLAR_CELLS:,} solar cells of PyPI's {SOLAR_CELLS}.")
    story.log(SOLAR_CELLS_CREDIT)
    return DemoData(path, SOLAR_CELLS, "\n".join(story.lines), SOLAR_CELLS_CREDIT)


def fetch_archive(
    archive: Archive,
    folder: Path,
    reporter: Reporter | None = None,
) -> Path:
    """Path of a published archive, downloaded when it is not there yet.

    No digest of it is published. A download is verified by its exact size, by the checksum of
    every file inside, and by its layout; its own SHA-256 is then noted beside it, and holds from
    then on.

    Args:
        archive: Which one.
        folder: Existing folder that it is kept in, with its digest in a `.json` file beside it.
        reporter: Told before something is downloaded or thrown away, and how far a download is.

    Returns:
        Path of the verified zip.

    Raises:
        DataError: When it cannot be had; what came of it is kept for a later try.
        OSError: When the folder cannot be written.
    """
    path = folder / archive.file_name
    reporter = Reporter(reporter)
    if path.exists():
        problem = _kept_problem(path, archive)
        if not problem:
            return path
        path.unlink()
        reporter.log(f"{path} {problem}; it was deleted.")
    partial = folder / (archive.file_name + ".part")
    reporter.log(f"Downloading {archive.url} ({archive.num_bytes / 1e6:.1f} MB).")
    try:
        with reporter.phase("download"):
            download(archive.url, partial, archive.num_bytes, reporter.progress)
    except DownloadError as error:
        raise DataError(f"{archive.file_name} could not be downloaded: {error}.") from error
    problem = archive_problem(partial, archive)
    if problem:
        remove_part(partial)
        raise DataError(f"{archive.url} {problem}; what was downloaded is deleted.")
    _write_digest(path, archive, sha256_of(partial))
    partial.replace(path)
    return path


def _kept_problem(path: Path, archive: Archive) -> str:
    """What is wrong with an archive in the cache; empty when it is as it was."""
    try:
        noted = json.loads(_digest_path(path).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        # Somebody put it there by hand.
        problem = archive_problem(path, archive)
        if not problem:
            _write_digest(path, archive, sha256_of(path))
        return problem
    same = path.stat().st_size == archive.num_bytes and sha256_of(path) == noted
    return "" if same else "has changed since it was downloaded and verified"


def archive_problem(path: Path, archive: Archive) -> str:
    """What tells a file from the archive it should be: size, checksums inside, layout.

    Args:
        path: The file; OSError when it cannot be read.
        archive: What it should be.

    Returns:
        A clause about it without full stop; empty when all is well.
    """
    num_bytes = path.stat().st_size
    if num_bytes != archive.num_bytes:
        return f"has {num_bytes:,} bytes; expected {archive.num_bytes:,}"
    try:
        with zipfile.ZipFile(path) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            # Photos hardly shrink; far more inside than outside is not photos.
            if sum(member.file_size for member in members) > 4 * num_bytes:
                return "unpacks to over 4 times its size; expected photos, which hardly shrink"
            names = (Path(member.filename) for member in members)
            found = Counter(p.parent.as_posix() for p in names if p.suffix.lower() == ".jpg")
            if found != archive.counts:
                return f"holds {list_counts(found)}; expected {list_counts(archive.counts)}"
            damaged = file.testzip()
    except Exception as error:  # zipfile lets through what each decompressor raises
        return f"is not a whole zip: {str(error).rstrip('.')}"
    return f"is damaged: {damaged} does not match its checksum" if damaged else ""


def list_counts(counts: Mapping[str, int]) -> str:
    """Say how many files lie in which folders.

    Args:
        counts: Folder -> number of files in it; of more than six the first are named.

    Returns:
        Such as "train/cats/ (1,000), train/dogs/ (1,000)", or "no photos".
    """
    rows = [f"{folder}/ ({count:,})" for folder, count in sorted(counts.items())]
    more = [f"and {len(rows) - 6} more folders"] if len(rows) > 6 else []
    return ", ".join(rows[:6] + more) or "no photos"


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _write_digest(path: Path, archive: Archive, sha256: str) -> None:
    facts = {"url": archive.url, "num_bytes": archive.num_bytes, "sha256": sha256}
    write_whole(_digest_path(path), json.dumps(facts, indent=2) + "\n")


@contextlib.contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """Let one process fetch while the next waits and then finds the files there."""
    try:
        import fcntl
    except ImportError:  # Windows; two at once then fail their verification at worst.
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
