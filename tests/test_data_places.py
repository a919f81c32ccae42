"""Where photos lie, written down and read back."""

import os
import pickle
import zipfile
from functools import partial
from pathlib import Path

import pytest

from conftest import draw_photo, write_photo
from handful.data.places import find_photos, read_place, refuse, write_place
from handful.data.storage import FoundFile
from handful.errors import DataError
from handful.projects.project import Project


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        write_photo(tmp_path / "photos" / f"{number}.png", draw_photo("round", number))
    os.rename(tmp_path / "photos" / "2.png", os.fsencode(tmp_path) + b"/photos/\xff.png")
    return tmp_path / "photos"


def test_whatever_is_found_is_found_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(photos / "0.png", "cats/0.png")
    project = Project.create(tmp_path / "sorting.handful")
    project.add_source(photos)
    project.add_source(tmp_path / "photos.zip")
    monkeypatch.chdir(tmp_path)
    sources = ["photos", "photos.zip", "photos/0.png", "sorting.handful", "nowhere"]
    found = find_photos(sources)
    assert len(found) == 3 + 1 + 1 + 3 + 1
    lines = [write_place(file) for file in found]
    monkeypatch.chdir(photos)  # wherever the job is gone on with
    for file, line in zip(found, lines, strict=True):
        assert line.isascii() and "\n" not in line
        again = pickle.loads(pickle.dumps(read_place(line)))
        assert again.path == file.path
        if file.path == "nowhere":
            with pytest.raises(DataError, match="does not exist"):
                again.read()
        else:
            assert again.read() == read_place(line).read() and again.read(first=4) == b"\x89PNG"


def test_what_cannot_be_read_says_so() -> None:
    file = read_place(write_place(FoundFile("x.jpg", partial(refuse, "is a dream"))))
    with pytest.raises(DataError, match=r"^is a dream$"):
        file.read()


def test_nothing_to_do_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"There are no photos: .*empty has no photos in it"):
        find_photos(tmp_path / "empty")
