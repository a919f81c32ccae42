"""A classifier as one HTML page that answers in a browser, without a network.

All that it needs is in it, compressed: ONNX Runtime Web, the network with its head, and the
training photos' embeddings, by which it tells what is unlike them. The page resizes photos itself,
as `decoding.resize` does: a graph that does so takes a second for a photo of 12 megapixels.
"""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.exporting.export_graph import metadata_texts, network_and_head
from handful.exporting.web_runtime import WebRuntime
from handful.features.onnx_graph import make_onnx
from handful.models.classifier import Classifier
from handful.models.novelty import NoveltyDetector
from handful.reports.photo_page import page_script, page_style, render_page

# What people send by mail. Training photos' embeddings are in a page only where it stays below.
MAX_BYTES = 15_000_000
_FOLDER = Path(__file__).parent / "web"
# Fewer weights are not worth a conversion.
_FEW = 256
# On each side of 0. Of 64 photos of pollen none moved by more than 0.004; float16 moved one by
# 0.017, and is compressed no better.
_STEPS = 2**13 - 1
_EXPORTS = re.compile(r"export\{([^{}]*)\};?")


@dataclass(frozen=True)
class WebPage:
    """A page, and what did not fit into it.

    Args:
        html: The whole page.
        tells_unusual: Whether it tells photos that are unlike those of training.
    """

    html: bytes
    tells_unusual: bool


def make_page(
    classifier: Classifier,
    precision: str,
    metadata: Mapping[str, Any],
    figures: Mapping[str, Any] | None,
    runtime: WebRuntime,
) -> WebPage:
    """Write a classifier as a page.

    Args:
        classifier: The classifier, on the network to take.
        precision: "int16" keeps weights in 16 bits and computes in float32; "int8" takes the
            network as it is.
        metadata: What it says of itself, see `export_jobs.model_metadata`.
        figures: The evaluation of its run, plain values; None where it is not known.
        runtime: What runs it.

    Returns:
        The page.
    """
    network = network_bytes(classifier, precision, metadata)
    parts = {
        "code": _pack(_worker_source(runtime.script).encode()),
        "wasm": _pack(runtime.wasm),
        "network": _pack(network),
    }
    described = _describe(classifier, metadata, figures)
    if classifier.reference is not None:
        steps, scale = quantized_directions(classifier.reference)
        whole = _render({**described, "reference": _told(classifier.reference, scale)},
                        {**parts, "reference": _pack(steps.tobytes())})  # fmt: skip
        if len(whole) <= MAX_BYTES:
            return WebPage(whole, True)
    return WebPage(_render(described, parts), False)


def size_note(num_bytes: int) -> str:
    """Say what a page's size means, where it is a large one.

    Args:
        num_bytes: Its size.

    Returns:
        A sentence or two; "" up to 15 MB.
    """
    if num_bytes <= MAX_BYTES:
        return ""
    return (
        f"The page has {num_bytes / 1e6:,.1f} MB, for the network is a large one: many mails carry "
        f"{MAX_BYTES / 1e6:.0f} MB at most, and phones load it slowly. The backbone "
        "efficientnet-lite0, which quality fast takes, makes a page below that."
    )


def network_bytes(classifier: Classifier, precision: str, metadata: Mapping[str, Any]) -> bytes:
    """Network and head as an ONNX model, from squares of pixels.

    Args:
        classifier: The classifier.
        precision: As for `make_page`.
        metadata: As for `make_page`.

    Returns:
        The file.
    """
    model = make_onnx(network_and_head(classifier), metadata_texts(metadata))
    if precision == "int16":
        _keep_in_16_bits(model, classifier.head.weights.shape)
    return bytes(model.SerializeToString())


