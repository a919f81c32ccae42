"""A fitted classifier: how photos are decoded, the frozen network, the head, the class names."""

import copy
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.config import PRECISIONS, RESIZES, DeviceOptions
from handful.data.decoding import DecodeSettings, decode, resize
from handful.data.index import ImageIndex, RejectedFile, load_unlabeled
from handful.data.inputs import Pictures, in_memory, is_path, listed
from handful.display import Shown
from handful.engines.engine import Engine
from handful.errors import DataError, ModelFileError, UsageError
from handful.features.conversion import FrozenNetwork
from handful.features.devices import network_of, on_device
from handful.features.embed import EmbeddingSpec, View, embed_pixels, mean_view
from handful.features.extractor import FeatureExtractor
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import find_backbone, load_extractor
from handful.features.store import EmbeddingStore
from handful.features.table import embed_index
from handful.files.atomic import (
    MALFORMED,
    explain_damage,
    new_folder,
    read_json,
    reason_of,
    sha256_of,
    write_json,
)
from handful.files.tensors import read_tensors, write_tensors
from handful.models.calibration import NO_ANSWERS, Abstention, Calibration
from handful.models.heads import LinearHead
from handful.models.novelty import FALSE_ALARM_RATE, NoveltyDetector
from handful.reporting import Progress
from handful.wording import format_share, list_names

# The folder of a run's classifier in that of the run.
CLASSIFIER_FOLDER = "classifier"
FORMAT = "handful classifier"
FORMAT_VERSION = 3
# The first version had no confidence file, and is read all the same.
_READABLE_VERSIONS = (1, 2, 3)
_DESCRIPTION, _NETWORK, _WEIGHTS, _HEAD, _CONFIDENCE = (
    "classifier.json",
    "network.xml",
    "network.bin",
    "head.safetensors",
    "confidence.safetensors",
)
_TENSORS = ("mean", "scale", "weights", "bias")

_logger = logging.getLogger("handful")


