"""Networks by OpenVINO, on the processor or on Intel's GPU.

Any number of threads ask one, and a forked process compiles it anew.

A picture's embedding does not depend on its neighbors: pictures are inferred one by one, several at
the same time, or in batches where these give the same bits. Whenever a network is compiled, what
each stream computes of a drawn picture is held against what one stream gave when it was written.
"""

import importlib.metadata
import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.cores import available_cores, is_share
from handful.errors import HandfulError, ModelFileError, WeightsError
from handful.features.conversion import (
    FrozenNetwork,
    check_image,
    read_network,
    reference_features,
    sample_features,
)
from handful.features.extractor import BATCH_SIZE, FeatureMap
from handful.features.gpu_drivers import may_have_intel_gpu
from handful.files.atomic import explain_damage
from handful.forks import never_end, start_anew_in_children

# Operations that leave the numbers of a pooled map as they are.
_PASSING = ("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Convert")
# Least cosine between a network's features of a drawn image here and where it was written: by
# precision, since processors round differently.
_LEAST_COSINE = {"f32": 0.9999, "bf16": 0.99, "f16": 0.99, "int8": 0.95}

_logger = logging.getLogger("handful")


def resolve_precision(precision: str) -> str:
    """Precision that the processor will really compute in.

    Args:
        precision: "auto", "bf16", "f16", "f32" or "int8".

    Returns:
        "bf16", "f32" or "int8"; "auto" is bf16 where the processor has matrix units for it (AMX):
        with vector instructions alone it is slower than f32. A processor without any computes in
        f32 instead of bf16, and every one instead of "f16".
    """
    if precision in ("f32", "int8"):
        return precision
    if precision == "f16" or (precision == "auto" and not _has_matrix_units()):
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