def _keep_in_16_bits(model: Any, head_shape: tuple[int, ...]) -> None:
    """Store the network's large constants in 16-bit steps, which are made float32 when it is read.

    The head stays as it is: it is small.
    """
    import onnx

    graph, helper = model.graph, onnx.helper
    kept: list[Any] = []
    nodes: list[Any] = []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        is_large = values.dtype == np.float32 and values.size >= _FEW and values.ndim > 1
        if not is_large or values.shape == head_shape:
            kept.append(tensor)
            continue
        steps, scales = _in_steps(values)
        names = [f"{tensor.name}_{part}" for part in ("steps", "scales", "wide")]
        kept.append(onnx.numpy_helper.from_array(steps, names[0]))
        kept.append(onnx.numpy_helper.from_array(scales, names[1]))
        nodes.append(helper.make_node("Cast", names[:1], names[2:], to=onnx.TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [names[2], names[1]], [tensor.name]))
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _in_steps(values: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Weights as whole numbers and the size of a step, one for each output channel."""
    # Convolutions have outputs in the first axis, matrices in the last.
    channel = 0 if values.ndim > 2 else values.ndim - 1
    others = tuple(axis for axis in range(values.ndim) if axis != channel)
    scales = np.abs(values).max(axis=others, keepdims=True) / np.float32(_STEPS)
    scales = np.where(scales > 0, scales, np.float32(1))
    return np.round(values / scales).astype(np.int16), scales


def quantized_directions(reference: NoveltyDetector) -> tuple[NDArray[np.int8], float]:
    """The training photos' embeddings in 8 bits.

    A distance moves by some 0.0003 (where photos are unlike the others from 0.2 or so on).

    Args:
        reference: The training photos.

    Returns:
        (m, D) int8 steps, and the size of a step.
    """
    directions = reference.directions.astype(np.float32)
    scale = float(np.abs(directions).max()) / 127 or 1.0
    return np.round(directions / scale).astype(np.int8), scale


def _told(reference: NoveltyDetector, scale: float) -> dict[str, Any]:
    return {
        "numPhotos": len(reference.directions),
        "numNeighbors": reference.num_neighbors,
        "threshold": reference.threshold,
        "scale": scale,
    }


def _describe(
    classifier: Classifier, metadata: Mapping[str, Any], figures: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What the page's script is told."""
    calibration = classifier.calibration
    rows = [] if calibration is None else calibration.to_dict()["abstaining"]
    return {
        "classNames": list(classifier.class_names),
        "imageSize": classifier.settings.image_size,
        "resize": classifier.settings.resize,
        "abstaining": [
            {"errorRate": row["error_rate"], "threshold": row["threshold"]} for row in rows
        ],
        "figures": None
        if figures is None
        else {name: figures[name] for name in ("num_images", "accuracy", "accuracy_interval")},
        "metadata": metadata_texts(metadata),
    }


def _worker_source(script: str) -> str:
    """The runtime's module and our worker as one plain script.

    A page that was opened as a file can start workers of plain scripts alone.
    """
    found = _EXPORTS.search(script)
    assert found is not None  # its digest is pinned
    pairs = [pair.split(" as ") for pair in found[1].split(",")]
    names = ", ".join(f"{public}: {own}" for own, public in pairs if public != "default")
    module = script[: found.start()].replace("import.meta.url", "self.location.href")
    return f'"use strict";\n{module}\nconst ort = {{{names}}};\n{_read("worker.js")}'


def _render(described: Mapping[str, Any], parts: Mapping[str, str]) -> bytes:
    style, script = page_style(_read("page.css")), page_script(_read("page.js"))
    page = render_page(
        _FOLDER / "page.html",
        hint="Loading the classifier …",
        is_live=True,
        names=described["classNames"],
        metadata=described["metadata"],
        figures=described["figures"],
        tells_unusual="reference" in described,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        described=_json(described),
        parts=parts,
    )
    return page.encode("utf-8", "backslashreplace")


def _json(values: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: no "<", and nothing but ASCII."""
    return json.dumps(values).replace("<", "\\u003c")


def _hash(text: str) -> str:
    """What a Content-Security-Policy allows a text by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _pack(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def unpack(page: bytes, part: str) -> bytes:
    """Take a part out of a page.

    Args:
        page: As `make_page` wrote it.
        part: "code", "wasm", "network" or "reference".

    Returns:
        What the browser unpacks.
    """
    found = re.search(rb'<script type="text/plain" id="%b">([^<]*)<' % part.encode(), page)
    assert found is not None, f"no {part} in the page"
    return gzip.decompress(base64.b64decode(found[1]))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
