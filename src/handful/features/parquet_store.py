"""Vectors in Parquet files, for many machines and other tools (extra `parquet`).

A part is some thousand rows in the order of their keys, named by a digest of all its bytes, and it
appears whole or not at all: so any number of processes may add to one folder, and a folder may be
copied into another. Vectors are rounded to half precision. Deleting any part is always safe.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import OutputError
from handful.extras import require
from handful.files.atomic import new_file, reason_of

if TYPE_CHECKING:
    import pyarrow

KEY_BYTES = 16
_ROWS_A_GROUP = 2048
# So many parts of one group each become one part.
_MERGED = 8
_VECTORS, _SCANS = "vectors", "scans"

logger = logging.getLogger("handful")


@dataclass(frozen=True)
class ParquetInfo:
    """What a folder of parts holds.

    Args:
        embeddings: Number of vectors.
        pictures: Number of decoded photos whose look is kept.
        num_parts: Files.
        num_bytes: Their size.
    """

    embeddings: int
    pictures: int
    num_parts: int
    num_bytes: int


class ParquetStore:
    """A store of many machines, see `EmbeddingStore`; its keys have 16 bytes.

    What is put is written in parts of 2,048 rows, and the rest when the store is closed. Use one
    instance in one thread.

    Args:
        folder: Where the parts lie; made at need.

    Raises:
        MissingExtraError: When what reads and writes Parquet is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        require("parquet", "A store of embeddings as Parquet", "pyarrow")
        self.folder = Path(folder)
        self._unkept: dict[str, dict[bytes, Any]] = {}
        self._is_broken = False

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Vectors of the keys that are there, see `EmbeddingStore`."""
        return {key: np.asarray(vector, np.float32) for key, vector in self._found(_VECTORS, keys)}

    def put_many(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep vectors, see `EmbeddingStore`; those that half floats cannot hold are not kept."""
        for key, vector in vectors.items():
            with np.errstate(over="ignore"):
                half = vector.astype(np.float16)
            if np.isfinite(half).all():
                self._put(f"{_VECTORS}-{len(half)}", key, half)

    def get_scans(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What images look like, see `EmbeddingStore`."""
        return dict(self._found(_SCANS, keys))

    def put_scans(self, scans: Mapping[bytes, bytes]) -> None:
        """Keep what images look like, see `EmbeddingStore`."""
        for key, value in scans.items():
            self._put(_SCANS, key, value)

    def stream(self, dim: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float16]]]:
        """Read all vectors of one width, some thousand at a time, in the order of their parts.

        A vector that two processes computed may come twice.

        Args:
            dim: Their width D.

        Yields:
            Keys (n, 16) uint8, ascending within a part, and vectors (n, D) float16.
        """
        for rows in self._row_groups(f"{_VECTORS}-{dim}-"):
            yield _keys(rows), _values(rows)

    def fill(self, keys: NDArray[np.uint8], vectors: NDArray[Any]) -> NDArray[np.bool_]:
        """Put the vectors of many keys into an array, reading each part once.

        Args:
            keys: (N, 16) uint8.
            vectors: (N, D) array to fill, such as a memory map of half floats.

        Returns:
            (N,) which of them were there.
        """
        wanted = np.ascontiguousarray(keys).view(f"S{KEY_BYTES}")[:, 0]
        order = np.argsort(wanted, kind="stable")
        ordered, found = wanted[order], np.zeros(len(keys), dtype=bool)
        for there, values in self.stream(vectors.shape[1]):
            texts = np.ascontiguousarray(there).view(f"S{KEY_BYTES}")[:, 0]
            first = np.searchsorted(ordered, texts, side="left")
            counts = np.searchsorted(ordered, texts, side="right") - first
            # A key may be asked for several times.
            source = np.repeat(np.arange(len(texts)), counts)
            places = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(len(source))
            vectors[order[places]] = values[source]
            found[order[places]] = True
        return found

    def info(self) -> ParquetInfo:
        """Count what the folder holds."""
        from pyarrow import parquet

        numbers = {_VECTORS: 0, _SCANS: 0}
        files = self._files("")
        for file in files:
            try:
                numbers[file.name.partition("-")[0]] += parquet.read_metadata(file).num_rows
            except (OSError, ValueError, KeyError):
                continue  # removed just now, damaged, or somebody else's
        size = sum(file.stat().st_size for file in files if file.exists())
        return ParquetInfo(numbers[_VECTORS], numbers[_SCANS], len(files), size)

    def flush(self) -> None:
        """Write what was put until now, and join small parts."""
        kinds = list(self._unkept)
        for kind in kinds:
            self._write(kind)
        for kind in kinds:
            self._merge(kind)

    def close(self) -> None:
        """Write the rest."""
        self.flush()

    def __enter__(self) -> "ParquetStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, kind: str, key: bytes, value: Any) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {len(key)} bytes; expected {KEY_BYTES}.")
        if self._is_broken:
            return
        unkept = self._unkept.setdefault(kind, {})
        unkept[key] = value
        if len(unkept) >= _ROWS_A_GROUP:
            self._write(kind)
            self._merge(kind)

    def _found(self, kind: str, keys: Sequence[bytes]) -> Iterator[tuple[bytes, Any]]:
        """Keys that are there with their values, each once."""
        wanted = set(keys)
        for unkept_kind, unkept in self._unkept.items():
            if unkept_kind.startswith(kind):
                for key in wanted & unkept.keys():
                    wanted.discard(key)
                    yield key, unkept[key]
        for rows in self._row_groups(f"{kind}-", wanted):
            values = _values(rows)
            for place, key in enumerate(map(bytes, _keys(rows))):
                if key in wanted:
                    wanted.discard(key)
                    yield key, values[place]

    def _files(self, start: str) -> list[Path]:
        return sorted(self.folder.glob(f"{start}*.parquet"))

    def _row_groups(
        self, start: str, wanted: set[bytes] | None = None
    ) -> Iterator["pyarrow.Table"]:
        """All rows of parts whose names begin so, or those groups of them with a key wanted."""
        from pyarrow import ArrowException, parquet

        done: set[Path] = set()
        # Parts that were joined while others were read are found in the next round.
        while new := [file for file in self._files(start) if file not in done]:
            for file in new:
                done.add(file)
                try:
                    with parquet.ParquetFile(file) as part:
                        for group in range(part.num_row_groups):
                            if wanted is None or not wanted.isdisjoint(
                                map(bytes, _keys(part.read_row_group(group, columns=["key"])))
                            ):
                                yield part.read_row_group(group)
                except FileNotFoundError:
                    continue
                except (ArrowException, OSError) as error:
                    reason = reason_of(error) if isinstance(error, OSError) else error
                    logger.warning(
                        "%s is damaged (%s); remove it, it can be made again", file, reason
                    )

    def _write(self, kind: str) -> None:
        """Write what was put of a kind as a part."""
        rows = self._unkept.pop(kind, {})
        if not rows:
            return
        try:
            self._write_part(kind, sorted(rows), [rows[key] for key in sorted(rows)])
        except OutputError as error:
            self._is_broken = True
            logger.warning("Embeddings are not kept: %s", error)

    def _write_part(self, kind: str, keys: Sequence[bytes], values: Sequence[Any]) -> None:
        import pyarrow
        from pyarrow import parquet

        if kind == _SCANS:
            column = pyarrow.array(values, pyarrow.binary())
        else:
            flat = pyarrow.array(np.concatenate(values))
            column = pyarrow.FixedSizeListArray.from_arrays(flat, len(values[0]))
        table = pyarrow.table(
            {"key": pyarrow.array(keys, pyarrow.binary(KEY_BYTES)), "value": column}
        )
        memory = pyarrow.BufferOutputStream()
        parquet.write_table(table, memory, row_group_size=_ROWS_A_GROUP, compression="zstd")
        data = memory.getvalue()
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        with new_file(self.folder / f"{kind}-{digest}.parquet", replace=True) as draft:
            draft.write_bytes(data)

    def _merge(self, kind: str) -> None:
        """Join small parts, when there are many; whoever does the same at once writes the same."""
        from pyarrow import ArrowException, parquet

        try:
            small = [
                file
                for file in self._files(f"{kind}-")
                if parquet.read_metadata(file).num_rows <= _ROWS_A_GROUP
            ]
            for first in range(0, len(small) - _MERGED + 1, _MERGED):
                files = small[first : first + _MERGED]
                rows: dict[bytes, Any] = {}
                for file in files:
                    table = parquet.read_table(file)
                    rows |= zip(map(bytes, _keys(table)), _values(table), strict=True)
                self._write_part(kind, sorted(rows), [rows[key] for key in sorted(rows)])
                for file in files:
                    file.unlink(missing_ok=True)
        except (ArrowException, OSError, OutputError):
            return  # another process was faster, or a part is damaged: all that is there stays


def _keys(rows: "pyarrow.Table") -> NDArray[np.uint8]:
    """Keys (n, 16)."""
    data = b"".join(rows["key"].to_pylist())
    return np.frombuffer(data, np.uint8).reshape(-1, KEY_BYTES)


def _values(rows: "pyarrow.Table") -> Any:
    """Vectors (n, D) float16, or a list of bytes."""
    import pyarrow

    column = rows["value"].combine_chunks()
    if not pyarrow.types.is_fixed_size_list(column.type):
        return column.to_pylist()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
