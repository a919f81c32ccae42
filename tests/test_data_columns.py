"""Columns of very many short values."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from handful.data.columns import (
    Column,
    DigestColumn,
    NameColumn,
    ReaderColumn,
    TextColumn,
    content_order,
    digest_column,
    equal_numbers,
    reader_column,
)
from handful.data.storage import read_file

TEXTS = ["a/1.png", "", "Tía", "b/\udce9.jpg", "a/1.png"]
DIGESTS = ["ff" * 16, "00" * 16, "80" + "00" * 15, "ff" * 16]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (TextColumn.of(TEXTS), TEXTS),
        (NameColumn.of(TEXTS), TEXTS),
        (digest_column(DIGESTS), DIGESTS),
        (TextColumn.of([]), []),
        (NameColumn.of([]), []),
        (digest_column([]), []),
    ],
)
def test_a_column_is_as_the_tuple_of_its_values(column: Column, values: list[str]) -> None:
    assert column == tuple(values) and tuple(values) == column and list(column) == values
    assert column != (*values, "") and column != "no sequence of texts"
    assert len(column) == len(values) and repr(column) == repr(tuple(values))
    assert [column[row] for row in range(-len(values), len(values))] == values * 2
    assert column[1:] == values[1:] and column[::-1] == values[::-1]
    assert all(text in column for text in values) and "no such text" not in column
    rows = np.arange(len(values))[::-2]
    assert column.take(rows) == [values[row] for row in rows]
    assert hash(column) == hash(tuple(values))
    with pytest.raises(IndexError):
        column[len(values)]


def test_equal_texts_have_equal_numbers() -> None:
    for column in (TEXTS, TextColumn.of(TEXTS), NameColumn.of(TEXTS)):
        numbers = equal_numbers(column).tolist()
        assert numbers[0] == numbers[4] and numbers[1] == -1
        assert len(set(numbers)) == 4 and min(numbers) == -1
    numbers = equal_numbers(digest_column(DIGESTS)).tolist()
    assert numbers[0] == numbers[3] and len(set(numbers)) == 3 and min(numbers) >= 0
    assert equal_numbers(digest_column([])).tolist() == []


def test_digests_sort_as_their_texts() -> None:
    assert isinstance(digest_column(DIGESTS), DigestColumn)
    assert content_order(digest_column(DIGESTS)).tolist() == [1, 2, 0, 3]
    assert isinstance(digest_column(["short", *DIGESTS]), TextColumn)
    assert content_order(TextColumn.of(["b", "a", "b"])).tolist() == [1, 0, 2]


def test_readers_of_paths_are_kept_once(tmp_path: Path) -> None:
    paths = ["a/1.png", "b/2.png"]
    for path in paths:
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_bytes(path.encode())
    column = reader_column([partial(read_file, tmp_path / path) for path in paths], paths)
    assert isinstance(column, ReaderColumn) and len(column.kinds) == 1
    assert [read() for read in column] == [b"a/1.png", b"b/2.png"]
    assert [read() for read in column.take(np.array([1]))] == [b"b/2.png"]
    assert column[0](first=3) == b"a/1"


def test_other_readers_stay_as_they_are() -> None:
    readers = [partial(bytes, [1, 2]), partial(bytes, [3])]
    assert reader_column(readers, ["a", "b"]) is readers
    assert reader_column((), []) == ()
