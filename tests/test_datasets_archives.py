import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import draw_photo
from handful.data.index import load_index
from handful.datasets import archives, digits
from handful.datasets.archives import count_images, load_data, unpack_archive
from handful.datasets.digits import DigitFile
from handful.datasets.registry import Archive
from handful.errors import DataError, OutputError
from handful.files.atomic import sha256_of
from reporters import Recorder, Stopper

COUNTS = {
    f"pets/{part}/{kind}": n
    for part, n in (("train", 9), ("validation", 2))
    for kind in ("cats", "dogs")
}
INSIDE = {path.removeprefix("pets/"): n for path, n in COUNTS.items()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "given" / "pets.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("pets/read me.py", "not unpacked")
        for seed, (place, count) in enumerate(COUNTS.items()):
            for number in range(count):
                picture = draw_photo("round", 100 * seed + number, (70 + number, 80))
                data = cv2.imencode(".jpg", picture)[1].tobytes()
                file.writestr(f"{place}/{number}.jpg", data)
    return path


@pytest.fixture
def pets(source: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    archive = Archive("pets.zip", "http://photos.invalid/pets.zip", 1, COUNTS, "Photos: somebody.")
    monkeypatch.setattr(archives, "CATS_AND_DOGS", archive)
    monkeypatch.setenv("HANDFUL_DATA", str(source.parent))
    return archive


@pytest.mark.slow
def test_photos_are_unpacked_counted_and_drawn(pets: Archive, source: Path, tmp_path: Path) -> None:
    folder, recorder = tmp_path / "out" / "mine", Recorder()
    found = load_data("cats-vs-dogs", output=folder, reporter=recorder)
    assert recorder.lines == [f"Taking {source}, given by the environment variable HANDFUL_DATA."]
    assert found.is_new and found.source == source and found.num_images == 22
    assert found.counts == {
        "train": {"cats": 9, "dogs": 9},
        "validation": {"cats": 2, "dogs": 2},
    }
    assert count_images(folder) == INSIDE
    index = load_index(folder)
    assert len(index) == 22 and index.rejected == () and index.class_names == ("cats", "dogs")
    with zipfile.ZipFile(source) as file:
        data = file.read("pets/train/dogs/3.jpg")
    assert (folder / "train" / "dogs" / "3.jpg").read_bytes() == data
    assert found.examples == tmp_path / "out" / "mine-examples.png"
    with Image.open(found.examples) as picture:
        assert picture.format == "PNG" and picture.width > 900
    assert {path.name for path in folder.parent.iterdir()} == {"mine", "mine-examples.png"}
    assert {path.name for path in folder.iterdir()} == {"train", "validation"}


@pytest.mark.slow
def test_a_whole_folder_is_counted_and_drawn_again(
    pets: Archive, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    first = load_data("cats-vs-dogs", output=folder)
    drawn = first.examples.read_bytes()
    first.examples.unlink()
    monkeypatch.setattr(archives, "find_archive", None)
    again = load_data("cats-vs-dogs", output=folder)
    assert again == replace(first, is_new=False, source=None)
    assert again.examples.read_bytes() == drawn
    assert again.to_dict() == {
        "name": "cats-vs-dogs",
        "path": str(folder),
        "is_new": False,
        "source": None,
        "num_images": 22,
        "counts": first.counts,
        "examples": str(first.examples),
        "credit": "Photos: somebody.",
    }
    # From inside it, too.
    monkeypatch.chdir(folder)
    assert load_data("cats-vs-dogs", output=Path(".")).num_images == 22
    assert count_images(folder) == INSIDE


@pytest.mark.slow
def test_a_folder_that_is_not_whole_is_refused_and_kept(pets: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    load_data("cats-vs-dogs", output=folder)
    (folder / "train" / "cats" / "0.jpg").unlink()
    expected = (
        r"mine exists already and is not all of cats-vs-dogs: it holds train/cats/ \(8\); "
        r"expected train/cats/ \(9\)\. Choose another `output`, or remove it"
    )
    with pytest.raises(OutputError, match=expected):
        load_data("cats-vs-dogs", output=folder)
    assert (folder / "train" / "cats" / "1.jpg").exists()
    other = tmp_path / "other"
    (other / "own").mkdir(parents=True)
    (other / "own" / "a.jpg").touch()
    with pytest.raises(
        OutputError, match=r"other exists .* it holds own/ \(1\), train/cats/ \(0\)"
    ):
        load_data("cats-vs-dogs", output=other)


@pytest.mark.slow
def test_a_damaged_picture_in_it_is_named(pets: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    load_data("cats-vs-dogs", output=folder)
    for path in (folder / "train" / "cats").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cats/\d\.jpg .*Remove its data set's folder to have it"):
        load_data("cats-vs-dogs", output=folder)


def test_nothing_is_left_of_an_archive_damaged_inside(
    pets: Archive, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(source) as file:
        photo = file.read("pets/validation/dogs/1.jpg")
    source.write_bytes(source.read_bytes().replace(photo, photo[:-1] + b"?"))
    monkeypatch.setattr(archives, "find_archive", lambda *_: source)
    with pytest.raises(
        DataError, match=r"pets\.zip: pets/validation/dogs/1\.jpg is damaged in .*Fe"
    ):
        load_data("cats-vs-dogs", output=tmp_path / "out" / "mine")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["../pets/train/cats/x.jpg", "/pets/train/cats/x.jpg"])
def test_an_unsafe_archive_writes_nothing(
    pets: Archive, source: Path, tmp_path: Path, name: str
) -> None:
    with zipfile.ZipFile(source, "a") as file:
        file.writestr(name, "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="points outside the archive"):
        unpack_archive(source, pets, tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.slow
def test_progress_is_reported(
    pets: Archive, tmp_path: Path, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setenv("HANDFUL_DATA", str(known))
    load_data("mnist", output=tmp_path / "m", reporter=recorder)
    assert recorder.of("begin") == ["unpack"]
    assert recorder.of("progress") == [("unpack", 500, 600)]
    assert recorder.of("end")[0][1] > 0


@pytest.mark.slow
def test_unpacking_that_is_cancelled_leaves_nothing(
    pets: Archive, tmp_path: Path, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_DATA", str(known))
    stopper = Stopper(lambda phase, *_: phase == "unpack", "cancel")
    with pytest.raises(KeyboardInterrupt):
        load_data("mnist", output=tmp_path / "out" / "m", reporter=stopper)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """600 digits that count as MNIST."""
    path = tmp_path / "digits.npz"
    labels = (np.arange(300) % 10).astype(np.uint8)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 300, 28, 28), dtype=np.uint8)
    np.savez(path, x_train=pictures[0], y_train=labels, x_test=pictures[1], y_test=labels)
    counts = {f"{part}/{digit}": 30 for part in ("train", "test") for digit in range(10)}
    file = DigitFile("mnist.npz", sha256_of(path), counts)
    monkeypatch.setattr(digits, "DIGIT_FILES", (file,))
    monkeypatch.setattr(archives, "DIGIT_FILES", (file,))
    return path


@pytest.mark.slow
def test_digits_go_into_data_by_default(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_DATA", str(known))
    monkeypatch.chdir(tmp_path)
    found = load_data("mnist")
    assert found.path == Path("data/mnist") and found.examples == Path("data/mnist-examples.png")
    assert list(found.counts) == ["train", "test"]
    assert found.counts["test"] == {str(digit): 30 for digit in range(10)}
    assert len(load_index(found.path)) == 600


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no data set 'cifar'; expected cats-vs-dogs or mnist"):
        load_data("cifar")


@pytest.mark.real
def test_the_real_photos(
    shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_DATA", str(shared_folder / "data"))
    found = load_data("cats-vs-dogs", output=tmp_path / "photos")
    assert found.counts == {
        "train": {"cats": 1000, "dogs": 1000},
        "validation": {"cats": 500, "dogs": 500},
    }
    assert len(load_index(found.path)) == 3000


def test_thumbnails_of_a_storage_box_are_not_counted(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/a/@eaDir/1.png/SYNOPHOTO_THUMB_M.png", "@eaDir/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert count_images(tmp_path) == {"train/a": 1}