@dataclass(frozen=True, repr=False)
class Prediction(Shown):
    """What a classifier says about one photo.

    Args:
        path: The photo's path, or "image 0", "image 1", ... for arrays.
        label: Most probable class.
        probability: Its probability, 0 to 1.
        probabilities: Probability of every class; they sum to 1.
        is_out_of_distribution: Whether the photo is unlike those of training, so that no name may
            fit; None where the classifier cannot tell.
        is_confident: Whether the probability is high enough for the error rate asked for, and the
            photo like those of training, which alone the rate was measured on; None where none
            was asked.
        prediction_set: Classes that it may be of, the most probable first, at the coverage asked
            for; None where none was.
    """

    path: str
    label: str
    probability: float
    probabilities: Mapping[str, float]
    is_out_of_distribution: bool | None = None
    is_confident: bool | None = None
    prediction_set: tuple[str, ...] | None = None

    def _in_words(self) -> str:
        unsure = " (not sure)" if self.is_confident is False else ""
        unlike = ", unlike the training photos" if self.is_out_of_distribution else ""
        answer = f"{self.label[:60]} {format_share(self.probability)}{unsure}{unlike}"
        return f"{self.path[-80:]}: {answer}"

    def to_dict(self) -> dict[str, Any]:
        """The prediction in plain values, as `handful predict --json` prints it.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        values: dict[str, Any] = {
            "path": self.path,
            "label": self.label,
            "probability": self.probability,
            "probabilities": dict(self.probabilities),
            "is_out_of_distribution": self.is_out_of_distribution,
        }
        if self.is_confident is not None:
            values["is_confident"] = self.is_confident
        if self.prediction_set is not None:
            values["prediction_set"] = list(self.prediction_set)
        return values


class Predictions(Shown, list[Prediction]):
    """A list of predictions that shows itself."""

    def _in_words(self) -> str:
        first = "; ".join(one._in_words() for one in self[:2])
        return f"{len(self):,}: {first}" + ("; ..." if len(self) > 2 else "")


@dataclass(frozen=True, eq=False)
class IndexPredictions:
    """Probabilities for the photos of an index that could be decoded.

    Args:
        index: N photos; those that could not be decoded are in its `rejected`.
        probabilities: (N, C) float64, rows sum to 1.
        is_out_of_distribution: (N,) bool, see `Prediction`; None where the classifier cannot tell.
        hits: Embeddings that came from the cache.
        misses: Embeddings that were computed.
        fingerprints: (N, 1024) uint8 thumbnails, see `near_duplicate_pairs`, where asked for.
    """

    index: ImageIndex
    probabilities: NDArray[np.float64]
    is_out_of_distribution: NDArray[np.bool_] | None = None
    hits: int = 0
    misses: int = 0
    fingerprints: NDArray[np.uint8] | None = None


class Classifier(Shown):
    """Names what a photo shows, with probabilities. Made by `train` or `Classifier.load`.

    Args:
        class_names: C names, in the order of the probabilities.
        extractor: The frozen network.
        head: The fitted head on its embeddings.
        settings: How photos are decoded.
        test_time_mirror: Average the embeddings of a photo and of its mirror image.
        provenance: Further metadata to keep with the classifier: backbone name, license, source.
        calibration: Answers on photos not learned from, for thresholds; None where there are none.
        reference: Training photos to hold others against; None where there are too few.
        folder: Where it was loaded from, beside its run where it has one; else None.

    Example:
        ```python
        classifier = Classifier.load("runs/photos")
        for prediction in classifier.predict(["new.jpg", "another.png"]):
            print(prediction.label, prediction.probability)
        ```
    """

    def __init__(
        self,
        class_names: Sequence[str],
        extractor: FeatureExtractor,
        head: LinearHead,
        settings: DecodeSettings,
        *,
        test_time_mirror: bool = False,
        provenance: Mapping[str, str] | None = None,
        calibration: Calibration | None = None,
        reference: NoveltyDetector | None = None,
        folder: Path | None = None,
    ) -> None:
        self.class_names = tuple(class_names)
        self.extractor = extractor
        self.head = head
        self.settings = settings
        self.test_time_mirror = test_time_mirror
        self.provenance = dict(provenance or {})
        self.calibration = calibration
        self.reference = reference
        self.folder = folder

    def _in_words(self) -> str:
        side = self.settings.image_size
        return (
            f"{len(self.class_names)} classes ({list_names(self.class_names)}), "
            f"{self.provenance.get('backbone', 'own network')}, {side} x {side} pixels"
        )

    def with_answers(
        self, calibration: Calibration | None, reference: NoveltyDetector | None
    ) -> "Classifier":
        """The same classifier with what it said of photos not learned from.

        Args:
            calibration: As in the constructor.
            reference: As in the constructor.

        Returns:
            Another classifier, on the same network, compiled once.
        """
        other = copy.copy(self)
        other.calibration, other.reference = calibration, reference
        return other

    def predict(
        self,
        images: Pictures,
        *,
        error_rate: float | None = None,
        coverage: float | None = None,
        engine: Engine | None = None,
    ) -> Predictions:
        """Predict one photo or several: given by path, as bytes, or as pictures in memory.

        Args:
            images: A photo or any number of them, each a path (of a file; a folder or zip stands
                for all photos in it), the bytes of a file, an (H, W, 3) uint8 RGB or (H, W) gray
                array of any size, or a Pillow image. An (N, H, W, 3) array is N photos.
            error_rate: Say of each photo whether its answer is sure enough for so small a share
                of wrong answers, such as 0.01; where so few photos cannot show that, for the
                smallest that they can, which `abstain_at` tells.
            coverage: Give each photo a set of classes, such that this share of the sets holds
                the right one, such as 0.95; where so few photos cannot show that, all classes.
            engine: Who embeds photos given by path; None takes threads of this process.

        Returns:
            One prediction a photo, in order, a list also for a single one; a folder's photos are
            sorted by path.

        Raises:
            DataError: When a photo cannot be read; all such photos are named. Use
                `predict_index` to go on without them.
            UsageError: When something is no photo at all, there are no images, or an array is
                of another kind.
        """
        self.check_guarantees(error_rate, coverage)
        paths, probabilities, unlike = self._answers(images, engine)
        return self.name_predictions(
            paths, probabilities, unlike, error_rate=error_rate, coverage=coverage
        )

    def predict_proba(self, images: Pictures) -> NDArray[np.float64]:
        """Probabilities alone.

        Args:
            images: As for `predict`.

        Returns:
            (N, C) float64 in the order of `class_names`, rows sum to 1.

        Raises:
            DataError: As for `predict`.
            UsageError: As for `predict`.
        """
        return self._answers(images)[1]

    def _answers(
        self, images: Pictures, engine: Engine | None = None
    ) -> tuple[list[str], NDArray[np.float64], NDArray[np.bool_] | None]:
        """Names, probabilities and flags of photos, in order."""
        given = listed(images)
        if not given:
            raise UsageError("no photos were given; expected one or more.")
        paths: list[str] = []
        embeddings: list[NDArray[np.float32]] = []
        rejected: list[RejectedFile] = []
        numbered = enumerate(given)
        for are_paths, some in groupby(numbered, key=lambda numbered: is_path(numbered[1])):
            if are_paths:
                index = load_unlabeled([os.fspath(image) for _, image in some])
                table = embed_index(index, self.spec, engine=engine)
                paths += [index.paths[row] for row in table.readable]
                embeddings.append(table.mean[table.readable])
                rejected += index.without(table.rejected).rejected
                continue
            pictures = []
            for number, image in some:
                name = f"image {number}"
                try:
                    pictures.append(self._square(image, name))
                except DataError as error:
                    rejected.append(RejectedFile(name, str(error)))
                else:
                    paths.append(name)
            embeddings.append(mean_view(embed_pixels(pictures, self.spec)))
        if rejected:
            lines = "; ".join(f"{file.path} {file.reason}".rstrip(".") for file in rejected[:5])
            raise DataError(f"{len(rejected)} images cannot be read: {lines}.")
        together = np.concatenate(embeddings)
        if not len(together):
            return [], np.zeros((0, len(self.class_names))), None
        return paths, self.head.predict_proba(together), self._unlike(together)

    def _square(self, image: object, name: str) -> NDArray[np.uint8]:
        """A photo that is no path, as the network takes it."""
        picture = in_memory(image, name)
        if isinstance(picture, bytes):
            return decode(picture, self.settings)
        return resize(picture, self.settings)

    def _unlike(self, embeddings: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        if self.reference is None:
            return None
        return self.reference.unlike(self.reference.distances(embeddings))

    def predict_index(
        self,
        index: ImageIndex,
        *,
        store: EmbeddingStore | None = None,
        progress: Progress | None = None,
        scans: bool = False,
        engine: Engine | None = None,
    ) -> IndexPredictions:
        """Predict the photos of an index, going on past those that cannot be decoded.

        Args:
            index: Photos, labeled or not.
            store: Where embeddings are looked up and kept; None computes all.
            progress: Called with (photos done, photos in all).
            scans: Whether to make thumbnails too.
            engine: Who embeds; None takes threads of this process.

        Returns:
            Probabilities and the index without the undecodable photos.
        """
        spec = replace(self.spec, scans=scans)
        table = embed_index(index, spec, store=store, progress=progress, engine=engine)
        kept = table.readable
        probabilities = np.zeros((0, len(self.class_names)))
        unlike = None
        if len(kept):
            embeddings = table.mean[kept]
            probabilities = self.head.predict_proba(embeddings)
            unlike = self._unlike(embeddings)
        return IndexPredictions(
            index.without(table.rejected),
            probabilities,
            unlike,
            table.hits,
            table.misses,
            table.fingerprints[kept] if scans else None,
        )

    def name_predictions(
        self,
        paths: Sequence[str],
        probabilities: NDArray[np.float64],
        is_out_of_distribution: NDArray[np.bool_] | None = None,
        *,
        error_rate: float | None = None,
        coverage: float | None = None,
    ) -> Predictions:
        """Put names to probabilities.

        Args:
            paths: (N,) the photos' paths.
            probabilities: (N, C) float64.
            is_out_of_distribution: (N,) bool, see `Prediction`.
            error_rate: As for `predict`.
            coverage: As for `predict`.

        Returns:
            N predictions; of equal probabilities the first class wins.

        Raises:
            ValueError: When the error rate or the coverage is outside (0, 1).
        """
        threshold = sets = None
        if error_rate is not None:
            # Stored in single precision: a probability just at the threshold counts as sure.
            asked = self.abstain_at(error_rate).threshold
            threshold = np.float32(np.inf if asked is None else asked)
        if coverage is not None:
            sets = (self.calibration or NO_ANSWERS).prediction_sets(probabilities, coverage)
        result = Predictions()
        for place, (path, row) in enumerate(zip(paths, probabilities, strict=True)):
            order = np.argsort(-row, kind="stable")
            best = int(order[0])
            unlike = None if is_out_of_distribution is None else bool(is_out_of_distribution[place])
            sure = None
            if threshold is not None:
                sure = bool(np.float32(row[best]) >= threshold) and not unlike
            names = None
            if sets is not None:
                names = tuple(self.class_names[number] for number in order if sets[place, number])
            chances = dict(zip(self.class_names, row.tolist(), strict=True))
            label = self.class_names[best]
            result.append(Prediction(path, label, float(row[best]), chances, unlike, sure, names))
        return result

    def abstain_at(self, error_rate: float) -> Abstention:
        """Probability from which on an answer is sure enough for an error rate.

        Args:
            error_rate: Share of wrong answers among the photos answered, in (0, 1).

        Returns:
            The threshold, what it gave on the photos that it was chosen on, and the error rate
            that can be shown: as asked, or, of so few photos, the smallest.

        Raises:
            ValueError: When the rate is outside (0, 1).
        """
        return (self.calibration or NO_ANSWERS).abstain_at(error_rate)

    def check_guarantees(self, error_rate: float | None, coverage: float | None) -> None:
        """Find out, before the work, whether what is asked is an error rate and a coverage.

        Args:
            error_rate: As for `predict`.
            coverage: As for `predict`.

        Raises:
            ValueError: When one is outside (0, 1).
        """
        self.name_predictions(
            [], np.zeros((0, len(self.class_names))), None, error_rate=error_rate, coverage=coverage
        )

    @property
    def views(self) -> tuple[View, ...]:
        """Views of a photo whose embeddings are averaged."""
        return views_of(self.test_time_mirror)

    @property
    def spec(self) -> EmbeddingSpec:
        """What is computed of a photo before the head."""
        return EmbeddingSpec(self.extractor, self.settings, self.views, scans=False)

    @property
    def network(self) -> FrozenNetwork:
        """The network's files.

        Raises:
            ModelFileError: When what embeds is not handful's own, and has none.
        """
        network = network_of(self.extractor)
        if network is None:
            raise ModelFileError(
                f"The network {self.provenance.get('backbone', 'of this classifier')} comes from "
                "an installed package and has no files in OpenVINO's format, which this needs. "
                "Train with one of handful's own backbones."
            )
        return network

    def save(self, path: str | Path) -> Path:
        """Write the classifier as a folder of JSON, safetensors and OpenVINO files.

        Args:
            path: Folder to make.

        Returns:
            The folder.

        Raises:
            OutputError: When it exists or cannot be written.
        """
        folder = Path(path)
        with new_folder(folder) as temporary:
            if network_of(self.extractor) is not None:
                shutil.copyfile(self.network.xml_path, temporary / _NETWORK)
                shutil.copyfile(self.network.bin_path, temporary / _WEIGHTS)
            write_tensors(temporary / _HEAD, {name: getattr(self.head, name) for name in _TENSORS})
            confidence, tensors = self._confidence()
            if tensors:
                write_tensors(temporary / _CONFIDENCE, tensors)
            description = self._description(temporary, confidence)
            description["digest"] = _digest(description)
            write_json(temporary / _DESCRIPTION, description)
        return folder

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> "Classifier":
        """Read a classifier back; on the processor its predictions are the saved one's to the bit.

        Args:
            path: Folder of a run, or of a classifier.
            device: "cpu", "gpu", or "auto", which takes a GPU where one works and the network does
                not compute in 8 bits; there answers differ by rounding, see docs/gpu.md.

        Returns:
            The classifier.

        Raises:
            DeviceError: For "gpu", when it does not work.
            MissingExtraError: For "gpu", when what runs networks on it is not installed.
            ModelFileError: When files are missing, changed, of another version or not a
                classifier's. Nothing in them is ever run.
            UsageError: When there is no such device.
        """
        DeviceOptions(device=device)
        folder = _classifier_folder(Path(path))
        description = read_description(folder)
        try:
            for name, values in description["files"].items():
                _check_file(folder / name, values["sha256"])
            classifier = cls._from_description(folder, description)
        except MALFORMED as error:
            raise ModelFileError(
                f"{folder} is not a whole classifier ({explain_damage(error)}); "
                "train again, or restore the folder from a copy."
            ) from error
        precision = description["precision"]
        classifier.extractor = on_device(classifier.extractor, device, precision)
        return classifier

    @classmethod
    def _from_description(cls, folder: Path, description: dict[str, Any]) -> "Classifier":
        _rename_old_keys(description)
        backbone = description["backbone"]
        _check_description(description)
        extractor = _read_extractor(folder, description)
        tensors = read_tensors(folder / _HEAD)
        mean, scale, weights, bias = (tensors[name] for name in _TENSORS)
        head = LinearHead(mean, scale, weights, bias, description["head"]["C"])
        dim, num_classes = backbone["embedding_dim"], len(description["class_names"])
        shapes = [(dim,), (dim,), (dim, num_classes), (num_classes,)]
        for name, shape in zip(_TENSORS, shapes, strict=True):
            _must(tensors[name].shape == shape, f"{name} is {tensors[name].shape}, not {shape}")
            _must(tensors[name].dtype == np.float32, f"{name} is {tensors[name].dtype}")
        _must(bool((scale > 0).all()), "the scale is not above 0")
        return cls(
            description["class_names"],
            extractor,
            head,
            DecodeSettings(**description["decode"]),
            test_time_mirror=description["test_time_mirror"],
            provenance=description["provenance"],
            folder=folder,
            **_read_confidence(folder, description),
        )

    def _confidence(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What is written of calibration and reference: values, and arrays by name."""
        values: dict[str, Any] = {"calibration": None, "reference": None}
        tensors: dict[str, NDArray[Any]] = {}
        if (calibration := self.calibration) is not None:
            values["calibration"] = {
                "temperature": calibration.temperature,
                "source": calibration.source,
                "num_photos": len(calibration),
            }
            tensors = {
                "confidence": calibration.confidence,
                "correct": calibration.correct.astype(np.uint8),
                "true_probability": calibration.true_probability,
            }
            if calibration.groups is not None:
                tensors["groups"] = calibration.groups
            if calibration.unlike is not None:
                tensors["unlike"] = calibration.unlike.astype(np.uint8)
        if (reference := self.reference) is not None:
            values["reference"] = {
                "threshold": reference.threshold,
                "num_neighbors": reference.num_neighbors,
                "false_alarm_rate": reference.false_alarm_rate,
                "num_photos": len(reference.directions),
            }
            tensors["reference"] = reference.directions
        return values, {name: np.ascontiguousarray(values) for name, values in tensors.items()}

    def _description(self, folder: Path, confidence: dict[str, Any]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "class_names": list(self.class_names),
            "decode": asdict(self.settings),
            "precision": self.extractor.precision,
            "test_time_mirror": self.test_time_mirror,
            "backbone": {
                "image_size": self.extractor.image_size,
                "embedding_dim": self.extractor.embedding_dim,
                "digest": self.extractor.digest,
            },
            "head": {
                "kind": "standardized multinomial logistic regression",
                "C": self.head.C,
            },
            **confidence,
            "provenance": self.provenance,
            "files": {
                name: {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
                for name in (_NETWORK, _WEIGHTS, _HEAD, _CONFIDENCE)
                if (folder / name).is_file()
            },
        }


def views_of(test_time_mirror: bool) -> tuple[View, ...]:
    """Views of a photo whose embeddings are averaged."""
    return (0, "mirror") if test_time_mirror else (0,)


def _read_extractor(folder: Path, description: dict[str, Any]) -> FeatureExtractor:
    """The network that lies in the folder; else that of the package that the backbone is from."""
    backbone, files = description["backbone"], description["files"]
    if _NETWORK in files:
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
        return OpenVinoExtractor(network, description["precision"])
    name = str(description["provenance"].get("backbone"))
    try:
        found = find_backbone(name, None, backbone["image_size"])
    except UsageError as error:
        raise ModelFileError(
            f"{folder} needs the backbone {name}, which no installed package brings; install the "
            "package that it was trained with."
        ) from error
    extractor = load_extractor(found, description["precision"])
    sizes = extractor.image_size, extractor.embedding_dim
    _must(sizes == (backbone["image_size"], backbone["embedding_dim"]), "another network is there")
    if extractor.digest != backbone["digest"]:
        _logger.warning(
            "%s was trained on %s; %s is installed, whose answers may differ",
            folder,
            backbone["digest"],
            extractor.digest,
        )
    return extractor


def _read_confidence(folder: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Calibration and reference as the constructor's arguments; none where there is no file."""
    if _CONFIDENCE not in description["files"]:
        return {}
    tensors = read_tensors(folder / _CONFIDENCE)
    result: dict[str, Any] = {}
    if (values := description["calibration"]) is not None:
        names = {"confidence", "correct", "true_probability", *({"groups", "unlike"} & {*tensors})}
        shapes = {tensors[name].shape for name in names}
        _must(len(shapes) == 1 and len(shapes.pop()) == 1, "the calibration's shapes differ")
        _must(0 < float(values["temperature"]) < math.inf, "the temperature is not above 0")
        result["calibration"] = Calibration(
            tensors["confidence"],
            tensors["correct"].astype(np.bool_),
            tensors["true_probability"],
            float(values["temperature"]),
            str(values["source"]),
            tensors.get("groups"),
            tensors["unlike"].astype(np.bool_) if "unlike" in tensors else None,
        )
    if (values := description["reference"]) is not None:
        num_photos, dim = tensors["reference"].shape
        _must(dim == description["backbone"]["embedding_dim"], "the reference is another network's")
        _must(math.isfinite(float(values["threshold"])), "the threshold is no number")
        _must(0 < int(values["num_neighbors"]) <= num_photos, "num_neighbors is out of range")
        rate = float(values.get("false_alarm_rate", FALSE_ALARM_RATE))
        _must(0 < rate <= 1, "the false alarm rate is no share")
        result["reference"] = NoveltyDetector(
            tensors["reference"],
            float(values["threshold"]),
            int(values["num_neighbors"]),
            rate,
        )
    return result


def is_classifier(path: Path) -> bool:
    """Tell whether a classifier can be loaded from a folder.

    Args:
        path: Folder of a run, or of a classifier.

    Returns:
        Whether there is one, whole or not.
    """
    return _folder_in(path) is not None


def _folder_in(path: Path) -> Path | None:
    places = (path, path / CLASSIFIER_FOLDER)
    return next((place for place in places if os.path.isfile(place / _DESCRIPTION)), None)


def _classifier_folder(path: Path) -> Path:
    """The classifier's own folder, given that or its run's."""
    if (folder := _folder_in(path)) is not None:
        return folder
    found = "no classifier.json in it" if os.path.exists(path) else "no such folder"
    raise ModelFileError(
        f"{path} is not a run or a classifier: {found}. Give the folder that `handful train` made; "
        "`handful runs` lists them."
    )


def read_description(folder: Path) -> dict[str, Any]:
    """Read what a classifier is without opening its network.

    Args:
        folder: The classifier's own folder.

    Returns:
        Its classifier.json, described in docs/file-formats.md.

    Raises:
        ModelFileError: When it cannot be read, was changed, or is of another version.
    """
    path = folder / _DESCRIPTION
    try:
        description = read_json(path)
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{path} cannot be read as JSON: {explain_damage(error)}; restore it from a copy, or "
            "train again."
        ) from error
    if description.get("format") != FORMAT:
        raise ModelFileError(f'{path} does not say "format": "{FORMAT}"; it is something else.')
    if description.get("format_version") not in _READABLE_VERSIONS:
        raise ModelFileError(
            f"{path} has format version {description.get('format_version')}; this handful reads "
            f"up to {FORMAT_VERSION}. Use the handful that made it, or train again."
        )
    if description.pop("digest", None) != _digest(description):
        raise ModelFileError(
            f"{path} was changed after it was saved; restore it from a copy, or train again."
        )
    files = description.get("files")
    needed = (set(files) - {_CONFIDENCE}) if isinstance(files, dict) else set()
    if needed not in ({_HEAD}, {_NETWORK, _WEIGHTS, _HEAD}):
        raise ModelFileError(f"{path} lists other files than a classifier has.")
    return description


def _check_file(path: Path, sha256: str) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read ({reason_of(error)}); restore it from a copy, or train again."
        ) from error
    if found != sha256:
        raise ModelFileError(
            f"{path} was changed after it was saved (SHA-256 {found[:12]}..., expected "
            f"{sha256[:12]}...); restore it from a copy, or train again."
        )


