from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from handful.data.index import load_index
from handful.datasets import digits, registry
from handful.datasets.digits import (
    DIGIT_FILES,
    SMALL_MNIST,
    WHOLE_MNIST,
    DigitFile,
    find_digits,
    read_digits,
    write_digits,
)
from handful.errors import DataError
from handful.files.atomic import sha256_of
from handful.files.download import DownloadError
from reporters import Recorder


def write_archive(path: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (30, 28, 28), dtype=np.uint8),
        "y_train": np.arange(30, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_test": np.arange(20, dtype=np.uint8) % 10,
        **changes,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small archive that counts as MNIST, where no test's code looks for it."""
    path = write_archive(tmp_path / "published.npz")
    counts = {
        f"{part}/{digit}": n for part, n in (("train", 3), ("test", 2)) for digit in range(10)
    }
    file = DigitFile("mnist.npz", sha256_of(path), counts)
    monkeypatch.setattr(digits, "WHOLE_MNIST", file)
    monkeypatch.setattr(digits, "DIGIT_FILES", (file, SMALL_MNIST))
    return path


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with nothing beside it, no network and no variable set."""
    here = tmp_path / "project" / "work"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.delenv("HANDFUL_DATA", raising=False)
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "a" / "b" / "c" / "datasets.py"))
    serve(monkeypatch, None)
    return here


def serve(monkeypatch: pytest.MonkeyPatch, source: Path | None) -> list[str]:
    """Let `download` bring this file or fail; the list grows with its calls."""
    calls: list[str] = []

    def download(url: str, path: Path, num_bytes: int, progress: object = None) -> None:
        calls.append(url)
        if source is None:
            raise DownloadError("Name or service not known")
        path.write_bytes(source.read_bytes())

    monkeypatch.setattr(digits, "download", download)
    return calls


def test_the_tables_add_up() -> None:
    for file, num_train in ((WHOLE_MNIST, 60_000), (SMALL_MNIST, 10_000)):
        assert sum(n for path, n in file.counts.items() if path.startswith("train/")) == num_train
        assert sum(n for path, n in file.counts.items() if path.startswith("test/")) == 10_000
        assert len(file.sha256) == 64


@pytest.mark.parametrize("as_folder", [True, False])
def test_the_variable_comes_first(
    known: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_folder: bool
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    path = given / ("mnist.npz" if as_folder else "any name.npz")
    path.write_bytes(known.read_bytes())
    monkeypatch.setenv("HANDFUL_DATA", str(given if as_folder else path))
    recorder = Recorder()
    assert find_digits(tmp_path / "cache", reporter=recorder) == (path, digits.WHOLE_MNIST)
    assert recorder.lines == [f"Taking {path}, given by the environment variable HANDFUL_DATA."]


def test_then_comes_the_shared_folder(known: Path, alone: Path, tmp_path: Path) -> None:
    shared = alone.parent / "shared" / "data"
    shared.mkdir(parents=True)
    (shared / "mnist.npz").write_bytes(known.read_bytes())
    path, _ = find_digits(tmp_path / "cache")
    assert path == Path("../shared/data/mnist.npz")


def test_a_variable_that_names_other_data_is_passed_over(
    known: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, known)
    (tmp_path / "photos.zip").touch()
    monkeypatch.setenv("HANDFUL_DATA", str(tmp_path / "photos.zip"))
    recorder = Recorder()
    find_digits(tmp_path / "cache", reporter=recorder)
    assert (
        "photos.zip, given by HANDFUL_DATA, has no mnist.npz or mnist_10k.npz." in recorder.lines[0]
    )


def test_a_missing_path_is_an_error(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_DATA", "no/such.npz")
    expected = r"such\.npz, given by .* HANDFUL_DATA, does not exist; expected mnist\.npz or mnist_"
    with pytest.raises(DataError, match=expected):
        find_digits(tmp_path / "cache")


def test_a_download_is_verified_and_kept(
    known: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = serve(monkeypatch, known)
    for _ in range(2):
        path, file = find_digits(tmp_path / "cache")
        assert path == tmp_path / "cache" / "data" / "mnist.npz" and file is digits.WHOLE_MNIST
    assert calls == [digits.MNIST_URL]
    # One that was damaged since is fetched again.
    path.write_bytes(b"damaged")
    recorder = Recorder()
    assert find_digits(tmp_path / "cache", reporter=recorder)[0] == path
    assert f"{path} is damaged; it was deleted." in recorder.lines and len(calls) == 2


def test_a_wrong_download_is_deleted(
    known: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, write_archive(tmp_path / "other.npz", y_train=np.zeros(30, np.uint8)))
    with pytest.raises(DataError, match=r"has the SHA-256 \w+; expected \w+\. What was downloaded"):
        find_digits(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "data").iterdir()] == [".lock"]


def test_with_no_network_the_error_says_what_to_do(alone: Path, tmp_path: Path) -> None:
    expected = (
        r"could not be downloaded: Name or service not known\. Put https://\S+/mnist\.npz at "
        r"\S+/data/mnist\.npz, or name the file .* HANDFUL_DATA\."
    )
    with pytest.raises(DataError, match=expected):
        find_digits(tmp_path / "cache")


def test_other_digits_are_not_mnist(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_archive(tmp_path / "other.npz")
    monkeypatch.setenv("HANDFUL_DATA", str(path))
    expected = (
        r"other\.npz is not MNIST: its SHA-256 is \w+; expected that of mnist\.npz or mnist_1"
    )
    with pytest.raises(DataError, match=expected):
        find_digits(tmp_path / "cache")


def test_digits_become_files_named_by_their_row(known: Path, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    write_digits(known, folder)
    images, labels = read_digits(known)["train"]
    found = cv2.imread(str(folder / "train" / "7" / "00017.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found, images[17])
    assert labels[17] == 7
    index = load_index(folder)
    assert len(index) == 50 and index.rejected == () and index.class_names == tuple("0123456789")
    assert set(index.splits) == {"train", "test"}


def pickled() -> np.ndarray:
    return np.array([{"a": 1}] * 30, dtype=object)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, r"is no archive of digits \(.*y_test.*\); expected x_train, y_train"),
        ({"x_train": pickled()}, "is no archive of digits .*allow_pickle"),
        ({"y_train": np.zeros(29, np.uint8)}, r"has train images .* and labels uint8 \(29,\)"),
        ({"x_test": np.zeros((20, 28, 28), np.float32)}, "has test images float32"),
    ],
)
def test_other_archives_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_digits(write_archive(tmp_path / "other.npz", **changes))


def test_text_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"text\.npz is no archive of digits"):
        read_digits(tmp_path / "text.npz")


@pytest.mark.slow
def test_progress_is_told(tmp_path: Path) -> None:
    many = write_archive(
        tmp_path / "many.npz",
        x_train=np.zeros((980, 28, 28), np.uint8),
        y_train=np.zeros(980, np.uint8),
    )
    told: list[tuple[int, int]] = []
    (tmp_path / "many").mkdir()
    write_digits(many, tmp_path / "many", lambda done, total: told.append((done, total)))
    assert told == [(500, 1000), (1000, 1000)]


@pytest.mark.real
def test_the_real_digits_are_counted_as_the_table_says(
    shared_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HANDFUL_DATA", str(shared_folder / "data"))
    path, file = find_digits(tmp_path / "cache")
    counts = {
        f"{part}/{digit}": int((labels == digit).sum())
        for part, (_, labels) in read_digits(path).items()
        for digit in range(10)
    }
    assert file in DIGIT_FILES and counts == file.counts
