"""A fitted classifier: how photos are decoded, the frozen network, the head, the class names."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.backbones import FrozenNetwork
from handful.cache import ContentCache
from handful.embeddings import Embedder, Progress, View, embed_index
from handful.errors import DataError, ModelFileError
from handful.files import new_folder, sha256_of
from handful.heads import LinearHead
from handful.index import ImageIndex, load_unlabelled
from handful.pixels import DecodeSettings, mirror, resize

FORMAT = "handful classifier"
FORMAT_VERSION = 1
_DESCRIPTION, _NETWORK, _WEIGHTS, _HEAD = (
    "classifier.json",
    "network.xml",
    "network.bin",
    "head.safetensors",
)
_TENSORS = ("mean", "scale", "weights", "bias")


@dataclass(frozen=True)
class Prediction:
    """What a classifier says about one photo.

    Args:
        path: The photo's path, or "image 0", "image 1", ... for arrays.
        label: Most probable class.
        probability: Its probability, 0 to 1.
        probabilities: Probability of every class; they sum to 1.
    """

    path: str
    label: str
    probability: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class IndexPredictions:
    """Probabilities for the photos of an index that could be decoded.

    Args:
        index: N photos; those that could not be decoded are in its `rejected`.
        probabilities: (N, C) float64, rows sum to 1.
        hits: Embeddings that came from the cache.
        misses: Embeddings that were computed.
    """

    index: ImageIndex
    probabilities: NDArray[np.float64]
    hits: int = 0
    misses: int = 0


class Classifier:
    """Names what a photo shows, with probabilities. Made by `train` or `Classifier.load`.

    Args:
        class_names: C names, in the order of the probabilities.
        network: The frozen network.
        head: The fitted head on its embeddings.
        settings: How photos are decoded.
        precision: "auto", "bf16", "f32" or "int8", see `TrainConfig`.
        test_time_mirror: Average the embeddings of a photo and of its mirror image.
        about: Further facts to keep with the classifier: backbone name, licence, source.

    Example:
        ```python
        classifier = Classifier.load("runs/photos")
        for prediction in classifier.predict(["new.jpg"]):
            print(prediction.label, prediction.probability)
        ```
    """

    def __init__(
        self,
        class_names: Sequence[str],
        network: FrozenNetwork,
        head: LinearHead,
        settings: DecodeSettings,
        *,
        precision: str = "auto",
        test_time_mirror: bool = False,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.class_names = tuple(class_names)
        self.network = network
        self.head = head
        self.settings = settings
        self.test_time_mirror = test_time_mirror
        self.about = dict(about or {})
        self.embedder = Embedder(network, precision)

    def predict(
        self, images: Sequence[str | Path] | Sequence[NDArray[np.uint8]]
    ) -> list[Prediction]:
        """Predict photos given by path, or pictures given as arrays.

        Args:
            images: Paths of files, folders or zips; or (H, W, 3) uint8 RGB arrays of any size.

        Returns:
            One prediction a photo, in order; a folder's photos are sorted by path.

        Raises:
            DataError: When a photo cannot be read; all such photos are named. Use
                `predict_index` to go on without them.
            ValueError: When there are no images, or an array is not (H, W, 3) uint8.
        """
        if len(images) and isinstance(images[0], np.ndarray):
            arrays: list[NDArray[np.uint8]] = [np.asarray(image) for image in images]
            names = [f"image {number}" for number in range(len(arrays))]
            return self._named(names, self.predict_proba(arrays))
        index = load_unlabelled([Path(str(image)) for image in images])
        result = self.predict_index(index)
        if result.index.rejected:
            lines = "; ".join(f"{file.path} {file.reason}" for file in result.index.rejected[:5])
            raise DataError(f"{len(result.index.rejected)} images cannot be read: {lines}.")
        return self._named(result.index.paths, result.probabilities)

    def predict_proba(
        self, images: Sequence[str | Path] | Sequence[NDArray[np.uint8]]
    ) -> NDArray[np.float64]:
        """Probabilities alone.

        Args:
            images: As for `predict`.

        Returns:
            (N, C) float64 in the order of `class_names`, rows sum to 1.

        Raises:
            DataError: As for `predict`.
            ValueError: As for `predict`.
        """
        if not len(images) or not isinstance(images[0], np.ndarray):
            rows = [prediction.probabilities for prediction in self.predict(images)]
            return np.array([[row[name] for name in self.class_names] for row in rows])
        pictures = []
        for number, image in enumerate(images):
            if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
                raise ValueError(
                    f"image {number} is not uint8; expected (H, W, 3) uint8, 0 to 255."
                )
            if image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ValueError(f"image {number} is {image.shape}; expected (H, W, 3), RGB.")
            pictures.append(resize(image, self.settings))
        embeddings = self.embedder.embed_all(
            [[p if view == 0 else mirror(p) for view in self.views] for p in pictures]
        )
        return self.head.predict_proba(embeddings.mean(axis=1))

    def predict_index(
        self,
        index: ImageIndex,
        *,
        cache: ContentCache | None = None,
        progress: Progress | None = None,
    ) -> IndexPredictions:
        """Predict the photos of an index, going on past those that cannot be decoded.

        Args:
            index: Photos, labelled or not.
            cache: Embedding cache to use; None computes all.
            progress: Called with (photos done, photos in all).

        Returns:
            Probabilities and the index without the undecodable photos.
        """
        table = embed_index(
            index,
            self.embedder,
            self.settings,
            views=self.views,
            cache=cache,
            progress=progress,
        )
        kept = np.array([row for row in range(len(index)) if row not in table.rejected], dtype=int)
        probabilities = np.zeros((0, len(self.class_names)))
        if len(kept):
            probabilities = self.head.predict_proba(table.embeddings[kept].mean(axis=1))
        return IndexPredictions(
            index.without(table.rejected), probabilities, table.hits, table.misses
        )

    @property
    def views(self) -> tuple[View, ...]:
        """Views of a photo whose embeddings are averaged."""
        return (0, "mirror") if self.test_time_mirror else (0,)

    def save(self, path: str | Path) -> Path:
        """Write the classifier as a folder of JSON, safetensors and OpenVINO files.

        Args:
            path: Folder to make.

        Returns:
            The folder.

        Raises:
            OutputError: When it exists or cannot be written.
        """
        from safetensors.numpy import save_file

        folder = Path(path)
        with new_folder(folder) as temporary:
            shutil.copyfile(self.network.xml_path, temporary / _NETWORK)
            shutil.copyfile(self.network.bin_path, temporary / _WEIGHTS)
            tensors = {name: np.ascontiguousarray(getattr(self.head, name)) for name in _TENSORS}
            save_file(tensors, temporary / _HEAD)
            description = self._description(temporary)
            description["digest"] = _digest(description)
            text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
            (temporary / _DESCRIPTION).write_text(text, encoding="utf-8")
        return folder

    @classmethod
    def load(cls, path: str | Path) -> "Classifier":
        """Read a classifier back; its predictions are the saved one's to the bit.

        Args:
            path: Folder of a run, or of a classifier.

        Returns:
            The classifier.

        Raises:
            ModelFileError: When files are missing, changed, of another version or not a
                classifier's. Nothing in them is ever run.
        """
        folder = _classifier_folder(Path(path))
        description = _read_description(folder / _DESCRIPTION)
        for name, facts in description["files"].items():
            _check_file(folder / name, facts["sha256"])
        try:
            return cls._from_description(folder, description)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{folder / _DESCRIPTION} is not a classifier's description ({error!r}); "
                "train again, or restore the folder from a copy."
            ) from error

    @classmethod
    def _from_description(cls, folder: Path, description: dict[str, Any]) -> "Classifier":
        from safetensors.numpy import load_file

        backbone, files = description["backbone"], description["files"]
        network = FrozenNetwork(
            xml_path=folder / _NETWORK,
            bin_path=folder / _WEIGHTS,
            xml_sha256=files[_NETWORK]["sha256"],
            bin_sha256=files[_WEIGHTS]["sha256"],
            image_size=backbone["image_size"],
            embedding_dim=backbone["embedding_dim"],
            digest=backbone["digest"],
            seconds=0.0,
        )
        tensors = load_file(folder / _HEAD)
        mean, scale, weights, bias = (tensors[name] for name in _TENSORS)
        head = LinearHead(mean, scale, weights, bias, description["head"]["strength"])
        num_classes = len(description["class_names"])
        if head.weights.shape != (network.embedding_dim, num_classes):
            raise ValueError(f"weights are {head.weights.shape} for {num_classes} classes")
        return cls(
            description["class_names"],
            network,
            head,
            DecodeSettings(**description["decode"]),
            precision=description["precision"],
            test_time_mirror=description["test_time_mirror"],
            about=description["about"],
        )

    def _description(self, folder: Path) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "class_names": list(self.class_names),
            "decode": {
                "image_size": self.settings.image_size,
                "resize": self.settings.resize,
                "max_megapixels": self.settings.max_megapixels,
            },
            "precision": self.embedder.precision,
            "test_time_mirror": self.test_time_mirror,
            "backbone": {
                "image_size": self.network.image_size,
                "embedding_dim": self.network.embedding_dim,
                "digest": self.network.digest,
            },
            "head": {
                "kind": "standardised multinomial logistic regression",
                "strength": self.head.strength,
            },
            "about": self.about,
            "files": {
                name: {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
                for name in (_NETWORK, _WEIGHTS, _HEAD)
            },
        }

    def _named(self, paths: Sequence[str], probabilities: NDArray[np.float64]) -> list[Prediction]:
        return [
            name_prediction(path, self.class_names, row)
            for path, row in zip(paths, probabilities, strict=True)
        ]


def name_prediction(
    path: str, class_names: Sequence[str], probabilities: NDArray[np.float64]
) -> Prediction:
    """Put names to one row of probabilities.

    Args:
        path: The photo's path.
        class_names: C names.
        probabilities: (C,) float64.

    Returns:
        The prediction; of equal probabilities the first class wins.
    """
    best = int(probabilities.argmax())
    return Prediction(
        path,
        class_names[best],
        float(probabilities[best]),
        dict(zip(class_names, probabilities.tolist(), strict=True)),
    )


def _classifier_folder(path: Path) -> Path:
    """The classifier's own folder, given that or its run's."""
    for folder in (path, path / "classifier"):
        if (folder / _DESCRIPTION).is_file():
            return folder
    found = "no such folder" if not path.exists() else "no classifier.json in it"
    raise ModelFileError(
        f"{path} is not a run or a classifier: {found}. Give the folder that `handful train` made."
    )


def _read_description(path: Path) -> dict[str, Any]:
    """Parse and check classifier.json, before any other file is opened."""
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ModelFileError(f'{path} does not say "format": "{FORMAT}"; it is something else.')
    if description.get("format_version") != FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has format version {description.get('format_version')}; this handful reads "
            f"{FORMAT_VERSION}. Use the handful that made it, or train again."
        )
    if description.pop("digest", None) != _digest(description):
        raise ModelFileError(
            f"{path} was changed after it was saved; restore it from a copy, or train again."
        )
    if set(description["files"]) != {_NETWORK, _WEIGHTS, _HEAD}:
        raise ModelFileError(f"{path} lists other files than a classifier has.")
    return description


def _check_file(path: Path, sha256: str) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read ({error.strerror}); restore it from a copy, or train again."
        ) from error
    if found != sha256:
        raise ModelFileError(
            f"{path} was changed after it was saved (SHA-256 {found[:12]}..., expected "
            f"{sha256[:12]}...); restore it from a copy, or train again."
        )


def _digest(description: Mapping[str, Any]) -> str:
    text = json.dumps(description, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
