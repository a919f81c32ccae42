"""What is kept between jobs: how much it is, and how it is removed."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.environment import cache_folder
from handful.extras import is_installed
from handful.features.parquet_store import ParquetStore
from handful.features.store import SqliteStore, embedding_cache_path, parquet_cache_path


@dataclass(frozen=True)
class CacheInfo:
    """What the cache folder holds.

    Args:
        path: The folder.
        embeddings: Number of embeddings, in SQLite and in Parquet files.
        pictures: Number of decoded photos that they are of.
        networks: Names of the converted networks.
        num_bytes: Size of all files.
    """

    path: Path
    embeddings: int
    pictures: int
    networks: tuple[str, ...]
    num_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `handful cache --info --json` prints them.

        Returns:
            `path`, `embeddings`, `pictures`, `networks` and `bytes`.
        """
        return {
            "path": str(self.path),
            "embeddings": self.embeddings,
            "pictures": self.pictures,
            "networks": list(self.networks),
            "bytes": self.num_bytes,
        }


def cache_info() -> CacheInfo:
    """Look into the cache folder.

    Returns:
        What it holds.
    """
    folder = cache_folder()
    with SqliteStore(embedding_cache_path()) as store:
        rows = store.cache.info().num_rows
    parts = parquet_cache_path()
    kept = ParquetStore(parts).info() if parts.is_dir() and is_installed("pyarrow") else None
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    networks = sorted(path.parent.name for path in folder.glob("networks/*/network.xml"))
    return CacheInfo(
        path=folder,
        embeddings=rows.get("embedding", 0) + (kept.embeddings if kept else 0),
        pictures=rows.get("picture", 0) + (kept.pictures if kept else 0),
        networks=tuple(networks),
        num_bytes=sum(path.stat().st_size for path in files),
    )


def clear_cache() -> None:
    """Remove cached embeddings and converted networks; they are made again at need.

    Raises:
        OutputError: When the system refuses.
    """
    with SqliteStore(embedding_cache_path()) as store:
        store.cache.clear()
    # These folders hold nothing else; Keras' may hold weights that were put there.
    for name in ("networks", "matplotlib", parquet_cache_path().name):
        shutil.rmtree(cache_folder() / name, ignore_errors=True)
