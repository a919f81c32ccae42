"""Reads weights from torch's file format from before version 1.6, and can build nothing else.

Such a file is five pickles and then raw numbers. A pickle is a small program, and Python's own
unpickler runs whatever it says. Here it knows only the instructions that a dictionary of tensors
needs, and the few names in such a file stand for functions of this module: nothing is imported.
"""

import hashlib
import io
import math
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handful.errors import WeightsError
from handful.files.atomic import read_regular, reason_of

MAGIC_NUMBER = 119547037146038801333356
PROTOCOL_VERSION = 1001
# More dimensions than any layer has; NumPy itself stops at 64.
MAX_DIMENSIONS = 8
_MAX_BYTES = 10_000_000_000
# 40 times what the largest of the three EfficientNet-Lite files needs; keeps a hostile file from
# filling the memory with empty lists. An instruction is one or two reads.
MAX_READS = 1_000_000

_STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}

# What a dictionary of tensors needs, and three more that have a function below.
_INSTRUCTIONS = (
    pickle.PROTO + pickle.STOP + pickle.MARK + pickle.NONE + pickle.NEWTRUE + pickle.NEWFALSE
    + pickle.BININT + pickle.BININT1 + pickle.BININT2 + pickle.LONG1 + pickle.BINUNICODE
    + pickle.EMPTY_TUPLE + pickle.TUPLE1 + pickle.TUPLE2 + pickle.TUPLE3 + pickle.TUPLE
    + pickle.EMPTY_LIST + pickle.APPEND + pickle.APPENDS + pickle.EMPTY_DICT
    + pickle.BINPUT + pickle.LONG_BINPUT + pickle.BINGET + pickle.LONG_BINGET
    + pickle.GLOBAL + pickle.REDUCE + pickle.BINPERSID
)  # fmt: skip


class _Storage(NamedTuple):
    """A run of numbers further on in the file."""

    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    """A view of a storage: where its elements lie, counted in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unsafe(Exception):
    """The file asks for something that a dictionary of tensors does not need."""


def read_state_dict(path: Path, sha256: str | None = None) -> dict[str, NDArray[Any]]:
    """Read the named tensors of a weights file, without torch and without running its code.

    Args:
        path: File in torch's format from before version 1.6 (`torch.save` of a `state_dict`).
        sha256: Expected SHA-256 of the file, 64 hexadecimal characters, or None to take any file.
            It is compared before anything in the file is interpreted.

    Returns:
        Tensor name -> array of the tensor's own shape and dtype, in the file's order. The arrays
        are read-only views of the file's bytes, so memory stays at the size of the file.

    Raises:
        WeightsError: When the file is absent, has another digest, is not in this format, is
            truncated or damaged, or asks for anything but tensors.

    Source: the layout is the one that `torch.serialization._legacy_save` writes.
    """
    try:
        data = read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise WeightsError(
            f"Cannot read the weights file {path}: {reason_of(error)}. "
            "Expected a readable file; check the path."
        ) from error
    if sha256 is not None:
        check_sha256(path, hashlib.sha256(data).hexdigest(), sha256)
    try:
        return _read(data)
    except _Unsafe as problem:
        raise WeightsError(
            f"The weights file {path} {problem}. Expected nothing but tensors in torch's format "
            "from before version 1.6; nothing in the file was run. Take the file from its "
            "original source."
        ) from None


def check_sha256(path: Path, found: str, expected: str) -> None:
    """Refuse a weights file that is not the one whose digest is known.

    Args:
        path: The file, for the message.
        found: Its SHA-256 in hexadecimal.
        expected: The SHA-256 it should have.

    Raises:
        WeightsError: When the two differ.
    """
    if found != expected:
        raise WeightsError(
            f"The weights file {path} has SHA-256 {found}; expected {expected}. The file is "
            "damaged or was replaced, and was not opened; install its package again."
        )


def _read(data: bytes) -> dict[str, NDArray[Any]]:
    if data.startswith(b"PK\x03\x04"):
        raise _Unsafe("is in torch's zip format, version 1.6 or later")
    stream = _Stream(data)
    magic = _load(stream, "magic number")
    if type(magic) is not int or magic != MAGIC_NUMBER:
        raise _Unsafe("does not start with torch's magic number")
    version = _load(stream, "protocol version")
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise _Unsafe("has another protocol version than 1001")
    system = _load(stream, "system description")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _Unsafe("was not written on a little-endian machine")
    tensors = _load(stream, "state dictionary")
    if not isinstance(tensors, dict):
        raise _Unsafe("holds no dictionary of tensors")
    if not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise _Unsafe("holds a dictionary with something else than tensors in it")
    keys = _load(stream, "list of storages")
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if any(storages[tensor.storage.key] != tensor.storage for tensor in tensors.values()):
        raise _Unsafe("describes one storage in two ways")
    numbers = _read_storages(data, stream.tell(), keys, storages)
    return {name: _view(numbers[tensor.storage.key], tensor) for name, tensor in tensors.items()}


def _read_storages(
    data: bytes, position: int, keys: Any, storages: dict[str, _Storage]
) -> dict[str, NDArray[Any]]:
    """Find each storage's numbers: an int64 count and that many elements, one after another."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _Unsafe("has no list of storages")
    if sorted(keys) != sorted(storages):
        raise _Unsafe("lists other storages than its tensors use")
    numbers = {}
    for key in keys:
        storage = storages[key]
        dtype = np.dtype(storage.dtype)
        end = position + 8 + storage.size * dtype.itemsize
        if end > len(data):
            raise _Unsafe(f"is truncated: it has {len(data)} bytes and needs {end} or more")
        (count,) = struct.unpack_from("<q", data, position)
        if count != storage.size:
            raise _Unsafe(f"says {count} elements where its tensors say {storage.size}")
        numbers[key] = np.frombuffer(data, dtype, storage.size, position + 8)
        position = end
    if position != len(data):
        raise _Unsafe(f"goes on for {len(data) - position} bytes after its last tensor")
    return numbers


