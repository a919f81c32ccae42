"""From an image's bytes to its vectors: the whole way of one image, without state.

Threads here, or any other engine, run `embed_one`.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handful.augmentation_policy import AugmentationPolicy
from handful.cores import num_workers
from handful.data.augmentation import VIEWS_POLICY, content_view
from handful.data.decoding import (
    FINGERPRINT_SIDE,
    DecodeSettings,
    check_cost,
    decode,
    decoding_cost,
    fingerprint,
    mirror,
)
from handful.data.metadata import (
    METADATA_VERSION,
    FileMetadata,
    measure,
    pack_metadata,
    read_metadata,
    unpack_metadata,
)
from handful.data.storage import hash_content
from handful.engines.engine import in_groups
from handful.features.extractor import BATCH_SIZE, FeatureExtractor
from handful.files.cache import content_key

View = int | str  # 0 the image, 1, 2, ... drawn views, "mirror" its mirror image

_READABLE = b"F"
_FINGERPRINT_BYTES = FINGERPRINT_SIDE**2


def embedding_key(content: str, decoding: str, function: str, view: str = "0") -> bytes:
    """The key under which a view of an image is kept.

    Args:
        content: The image's content hash.
        decoding: Key of how it is decoded.
        function: Key of what embeds it.
        view: Which view; "0" is the image itself.

    Returns:
        The key.
    """
    return content_key("embedding", content, decoding, function, view)


@dataclass(frozen=True)
class EmbeddingSpec:
    """What is computed of each image.

    Args:
        extractor: What embeds; None where images are only scanned.
        settings: How images are decoded; the size must be the extractor's.
        views: Views of each image: 0 is the image itself, 1, 2, ... are drawn from the policy,
            "mirror" is its mirror image.
        policy: What views are drawn from; part of the key under which they are kept.
        scans: Whether to see what an image looks like without a network, as `ImageScan` says.
    """

    extractor: FeatureExtractor | None
    settings: DecodeSettings
    views: tuple[View, ...] = (0,)
    policy: AugmentationPolicy = VIEWS_POLICY
    scans: bool = True

    @property
    def embedding_dim(self) -> int:
        """Width of the vectors; 0 where images are only scanned."""
        return 0 if self.extractor is None else self.extractor.embedding_dim

    @property
    def scanned(self) -> DecodeSettings:
        """How images are decoded for a scan: they look alike, or dark, whatever a network takes."""
        return DecodeSettings(max_megapixels=self.settings.max_megapixels)

    def keys(self, content_hashes: Sequence[str]) -> list[list[bytes]]:
        """Keys under which the views of images are kept, a list for each image."""
        if self.extractor is None:
            return [[] for _ in content_hashes]
        decoding, function = self.settings.key(), self.extractor.key
        names = [
            str(view) if view in (0, "mirror") else f"{view}:{self.policy.key()}"
            for view in self.views
        ]
        return [
            [embedding_key(content, decoding, function, name) for name in names]
            for content in content_hashes
        ]

    def scan_keys(self, content_hashes: Sequence[str]) -> list[bytes]:
        """Keys under which scans of images are kept."""
        kind, looking = f"facts{METADATA_VERSION}:{_FINGERPRINT_BYTES}", self.scanned.key()
        return [content_key(kind, content, looking) for content in content_hashes]


@dataclass(frozen=True, eq=False)
class ImageScan:
    """What an image looks like without a network.

    Args:
        fingerprint: (1024,) uint8 thumbnail for finding near-duplicates.
        measures: (18,) float32 brightness and the like, see `metadata.measure`.
        metadata: What the file says of itself.
    """

    fingerprint: NDArray[np.uint8]
    measures: NDArray[np.float32]
    metadata: FileMetadata

    def pack(self) -> bytes:
        """Bytes to keep."""
        return _READABLE + self.fingerprint.tobytes() + pack_metadata(self.metadata, self.measures)

    @classmethod
    def unpack(cls, value: bytes) -> "ImageScan":
        """The scan that `pack` made bytes of; one of `MALFORMED` is raised for other bytes."""
        end = 1 + _FINGERPRINT_BYTES
        metadata, measures = unpack_metadata(value[end:])
        return cls(np.frombuffer(value[1:end], dtype=np.uint8), measures, metadata)


@dataclass(frozen=True, eq=False)
class EmbeddedImage:
    """What was computed of one image.

    Args:
        vectors: (V, D) float32, one for each view.
        scan: What it looks like, where that was asked for.
        decode_seconds: Time that decoding took.
    """

    vectors: NDArray[np.float32]
    scan: ImageScan | None
    decode_seconds: float


def mean_view(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over views.

    Args:
        vectors: (..., V, D) float32.

    Returns:
        (..., D) float32; of one view no copy.
    """
    if vectors.shape[-2] == 1:
        return vectors[..., 0, :]
    return np.asarray(vectors.mean(axis=-2))


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """One image, decoded: all of it but what a network gives.

    Args:
        views: What is embedded, each (S, S, 3) uint8 RGB.
        scan: As in `EmbeddedImage`.
        decode_seconds: As in `EmbeddedImage`.
    """

    views: list[NDArray[np.uint8]]
    scan: ImageScan | None
    decode_seconds: float


