"""Pixels and a frozen network -> embeddings, each computed once and cached by content.

Twice as many threads as cores each take a photo, decode it and wait for its inference, so that
decoding and OpenVINO overlap. A picture is always inferred on its own, several at the same time:
its embedding does not depend on its neighbours.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.data.augmentation import VIEWS_POLICY, AugmentationPolicy, content_view
from handful.data.decoding import (
    FINGERPRINT_SIDE,
    Cost,
    DecodeSettings,
    check_cost,
    decode,
    decoded_megapixels,
    fingerprint,
    mirror,
)
from handful.data.index import ImageIndex
from handful.data.metadata import (
    FACTS_VERSION,
    MEASURES,
    FileFacts,
    measure,
    pack_facts,
    read_facts,
    unpack_facts,
)
from handful.errors import CostError, DataError, ModelFileError
from handful.features.conversion import read_network
from handful.features.openvino import CompiledNetwork
from handful.features.registry import FrozenNetwork
from handful.files.atomic import MALFORMED, explain_damage
from handful.files.cache import ContentCache, content_key
from handful.files.tensors import empty_array
from handful.reporting import Progress

View = int | str  # 0 the picture, 1, 2, ... drawn views, "mirror" its mirror image

_ROWS_A_COMMIT = 256
_REJECTED, _READABLE = b"R", b"F"
_FINGERPRINT_BYTES = FINGERPRINT_SIDE**2

logger = logging.getLogger("handful")


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """Embeddings of an index's photos, and what else came out of decoding them.

    Args:
        embeddings: (N, V, D) float32, V views of each photo; zeros for a rejected photo. Large
            ones lie in a file, see `empty_array`.
        fingerprints: (N, 1024) uint8 thumbnails for finding near-duplicates.
        measures: (N, 18) float32 brightness and the like, see `picture_facts.measure`.
        facts: (N,) what each file says of itself; None for a rejected photo.
        rejected: Row to the reason why its photo cannot be decoded.
        hits: Embeddings that came from the cache.
        misses: Embeddings that were computed.
        decode_seconds: Time spent decoding, summed over threads.
        embed_seconds: Time from start to end of the computation, decoding included.
    """

    embeddings: NDArray[np.float32]
    fingerprints: NDArray[np.uint8]
    measures: NDArray[np.float32]
    facts: tuple[FileFacts | None, ...]
    rejected: dict[int, str]
    hits: int
    misses: int
    decode_seconds: float
    embed_seconds: float

    def select(self, rows: NDArray[np.int64]) -> "EmbeddingTable":
        """The same table for some of the photos, such as those that were not rejected.

        Args:
            rows: (n,) int64 rows to keep, in order.

        Returns:
            A table with n photos and no rejected ones.
        """
        return EmbeddingTable(
            self.embeddings[rows],
            self.fingerprints[rows],
            self.measures[rows],
            tuple(self.facts[row] for row in rows),
            {},
            self.hits,
            self.misses,
            self.decode_seconds,
            self.embed_seconds,
        )


def available_cores() -> int:
    """Processor cores this process may use.

    Returns:
        1 or more; fewer than the machine has under `taskset` or in a container.
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def num_workers() -> int:
    """Threads that decode and wait for inference: two a core keep every core busy."""
    return 2 * available_cores()


def resolve_precision(precision: str) -> str:
    """Precision that the processor will really compute in.

    Args:
        precision: "auto", "bf16", "f32" or "int8".

    Returns:
        "bf16", "f32" or "int8"; "auto" is bf16 where the processor has matrix units for it (AMX):
        with vector instructions alone it is slower than f32. A processor without any computes in
        f32 instead of bf16.
    """
    if precision in ("f32", "int8"):
        return precision
    if precision == "auto" and not _has_matrix_units():
        return "f32"
    from handful.features.runtime import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capabilities else "f32"