def _digest(description: Mapping[str, Any]) -> str:
    text = json.dumps(description, sort_keys=True, ensure_ascii=False)
    # A class's folder need not have a name that is valid text.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _rename_old_keys(description: dict[str, Any]) -> None:
    """Give what versions 1 and 2 hold the names of version 3."""
    if description["format_version"] >= 3:
        return
    head, reference = description["head"], description.get("reference")
    provenance = description["provenance"] = description.pop("about")
    head["C"] = head.pop("strength")
    if reference:
        reference["num_neighbors"] = reference.pop("num_neighbours")
    if "licence" in provenance:
        provenance["license"] = provenance.pop("licence")


def _check_description(description: dict[str, Any]) -> None:
    """Raise ValueError for what somebody forged: digests guard against damage alone."""
    names, backbone, provenance = (
        description[key] for key in ("class_names", "backbone", "provenance")
    )
    _must(
        isinstance(names, list)
        and len(names) > 1
        and all(isinstance(name, str) and name for name in names)
        and len(set(names)) == len(names),
        "class_names are not two or more different names",
    )
    for name, most in (("image_size", 4096), ("embedding_dim", 1_000_000)):
        _must(type(backbone[name]) is int and 0 < backbone[name] <= most, f"{name} is out of range")
    decode = description["decode"]
    _must(decode["image_size"] == backbone["image_size"], "photos are decoded to another size")
    _must(decode["resize"] in RESIZES, f"resize is {decode['resize']!r}")
    _must(all(isinstance(value, str | int | float) for value in decode.values()), "decode is wrong")
    own = _NETWORK in description["files"]
    precision = description["precision"]
    _must(
        precision in PRECISIONS if own else isinstance(precision, str),
        f"precision is {precision!r}",
    )
    _must(isinstance(description["test_time_mirror"], bool), "test_time_mirror is no truth value")
    _must(isinstance(backbone["digest"], str), "the network has no digest")
    _must(
        isinstance(provenance, dict)
        and not any(isinstance(value, list | dict) for value in provenance.values()),
        "the provenance is no plain dictionary",
    )
    C = description["head"]["C"]
    _must(C is None or isinstance(C, int | float), "C is no number")


def _must(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)
