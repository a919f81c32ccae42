"""Files of photos -> their vectors, one by one, wherever an engine wants it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handful.data.index import why_no_image
from handful.data.storage import FoundFile, hash_content
from handful.engines.engine import in_groups
from handful.errors import DataError
from handful.features.embed import (
    EmbeddingSpec,
    PreparedImage,
    embed_prepared,
    mean_view,
    prepare_one,
)
from handful.features.extractor import BATCH_SIZE
from handful.features.portable import PortableSpec


@dataclass(frozen=True, eq=False)
class EmbeddedFile:
    """What came of a file.

    Args:
        digest: Content hash of its bytes; "" where they could not be read.
        vector: (D,) float32, the mean over the views; None for what is no photo.
        reason: Why it is none, as a clause; "" for a photo.
    """

    digest: str
    vector: NDArray[np.float32] | None = None
    reason: str = ""


class FileEmbedder:
    """Reads files and embeds them, each by itself.

    Args:
        spec: What to compute; its scans are left out.
    """

    def __init__(self, spec: EmbeddingSpec | PortableSpec) -> None:
        self._portable = spec if isinstance(spec, PortableSpec) else PortableSpec(spec)

    def __reduce__(self) -> tuple[type["FileEmbedder"], tuple[PortableSpec]]:
        return FileEmbedder, (self._portable,)

    def __call__(self, group: Sequence[FoundFile]) -> list[EmbeddedFile]:
        """Embed files.

        Args:
            group: The files.

        Returns:
            What came of each.
        """
        few = in_groups(group, BATCH_SIZE)
        return [found for files in few for found in self._embed(files)]

    def give_up(self, item: FoundFile, reason: str) -> EmbeddedFile:
        """What stands for a file that no worker outlived.

        Args:
            item: The file.
            reason: A clause.

        Returns:
            What came of it.
        """
        return EmbeddedFile("", None, reason)

    def _embed(self, files: Sequence[FoundFile]) -> list[EmbeddedFile]:
        """Embed a few files at once."""
        prepared = [self._prepare(file) for file in files]
        images = [image for _, image in prepared if isinstance(image, PreparedImage)]
        embedded = iter(embed_prepared(images, self._portable.spec.extractor))
        return [
            EmbeddedFile(digest, None, image)
            if isinstance(image, str)
            else EmbeddedFile(digest, mean_view(next(embedded).vectors))
            for digest, image in prepared
        ]

    def _prepare(self, file: FoundFile) -> tuple[str, PreparedImage | str]:
        """A file's content hash, and it decoded or the reason why it is no photo."""
        digest = ""
        try:
            data = file.read()
            digest = hash_content(data)
            return digest, why_no_image(data) or prepare_one(data, self._portable.spec)
        except DataError as error:
            return digest, str(error)
