"""A named data set as a folder of pictures: unpacked whole, counted, and shown by 16 examples."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import DecodeSettings, decode_whole, resize
from handful.data.ignored import is_ignored
from handful.data.inputs import path_of
from handful.data.storage import ZipReader, read_file
from handful.datasets.digits import DIGIT_FILES, MNIST, MNIST_CREDIT, find_digits, write_digits
from handful.datasets.registry import CATS_AND_DOGS, Archive, find_archive, list_counts
from handful.display import Shown, job_reporter
from handful.environment import cache_folder
from handful.errors import DataError, OutputError, UsageError
from handful.files.atomic import new_folder
from handful.reporting import Progress, Reporter
from handful.reports.sheets import example_sheet
from handful.wording import number_of

CATS_VS_DOGS = "cats-vs-dogs"
DATA_NAMES = (CATS_VS_DOGS, MNIST)
NUM_EXAMPLES = 16
_EXAMPLE_SIDE = 200
_ENDINGS = (".jpg", ".png")


@dataclass(frozen=True, repr=False)
class ImageFolder(Shown, os.PathLike[str]):
    """A data set on disk; it stands for its path, wherever photos are asked for.

    Args:
        name: "cats-vs-dogs" or "mnist".
        path: The folder, with `train/` and `validation/` or `test/` in it.
        is_new: Whether it was unpacked just now, and not there before.
        source: The archive it was unpacked from; None when it was there before.
        counts: Part -> class name -> number of pictures.
        examples: PNG file beside the folder, with 16 of the pictures.
        credit: Who made them, and on what terms.
    """

    name: str
    path: Path
    is_new: bool
    source: Path | None
    counts: dict[str, dict[str, int]]
    examples: Path
    credit: str

    def __fspath__(self) -> str:
        return str(self.path)

    def _in_words(self) -> str:
        parts = ", ".join(f"{part} {sum(row.values()):,}" for part, row in self.counts.items())
        return f"{self.name}, {number_of(self.num_images)}: {parts}; {str(self.path)[-60:]}"

    @property
    def num_images(self) -> int:
        """Number of pictures in all parts."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        Returns:
            The members by name, and `num_images`.
        """
        return {
            "name": self.name,
            "path": str(self.path),
            "is_new": self.is_new,
            "source": None if self.source is None else str(self.source),
            "num_images": self.num_images,
            "counts": self.counts,
            "examples": str(self.examples),
            "credit": self.credit,
        }


def load_data(
    name: str, *, output: str | Path | None = None, reporter: Reporter | None = None
) -> ImageFolder:
    """Unpack a named data set, unless it is there already, and draw 16 examples beside it.

    A download is kept in handful's cache.

    Args:
        name: "cats-vs-dogs" or "mnist".
        output: Folder to make; None takes `data/NAME`.
        reporter: Told each step before it is taken, and how far "download" and "unpack" are; None
            shows it, see `train`.

    Returns:
        The folder, to be given to `train` and the like; a notebook shows counts and examples.

    Raises:
        UsageError: For an unknown name, or an output that is no path.
        DataError: When the data cannot be had or are damaged.
        OutputError: When the folder is there and not whole, or cannot be written.

    Example:
        ```python
        handful.train(handful.load_data("cats-vs-dogs"))
        ```
    """
    if name not in DATA_NAMES:
        raise UsageError(f"There is no data set {name!r}; expected {' or '.join(DATA_NAMES)}.")
    folder = Path("data") / name if output is None else path_of(output, "output", "a path")
    expected, credit = _expected(name)
    is_new, source = not (folder.exists() or folder.is_symlink()), None
    if is_new:
        source = _unpack(name, folder, cache_folder(), job_reporter(reporter))
    counts = count_images(folder)
    if counts not in expected:
        raise OutputError(
            f"{folder} exists already and is not all of {name}: {_difference(counts, expected)}. "
            "Choose another `output`, or remove it first."
        )
    examples = _draw_examples(name, folder, counts)
    return ImageFolder(name, folder, is_new, source, _by_part(counts), examples, credit)


def _expected(name: str) -> tuple[list[dict[str, int]], str]:
    """Counts that the data set may have, and its credit."""
    if name == MNIST:
        return [known.counts for known in DIGIT_FILES], MNIST_CREDIT
    counts = {_inside(path): count for path, count in CATS_AND_DOGS.counts.items()}
    return [counts], CATS_AND_DOGS.credit


def _difference(counts: Mapping[str, int], expected: list[dict[str, int]]) -> str:
    """Where the counts differ, from those expected that they are nearest to."""
    rows = [
        {path: (counts.get(path, 0), table.get(path, 0)) for path in {*counts, *table}}
        for table in expected
    ]
    differing = [{path: row for path, row in table.items() if row[0] != row[1]} for table in rows]
    nearest = min(differing, key=len)
    found, wanted = ({path: row[end] for path, row in nearest.items()} for end in (0, 1))
    return f"it holds {list_counts(found)}; expected {list_counts(wanted)}"


def _unpack(name: str, folder: Path, cache: Path, reporter: Reporter) -> Path:
    """Fill the folder, and give the archive that it was filled from."""
    if name == MNIST:
        path, _ = find_digits(cache, reporter)
    else:
        path = find_archive(CATS_AND_DOGS, cache, reporter)
    with new_folder(folder) as temporary, reporter.phase("unpack"):
        if name == MNIST:
            write_digits(path, temporary, reporter.progress)
        else:
            unpack_archive(path, CATS_AND_DOGS, temporary, reporter.progress)
    return path


def unpack_archive(
    path: Path,
    archive: Archive,
    folder: Path,
    progress: Progress | None = None,
) -> None:
    """Unpack the photos of a verified archive, less the folder around them; other files stay.

    Args:
        path: The zip.
        archive: What it is.
        folder: Existing folder to write into.
        progress: Called with (photos so far, photos in all).

    Raises:
        DataError: When a member is damaged or unsafe.
        OSError: When a file cannot be written.
    """
    reader = ZipReader(path)
    names = [name for name in reader.members if _is_image(name, archive)]
    for inner in archive.counts:
        (folder / _inside(inner)).mkdir(parents=True, exist_ok=True)
    for done, name in enumerate(names, 1):
        try:
            data = reader.read(name)
        except DataError as error:
            raise DataError(f"{path}: {name} {error}. Fetch the archive again.") from error
        (folder / _inside(name)).write_bytes(data)
        if progress is not None and done % 100 == 0:
            progress(done, len(names))


def _is_image(name: str, archive: Archive) -> bool:
    path = PurePosixPath(name)
    return path.parent.as_posix() in archive.counts and path.suffix.lower() == ".jpg"


def _inside(name: str) -> str:
    """A path less its first folder, the wrapper."""
    return PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix()


def count_images(folder: Path) -> dict[str, int]:
    """Count JPEG and PNG files by their endings; hidden ones and the system's do not count.

    Args:
        folder: Where to look, to any depth.

    Returns:
        "train/cats" and the like -> number of files right in that folder.
    """
    counts: Counter[str] = Counter()
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_ignored(name)]
        number = sum(name.lower().endswith(_ENDINGS) and not is_ignored(name) for name in names)
        if number:
            counts[Path(place).relative_to(folder).as_posix()] = number
    return dict(counts)


def _by_part(counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    parts: dict[str, dict[str, int]] = {}
    # "train" comes before its checks, in whatever order the folders were read.
    for path in sorted(counts, key=lambda path: (not path.startswith("train"), path)):
        part, _, class_name = path.partition("/")
        parts.setdefault(part, {})[class_name] = counts[path]
    return parts


def _draw_examples(name: str, folder: Path, counts: Mapping[str, int]) -> Path:
    """Draw 16 training pictures, beside the folder: in it they would count as photos."""
    classes = sorted(path for path in counts if path.startswith("train/"))
    rng = np.random.default_rng(0)
    pictures, labels = [], []
    # As many of each class as of the others, give or take one.
    chosen = [classes[number * len(classes) // NUM_EXAMPLES] for number in range(NUM_EXAMPLES)]
    for place in classes:
        files = sorted(path for path in (folder / place).iterdir() if not is_ignored(path.name))
        for row in rng.choice(len(files), chosen.count(place), replace=False).tolist():
            pictures.append(_read_example(files[row]))
            labels.append(PurePosixPath(place).name)
    whole = folder if folder.name not in ("", "..") else folder.resolve()
    path = whole.with_name(f"{whole.name}-examples.png")
    title = f"{name}: {NUM_EXAMPLES} of its training photos"
    example_sheet(pictures, labels, title).save(path, replace=True)
    return path


def _read_example(path: Path) -> NDArray[np.uint8]:
    try:
        image = decode_whole(read_file(path))
    except DataError as error:
        raise DataError(
            f"{path} {error}. Remove its data set's folder to have it unpacked again."
        ) from error
    # Small pictures stay as they are.
    side = min(_EXAMPLE_SIDE, *image.shape[:2])
    return resize(image, DecodeSettings(side, "crop"))
