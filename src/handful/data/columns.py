"""Columns of very many short values in few bytes each, which otherwise are as tuples.

A text of Python's takes 60 bytes more than what it says, a path 300: past a million photos that is
the memory of a laptop.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_ROWS_A_BLOCK = 16_384
_DIGEST_BYTES = 16
_HEXADECIMAL = frozenset("0123456789abcdef")
_MOST_READERS = 256

Rows = NDArray[np.int64]


class Column(Sequence[Any]):
    """N values; it equals any sequence of the same ones."""

    @abstractmethod
    def value(self, row: int) -> Any:
        """The value of a row, 0 to N - 1."""

    @abstractmethod
    def take(self, rows: Rows) -> "Column":
        """The column of some rows, in their order."""

    @overload
    def __getitem__(self, row: int) -> Any: ...

    @overload
    def __getitem__(self, row: slice) -> "Column": ...

    def __getitem__(self, row: int | slice) -> Any:
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        place = int(row) + len(self) * (row < 0)
        if not 0 <= place < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self.value(place)

    def __iter__(self) -> Iterator[Any]:
        return map(self.value, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Column | tuple | list):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


class TextColumn(Column):
    """Texts, one after the other in UTF-8; what of a file's name is no character is kept.

    Args:
        data: The texts.
        starts: (N + 1,) where each begins, and where the last ends.
    """

    def __init__(self, data: bytes, starts: NDArray[np.unsignedinteger[Any]]) -> None:
        self.data, self.starts = data, starts

    @classmethod
    def of(cls, texts: Iterable[str]) -> "TextColumn":
        """Make a column of texts, seen once; one that is such a column stays it."""
        if isinstance(texts, cls):
            return texts
        left = iter(texts)
        blocks, lengths = [], []
        while some := [
            text.encode("utf-8", "surrogatepass") for text in islice(left, _ROWS_A_BLOCK)
        ]:
            blocks.append(b"".join(some))
            lengths.append(np.fromiter(map(len, some), np.int64))
        return cls(b"".join(blocks), _starts(lengths))

    @classmethod
    def joined(cls, columns: Sequence["TextColumn"]) -> "TextColumn":
        """Make one column of several."""
        lengths = [np.diff(column.starts).astype(np.int64) for column in columns]
        return cls(b"".join([column.data for column in columns]), _starts(lengths))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def value(self, row: int) -> str:
        """As in `Column`."""
        start, end = self.starts[row : row + 2].tolist()
        return self.data[start:end].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _ROWS_A_BLOCK):
            ends = self.starts[first : first + _ROWS_A_BLOCK + 1].tolist()
            for start, end in pairwise(ends):
                yield self.data[start:end].decode("utf-8", "surrogatepass")

    def take(self, rows: Rows) -> "TextColumn":
        """As in `Column`."""
        blocks, lengths = [], []
        for first in range(0, len(rows), _ROWS_A_BLOCK):
            some = rows[first : first + _ROWS_A_BLOCK]
            starts, ends = self.starts[some].tolist(), self.starts[some + 1].tolist()
            blocks.append(b"".join([self.data[a:b] for a, b in zip(starts, ends, strict=True)]))
            lengths.append(np.subtract(ends, starts, dtype=np.int64))
        return TextColumn(b"".join(blocks), _starts(lengths))


def _starts(lengths: list[NDArray[np.int64]]) -> NDArray[np.unsignedinteger[Any]]:
    starts = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))
    return starts.astype(np.uint32 if starts[-1] < 2**32 else np.uint64)


class NameColumn(Column):
    """Texts of which there are few.

    Args:
        codes: (N,) number of each in `names`.
        names: The texts that occur.
    """

    def __init__(self, codes: NDArray[np.unsignedinteger[Any]], names: tuple[str, ...]) -> None:
        self.codes, self.names = codes, names

    @classmethod
    def of(cls, texts: Iterable[str]) -> "NameColumn":
        """Make a column of texts; one that is such a column stays it."""
        if isinstance(texts, cls):
            return texts
        numbers: dict[str, int] = {}
        codes = np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.uint32)
        return cls(codes.astype(np.min_scalar_type(len(numbers))), tuple(numbers))

    @classmethod
    def joined(cls, columns: Sequence["NameColumn"]) -> "NameColumn":
        """Make one column of several."""
        return cls(*_joined_codes([column.codes for column in columns], [c.names for c in columns]))

    def __len__(self) -> int:
        return len(self.codes)

    def value(self, row: int) -> str:
        """As in `Column`."""
        return self.names[int(self.codes[row])]

    def __iter__(self) -> Iterator[str]:
        return map(self.names.__getitem__, self.codes.tolist())

    def __contains__(self, text: object) -> bool:
        return text in self.names and bool(np.any(self.codes == self.names.index(str(text))))

    def take(self, rows: Rows) -> "NameColumn":
        """As in `Column`."""
        return NameColumn(self.codes[rows], self.names)


def _joined_codes(
    codes: Sequence[NDArray[np.unsignedinteger[Any]]], kinds: Sequence[tuple[Any, ...]]
) -> tuple[NDArray[np.unsignedinteger[Any]], tuple[Any, ...]]:
    """Codes of several columns, each in its own list of kinds, as those of one list."""
    numbers: dict[Any, int] = {}
    for some in kinds:
        for kind in some:
            numbers.setdefault(kind, len(numbers))
    dtype = np.min_scalar_type(len(numbers))
    tables = [np.array([numbers[kind] for kind in some], dtype) for some in kinds]
    parts = [table[part] for table, part in zip(tables, codes, strict=True)]
    return np.concatenate([np.zeros(0, dtype), *parts]), tuple(numbers)


class DigestColumn(Column):
    """Digests of 32 hexadecimal characters.

    Args:
        digests: (N, 16) uint8.
    """

    def __init__(self, digests: NDArray[np.uint8]) -> None:
        self.digests = digests

    def __len__(self) -> int:
        return len(self.digests)

    def value(self, row: int) -> str:
        """As in `Column`."""
        return bytes(self.digests[row]).hex()

    def __iter__(self) -> Iterator[str]:
        digits = 2 * _DIGEST_BYTES
        for first in range(0, len(self), _ROWS_A_BLOCK):
            text = self.digests[first : first + _ROWS_A_BLOCK].tobytes().hex()
            yield from (text[start : start + digits] for start in range(0, len(text), digits))

    def take(self, rows: Rows) -> "DigestColumn":
        """As in `Column`."""
        return DigestColumn(self.digests[rows])


def digest_column(texts: Sequence[str]) -> Column:
    """Make a column of content hashes.

    Args:
        texts: N texts.

    Returns:
        A column of bytes where all are 32 hexadecimal characters, else of texts.
    """
    if isinstance(texts, Column):
        return texts
    digits = 2 * _DIGEST_BYTES
    if not all(len(text) == digits and _HEXADECIMAL.issuperset(text) for text in texts):
        return TextColumn.of(texts)
    blocks = [
        bytes.fromhex("".join(texts[first : first + _ROWS_A_BLOCK]))
        for first in range(0, len(texts), _ROWS_A_BLOCK)
    ]
    return DigestColumn(np.frombuffer(b"".join(blocks), np.uint8).reshape(-1, _DIGEST_BYTES))


def equal_numbers(values: Sequence[str]) -> NDArray[np.int64]:
    """Number texts so that equal ones have one number.

    Args:
        values: N texts, best a column.

    Returns:
        (N,) int64, 0 or more; -1 for "".
    """
    if isinstance(values, DigestColumn):
        order = content_order(values)
        halves = values.digests.view(np.uint64)[order]
        is_new = np.any(halves[1:] != halves[:-1], axis=1)
        numbers = np.zeros(len(order), np.int64)
        numbers[order[1:]] = np.cumsum(is_new)
        return numbers
    if isinstance(values, NameColumn):
        numbers = np.arange(len(values.names))
        numbers[[name == "" for name in values.names]] = -1
        return np.asarray(numbers[values.codes])
    found = {"": -1}
    return np.fromiter((found.setdefault(text, len(found)) for text in values), np.int64)


def content_order(hashes: Sequence[str]) -> NDArray[np.int64]:
    """Sort content hashes.

    Args:
        hashes: N texts, best a column.

    Returns:
        (N,) int64 rows, in the order of their texts; equal ones in theirs.
    """
    if isinstance(hashes, DigestColumn):
        halves = np.ascontiguousarray(hashes.digests).view(">u8")
        return np.lexsort((halves[:, 1], halves[:, 0]))
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.int64)


class ReaderColumn(Column):
    """Functions that read files whose places end in the paths that people see.

    Args:
        paths: (N,) as shown to people.
        codes: (N,) number of each in `kinds`.
        kinds: A function of one place, whether that is a `Path`, and how the place begins.
    """

    def __init__(
        self,
        paths: TextColumn,
        codes: NDArray[np.unsignedinteger[Any]],
        kinds: tuple[tuple[Callable[..., bytes], bool, str], ...],
    ) -> None:
        self.paths, self.codes, self.kinds = paths, codes, kinds

    def __len__(self) -> int:
        return len(self.codes)

    def value(self, row: int) -> partial[bytes]:
        """As in `Column`."""
        function, is_path, start = self.kinds[self.codes[row]]
        place = start + self.paths.value(row)
        return partial(function, Path(place) if is_path else place)

    def take(self, rows: Rows, paths: TextColumn | None = None) -> "ReaderColumn":
        """As in `Column`; the paths of these rows may be given, to be kept once."""
        return ReaderColumn(paths or self.paths.take(rows), self.codes[rows], self.kinds)


def reader_column(
    readers: Sequence[partial[bytes]], paths: Sequence[str]
) -> Sequence[partial[bytes]]:
    """Keep what reads files in few bytes, where it is a few functions of paths.

    Args:
        readers: N functions, or none.
        paths: (N,) as shown to people.

    Returns:
        A column, or the readers as they are.
    """
    if isinstance(readers, Column) or not readers:
        return readers
    kinds: dict[tuple[Callable[..., bytes], bool, str], int] = {}
    codes = np.empty(len(readers), np.uint8)
    for row, (reader, path) in enumerate(zip(readers, paths, strict=True)):
        place = reader.args[0] if len(reader.args) == 1 and not reader.keywords else None
        text = place.as_posix() if isinstance(place, Path) else place
        if not (isinstance(text, str) and text.endswith(path)):
            return readers
        kind = (reader.func, isinstance(place, Path), text[: len(text) - len(path)])
        number = kinds.setdefault(kind, len(kinds))
        if number >= _MOST_READERS:
            return readers
        codes[row] = number
    return ReaderColumn(TextColumn.of(paths), codes, tuple(kinds))


def join_readers(
    columns: Sequence[Sequence[partial[bytes]]], paths: TextColumn
) -> Sequence[partial[bytes]]:
    """Join what `reader_column` made.

    Args:
        columns: Columns or readers as they are, N together.
        paths: (N,) as shown to people.

    Returns:
        A column where all are such, else readers.
    """
    found = [column for column in columns if isinstance(column, ReaderColumn)]
    if len(found) < len(columns):
        return [reader for column in columns for reader in column]
    return ReaderColumn(paths, *_joined_codes([c.codes for c in found], [c.kinds for c in found]))


def take_readers(
    readers: Sequence[partial[bytes]], rows: Rows, paths: TextColumn
) -> Sequence[partial[bytes]]:
    """Readers of some rows, whose paths are given, to be kept once."""
    if isinstance(readers, ReaderColumn):
        return readers.take(rows, paths)
    return [readers[row] for row in rows] if readers else readers
