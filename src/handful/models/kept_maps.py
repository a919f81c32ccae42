"""Feature maps of a few photos, kept as embeddings are: a run that is repeated needs no network."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handful.features.extractor import FeatureMap
from handful.features.store import EmbeddingStore
from handful.files.atomic import MALFORMED
from handful.files.cache import content_key
from handful.models.activation_maps import open_map
from handful.models.classifier import Classifier

_Seen = tuple[NDArray[np.float32], NDArray[np.float32]]  # a map (h, w, D) and the embedding (D,)


class KeptMaps:
    """What a frozen network sees in some photos: looked up, or computed and kept.

    Args:
        classifier: A classifier whose network ends in the average of a feature map.
        contents: Content hashes of the photos.
        store: Where to look and keep; None computes all.

    Raises:
        ModelFileError: When something is to be computed and the network ends in another way.
    """

    def __init__(
        self, classifier: Classifier, contents: Sequence[str], store: EmbeddingStore | None
    ) -> None:
        # Of a mirror image, which some classifiers look at too, nothing is kept.
        self._store = None if classifier.test_time_mirror else store
        decoding, function = classifier.settings.key(), classifier.extractor.key
        self._keys = {
            content: content_key("feature map", content, decoding, function) for content in contents
        }
        packed = {} if self._store is None else self._store.get_scans([*self._keys.values()])
        self._seen = {key: seen for key in packed if (seen := _unpack(packed[key])) is not None}
        is_whole = all(key in self._seen for key in self._keys.values())
        self._look = None if is_whole else open_map(classifier)
        self._made: dict[bytes, bytes] = {}

    def of(self, content: str) -> FeatureMap:
        """What looks at one of the photos; any number of threads may.

        Args:
            content: Its content hash.

        Returns:
            From its pixels to its map and embedding.
        """

        def look(image: NDArray[np.uint8]) -> _Seen:
            if (key := self._keys[content]) in self._seen:
                return self._seen[key]
            assert self._look is not None
            found = self._look(image)
            if self._store is not None:
                self._made[key] = _pack(*found)
            return found

        return look

    def keep(self) -> None:
        """Keep what was computed; for the thread that made this."""
        if self._store is not None and self._made:
            self._store.put_scans(self._made)


def _pack(features: NDArray[np.float32], embedding: NDArray[np.float32]) -> bytes:
    values = np.concatenate([features.ravel(), embedding]).astype("<f4")
    # Most of a network's last values are 0: a fifth of the bytes is left.
    return zlib.compress(struct.pack("<3I", *features.shape) + values.tobytes(), 1)


def _unpack(value: bytes) -> _Seen | None:
    """The opposite; None for what is something else."""
    try:
        data = zlib.decompress(value)
        height, width, dim = struct.unpack_from("<3I", data)
        values = np.frombuffer(data, "<f4", offset=12).astype(np.float32)
        return values[:-dim].reshape(height, width, dim), values[-dim:]
    except (*MALFORMED, zlib.error):
        return None
