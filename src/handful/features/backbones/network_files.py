"""Networks in files of the user's own: ONNX, OpenVINO, TensorFlow Lite and Keras."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from handful.environment import cache_folder
from handful.errors import UsageError
from handful.extras import require
from handful.features.conversion import frozen_network, open_stored, save_graph, store
from handful.features.extractor import GRAPH_VERSION, Backbone, BackboneMetadata
from handful.features.graph_files import READABLE, digest_of, files_of
from handful.features.keras_conversion import convert_file
from handful.features.network_folding import write_foreign
from handful.features.network_inspection import ForeignNetwork, inspect_network
from handful.features.openvino import OpenVinoExtractor
from handful.features.preprocessing import Preprocessing, find_preprocessing
from handful.reporting import Reporter

_KERAS = ".keras"
# Formats of others, which users will try; each is named with the way out.
_OTHERS = (".pt", ".pth", ".safetensors", ".h5", ".hdf5", ".pb", ".bin", ".ckpt", ".mlmodel")


def open_named(
    name: str, preprocessing: str | None, image_size: int | None, reporter: Reporter
) -> Backbone | None:
    """Open a backbone by the path of its file.

    Args:
        name: What the user calls it.
        preprocessing: What the user says of it, see `handful.features.preprocessing`.
        image_size: Side that photos are decoded to; None takes its own.
        reporter: Told what was found out of it.

    Returns:
        The backbone; None where the name is no path of a network.

    Raises:
        UsageError: When something must be said of it, or does not fit.
        WeightsError: When the file cannot be read or is no network for images.
        HandfulError: When a Keras file cannot be converted.
    """
    path = Path(name).expanduser()
    suffix = path.suffix.lower()
    if suffix in (*READABLE, _KERAS):
        return open_file(path, find_preprocessing(path, preprocessing), image_size, reporter)
    if suffix in _OTHERS or "/" in name or "\\" in name:
        raise UsageError(
            f"`backbone` is {name!r}; expected the name of a backbone, hf:OWNER/NAME, or a file "
            f"that ends in {', '.join((*READABLE, _KERAS))}. PyTorch writes ONNX with "
            "torch.onnx.export."
        )
    return None


def open_file(
    path: Path,
    said: Preprocessing,
    image_size: int | None,
    reporter: Reporter,
    **facts: Any,
) -> Backbone:
    """Open a backbone by its file, with what is said of it.

    Args:
        path: The file.
        said: What is said of it.
        image_size: Side that photos are decoded to; None takes its own.
        reporter: Told what was found out of it.
        **facts: What else is known of it: fields of `BackboneMetadata`.

    Returns:
        The backbone.

    Raises:
        UsageError: As `open_named` does.
        WeightsError: As `open_named` does.
        HandfulError: As `open_named` does.
    """
    files = files_of(path)
    sha256 = digest_of(files)
    if path.suffix.lower() == _KERAS:
        files = files_of(_converted(path, sha256))
    network = inspect_network(files, said, image_size)
    metadata = BackboneMetadata(
        path.name,
        network.image_size,
        network.embedding_dim,
        license="that of the given file",
        source=f"file: {path.name}",
        weights_path=path,
        weights_sha256=sha256,
        preprocessing=network.preprocessing.to_text(),
    )
    metadata = replace(metadata, **facts)
    reporter.log(f"{metadata.name} {network.in_words()}.")
    return Backbone(metadata, partial(_load, network))


def _load(network: ForeignNetwork, metadata: BackboneMetadata, precision: str) -> OpenVinoExtractor:
    frozen = frozen_network(metadata, metadata.digest, partial(write_foreign, network))
    return OpenVinoExtractor(frozen, precision)


def _converted(path: Path, sha256: str) -> Path:
    """A Keras file as an OpenVINO graph, as it is: nothing is put into it yet."""
    digest = f"keras-{GRAPH_VERSION}-{sha256}"
    folder = cache_folder() / "networks" / digest[:22]
    stored = open_stored(folder, digest)
    if stored is None:
        require("keras", "A .keras file", "keras")
        # What it takes and gives is found out of the result.
        facts = {"name": path.name, "image_size": 0, "embedding_dim": 0}

        def write(place: Path) -> None:
            advice = "Expected a whole model of Keras' own layers; export others as ONNX"
            save_graph(convert_file(path, place, str(path), advice), place / "network.xml")

        stored = store(folder, digest, facts, write)
    return stored.xml_path
