"""Reads weights from torch's file format from before version 1.6, and can build nothing else.

Such a file is five pickles and then raw numbers. A pickle is a small program, and Python's own
unpickler runs whatever it says. The machine here knows only the handful of instructions that a
dictionary of tensors needs: no name is ever imported, no function ever called.
"""

import hashlib
import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import WeightsError
from handful.files.atomic import read_regular, reason_of

MAGIC_NUMBER = 119547037146038801333356
PROTOCOL_VERSION = 1001
# More dimensions than any layer has; NumPy itself stops at 64.
MAX_DIMENSIONS = 8
_MOST_BYTES = 10_000_000_000
# 70 times what the largest of the three EfficientNet-Lite files needs; keeps a hostile file from
# filling the memory with empty lists.
MAX_INSTRUCTIONS = 1_000_000

_STORAGE_DTYPES = {
    "torch DoubleStorage": "<f8",
    "torch FloatStorage": "<f4",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
}
_ORDERED_DICT = "collections OrderedDict"
_REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLE_SIZES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# Every instruction of the machine: its byte, its name and how its argument is packed. Those that
# write their arguments as lines or runs of bytes have a function below.
_INSTRUCTIONS = {
    b"\x80": ("PROTO", "<B"), b".": ("STOP", ""), b"N": ("NONE", ""), b"\x88": ("NEWTRUE", ""),
    b"\x89": ("NEWFALSE", ""), b"J": ("BININT", "<i"), b"K": ("BININT1", "<B"),
    b"M": ("BININT2", "<H"), b"\x8a": ("LONG1", ""), b"X": ("BINUNICODE", ""), b"(": ("MARK", ""),
    b")": ("EMPTY_TUPLE", ""), b"\x85": ("TUPLE1", ""), b"\x86": ("TUPLE2", ""),
    b"\x87": ("TUPLE3", ""), b"t": ("TUPLE", ""), b"}": ("EMPTY_DICT", ""),
    b"s": ("SETITEM", ""), b"u": ("SETITEMS", ""), b"]": ("EMPTY_LIST", ""), b"a": ("APPEND", ""),
    b"e": ("APPENDS", ""), b"q": ("BINPUT", "<B"), b"r": ("LONG_BINPUT", "<I"),
    b"h": ("BINGET", "<B"), b"j": ("LONG_BINGET", "<I"), b"c": ("GLOBAL", ""),
    b"Q": ("BINPERSID", ""), b"R": ("REDUCE", ""), b"b": ("BUILD", ""),
}  # fmt: skip
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """A name that the pickle asked to import; it stays a name."""

    text: str


@dataclass(frozen=True)
class _Storage:
    """A run of numbers further on in the file."""

    key: str
    dtype: str
    size: int


@dataclass(frozen=True)
class _Tensor:
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
        data = read_regular(path, _MOST_BYTES)
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
    stream = io.BytesIO(data)
    magic = _run_pickle(stream, "magic number")
    if type(magic) is not int or magic != MAGIC_NUMBER:
        raise _Unsafe("does not start with torch's magic number")
    version = _run_pickle(stream, "protocol version")
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise _Unsafe("has another protocol version than 1001")
    system = _run_pickle(stream, "system description")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _Unsafe("was not written on a little-endian machine")
    tensors = _run_pickle(stream, "state dictionary")
    if not isinstance(tensors, dict):
        raise _Unsafe("holds no dictionary of tensors")
    for tensor in tensors.values():
        if not isinstance(tensor, _Tensor):
            raise _Unsafe("holds a dictionary with something else than tensors in it")
    keys = _run_pickle(stream, "list of storages")
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
    if len(keys) != len(storages) or set(keys) != set(storages):
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


def _run_pickle(stream: io.BytesIO, part: str) -> Any:
    """Interpret one pickle and leave the stream right behind it."""
    machine = _Machine()
    try:
        for opcode, argument in _instructions(stream):
            if opcode == "STOP":
                return machine.result()
            machine.step(opcode, argument)
    except _Unsafe as problem:
        raise _Unsafe(f"{problem} (in its {part})") from None
    except (ValueError, IndexError, KeyError, struct.error, OverflowError):
        # What readers and look-ups raise on bytes that are no pickle.
        pass
    raise _Unsafe(f"is damaged or truncated (in its {part})")


