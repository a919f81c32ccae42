"""Arrays: kept as safetensors, or in a file without a name where they are large."""

import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from handful.errors import OutputError
from handful.files.atomic import read_regular

# Arrays past this size lie in a temporary file.
MEMORY_BYTES = 1 << 30
_ROWS_A_BLOCK = 4096


def empty_array(
    shape: tuple[int, ...], dtype: DTypeLike, memory_bytes: int | None = None
) -> NDArray[Any]:
    """Zeros in memory, or past a size in a file that the system pages in and out.

    Args:
        shape: Shape of the array.
        dtype: Type of its values.
        memory_bytes: An array larger than this lies in a file without a name, which goes with the
            array or its process, however that ends; None takes `MEMORY_BYTES`.

    Returns:
        The array.

    Raises:
        OutputError: When there is no room for the file.
    """
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if num_bytes <= (MEMORY_BYTES if memory_bytes is None else memory_bytes):
        return np.zeros(shape, dtype)
    # /tmp may itself lie in memory.
    folder = os.environ.get("TMPDIR") or next(filter(os.path.isdir, ["/var/tmp"]), None)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                # A full disk shows here, and not as a bus error while the array is filled.
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise OutputError(
            f"{num_bytes / 1e9:.1f} GB cannot be kept in {folder or tempfile.gettempdir()}: "
            f"{error.strerror or error}. Make room, or name another folder in TMPDIR."
        ) from error


class RowsOf:
    """Some rows of an array that may be large, which are read when they are asked for.

    Args:
        array: (N, ...) array.
        rows: (n,) int64 rows of it, in the order wanted.
    """

    def __init__(self, array: NDArray[Any], rows: NDArray[np.int64]) -> None:
        self.array, self.rows = array, rows
        self.shape = (len(rows), *array.shape[1:])
        self.ndim = array.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: slice | NDArray[np.int64]) -> "RowsOf":
        """Some of the rows, unread."""
        return RowsOf(self.array, self.rows[places])

    def __getitem__(self, places: slice | NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self.array[self.rows[places]])


def chosen_rows(
    array: NDArray[Any], rows: NDArray[np.int64], memory_bytes: int | None = None
) -> NDArray[Any]:
    """Copy some rows of an array, which may be large.

    Args:
        array: (N, ...) array.
        rows: (n,) int64 rows of it, in the order wanted.
        memory_bytes: As for `empty_array`.

    Returns:
        (n, ...) array.

    Raises:
        OutputError: When there is no room for the file.
    """
    copy = empty_array((len(rows), *array.shape[1:]), array.dtype, memory_bytes)
    for first in range(0, len(rows), _ROWS_A_BLOCK):
        copy[first : first + _ROWS_A_BLOCK] = array[rows[first : first + _ROWS_A_BLOCK]]
    return copy


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as safetensors.

    Args:
        path: File to write.
        tensors: Name to array.

    Raises:
        OSError: When it cannot be written.
    """
    from safetensors.numpy import save

    path.write_bytes(save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))


def read_tensors(path: Path, max_bytes: int = 4_000_000_000) -> dict[str, NDArray[Any]]:
    """Read arrays that `write_tensors` wrote.

    Args:
        path: The file.
        max_bytes: Larger ones are refused unread.

    Returns:
        Name to array.

    Raises:
        OSError: When it cannot be read.
        ValueError: When it is damaged, or holds other arrays than of finite numbers.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: dict[str, NDArray[Any]] = load(read_regular(path, max_bytes))
    except (SafetensorError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path.name} is damaged ({error})") from error
    for name, values in tensors.items():
        if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
            raise ValueError(f"{path.name} holds other than numbers in {name!r}")
    return tensors
