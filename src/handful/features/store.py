"""Where vectors are kept, by what they were made from: in one SQLite file, or wherever else."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from handful.environment import cache_folder
from handful.features.parquet_store import ParquetStore
from handful.files.cache import ContentCache


class EmbeddingStore(Protocol):
    """Vectors by content key, and what images look like.

    A value depends on nothing but its key, so it may be dropped at any time. One store is asked
    by one thread at a time.
    """

    def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, NDArray[np.float32]]:
        """Vectors of the keys that are there, (D,) float32 each."""

    def put_many(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep vectors."""

    def get_scans(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """What images look like, packed, of the keys that are there."""

    def put_scans(self, scans: Mapping[bytes, bytes]) -> None:
        """Keep what images look like."""


class SqliteStore:
    """A store for one machine: a `ContentCache`, shared between threads' and users' processes.

    Args:
        path: The SQLite file; it and its folder are made at need.
    """

    def __init__(self, path: Path) -> None:
        self.cache = ContentCache(path)

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Vectors of the keys that are there, see `EmbeddingStore`."""
        found = self.cache.get_many(keys)
        return {
            key: np.frombuffer(value, dtype="<f4")
            for key, value in found.items()
            if len(value) % 4 == 0
        }

    def put_many(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep vectors, see `EmbeddingStore`."""
        values = {key: vector.astype("<f4").tobytes() for key, vector in vectors.items()}
        self.cache.put_many("embedding", values)

    def get_scans(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What images look like, see `EmbeddingStore`."""
        return self.cache.get_many(keys)

    def put_scans(self, scans: Mapping[bytes, bytes]) -> None:
        """Keep what images look like, see `EmbeddingStore`."""
        self.cache.put_many("picture", scans)

    def __enter__(self) -> "SqliteStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.cache.close()


@contextmanager
def open_store(store: EmbeddingStore | bool) -> Iterator[EmbeddingStore | None]:
    """Open the store that a job is asked to use.

    Args:
        store: A store, which stays open; True for the user's own, False for none. The user's own is
            a SQLite file, or Parquet files where the environment variable `HANDFUL_STORE` is
            "parquet".

    Yields:
        The store or None.
    """
    if not isinstance(store, bool):
        yield store
    elif store and os.environ.get("HANDFUL_STORE") == "parquet":
        with ParquetStore(parquet_cache_path()) as own_parts:
            yield own_parts
    elif store:
        with SqliteStore(embedding_cache_path()) as own:
            yield own
    else:
        yield None


def embedding_cache_path() -> Path:
    """Place of the user's own store.

    Returns:
        A SQLite file in the cache folder.
    """
    return cache_folder() / "embeddings.sqlite"


def parquet_cache_path() -> Path:
    """Place of the user's own store, where that is Parquet files.

    Returns:
        A folder in the cache folder.
    """
    return cache_folder() / "embeddings"
