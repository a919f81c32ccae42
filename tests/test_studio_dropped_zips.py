import asyncio
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conftest import draw_photo, write_photo
from handful.errors import DataError, OutputError
from handful.projects.project import Project
from handful.studio.dropped_zips import keep_zip


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100):
        yield data[start : start + 100]
    yield b""


def packed(folder: Path) -> bytes:
    write_photo(folder / "a.png", draw_photo("round", 1))
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        archive.write(folder / "a.png", "Round/a.png")
    return (folder / "packed.zip").read_bytes()


def test_a_zip_is_kept_whole_and_its_photos_are_the_projects(tmp_path: Path) -> None:
    data, project = packed(tmp_path), Project.create(tmp_path / "work")
    path = asyncio.run(keep_zip(chunks(data), project.folder, "my photos.zip"))
    assert path.read_bytes() == data
    project.add_source(path)
    assert [photo.name for photo in project.photos] == ["a.png"]
    again = asyncio.run(keep_zip(chunks(data), project.folder, "my photos.zip"))
    assert again != path and again.exists()


@pytest.mark.parametrize(
    ("data", "most", "message"),
    [(b"milk" * 99, 10_000, "b.zip is no zip"), (b"PK" * 99, 120, "b.zip is too large")],
)
def test_what_is_no_zip_or_too_large_leaves_nothing(
    tmp_path: Path, data: bytes, most: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        asyncio.run(keep_zip(chunks(data), tmp_path, "..\\a/b.zip", most))
    assert list((tmp_path / "zips").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "zips").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        asyncio.run(keep_zip(chunks(b"PK"), tmp_path, "a.zip"))
