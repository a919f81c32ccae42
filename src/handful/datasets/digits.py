"""MNIST's handwritten digits: found or fetched, verified, and written as PNG files."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handful.datasets.registry import DATA_VARIABLE, fetch_into, find_named_file
from handful.errors import DataError
from handful.files.atomic import sha256_of
from handful.files.download import DownloadError, download, remove_part
from handful.reporting import Progress, Reporter

MNIST = "mnist"
MNIST_CREDIT = (
    "Digits: MNIST by Y. LeCun, C. Cortes and C. J. C. Burges, from NIST's databases; the archive "
    "is the one that Keras publishes."
)
_KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class DigitFile:
    """An archive of digits: `x_train`, `y_train`, `x_test` and `y_test`, uint8.

    Args:
        file_name: Its name.
        sha256: Its digest in hexadecimal.
        counts: "train/0" and the like -> number of digits.
    """

    file_name: str
    sha256: str
    counts: dict[str, int]


def _counts(train: tuple[int, ...]) -> dict[str, int]:
    test = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    parts = (("train", train), ("test", test))
    return {f"{part}/{digit}": n for part, row in parts for digit, n in enumerate(row)}


MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_BYTES = 11_490_434
WHOLE_MNIST = DigitFile(
    "mnist.npz",
    "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    _counts((5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)),
)
# The first 10,000 digits to train on, and all to test on.
SMALL_MNIST = DigitFile(
    "mnist_10k.npz",
    "c9719c6d34e6df6246c1234814cd19796cbfd0c71ff8e1f2db36214b7b72ef87",
    _counts((1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978)),
)
DIGIT_FILES = (WHOLE_MNIST, SMALL_MNIST)


def find_digits(
    cache_folder: Path,
    reporter: Reporter | None = None,
) -> tuple[Path, DigitFile]:
    """Find MNIST, fetching it if it is not there.

    The first of these is taken: `mnist.npz` or `mnist_10k.npz` as `HANDFUL_DATA` names it, or in
    the folder that it names; in `../shared/data` beside the current folder or beside the project;
    in the cache; the archive that Keras publishes, downloaded once.

    Args:
        cache_folder: What is fetched is kept in its folder `data`.
        reporter: Told each step before it is taken, and how far a download is.

    Returns:
        The file, and which of the known ones it is, by its digest.

    Raises:
        DataError: When a file is not MNIST, or none can be had.
        OutputError: When the cache folder cannot be written.
    """
    reporter = Reporter(reporter)
    names = [known.file_name for known in DIGIT_FILES]
    path = find_named_file(names, reporter)
    if path is None:
        path = fetch_into(cache_folder, lambda folder: _fetch_digits(folder, reporter))
    found = sha256_of(path)
    for known in DIGIT_FILES:
        if found == known.sha256:
            return path, known
    raise DataError(
        f"{path} is not MNIST: its SHA-256 is {found}; expected that of {' or '.join(names)}. "
        f"Put {MNIST_URL} in its place, or name another in {DATA_VARIABLE}."
    )


def _fetch_digits(folder: Path, reporter: Reporter) -> Path:
    """Path of the published archive in the cache, downloaded and verified if need be."""
    path = folder / WHOLE_MNIST.file_name
    if path.is_file():
        if sha256_of(path) == WHOLE_MNIST.sha256:
            return path
        path.unlink()
        reporter.log(f"{path} is damaged; it was deleted.")
    partial = folder / (WHOLE_MNIST.file_name + ".part")
    reporter.log(f"Downloading {MNIST_URL} ({MNIST_BYTES / 1e6:.1f} MB).")
    try:
        with reporter.phase("download"):
            download(MNIST_URL, partial, MNIST_BYTES, reporter.progress)
    except DownloadError as error:
        raise DataError(
            f"{path.name} could not be downloaded: {error}. Put {MNIST_URL} at {path}, or name "
            f"the file or its folder in the environment variable {DATA_VARIABLE}."
        ) from error
    found = sha256_of(partial)
    if found != WHOLE_MNIST.sha256:
        remove_part(partial)
        raise DataError(
            f"{MNIST_URL} has the SHA-256 {found}; expected {WHOLE_MNIST.sha256}. What was "
            "downloaded is deleted; try again later."
        )
    return partial.replace(path)


def read_digits(path: Path) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Read an archive of digits; no pickle in it is opened.

    Args:
        path: A `.npz` file with `x_train`, `y_train`, `x_test` and `y_test`.

    Returns:
        "train" and "test" -> images (N, 28, 28) uint8 and labels (N,) uint8, 0 to 9.

    Raises:
        DataError: When it is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            x_train, y_train, x_test, y_test = (archive[key] for key in _KEYS)
    except Exception as error:  # NumPy lets through what the reader of zips raises
        raise DataError(
            f"{path} is no archive of digits ({error}); expected {', '.join(_KEYS)} in a .npz "
            "file. Fetch it again."
        ) from error
    parts = {"train": (x_train, y_train), "test": (x_test, y_test)}
    for part, (images, labels) in parts.items():
        fits = images.ndim == 3 and labels.shape == images.shape[:1]
        if not fits or images.dtype != np.uint8 or labels.dtype != np.uint8:
            raise DataError(
                f"{path} has {part} images {images.dtype} {images.shape} and labels "
                f"{labels.dtype} {labels.shape}; expected uint8 (N, 28, 28) and (N,). Fetch it "
                "again."
            )
    return parts


def write_digits(path: Path, folder: Path, progress: Progress | None = None) -> None:
    """Write digits as PNG files: `train/5/00000.png`, where the number is the row in the archive.

    Args:
        path: The archive.
        folder: Existing folder to write into.
        progress: Called with (pictures so far, pictures in all).

    Raises:
        DataError: When the archive is not as expected.
        OSError: When a file cannot be written.
    """
    parts = read_digits(path)
    total, done = sum(len(labels) for _, labels in parts.values()), 0
    for part, (images, labels) in parts.items():
        for digit in np.unique(labels).tolist():
            (folder / part / str(digit)).mkdir(parents=True, exist_ok=True)
        for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            data = cv2.imencode(".png", image)[1].tobytes()
            (folder / part / str(label) / f"{row:05d}.png").write_bytes(data)
            done += 1
            if progress is not None and done % 500 == 0:
                progress(done, total)