def _view(numbers: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    """Lay a tensor's shape over its storage; `_make_tensor` checked that it stays inside."""
    return np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :],
        tensor.shape,
        [stride * numbers.itemsize for stride in tensor.strides],
        writeable=False,
    )


def _load(stream: "_Stream", part: str) -> Any:
    """Interpret one pickle and leave the stream right behind it."""
    try:
        return _Unpickler(stream).load()
    except _Unsafe as problem:
        raise _Unsafe(f"{problem} (in its {part})") from None
    except Exception:
        raise _Unsafe(f"is damaged or truncated, or makes no tensors (in its {part})") from None


class _Stream(io.BytesIO):
    """A file's bytes, read in full pieces and not for ever."""

    num_reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.num_reads += 1
        if self.num_reads > MAX_READS:
            raise _Unsafe(f"goes on for over {MAX_READS} pieces of pickles")
        data = super().read(size)
        if size is not None and len(data) < size:
            raise EOFError
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            raise EOFError
        return line


class _Instructions(dict[int, Callable[[Any], None]]):
    """The unpickler's functions by the byte that calls them."""

    def __missing__(self, code: int) -> Callable[[Any], None]:
        raise _Unsafe(f"holds the pickle instruction {bytes([code])!r}, which no tensor needs")


def _set_item(unpickler: Any) -> None:
    value, key = unpickler.stack.pop(), unpickler.stack.pop()
    _update(unpickler.stack[-1], [key, value])


def _set_items(unpickler: Any) -> None:
    items = unpickler.pop_mark()
    _update(unpickler.stack[-1], items)


def _update(target: Any, items: list[Any]) -> None:
    # Text alone: hashing tuples nested by the file could take for ever.
    if type(target) is not dict or not all(type(key) is str for key in items[::2]):
        raise _Unsafe("fills something else than a dictionary with text as its keys")
    target.update(zip(items[::2], items[1::2], strict=True))


def _build(unpickler: Any) -> None:
    # torch hangs version numbers on its dictionary; no tensor depends on them.
    unpickler.stack.pop()
    if type(unpickler.stack[-1]) is not dict:
        raise _Unsafe("sets the state of an object")


class _Unpickler(pickle._Unpickler):
    """Python's unpickler with fewer instructions.

    `pickle.Unpickler`, written in C, takes any key for a dictionary, and hashing a tuple that a
    file has nested a million times over ends the process.
    """

    dispatch = _Instructions(
        {code: pickle._Unpickler.dispatch[code] for code in _INSTRUCTIONS}
        | {pickle.SETITEM[0]: _set_item, pickle.SETITEMS[0]: _set_items, pickle.BUILD[0]: _build}
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _make_dict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _make_tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        raise _Unsafe(f"asks for {f'{module}.{name}'[:80]!r}, which could run code")

    def persistent_load(self, pid: Any) -> _Storage:
        """Check ("storage", type, key, device, number of elements, view)."""
        if isinstance(pid, tuple) and len(pid) == 6:
            tag, dtype, key, device, size, view = pid
            if (
                all(type(text) is str for text in (tag, dtype, key, device))
                and (tag == "storage" and dtype in _STORAGE_DTYPES.values())
                and (_is_index(size) and view is None)
            ):
                return _Storage(key, dtype, size)
        raise _Unsafe("describes a storage of an unknown kind")


def _make_dict(*arguments: Any) -> dict[str, Any]:
    if arguments:
        raise _Unsafe("calls something that makes no tensor")
    return {}


def _make_tensor(*arguments: Any) -> _Tensor:
    """Check (storage, offset, shape, strides, ...): every element must lie in the storage."""
    if not 4 <= len(arguments) <= 7:
        raise _Unsafe("describes a tensor of an unknown kind")
    storage, offset, shape, strides = arguments[:4]
    if not (
        isinstance(storage, _Storage)
        and _is_index(offset)
        and isinstance(shape, tuple)
        and isinstance(strides, tuple)
        and len(shape) == len(strides) <= MAX_DIMENSIONS
        and all(map(_is_index, shape + strides))
    ):
        raise _Unsafe("describes a tensor of an unknown kind")
    size = math.prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    # A repeated element (stride 0) could stand for terabytes: no tensor exceeds its storage.
    if not 1 <= size <= storage.size or last >= storage.size:
        raise _Unsafe("describes a tensor that reaches outside its storage")
    return _Tensor(storage, offset, shape, strides)


def _is_index(value: Any) -> bool:
    # type() rather than isinstance(): True is an int too. The limit keeps sums within int64.
    return type(value) is int and 0 <= value < 2**40
