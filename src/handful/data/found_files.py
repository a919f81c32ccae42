"""Very many files found, in few bytes each: as objects they take ten times as many."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from handful.data.columns import (
    Column,
    NameColumn,
    TextColumn,
    join_readers,
    reader_column,
    take_readers,
)
from handful.data.storage import FoundFile

_FILES_A_BLOCK = 1024


class FoundFiles(Column):
    """N files found.

    Args:
        paths: (N,) as in `FoundFile`, as are the rest.
        readers: (N,) functions, best a column.
        class_names: (N,) texts.
        splits: (N,) texts.
        groups: (N,) texts.
    """

    def __init__(
        self,
        paths: TextColumn,
        readers: Sequence[partial[bytes]],
        class_names: NameColumn,
        splits: NameColumn,
        groups: NameColumn,
    ) -> None:
        self.paths, self.readers = paths, readers
        self.class_names, self.splits, self.groups = class_names, splits, groups

    @classmethod
    def of(cls, files: Iterable[FoundFile]) -> "FoundFiles":
        """Make columns of files, seen once; what is such columns stays them."""
        if isinstance(files, cls):
            return files
        left = iter(files)
        texts: list[TextColumn] = []
        readers: list[Sequence[partial[bytes]]] = []
        names: tuple[list[NameColumn], ...] = ([], [], [])
        while some := list(islice(left, _FILES_A_BLOCK)):
            texts.append(TextColumn.of(file.path for file in some))
            readers.append(reader_column([file.read for file in some], texts[-1]))
            for column, name in zip(names, ("class_name", "split", "group"), strict=True):
                column.append(NameColumn.of(getattr(file, name) for file in some))
        paths = TextColumn.joined(texts)
        return cls(paths, join_readers(readers, paths), *map(NameColumn.joined, names))

    def __len__(self) -> int:
        return len(self.paths)

    def value(self, row: int) -> FoundFile:
        """As in `Column`."""
        names = self.class_names[row], self.splits[row], self.groups[row]
        return FoundFile(self.paths[row], self.readers[row], *names)

    def __iter__(self) -> Iterator[FoundFile]:
        columns = (self.paths, self.readers, self.class_names, self.splits, self.groups)
        return map(FoundFile, *columns)

    def take(self, rows: NDArray[np.int64]) -> "FoundFiles":
        """As in `Column`."""
        paths = self.paths.take(rows)
        readers = take_readers(self.readers, rows, paths)
        columns = (self.class_names, self.splits, self.groups)
        class_names, splits, groups = (column.take(rows) for column in columns)
        return FoundFiles(paths, readers, class_names, splits, groups)

    def labeled(self, class_names: Iterable[str], splits: Iterable[str]) -> "FoundFiles":
        """The same files, of other classes and parts (N,)."""
        columns = NameColumn.of(class_names), NameColumn.of(splits)
        return FoundFiles(self.paths, self.readers, *columns, self.groups)