def embed_one(data: bytes, spec: EmbeddingSpec) -> EmbeddedImage:
    """Decode an image and compute what is asked of it.

    It depends on nothing else and changes nothing, and a spec can be pickled, so that this runs
    in any thread or process.

    Args:
        data: The whole file.
        spec: What to compute.

    Returns:
        Vectors and scan.

    Raises:
        DataError: When the image cannot be decoded; a clause that follows its name.
    """
    return embed_prepared([prepare_one(data, spec)], spec.extractor)[0]


def prepare_one(data: bytes, spec: EmbeddingSpec) -> PreparedImage:
    """Decode an image: the part of `embed_one` that needs no network.

    Args:
        data: The whole file.
        spec: What to compute.

    Returns:
        Views and scan.

    Raises:
        DataError: As `embed_one`.
    """
    started = time.perf_counter()
    if not spec.views and not spec.scans:
        limit = spec.settings.max_megapixels
        check_cost(decoding_cost(data, spec.settings), limit)
        return PreparedImage([], None, 0.0)
    image = decode(data, spec.settings)
    scan = None
    if spec.scans:
        looked = image if spec.settings == spec.scanned else decode(data, spec.scanned)
        metadata = read_metadata(data, spec.settings.max_megapixels)
        scan = ImageScan(fingerprint(looked), measure(looked), metadata)
    drawn = any(view not in (0, "mirror") for view in spec.views)
    views = _views(image, spec, hash_content(data) if drawn else "")
    return PreparedImage(views, scan, time.perf_counter() - started)


def embed_prepared(
    prepared: Sequence[PreparedImage], extractor: FeatureExtractor | None
) -> list[EmbeddedImage]:
    """Embed decoded images, all views at once: an extractor may be faster with some together.

    Args:
        prepared: N images.
        extractor: What embeds; None where they were only scanned.

    Returns:
        N results, in order.
    """
    vectors = _vectors([view for image in prepared for view in image.views], extractor)
    found, first = [], 0
    for image in prepared:
        own = vectors[first : first + len(image.views)]
        found.append(EmbeddedImage(own, image.scan, image.decode_seconds))
        first += len(image.views)
    return found


def embed_pixels(images: Iterable[NDArray[np.uint8]], spec: EmbeddingSpec) -> NDArray[np.float32]:
    """Embed images that are in memory, in threads.

    Args:
        images: N images, each (S, S, 3) uint8 RGB.
        spec: What to compute; its views are the image itself and its mirror image.

    Returns:
        (N, V, D) float32.
    """
    groups = [
        [PreparedImage(_views(image, spec, ""), None, 0.0) for image in group]
        for group in in_groups(images, BATCH_SIZE)
    ]
    with ThreadPoolExecutor(num_workers(), thread_name_prefix="embed") as pool:
        found = pool.map(lambda group: embed_prepared(group, spec.extractor), groups)
        rows = [image.vectors for group in found for image in group]
    return np.reshape(rows, (len(rows), len(spec.views), spec.embedding_dim)).astype(np.float32)


def _views(image: NDArray[np.uint8], spec: EmbeddingSpec, content: str) -> list[NDArray[np.uint8]]:
    return [
        mirror(image) if view == "mirror" else content_view(image, content, int(view), spec.policy)
        for view in spec.views
    ]


def _vectors(
    views: list[NDArray[np.uint8]], extractor: FeatureExtractor | None
) -> NDArray[np.float32]:
    if extractor is None or not views:
        return np.zeros((len(views), extractor.embedding_dim if extractor else 0), np.float32)
    return extractor.embed(np.stack(views))