class OpenVinoExtractor:
    """A converted network that OpenVINO embeds with, compiled at first use.

    Args:
        network: The converted network.
        precision: "auto", "bf16", "f32", or "int8" for a network that was converted to it; on a
            GPU also "f16".
        device: OpenVINO's name of where it computes.
    """

    def __init__(
        self, network: FrozenNetwork, precision: str = "auto", device: str = "CPU"
    ) -> None:
        self.network, self.device = network, device
        self.digest = network.digest
        self.image_size = network.image_size
        self.embedding_dim = network.embedding_dim
        self.precision = (
            resolve_precision(precision) if device == "CPU" else _gpu_precision(precision)
        )
        self._compiled = CompiledNetwork(self._compile)
        self._batched = CompiledNetwork(self._compile_for_batches)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_once, (self.network, self.precision, self.device)

    @property
    def key(self) -> str:
        """The network's digest, the precision, OpenVINO's version, and the GPU where it is one."""
        version = importlib.metadata.version("openvino")
        where = "" if self.device == "CPU" else f" {self.device}"
        return f"{self.digest}:{self.precision}:openvino {version}{where}"

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed images, see `FeatureExtractor.embed`.

        Args:
            images: (N, S, S, 3) uint8 RGB.

        Returns:
            (N, D) float32.

        Raises:
            ModelFileError: When the network's files cannot be read.
        """
        vectors = np.empty((len(images), self.embedding_dim), np.float32)
        # In floating point, batches are no faster.
        are_many = len(images) >= BATCH_SIZE and self.precision == "int8" and self.device == "CPU"
        with (self._batched if are_many else self._compiled).request() as request:
            size = request.get_input_tensor(0).shape[0]
            for first in range(0, len(images), size):
                part = images[first : first + size]
                filled = np.resize(part, (size, *part.shape[1:])) if len(part) < size else part
                request.infer({0: filled}, share_inputs=True)
                found = request.get_output_tensor(0).data
                vectors[first : first + size] = found[: len(part)]
        return vectors

    def feature_map(self) -> FeatureMap | None:
        """What shows the map whose average the embedding is; None where the network has none.

        Raises:
            ModelFileError: When the network's files cannot be read.
        """
        model = read_network(self.network)
        parts = _find_pooled_maps(model)
        if parts is None:
            return None
        # Networks that share their lower part have maps in common.
        outputs = {_output_key(part.output): part.output for part in parts}
        model.add_outputs([*outputs.values()])
        places = [1 + list(outputs).index(_output_key(part.output)) for part in parts]

        compiled = CompiledNetwork(lambda: _compile(model, self.precision, "LATENCY", self.device))

        def look(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            with compiled.request() as request:
                request.infer({0: image[np.newaxis]}, share_inputs=True)
                embedding = np.array(request.get_output_tensor(0).data[0], dtype=np.float32)
                maps = [
                    part.spread(request.get_output_tensor(place).data)
                    for place, part in zip(places, parts, strict=True)
                ]
            height, width = np.max([one.shape[:2] for one in maps], axis=0)
            return np.concatenate([_spread(one, height, width) for one in maps], axis=2), embedding

        return look

    def _compile(self) -> Any:
        model = read_network(self.network)
        reference = reference_features(model)
        try:
            compiled = _compile(model, self.precision, "THROUGHPUT", self.device)
            if self._agrees(compiled, reference):
                return compiled
            _logger.warning(
                "OpenVINO computes wrong features of %s with several streams; one is used instead, "
                "which is slower",
                self.network.xml_path,
            )
            compiled = _compile(model, self.precision, "LATENCY", self.device)
            agrees = self._agrees(compiled, reference)
        except RuntimeError as error:
            raise ModelFileError(
                f"{self.network.xml_path} cannot be run as a network: {explain_damage(error)}"
            ) from error
        if not agrees:
            raise WeightsError(
                f"{self.network.xml_path} gives other features here than where it was written, in "
                f"one stream too, in {self.precision}. Try `precision` f32, or another version of "
                "OpenVINO."
            )
        return compiled

    def _agrees(self, compiled: Any, reference: NDArray[np.float32] | None) -> bool:
        """Whether every stream gives the features of `check_image` that a network should."""
        found = _answers_of_streams(compiled, check_image(self.image_size))
        least = _LEAST_COSINE[self.precision]
        return reference is None or all(
            _cosine(sample_features(answers[0]), reference) >= least for answers in found
        )

    def _compile_for_batches(self) -> Any:
        """The network for batches, where these change no bit of an answer; else as `_compile`."""
        try:
            model = read_network(self.network, BATCH_SIZE)
            compiled = _compile(model, self.precision, "THROUGHPUT", self.device)
            if self._keeps_bits(compiled, reference_features(model)):
                return compiled
        except (HandfulError, RuntimeError):
            pass  # it takes one image at a time
        return self._compile()

    def _keeps_bits(self, compiled: Any, reference: NDArray[np.float32] | None) -> bool:
        """Whether a batch gives `check_image` the features that it gets alone, beside another."""
        image = check_image(self.image_size)
        batch = np.concatenate([*[image] * (BATCH_SIZE - 1), 255 - image])
        rows = np.concatenate([one[:-1] for one in _answers_of_streams(compiled, batch)])
        if reference is not None and all(
            np.array_equal(sample_features(row), reference) for row in rows
        ):
            return True
        (alone,) = self.embed(image)  # the reference may have been written on another processor
        return all(np.array_equal(row, alone) for row in rows)


def _answers_of_streams(compiled: Any, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """What each of a network's streams gives for the same images, all at the same time."""
    streams = max(1, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    requests = [compiled.create_infer_request() for _ in range(streams)]
    for request in requests:
        request.start_async({0: images}, share_inputs=True)
    for request in requests:
        request.wait()
    return [np.array(one.get_output_tensor(0).data) for one in requests]


@cache
def _opened_once(network: FrozenNetwork, precision: str, device: str) -> OpenVinoExtractor:
    """Unpickle: a process compiles a network once, however often it is sent there."""
    return OpenVinoExtractor(network, precision, device)


def _cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Of two vectors; -1 where they have other lengths, or one is no vector of numbers."""
    if first.shape != second.shape:
        return -1.0
    one, other = first.astype(np.float64), second.astype(np.float64)
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    if not 0 < norms < math.inf:
        return 1.0 if np.array_equal(one, other) else -1.0
    return float(np.vdot(one, other)) / norms


@cache
def openvino_gpu(takes_integrated: bool) -> str | None:
    """Find a GPU that OpenVINO can use.

    Args:
        takes_integrated: Whether one inside the processor will do: it is hardly faster than that.

    Returns:
        OpenVINO's name for it; None where there is none.
    """
    if not may_have_intel_gpu():
        return None  # loading OpenVINO to ask takes as long as reading all embeddings
    from handful.features.runtime import openvino

    core = openvino.Core()
    found = [name for name in core.available_devices if name.startswith("GPU")]
    kinds = {name: str(core.get_property(name, "DEVICE_TYPE")).lower() for name in found}
    discrete = [name for name in found if "discrete" in kinds[name]]
    return next(iter([*discrete, *(found if takes_integrated else [])]), None)


def _gpu_precision(precision: str) -> str:
    return precision if precision in ("f16", "int8") else "f32"


def _compile(model: Any, precision: str, hint: str, device: str = "CPU") -> Any:
    from handful.features.runtime import openvino

    options: dict[str, Any] = {
        "PERFORMANCE_HINT": hint,
        # What an int8 network leaves in floating point stays float32.
        "INFERENCE_PRECISION_HINT": precision if precision in ("bf16", "f16") else "f32",
    }
    if device == "CPU":
        options["INFERENCE_NUM_THREADS"] = available_cores()
        # OpenVINO binds its threads to cores, counting from the first in each process.
        options["ENABLE_CPU_PINNING"] = not is_share()
    if device == "CPU" and hint == "LATENCY":
        options["NUM_STREAMS"] = 1
    return openvino.Core().compile_model(model, device, options)


class CompiledNetwork:
    """OpenVINO's network, compiled at first use.

    Requests are made by one thread at a time.

    Args:
        compile_network: Compiles it.
    """

    def __init__(self, compile_network: Callable[[], Any]) -> None:
        self._compile = compile_network
        self._opened = _Opened()
        start_anew_in_children(self)

    @contextmanager
    def request(self) -> Iterator[Any]:
        """An inference request that no other thread uses within the block.

        Yields:
            OpenVINO's request.
        """
        opened = self._opened
        try:
            request = opened.idle.pop()
        except IndexError:
            request = self._make(opened)
        try:
            yield request
        finally:
            opened.idle.append(request)

    def start_anew(self) -> None:
        """Leave the parent's network alone: its threads are not in this process."""
        never_end(self._opened)
        self._opened = _Opened()

    def _make(self, opened: "_Opened") -> Any:
        with opened.lock:
            if opened.compiled is None:
                opened.compiled = self._compile()
            request = opened.compiled.create_infer_request()
            opened.requests.append(request)
        return request


class _Opened:
    """What belongs to one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.compiled: Any = None
        self.requests: list[Any] = []  # all of them, so that a fork ends none
        self.idle: list[Any] = []


@dataclass(frozen=True)
class _PooledMap:
    """A feature map whose average over places, to a power, times a gain, is part of an embedding.

    Args:
        output: Where the network has it.
        channel_axis: Axis of its channels.
        gain: The factor.
        power: The exponent: 1 for an average, 1/3 of cubes for their power mean.
    """

    output: Any
    channel_axis: int
    gain: float = 1.0
    power: float = 1.0

    def spread(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The map (1, ...) as (h, w, C) whose average is the embedding: each place has its share.

        With m the average, m^power is the average of the map times m^(power - 1).
        """
        places: NDArray[np.float32] = np.moveaxis(values, self.channel_axis, -1)[0]
        factor = np.full(places.shape[-1], self.gain)
        if self.power != 1.0:
            mean = places.mean(axis=(0, 1), dtype=np.float64)
            factor *= np.where(mean > 0, mean, 1.0) ** (self.power - 1.0)
        return places * factor.astype(np.float32)


def _output_key(output: Any) -> tuple[str, int]:
    return output.get_node().get_friendly_name(), output.get_index()


def _find_pooled_maps(model: Any) -> list[_PooledMap] | None:
    """The feature maps whose averages are a network's output; None where it ends otherwise."""
    return _pooled_maps(model.output(0).get_node().input_value(0).get_node())


def _pooled_maps(node: Any) -> list[_PooledMap] | None:
    """The feature maps whose averages a vector is, one after the other; see above."""
    node = _source(node)
    if node.get_type_name() == "Concat":
        found = [_pooled_maps(value.get_node()) for value in node.input_values()]
        return None if None in found else [part for parts in found for part in parts or ()]
    part, gain = _without_constant(node, "Multiply")
    part, power = _without_constant(part, "Power")
    part, _ = _without_constant(part, "Maximum")  # which keeps gradients of the root in bounds
    pooled = _pooled_map(part)
    return None if pooled is None else [replace(pooled, gain=gain, power=power)]


def _without_constant(node: Any, kind: str) -> tuple[Any, float]:
    """What a node of one kind does something to, and the one number it does it with; else 1."""
    if node.get_type_name() != kind:
        return node, 1.0
    constant = node.input_value(1).get_node()
    if constant.get_type_name() != "Constant" or constant.data.size != 1:
        return node, 1.0
    return _source(node.input_value(0).get_node()), float(constant.data.item())


def _source(node: Any) -> Any:
    """What computes a vector, past operations that leave its numbers as they are."""
    width = math.prod(node.output(0).shape)
    while node.get_type_name() in _PASSING and math.prod(node.input_value(0).shape) == width:
        node = node.input_value(0).get_node()
    return node


def _pooled_map(node: Any) -> _PooledMap | None:
    """What a node averages over places, if it does."""
    if not node.inputs():
        return None
    source, shape = node.input_value(0), list(node.input_value(0).shape)
    if len(shape) != 4 or shape[0] != 1:
        return None
    if node.get_type_name() == "ReduceMean":
        constant = node.input_value(1).get_node()
        if constant.get_type_name() != "Constant":
            return None
        axes = {int(axis) % 4 for axis in np.ravel(constant.data)}
        kept = {1, 2, 3} - axes
        whole = len(axes - {0}) == 2 and len(kept) == 1
        return _PooledMap(source, kept.pop()) if whole else None
    # OpenVINO's average pooling takes channels first; its window must be the whole map.
    whole = node.get_type_name() == "AvgPool" and list(node.get_attributes()["kernel"]) == shape[2:]
    alone = list(node.output(0).shape)[2:] == [1, 1]
    return _PooledMap(source, 1) if whole and alone else None


def _spread(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A map (h, w, C) on a finer grid: each place's value over its area, the average the same."""
    rows, columns = _shares(values.shape[0], height), _shares(values.shape[1], width)
    finer: NDArray[np.float32] = np.einsum("Hh,hwc,Ww->HWc", rows, values, columns, optimize=True)
    return finer


def _shares(coarse: int, fine: int) -> NDArray[np.float32]:
    """How much of each of `fine` cells lies in each of `coarse`, (fine, coarse); rows sum to 1."""
    ends = np.arange(fine + 1) * (coarse / fine)
    cells = np.arange(coarse)
    low = np.maximum(ends[:-1, np.newaxis], cells)
    high = np.minimum(ends[1:, np.newaxis], cells + 1)
    shares: NDArray[np.float32] = (np.maximum(high - low, 0) * (fine / coarse)).astype(np.float32)
    return shares