def _has_matrix_units() -> bool:
    """Whether the processor has AMX; told by Linux alone, as OpenVINO does not tell."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


class Embedder:
    """A frozen network, compiled at first use for this processor.

    Args:
        network: The converted network.
        precision: "auto", "bf16", "f32", or "int8" for a network that was converted to it.
    """

    def __init__(self, network: FrozenNetwork, precision: str = "auto") -> None:
        self.network = network
        self.embedding_dim = network.embedding_dim
        self.precision = resolve_precision(precision)
        self._compiled = CompiledNetwork(self._compile, self._warm_up)

    def key(self) -> str:
        """Identity of the function from pixels to embeddings, for cache keys.

        Returns:
            The network's digest and the precision.
        """
        return f"{self.network.digest}:{self.precision}"

    def embed(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one picture; may be called by any number of threads at the same time.

        Args:
            image: (S, S, 3) uint8 RGB, S the network's image size.

        Returns:
            (D,) float32.

        Raises:
            ModelFileError: When the network's files cannot be read.
        """
        with self._compiled.request() as request:
            request.infer({0: image[np.newaxis]}, share_inputs=True)
            return np.array(request.get_output_tensor(0).data[0], dtype=np.float32)

    def embed_all(self, images: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.float32]:
        """Embed pictures that are in memory.

        Args:
            images: N rows of V pictures, each (S, S, 3) uint8 RGB.

        Returns:
            (N, V, D) float32.
        """
        flat = [image for row in images for image in row]
        with ThreadPoolExecutor(num_workers(), thread_name_prefix="embed") as pool:
            rows = list(pool.map(self.embed, flat))
        return np.reshape(rows, (len(images), -1, self.embedding_dim)).astype(np.float32)

    def _warm_up(self, request: Any) -> None:
        size = self.network.image_size
        request.infer({0: np.zeros((1, size, size, 3), np.uint8)}, share_inputs=True)

    def _compile(self) -> Any:
        from handful.features.runtime import openvino

        options = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            # What an int8 network leaves in floating point stays float32.
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": available_cores(),
        }
        model = read_network(self.network)
        try:
            return openvino.Core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise ModelFileError(
                f"{self.network.xml_path} cannot be run as a network: {explain_damage(error)}"
            ) from error


def embed_index(
    index: ImageIndex,
    embedder: Embedder,
    settings: DecodeSettings,
    *,
    views: tuple[View, ...] = (0,),
    policy: AugmentationPolicy = VIEWS_POLICY,
    cache: ContentCache | None = None,
    progress: Progress | None = None,
) -> EmbeddingTable:
    """Embed every photo of an index, taking from the cache what is there.

    Args:
        index: N photos.
        embedder: The network.
        settings: How pictures are decoded; the size must be the network's.
        views: Views of each photo: 0 is the photo itself, 1, 2, ... are drawn from the policy,
            "mirror" is its mirror image.
        policy: What views are drawn from; part of the key under which they are cached.
        cache: Where to look and keep; None computes everything.
        progress: Called with (photos done, photos in all) as the work goes on.

    Returns:
        The table; undecodable photos are listed in it and are no error here.
    """
    return _Work(index, embedder, settings, views, policy).run(cache, progress)


def scan_index(
    index: ImageIndex,
    max_megapixels: float = DecodeSettings.max_megapixels,
    *,
    cache: ContentCache | None = None,
    progress: Progress | None = None,
) -> EmbeddingTable:
    """Decode every photo without a network: which are readable, and what they look like.

    Args:
        index: N photos.
        max_megapixels: Larger pictures are rejected by their header.
        cache: Where to look and keep; None decodes everything.
        progress: Called with (photos done, photos in all).

    Returns:
        A table with empty embeddings, (N, 0, 0).
    """
    settings = DecodeSettings(max_megapixels=max_megapixels)
    return _Work(index, None, settings, (0,), VIEWS_POLICY).run(cache, progress)


