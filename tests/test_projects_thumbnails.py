"""Thumbnails: upright, small, made once, never half."""

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import draw_photo
from handful.data.storage import hash_content
from handful.errors import DataError
from handful.projects.project import Project
from handful.projects.thumbnails import Thumbnails, large_picture


def png(size: tuple[int, int], seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw_photo("round", seed, size)).save(file, "PNG")
    return file.getvalue()


def torn_jpeg() -> bytes:
    """A file whose header is sound, and whose pixels are not all there."""
    file = io.BytesIO()
    Image.fromarray(draw_photo("round", 9)).save(file, "JPEG")
    return file.getvalue()[:-300]


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "WEBP"
    return image


def test_they_are_small_and_never_larger_than_the_photo(tmp_path: Path) -> None:
    thumbnails = Thumbnails(tmp_path)
    assert opened(thumbnails.make("a" * 32, png((600, 900)))).size == (256, 171)
    assert opened(thumbnails.make("b" * 32, png((96, 120)))).size == (120, 96)
    assert thumbnails.get("a" * 32) == (tmp_path / "aa" / f"{'a' * 32}.webp").read_bytes()
    assert thumbnails.get("c" * 32) is None
    assert not list(tmp_path.glob("*.part"))


def test_they_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    file = io.BytesIO()
    half = np.zeros((100, 200, 3), np.uint8)
    half[:, :100] = 255
    Image.fromarray(half).save(file, "JPEG", exif=exif)
    image = opened(Thumbnails(tmp_path).make("a" * 32, file.getvalue()))
    pixels = np.asarray(image.convert("L"))
    assert image.size == (100, 200)
    assert pixels[:90].mean() > 250 and pixels[110:].mean() < 5


def test_a_large_picture_keeps_what_there_is() -> None:
    small = Image.open(io.BytesIO(png((300, 200))))
    assert opened(large_picture(png((300, 200)))).size == small.size
    assert max(opened(large_picture(png((1500, 900)))).size) == 1024
    with pytest.raises(DataError):
        large_picture(torn_jpeg())


def test_one_that_was_not_written_whole_is_made_again(tmp_path: Path) -> None:
    thumbnails = Thumbnails(tmp_path)
    made = thumbnails.make("a" * 32, png((96, 120)))
    for damaged in (b"", made[:-5], b"\0" * len(made)):
        thumbnails.path("a" * 32).write_bytes(damaged)
        assert thumbnails.get("a" * 32) is None


def test_they_are_filled_in_and_can_be_read_meanwhile(tmp_path: Path) -> None:
    thumbnails = Thumbnails(tmp_path)
    photos = {hash_content(data): data for data in (png((96, 120), seed) for seed in range(12))}
    first = next(iter(photos))
    thumbnails.make(first, photos[first])
    readers = {id: lambda data=data: data for id, data in photos.items()}
    readers["f" * 32] = lambda: b"no photo"
    told: list[tuple[int, int]] = []

    def progress(done: int, of: int) -> None:
        told.append((done, of))
        assert thumbnails.get(first) is not None

    failed = thumbnails.fill(readers, progress, threads=3)
    assert list(failed) == ["f" * 32]
    assert told == [(number, 13) for number in range(2, 14)]
    assert all(opened(thumbnails.get(id) or b"").size == (120, 96) for id in photos)
    # Made once: nothing is read again.
    assert thumbnails.fill({id: lambda: b"" for id in photos}) == {}


def test_filling_can_be_stopped(tmp_path: Path) -> None:
    thumbnails = Thumbnails(tmp_path)
    read: list[int] = []

    def reader(number: int) -> bytes:
        read.append(number)
        return png((96, 120), number)

    readers = {f"{number:032x}": lambda number=number: reader(number) for number in range(50)}
    thumbnails.fill(readers, threads=1, cancelled=lambda: True)
    assert 1 <= len(read) <= 3


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    old, new = tmp_path / "x-1-1.part", tmp_path / "x-2-2.part"
    old.write_bytes(b"")
    new.write_bytes(b"")
    os.utime(old, (0, 0))
    Thumbnails(tmp_path).fill({})
    assert not old.exists() and new.exists()


def test_a_project_makes_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png((96, 120), number))
    (folder / "torn.jpg").write_bytes(torn_jpeg())
    project = Project.open(tmp_path / "p")
    project.add_source(folder)
    torn = next(photo.id for photo in project.photos if photo.name == "torn.jpg")
    assert len(project.photos) == 4
    assert opened(project.thumbnail(project.photos[0].id)).size == (120, 96)
    told: list[tuple[int, int]] = []
    project.make_thumbnails(lambda done, of: told.append((done, of)))
    assert told[-1] == (4, 4) and len(project.photos) == 3
    assert [file.path for file in project.rejected] == ["photos/torn.jpg"]
    assert torn not in {photo.id for photo in project.photos}


def test_a_photo_that_is_gone_is_not_refused_for_ever(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png((96, 120)))
    project = Project.open(tmp_path / "p")
    project.add_source(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    project.make_thumbnails()
    with pytest.raises(DataError, match="cannot be read"):
        project.thumbnail(project.photos[0].id)
    assert project.rejected == ()


def test_a_photo_that_cannot_be_decoded_is_refused_when_it_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(torn_jpeg())
    project = Project.open(tmp_path / "p")
    project.add_source(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"is truncated|is damaged"):
        project.thumbnail(project.photos[0].id)
    assert project.photos == () and len(project.rejected) == 1


def test_threads_that_make_the_same_do_not_meet(tmp_path: Path) -> None:
    thumbnails, data = Thumbnails(tmp_path), png((300, 300))
    threads = [threading.Thread(target=lambda: thumbnails.make("a" * 32, data)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened(thumbnails.get("a" * 32) or b"").size == (256, 256)
    assert [path.name for path in tmp_path.iterdir()] == ["aa"]
