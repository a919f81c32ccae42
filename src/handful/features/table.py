"""The vectors of an index's images, each computed once and kept by content.

An engine computes them. Its threads, two a core, each take a few images, decode them and wait for
their inference, so that decoding and the network overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from handful.data.columns import digest_column
from handful.data.decoding import (
    FINGERPRINT_SIDE,
    Cost,
    DecodeSettings,
    check_cost,
    decoded_megapixels,
)
from handful.data.index import ImageIndex, read_unchanged
from handful.data.metadata import MEASURES, FileMetadata
from handful.engines.engine import Engine, LocalEngine, in_groups
from handful.errors import CostError, DataError
from handful.features.embed import (
    EmbeddedImage,
    EmbeddingSpec,
    ImageScan,
    PreparedImage,
    View,
    embed_prepared,
    mean_view,
    prepare_one,
)
from handful.features.parquet_store import ParquetStore
from handful.features.portable import PortableSpec
from handful.features.store import EmbeddingStore, SqliteStore
from handful.files.atomic import MALFORMED
from handful.files.tensors import chosen_rows, empty_array
from handful.reporting import Progress

_ROWS_A_COMMIT = 256
_ROWS_A_LOOKUP = 4096
# Thumbnails past this size lie in a file that the system pages in and out.
_MEMORY_BYTES = 1 << 27
_REJECTED = b"R"


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """Embeddings of an index's images, and what else came out of decoding them.

    Args:
        embeddings: (N, V, D) float32, V views of each image; zeros for a rejected image. Large
            ones lie in a file, see `empty_array`.
        fingerprints: (N, 1024) uint8, see `ImageScan`; zeros where nothing was scanned.
        measures: (N, 18) float32, see `ImageScan`.
        metadata: (N,) what each file says of itself; None for a rejected image.
        rejected: Row to the reason why its image cannot be decoded.
        hits: Embeddings that came from the store.
        misses: Embeddings that were computed.
        decode_seconds: Time spent decoding, summed over threads.
    """

    embeddings: NDArray[np.float32]
    fingerprints: NDArray[np.uint8]
    measures: NDArray[np.float32]
    metadata: tuple[FileMetadata | None, ...]
    rejected: dict[int, str] = field(default_factory=dict)
    hits: int = 0
    misses: int = 0
    decode_seconds: float = 0.0

    @property
    def mean(self) -> NDArray[np.float32]:
        """What heads take of each image: (N, D), the mean over its views."""
        return mean_view(self.embeddings)

    @property
    def readable(self) -> NDArray[np.int64]:
        """Rows of the images that can be decoded."""
        rows = np.arange(len(self.embeddings))
        return np.delete(rows, list(self.rejected)) if self.rejected else rows

    def select(self, rows: NDArray[np.int64]) -> "EmbeddingTable":
        """The same table for some of the images, such as those that were not rejected.

        Args:
            rows: (n,) int64 rows to keep, in order.

        Returns:
            A table with n images and no rejected ones.
        """
        return replace(
            self,
            embeddings=chosen_rows(self.embeddings, rows),
            fingerprints=chosen_rows(self.fingerprints, rows, _MEMORY_BYTES),
            measures=self.measures[rows],
            metadata=tuple(self.metadata[row] for row in rows),
            rejected={},
        )


def embed_index(
    index: ImageIndex,
    spec: EmbeddingSpec,
    *,
    store: EmbeddingStore | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> EmbeddingTable:
    """Embed every image of an index, taking from the store what is there.

    Args:
        index: N images.
        spec: What to compute of each.
        store: Where to look and keep; None computes everything.
        progress: Called with (images done, images in all) as the work goes on.
        engine: What computes; None takes threads of this process.

    Returns:
        The table; undecodable images are listed in it and are no error here.
    """
    return _Filling(index, spec, store).run(engine or LocalEngine(), progress)


def scan_index(
    index: ImageIndex,
    max_megapixels: float = DecodeSettings.max_megapixels,
    *,
    store: EmbeddingStore | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> EmbeddingTable:
    """Decode every image without a network: which are readable, and what they look like.

    Args:
        index: N images.
        max_megapixels: Larger images are rejected by their header.
        store: Where to look and keep; None decodes everything.
        progress: Called with (images done, images in all).
        engine: As for `embed_index`.

    Returns:
        A table with empty embeddings, (N, 0, 0).
    """
    spec = EmbeddingSpec(None, DecodeSettings(max_megapixels=max_megapixels), views=())
    return embed_index(index, spec, store=store, progress=progress, engine=engine)


@dataclass(frozen=True)
class _Refusal:
    """Why an image cannot be decoded, and whether another run may be able to."""

    reason: str
    is_lasting: bool


@dataclass(frozen=True)
class _Task:
    """What is to be computed of an image.

    Args:
        read: From nothing to its bytes.
        content_hash: Of the bytes that are expected.
        views: The views that are missing.
        scans: Whether it is to be scanned.
    """

    read: partial[bytes]
    content_hash: str
    views: tuple[View, ...]
    scans: bool


@dataclass(frozen=True)
class _Computing:
    """Computes what is missing of images, wherever an engine wants it."""

    portable: PortableSpec

    def __call__(self, group: Sequence[_Task]) -> list[EmbeddedImage | _Refusal]:
        """Work on a few rows: each is decoded by itself, and they are embedded at once."""
        prepared = [self._prepare(task) for task in group]
        images = [image for image in prepared if isinstance(image, PreparedImage)]
        embedded = iter(embed_prepared(images, self.portable.spec.extractor))
        return [image if isinstance(image, _Refusal) else next(embedded) for image in prepared]

    def give_up(self, item: _Task, reason: str) -> _Refusal:
        return _Refusal(reason, False)

    def _prepare(self, task: _Task) -> PreparedImage | _Refusal:
        try:
            data = read_unchanged(task.read, task.content_hash)
        except DataError as error:
            return _Refusal(str(error), False)
        try:
            return prepare_one(
                data, replace(self.portable.spec, views=task.views, scans=task.scans)
            )
        except DataError as error:
            for_now = isinstance(error, CostError) or isinstance(error.__cause__, MemoryError)
            return _Refusal(str(error), not for_now)


class _Filling:
    """The table being filled, with the keys under which its parts are kept."""

    def __init__(
        self, index: ImageIndex, spec: EmbeddingSpec, store: EmbeddingStore | None
    ) -> None:
        self.index, self.spec, self.store = index, spec, store
        num, dim, num_views = len(index), spec.embedding_dim, len(spec.views)
        # A network's lower part may give megabytes for each image.
        self.embeddings = empty_array((num, num_views, dim), np.float32)
        self.have = np.zeros((num, num_views), dtype=bool)
        self.fingerprints = empty_array((num, FINGERPRINT_SIDE**2), np.uint8, _MEMORY_BYTES)
        self.measures = np.zeros((num, len(MEASURES)), np.float32)
        self.metadata: list[FileMetadata | None] = [None] * num
        self.rejected: dict[int, str] = {}
        self.unkept: dict[int, EmbeddedImage | _Refusal] = {}

    def run(self, engine: Engine, progress: Progress | None) -> EmbeddingTable:
        """Do what the store does not hold, keeping results every few hundred images."""
        self._take_from_store()
        rows = self._missing()
        groups = in_groups(map(self._task, rows), engine.group_size)
        hits = int(self.have.sum())
        if self.spec.extractor is None:
            hits = len(self.index) - len(rows)
        num_images = len(self.index)
        num_done, num_computed, seconds = num_images - len(rows), 0, 0.0
        try:
            for number, results in engine.map(_Computing(PortableSpec(self.spec)), groups):
                for place, result in enumerate(results, number * engine.group_size):
                    num_done += 1
                    if isinstance(result, EmbeddedImage):
                        num_computed += len(result.vectors) if self.spec.extractor else 1
                        seconds += result.decode_seconds
                    self._take(rows[place], result)
                    if len(self.unkept) >= _ROWS_A_COMMIT:
                        self._keep()
                    if progress is not None:
                        progress(num_done, num_images)
        finally:
            # Also when interrupted: what was computed is not computed again.
            self._keep()
        if progress is not None:
            progress(num_images, num_images)
        return self._table(hits, num_computed, seconds)

    def _take(self, row: int, result: EmbeddedImage | _Refusal) -> None:
        """Put what came of an image into the table."""
        self.unkept[row] = result
        if isinstance(result, _Refusal):
            self.rejected[row] = result.reason
            return
        self.embeddings[row, ~self.have[row]] = result.vectors
        if result.scan is not None:
            self._show(row, result.scan)

    def _table(self, hits: int, misses: int, seconds: float) -> EmbeddingTable:
        return EmbeddingTable(
            self.embeddings,
            self.fingerprints,
            self.measures,
            tuple(self.metadata),
            self.rejected,
            hits,
            misses,
            seconds,
        )

    def _show(self, row: int, scan: ImageScan) -> None:
        """Note what an image looks like."""
        self.fingerprints[row], self.measures[row] = scan.fingerprint, scan.measures
        self.metadata[row] = scan.metadata

    def _keys(self, rows: NDArray[np.int64]) -> tuple[list[bytes], list[list[bytes]]]:
        """Keys under which the scans and the views of some images are kept."""
        hashes = list(digest_column(self.index.content_hashes).take(rows))
        return self.spec.scan_keys(hashes), self.spec.keys(hashes)

    def _take_from_store(self) -> None:
        if self.store is None:
            return
        # A store of parts reads all of them for any question: it is asked once.
        size = _ROWS_A_LOOKUP if isinstance(self.store, SqliteStore) else max(len(self.index), 1)
        for first in range(0, len(self.index), size):
            rows = np.arange(first, min(first + size, len(self.index)))
            self._take_rows(self.store, rows, *self._keys(rows))

    def _take_rows(
        self,
        store: EmbeddingStore,
        rows: NDArray[np.int64],
        scan_keys: list[bytes],
        keys: list[list[bytes]],
    ) -> None:
        """Take what the store holds of some images."""
        scans = store.get_scans(list(set(scan_keys)))
        for row, key in zip(rows.tolist(), scan_keys, strict=True):
            if key in scans:
                self._take_scan(row, scans[key])
        if isinstance(store, ParquetStore):
            for place, of_view in enumerate(zip(*keys, strict=True)):
                wanted = np.frombuffer(b"".join(of_view), np.uint8).reshape(len(rows), -1)
                self.have[rows, place] = store.fill(wanted, self.embeddings[:, place])
            return
        vectors = store.get_many(list({key for views in keys for key in views}))
        for row, views in zip(rows.tolist(), keys, strict=True):
            for place, key in enumerate(views):
                vector = vectors.get(key)
                if vector is not None and len(vector) == self.spec.embedding_dim:
                    self.embeddings[row, place] = vector
                    self.have[row, place] = True

    def _take_scan(self, row: int, value: bytes) -> None:
        """Take what the store holds of how one image looks."""
        try:
            if value[:1] == _REJECTED:
                self.rejected[row] = value[1:].decode()
                return
            scan = ImageScan.unpack(value)
            self._show(row, scan)
        except MALFORMED:
            return  # not what this version keeps: made again
        # The limit is no part of the key: what it allowed once may be past it now.
        metadata, settings = scan.metadata, self.spec.settings
        pixels = decoded_megapixels(metadata.format, metadata.width, metadata.height, settings)
        try:
            check_cost(Cost(pixels, 0, 0.0), settings.max_megapixels)
        except CostError as error:
            self.rejected[row] = str(error)

    def _missing(self) -> list[int]:
        """Rows to work on.

        An image may only have to be decoded again, when what is kept of decoding has changed; and
        of one that was never scanned, the limit has not been held against its size.
        """
        whole = np.asarray(self.have.all(axis=1))
        return [
            row
            for row, metadata in enumerate(self.metadata)
            if row not in self.rejected and (metadata is None or not whole[row])
        ]

    def _task(self, row: int) -> _Task:
        """What is to be computed of an image."""
        places = np.flatnonzero(~self.have[row])
        return _Task(
            self.index.readers[row],
            self.index.content_hashes[row],
            tuple(self.spec.views[place] for place in places),
            self.spec.scans and self.metadata[row] is None,
        )

    def _keep(self) -> None:
        """Commit what was computed since the last time."""
        results, self.unkept = self.unkept, {}
        if self.store is None:
            return
        scans: dict[bytes, bytes] = {}
        vectors: dict[bytes, NDArray[np.float32]] = {}
        scan_keys, keys = self._keys(np.fromiter(results, np.int64, len(results)))
        for (row, result), scan_key, views in zip(results.items(), scan_keys, keys, strict=True):
            if isinstance(result, EmbeddedImage):
                vectors |= dict(zip(views, self.embeddings[row], strict=True))
                if result.scan is not None:
                    scans[scan_key] = result.scan.pack()
            elif result.is_lasting:
                # What decoding proved of a content is kept; what the system said of a file is not.
                reason = result.reason.encode("utf-8", "backslashreplace")
                scans[scan_key] = _REJECTED + reason
        self.store.put_many(vectors)
        self.store.put_scans(scans)