class _Work:
    """The tables being filled, with the keys under which their parts are cached."""

    def __init__(
        self,
        index: ImageIndex,
        embedder: Embedder | None,
        settings: DecodeSettings,
        views: tuple[View, ...],
        policy: AugmentationPolicy,
    ) -> None:
        self.index = index
        self.settings = settings
        self.views = views
        self.network = embedder
        self.policy = policy
        dim = 0 if embedder is None else embedder.embedding_dim
        # A network's lower part may give megabytes for each photo.
        self.embeddings = empty_array((len(index), len(views) if dim else 0, dim), np.float32)
        self.fingerprints = np.zeros((len(index), _FINGERPRINT_BYTES), dtype=np.uint8)
        self.measures = np.zeros((len(index), len(MEASURES)), dtype=np.float32)
        self.facts: list[FileFacts | None] = [None] * len(index)
        self.seen = np.zeros(len(index), dtype=bool)
        self.have = np.zeros((len(index), len(views) if embedder else 0), dtype=bool)
        self.rejected: dict[int, str] = {}
        self.unread: set[int] = set()  # rejected for now: the next run may be able to read them
        self.hits = 0
        self.num_computed = 0
        self.decode_times: list[float] = []  # appending is safe between threads, adding is not
        self.unkept: list[int] = []
        # Photos look alike, or dark, whatever a network takes of them: one size, one shape.
        self.looking = DecodeSettings(max_megapixels=settings.max_megapixels)
        decoding, looking = settings.key(), self.looking.key()
        kind = f"facts{FACTS_VERSION}:{_FINGERPRINT_BYTES}"
        self.picture_keys = [content_key(kind, h, looking) for h in index.content_hashes]
        names = [_view_name(view, policy) for view in views] if embedder else []
        function = embedder.key() if embedder else ""
        self.keys = [
            [content_key("embedding", h, decoding, function, name) for name in names]
            for h in index.content_hashes
        ]

    def run(self, cache: ContentCache | None, progress: Progress | None) -> EmbeddingTable:
        """Do what the cache does not hold, keeping results every few hundred pictures."""
        started = time.perf_counter()
        if cache is not None:
            self.take_from(cache)
        missing = self.missing_rows()
        num_photos = len(self.index)
        num_done = num_photos - len(missing)
        try:
            for row in self.computed(missing):
                num_done += 1
                self.unkept.append(row)
                if row not in self.rejected:
                    self.num_computed += len(missing[row]) if self.network else 1
                if cache is not None and len(self.unkept) >= _ROWS_A_COMMIT:
                    self.keep_in(cache)
                if progress is not None:
                    progress(num_done, num_photos)
        finally:
            # Also when interrupted: what was computed is not computed again.
            if cache is not None:
                self.keep_in(cache)
        if progress is not None:
            progress(num_photos, num_photos)
        return EmbeddingTable(
            self.embeddings,
            self.fingerprints,
            self.measures,
            tuple(self.facts),
            self.rejected,
            self.hits,
            self.num_computed,
            sum(self.decode_times),
            time.perf_counter() - started,
        )

    def take_from(self, cache: ContentCache) -> None:
        """Fill in what the cache holds."""
        pictures = cache.get_many(list(set(self.picture_keys)))
        for row, key in enumerate(self.picture_keys):
            value = pictures.get(key)
            if value is None:
                continue
            try:
                self._take_picture(row, value)
            except MALFORMED:
                continue  # not what this version keeps: made again
            self.seen[row] = True
        if self.network is None:
            self.hits = int(self.seen.sum())
            return
        values = cache.get_many(list({key for keys in self.keys for key in keys}))
        for row, keys in enumerate(self.keys):
            for place, key in enumerate(keys):
                if len(values.get(key, b"")) == self.embeddings[row, place].nbytes:
                    self.embeddings[row, place] = np.frombuffer(values[key], dtype="<f4")
                    self.have[row, place] = True
                    self.hits += 1

    def _take_picture(self, row: int, value: bytes) -> None:
        """Take what the cache holds of one photo."""
        if value[:1] == _REJECTED:
            self.rejected[row] = value[1:].decode()
            return
        end = 1 + _FINGERPRINT_BYTES
        self.fingerprints[row] = np.frombuffer(value[1:end], dtype=np.uint8)
        facts, self.measures[row] = unpack_facts(value[end:])
        self.facts[row] = facts
        # The limit is no part of the key: what it allowed once may be past it now.
        pixels = decoded_megapixels(facts.format, facts.width, facts.height, self.settings)
        try:
            check_cost(Cost(pixels, 0, 0.0), self.settings.max_megapixels)
        except CostError as error:
            self.rejected[row] = str(error)

    def missing_rows(self) -> dict[int, list[int]]:
        """Rows to work on, with the places of the views that are missing.

        A photo may only have to be decoded again, when what is kept of decoding has changed.
        """
        return {
            row: np.flatnonzero(~self.have[row]).tolist()
            for row in range(len(self.index))
            if row not in self.rejected and not (self.seen[row] and self.have[row].all())
        }

    def computed(self, missing: dict[int, list[int]]) -> Iterator[int]:
        """Fill the table in threads, saying which row is done; rejects are noted on the way."""
        rows = iter(missing)
        pending: deque[tuple[int, Future[str]]] = deque()
        with ThreadPoolExecutor(num_workers(), thread_name_prefix="embed") as pool:
            try:
                while True:
                    # A few rows ahead: enough to keep the threads busy, little to cancel.
                    while len(pending) < 4 * num_workers():
                        row = next(rows, None)
                        if row is None:
                            break
                        pending.append((row, pool.submit(self._compute, row, missing[row])))
                    if not pending:
                        return
                    row, future = pending.popleft()
                    reason = future.result()
                    if reason:
                        self.rejected[row] = reason
                    yield row
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _compute(self, row: int, places: list[int]) -> str:
        """Decode and embed one photo; the reason if it cannot be decoded."""
        started = time.perf_counter()
        try:
            data = self.index.read(row)
        except DataError as error:
            self.unread.add(row)
            return str(error)
        try:
            image = decode(data, self.settings)
            if not self.seen[row]:
                is_same = self.settings == self.looking
                looked = image if is_same else decode(data, self.looking)
                self.fingerprints[row] = fingerprint(looked)
                self.measures[row] = measure(looked)
                self.facts[row] = read_facts(data, self.settings.max_megapixels)
        except DataError as error:
            if isinstance(error, CostError) or isinstance(error.__cause__, MemoryError):
                self.unread.add(row)
            return str(error)
        content_hash = self.index.content_hashes[row]
        images = [
            mirror(image)
            if self.views[place] == "mirror"
            else content_view(image, content_hash, int(self.views[place]), self.policy)
            for place in places
        ]
        self.decode_times.append(time.perf_counter() - started)
        if self.network is not None:
            for place, view in zip(places, images, strict=True):
                self.embeddings[row, place] = self.network.embed(view)
        return ""

    def keep_in(self, cache: ContentCache) -> None:
        """Commit what was computed since the last time."""
        readable = [row for row in self.unkept if row not in self.rejected]
        cache.put_many(
            "embedding",
            {
                key: self.embeddings[row, place].astype("<f4").tobytes()
                for row in readable
                for place, key in enumerate(self.keys[row])
            },
        )
        pictures: dict[bytes, bytes] = {}
        for row in readable:
            facts = self.facts[row]
            assert facts is not None  # set with the fingerprint
            packed = pack_facts(facts, self.measures[row])
            pictures[self.picture_keys[row]] = _READABLE + self.fingerprints[row].tobytes() + packed
        # What decoding proved of a content is kept; what the system said of a file is not.
        for row in set(self.unkept) - set(readable) - self.unread:
            pictures[self.picture_keys[row]] = _REJECTED + self.rejected[row].encode(
                "utf-8", "backslashreplace"
            )
        cache.put_many("picture", pictures)
        self.unkept.clear()


def _view_name(view: View, policy: AugmentationPolicy) -> str:
    return str(view) if view in (0, "mirror") else f"{view}:{policy.key()}"