def _instructions(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    for _ in range(MAX_INSTRUCTIONS):
        code = stream.read(1)
        if not code:
            raise _Unsafe("is damaged or truncated")
        if code not in _INSTRUCTIONS:
            raise _Unsafe(f"holds the pickle instruction {code!r}, which no tensor needs")
        name, packed = _INSTRUCTIONS[code]
        if packed:
            yield name, struct.unpack(packed, stream.read(struct.calcsize(packed)))[0]
        else:
            yield name, _ARGUMENT_READERS[name](stream) if name in _ARGUMENT_READERS else None
    raise _Unsafe(f"goes on for over {MAX_INSTRUCTIONS} pickle instructions")


def _read_long(stream: io.BytesIO) -> int:
    (size,) = stream.read(1)
    return int.from_bytes(_read_exactly(stream, size), "little", signed=True)


def _read_text(stream: io.BytesIO) -> str:
    (size,) = struct.unpack("<I", stream.read(4))
    return _read_exactly(stream, size).decode("utf-8")


def _read_name(stream: io.BytesIO) -> str:
    """Two lines, module and name, as one text with a space between."""
    lines = [stream.readline(), stream.readline()]
    if not all(line.endswith(b"\n") for line in lines):
        raise _Unsafe("is damaged or truncated")
    return " ".join(line[:-1].decode("ascii") for line in lines)


def _read_exactly(stream: io.BytesIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise _Unsafe("is damaged or truncated")
    return data


_ARGUMENT_READERS = {"LONG1": _read_long, "BINUNICODE": _read_text, "GLOBAL": _read_name}
_PUSHED_VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE")


class _Machine:
    """The part of the pickle machine that dictionaries of tensors need."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        # A dictionary, so that a damaged index cannot ask for a table of two billion places.
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise _Unsafe("is damaged")
        return self.stack[0]

    def step(self, opcode: str, argument: Any) -> None:
        """Carry out one of `_INSTRUCTIONS`."""
        stack = self.stack
        if opcode in _PUSHED_VALUES:
            stack.append(argument)
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.top()
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif opcode in _TUPLE_SIZES:
            stack.append(tuple(reversed([self.pop() for _ in range(_TUPLE_SIZES[opcode])])))
        elif opcode == "TUPLE":
            stack.append(tuple(self.pop_to_mark()))
        elif opcode == "MARK":
            stack.append(_MARK)
        elif opcode == "EMPTY_DICT":
            stack.append({})
        elif opcode == "EMPTY_LIST":
            stack.append([])
        elif opcode == "GLOBAL":
            stack.append(_allowed_name(argument))
        elif opcode != "PROTO":
            self.combine(opcode)

    def combine(self, opcode: str) -> None:
        """Carry out an instruction that puts values together."""
        if opcode == "BINPERSID":
            self.stack.append(_make_storage(self.pop()))
        elif opcode == "REDUCE":
            arguments, function = self.pop(), self.pop()
            self.stack.append(_call(function, arguments))
        elif opcode == "SETITEM":
            value, key = self.pop(), self.pop()
            self.set_items([key, value])
        elif opcode == "SETITEMS":
            self.set_items(self.pop_to_mark())
        elif opcode in ("APPEND", "APPENDS"):
            values = [self.pop()] if opcode == "APPEND" else self.pop_to_mark()
            if not isinstance(self.top(), list):
                raise _Unsafe("appends to something that is no list")
            self.top().extend(values)
        else:
            # BUILD: torch hangs version numbers on its dictionary; no tensor depends on them.
            self.pop()
            if not isinstance(self.top(), dict):
                raise _Unsafe("sets the state of an object")

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise _Unsafe("is damaged")
        return self.stack[-1]

    def pop(self) -> Any:
        value = self.top()
        self.stack.pop()
        return value

    def pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                return values[::-1]
            values.append(value)
        raise _Unsafe("is damaged")

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        # Text alone: hashing tuples nested by the file could take for ever.
        if not isinstance(target, dict) or not all(isinstance(key, str) for key in items[::2]):
            raise _Unsafe("fills something else than a dictionary with text as its keys")
        target.update(zip(items[::2], items[1::2], strict=True))


def _allowed_name(text: str) -> _Name:
    if text not in (_ORDERED_DICT, _REBUILD_TENSOR, *_STORAGE_DTYPES):
        raise _Unsafe(f"asks for {text[:80].replace(' ', '.')!r}, which could run code")
    return _Name(text)


def _call(function: Any, arguments: Any) -> Any:
    if function == _Name(_ORDERED_DICT) and arguments == ():
        return {}
    if function == _Name(_REBUILD_TENSOR):
        return _make_tensor(arguments)
    raise _Unsafe("calls something that makes no tensor")


def _make_storage(description: Any) -> _Storage:
    """Check ("storage", type, key, device, number of elements, view)."""
    if isinstance(description, tuple) and len(description) == 6:
        tag, kind, key, device, size, view = description
        if (
            (type(tag) is str and tag == "storage")
            and isinstance(kind, _Name)
            and kind.text in _STORAGE_DTYPES
            and (type(key) is str and type(device) is str)
            and (_is_index(size) and view is None)
        ):
            return _Storage(key, _STORAGE_DTYPES[kind.text], size)
    raise _Unsafe("describes a storage of an unknown kind")


def _make_tensor(arguments: Any) -> _Tensor:
    """Check (storage, offset, shape, strides, ...): every element must lie in the storage."""
    if not isinstance(arguments, tuple) or not 4 <= len(arguments) <= 7:
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
