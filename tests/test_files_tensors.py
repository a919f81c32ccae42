from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from handful.files.tensors import read_tensors, write_tensors


def test_tensors_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.zeros(0, np.uint8)}
    write_tensors(path, tensors)
    found = read_tensors(path)
    assert found.keys() == tensors.keys()
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(500):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            data[place] = rng.integers(256)
        path.write_bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data)
        with suppress(ValueError):
            read_tensors(path)
    write_tensors(path, {"x": np.array([1, np.nan], np.float32)})
    with pytest.raises(ValueError, match="holds other than numbers in 'x'"):
        read_tensors(path)
