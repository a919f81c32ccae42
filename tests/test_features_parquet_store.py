"""Embeddings in Parquet files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handful.errors import MissingExtraError
from handful.features import parquet_store
from handful.features.parquet_store import ParquetStore
from handful.features.store import SqliteStore, open_store, parquet_cache_path

pytestmark = pytest.mark.slow


def draw(count: int, dim: int = 4, seed: int = 0) -> dict[bytes, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {rng.bytes(16): rng.normal(size=dim).astype(np.float32) for _ in range(count)}


def parts(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_what_was_put_comes_back_in_half_precision(tmp_path: Path) -> None:
    vectors, wide = draw(20), draw(5, 7, seed=1)
    scans = {key: b"\x00looks dark" + key for key in [*vectors][:3]}
    with ParquetStore(tmp_path / "store") as store:
        store.put_many(vectors)
        store.put_many(wide)
        store.put_scans(scans)
        assert len(store.get_many([*vectors])) == 20 and not (tmp_path / "store").exists()
    with ParquetStore(tmp_path / "store") as store:
        found = store.get_many([*vectors, *wide, b"x" * 16])
        assert found.keys() == {*vectors, *wide}
        for key, vector in found.items():
            assert vector.dtype == np.float32
            np.testing.assert_allclose(vector, {**vectors, **wide}[key], rtol=1e-3)
        assert store.get_scans([*vectors]) == scans
        assert store.get_many([]) == {}
        info = store.info()
        assert (info.embeddings, info.pictures, info.num_parts) == (25, 3, 3)
        assert info.num_bytes == sum(f.stat().st_size for f in (tmp_path / "store").iterdir())


def test_parts_are_named_by_their_bytes_and_sorted(tmp_path: Path) -> None:
    vectors = draw(50)
    for name, order in (("one", [*vectors]), ("other", [*vectors][::-1])):
        with ParquetStore(tmp_path / name) as store:
            store.put_many({key: vectors[key] for key in order})
    assert parts(tmp_path / "one") == parts(tmp_path / "other")
    ((keys, values),) = ParquetStore(tmp_path / "one").stream(4)
    assert [bytes(key) for key in keys] == sorted(vectors)
    assert values.dtype == np.float16 and values.shape == (50, 4)
    assert list(ParquetStore(tmp_path / "one").stream(5)) == []


def test_small_parts_are_joined_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_store, "_ROWS_A_GROUP", 10)
    vectors = draw(95)
    with ParquetStore(tmp_path) as store:
        for key, vector in vectors.items():
            store.put_many({key: vector})
        assert len(parts(tmp_path)) == 2  # 8 parts as one, the ninth, and 5 vectors in memory
        assert store.get_many([*vectors]).keys() == vectors.keys()
    store = ParquetStore(tmp_path)
    assert store.info().embeddings == 95 and len(parts(tmp_path)) == 3
    wanted = [*vectors][::7]
    found = store.get_many(wanted)
    assert found.keys() == set(wanted)
    assert all(np.array_equal(found[key], vectors[key].astype(np.float16)) for key in wanted)


def test_an_array_is_filled_in_one_pass(tmp_path: Path) -> None:
    vectors = draw(200)
    for some in (dict([*vectors.items()][:120]), dict([*vectors.items()][100:])):
        with ParquetStore(tmp_path) as store:
            store.put_many(some)
    asked = [*[*vectors][::-1], b"absent" + b"\x00" * 10, [*vectors][3]]
    keys = np.frombuffer(b"".join(asked), np.uint8).reshape(-1, 16)
    out = np.memmap(tmp_path / "out", np.float16, "w+", shape=(202, 4))
    found = ParquetStore(tmp_path).fill(keys, out)
    assert found.sum() == 201 and not found[200]
    expected = [vectors[key].astype(np.float16) for key in asked if key in vectors]
    assert np.array_equal(out[found], expected)


def test_a_damaged_part_is_named_and_the_others_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in (0, 1):
        with ParquetStore(tmp_path) as store:
            store.put_many(draw(10, seed=seed))
    (tmp_path / parts(tmp_path)[0]).write_bytes(b"PAR1 no more")
    found = ParquetStore(tmp_path).get_many([*draw(10), *draw(10, seed=1)])
    assert len(found) == 10
    assert "is damaged" in caplog.text
    assert ParquetStore(tmp_path).info().embeddings == 10


def test_what_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with ParquetStore(tmp_path / "file" / "store") as store:
        for seed in (0, 1):
            store.put_many(draw(10, seed=seed))
            store.flush()
    assert caplog.text.count("are not kept") == 1


def test_what_half_floats_cannot_hold_is_not_kept(tmp_path: Path) -> None:
    with ParquetStore(tmp_path) as store:
        store.put_many({b"x" * 16: np.array([1e6], np.float32)})
        with pytest.raises(ValueError, match="16"):
            store.put_scans({b"short": b""})
    assert parts(tmp_path) == []


def test_the_users_own_store_may_be_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(True) as store:
        assert isinstance(store, SqliteStore)
    monkeypatch.setenv("HANDFUL_STORE", "parquet")
    with open_store(True) as store:
        assert isinstance(store, ParquetStore)
        store.put_many(draw(3))
    assert len(parts(parquet_cache_path())) == 1


def test_it_needs_an_extra_that_nothing_else_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys, handful.workflows.train; print('pyarrow' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="parquet"):
        ParquetStore(tmp_path)
