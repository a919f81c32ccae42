from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from handful.config import TrainConfig
from handful.features.conversion import FrozenNetwork
from handful.features.store import SqliteStore, embedding_cache_path, open_store
from handful.workflows.check import check
from handful.workflows.train import evaluate, train


class MemoryStore:
    """Vectors and scans in two dicts."""

    def __init__(self) -> None:
        self.vectors: dict[bytes, np.ndarray] = {}
        self.scans: dict[bytes, bytes] = {}

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        return {key: self.vectors[key] for key in keys if key in self.vectors}

    def put_many(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        self.vectors |= {key: np.array(vector) for key, vector in vectors.items()}

    def get_scans(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return {key: self.scans[key] for key in keys if key in self.scans}

    def put_scans(self, scans: Mapping[bytes, bytes]) -> None:
        self.scans |= scans


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    vector = np.array([1.5, -2.0, np.float32(0.1)], np.float32)
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        store.put_many({b"a": vector})
        store.put_scans({b"b": b"looks dark"})
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        found = store.get_many([b"a", b"b", b"c"])
        assert found[b"a"].tobytes() == vector.tobytes()
        assert b"c" not in found
        assert store.get_scans([b"b", b"c"]) == {b"b": b"looks dark"}


def test_a_store_is_opened_as_asked(tmp_path: Path) -> None:
    with open_store(False) as none:
        assert none is None
    with open_store(True) as own:
        assert isinstance(own, SqliteStore) and own.cache.path == embedding_cache_path()
    mine = MemoryStore()
    with open_store(mine) as given:
        assert given is mine


@pytest.mark.slow
@pytest.mark.parametrize("views", [1, 2])
def test_jobs_use_the_store_that_they_are_given(
    photo_folder: Path, tiny_backbone: FrozenNetwork, views: int
) -> None:
    store = MemoryStore()
    config = TrainConfig(views=views)
    first = train(photo_folder, config, use_cache=store, output=False)
    num_train = len(first.split.train)
    assert len(store.vectors) == 48 + (views - 1) * num_train and len(store.scans) == 48
    again = train(photo_folder, config, use_cache=store, output=False)
    assert again.cache == {"hits": len(store.vectors), "misses": 0}
    assert np.array_equal(first.classifier.head.weights, again.classifier.head.weights)
    known = dict(store.vectors)
    check(photo_folder, use_cache=store, output=False)
    evaluate(first.classifier, photo_folder, use_cache=store)
    assert store.vectors.keys() == known.keys()
    assert not embedding_cache_path().exists()
