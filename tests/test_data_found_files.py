"""Files found, as columns."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from handful.data.columns import ReaderColumn
from handful.data.found_files import FoundFiles
from handful.data.index import _sorted_rows, sort_key
from handful.data.storage import FoundFile, read_file


def give(data: bytes) -> bytes:
    return data


def found(count: int) -> list[FoundFile]:
    parts = ("train", "", "validation")
    return [
        FoundFile(
            path := f"{'ab'[n % 2]}/{n * 7 % 10}ä.jpg",
            partial(read_file, Path("/photos", path)),
            "AB"[n % 2],
            parts[n % 3],
            str(n // 4),
        )
        for n in range(count)
    ]


def said(file: FoundFile) -> tuple[object, ...]:
    return file.path, file.read.func, file.read.args, file.class_name, file.split, file.group


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handful.data.found_files._FILES_A_BLOCK", 3)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("count", [0, 1, 8])
def test_files_come_back_as_they_were_found(count: int) -> None:
    files = found(count)
    columns = FoundFiles.of(iter(files))
    assert FoundFiles.of(columns) is columns
    assert [*map(said, columns)] == [*map(said, files)]
    assert isinstance(columns.readers, ReaderColumn)
    rows = np.arange(count)[::-2]
    some = columns.take(rows)
    assert [*map(said, some)] == [said(files[row]) for row in rows]
    assert [said(some[row]) for row in range(len(some))] == [*map(said, some)]


@pytest.mark.usefixtures("blocks")
def test_readers_of_all_kinds_are_kept() -> None:
    files = [*found(4), FoundFile("c.jpg", partial(give, b"c"))]
    columns = FoundFiles.of(files)
    assert [file.read for file in columns] == [*columns.readers]
    assert [*map(said, columns.take(np.array([4, 0])))] == [said(files[4]), said(files[0])]


def test_files_get_other_classes_and_parts() -> None:
    labeled = FoundFiles.of(found(3)).labeled(["x", "y", "x"], ["", "test", ""])
    assert [(file.class_name, file.split, file.group) for file in labeled] == [
        ("x", "", "0"),
        ("y", "test", "0"),
        ("x", "", "0"),
    ]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("count", [0, 1, 40])
def test_files_are_sorted_as_by_their_keys(count: int) -> None:
    files = found(count)
    columns = FoundFiles.of(files)
    keys = [sort_key(file.split, file.class_name, file.path) for file in files]
    assert _sorted_rows(columns).tolist() == sorted(range(count), key=keys.__getitem__)
