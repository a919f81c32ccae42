"""What turns images into vectors, whoever computes them: all that the rest knows of it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from handful.errors import WeightsError
from handful.files.atomic import reason_of, sha256_of

if TYPE_CHECKING:
    import keras

# Part of every digest: raise it when a change of handful's own changes any embedding.
GRAPH_VERSION = 3

# Images that are given to an extractor at once, where there are so many: some networks compute a
# few together faster than one by one.
BATCH_SIZE = 4

# From an (S, S, 3) uint8 image to its feature map (h, w, D), and to the embedding (D,), which is
# the map's average over places.
FeatureMap = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]


class FeatureExtractor(Protocol):
    """Embeds images; any number of threads may ask it at the same time.

    It is pickled where other processes are to embed, and a forked process may go on using it. One
    that can tell where in an image its vector comes from has a method `feature_map() ->
    FeatureMap | None` as well.
    """

    @property
    def key(self) -> str:
        """Identity of the function from pixels to vectors: a part of the key of each in a cache.

        It names the network's digest, the precision, and the version of the library that computes.
        """

    @property
    def digest(self) -> str:
        """Identity of the network alone, whoever computes it; saved with classifiers."""

    @property
    def precision(self) -> str:
        """What it computes in, such as "f32", for reports."""

    @property
    def image_size(self) -> int:
        """Side S in pixels of the square images that it takes."""

    @property
    def embedding_dim(self) -> int:
        """Width D of its vectors."""

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed images, each by itself: a vector does not depend on its neighbors.

        Args:
            images: (N, S, S, 3) uint8 RGB.

        Returns:
            (N, D) float32.
        """


@dataclass(frozen=True)
class BackboneMetadata:
    """What is known of a pretrained network without opening it.

    Args:
        name: What users call it.
        image_size: Side S in pixels of its square input.
        embedding_dim: Width D of its features.
        license: Under which the weights were published.
        source: Where the weights come from.
        precision: What a head is best fitted in, where the user does not say: "auto" or "int8".
        weights_path: The weights file, which may only be read when it has the digest; None where
            there is none to choose, or none is needed.
        weights_sha256: SHA-256 of that file in hexadecimal.
        preprocessing: Of a network of the user's own what it takes and gives, as one line of JSON;
            then that and the file are the network's identity, whatever it is called.
        revision: Of a network of a hub the commit that it was taken from.
        megabytes: Size of the weights file, where it is known beforehand.
        gmacs: Billions of multiply-adds a photo, as published for its size.
    """

    name: str
    image_size: int
    embedding_dim: int
    license: str
    source: str
    precision: str = "auto"
    weights_path: Path | None = None
    weights_sha256: str = ""
    preprocessing: str = ""
    revision: str = ""
    megabytes: float | None = None
    gmacs: float | None = None

    @property
    def digest(self) -> str:
        """Identity of the function from images to embeddings, 64 hexadecimal characters."""
        name = self.preprocessing or self.name
        parts = (str(GRAPH_VERSION), name, str(self.image_size), self.weights_sha256)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def provenance(self) -> dict[str, str]:
        """Facts to keep with a classifier: "backbone", "license", "source".

        Of a network of the user's own also "preprocessing" and "weights_sha256", and of one from a
        hub its "revision".
        """
        facts = {"backbone": self.name, "license": self.license, "source": self.source}
        if self.preprocessing:
            facts |= {"preprocessing": self.preprocessing, "weights_sha256": self.weights_sha256}
        return facts | ({"revision": self.revision} if self.revision else {})


@dataclass(frozen=True)
class Backbone:
    """A pretrained network: what is known of it, and how it is opened.

    Its functions take the metadata, in which `find_backbone` has put the image size and the
    weights that were asked for.

    Args:
        metadata: What is known of it.
        load: From metadata and a precision ("auto", "bf16", "f32" or "int8") to what embeds.
        locate: Finds the official weights file and the SHA-256 that it must have; None where
            `load` needs no file.
        build: From metadata and whether to end in the 1,000 ImageNet probabilities to a Keras
            model, for training it on; with fresh weights where the metadata names no file. None
            where it can only embed.
        needs: What is missing to use it without a network, in words; empty where nothing is.
            Nothing is downloaded or opened to find out. None where it needs nothing.
    """

    metadata: BackboneMetadata
    load: Callable[[BackboneMetadata, str], FeatureExtractor]
    locate: Callable[[BackboneMetadata], tuple[Path, str]] | None = None
    build: "Callable[[BackboneMetadata, bool], keras.Model] | None" = None
    needs: Callable[[BackboneMetadata], str] | None = None


def weights_sha256(path: Path) -> str:
    """Digest of a weights file.

    Args:
        path: The file.

    Returns:
        64 hexadecimal characters.

    Raises:
        WeightsError: When it cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise unreadable_weights(path, error) from error


def unreadable_weights(path: Path, error: OSError) -> WeightsError:
    """The error for a weights file that cannot be read.

    Args:
        path: The file.
        error: What the system answered.

    Returns:
        The error, to be raised.
    """
    return WeightsError(
        f"Cannot read the weights file {path}: {reason_of(error)}. "
        "Expected a readable file; check the path."
    )
