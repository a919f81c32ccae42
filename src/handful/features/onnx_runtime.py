"""Networks on an NVIDIA GPU, by ONNX Runtime: many threads ask, and their images go together.

Whoever finds the GPU free takes what the others wait for along, in batches of one size. The size
does not change with what is there, so that an image is computed by the same kernels whatever its
neighbors are. They never mix: a network has no sum over images.
"""

import contextlib
import io
import threading
from collections import deque
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.cores import num_workers
from handful.environment import default_variables
from handful.errors import DeviceError
from handful.features.conversion import (
    FrozenNetwork,
    check_image,
    network_features,
    read_network,
)
from handful.features.extractor import FeatureMap
from handful.features.onnx_graph import make_onnx
from handful.features.openvino import OpenVinoExtractor
from handful.forks import never_end, start_anew_in_children

CUDA = "CUDAExecutionProvider"
# Exact float32 as on the processor, and kernels by rule: a search would pick others every time.
_OPTIONS = {CUDA: {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}}
_LEAST_BATCH, _LARGEST_BATCH = 8, 64
# Least cosine between the embeddings of a drawn image here and on the processor in float32.
LEAST_COSINE = {"f32": 0.99999, "f16": 0.999, "int8": 0.99}
# Sums over an image overflow in 16 bits, and small differences of large numbers vanish.
_KEPT_IN_FLOAT32 = ("ReduceMean", "ReduceSum", "Pow", "Softmax", "Exp", "Sqrt")


def gpu_batch_size() -> int:
    """Images that a GPU computes at a time: as many as there are threads that decode.

    Returns:
        A power of two from 8 to 64; the same in a process and on a machine, always.
    """
    wanted = 1 << (num_workers() - 1).bit_length()
    return min(max(wanted, _LEAST_BATCH), _LARGEST_BATCH)


class OnnxExtractor:
    """A converted network that embeds by ONNX Runtime; its session is opened at first use.

    Args:
        network: The converted network.
        precision: "f16" computes in 16 bits. A network in "int8" rounds to the same steps as on a
            processor, in float32. Anything else is float32.
        provider: What of ONNX Runtime computes.

    Raises:
        HandfulError: When the network has an operation that cannot be written as ONNX.
        ModelFileError: When its files cannot be read.
    """

    def __init__(
        self, network: FrozenNetwork, precision: str = "f32", provider: str = CUDA
    ) -> None:
        self.network, self.provider = network, provider
        self.digest = network.digest
        self.image_size = network.image_size
        self.embedding_dim = network.embedding_dim
        self.precision = precision if precision in ("f16", "int8") else "f32"
        self._shared = _Shared(self._write())
        start_anew_in_children(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_once, (self.network, self.precision, self.provider)

    @property
    def key(self) -> str:
        """The network's digest, the precision, ONNX Runtime's version and what of it computes."""
        runtime = f"onnxruntime {import_runtime().__version__} {self.provider}"
        return f"{self.digest}:{self.precision}:{runtime}:{gpu_batch_size()}"

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed images, see `FeatureExtractor.embed`.

        Args:
            images: (N, S, S, 3) uint8 RGB.

        Returns:
            (N, D) float32.

        Raises:
            DeviceError: When the network does not start, or computes something else here.
        """
        shared, asked = self._shared, _Asked(images)
        with shared.turn:
            shared.waiting.append(asked)
            # Most find theirs done by whoever had the GPU before, and need no turn of their own.
            shared.turn.wait_for(lambda: asked.is_done or not shared.is_busy)
            leads = not asked.is_done
            shared.is_busy = shared.is_busy or leads
        if leads:
            try:
                while not asked.is_done:
                    self._answer(shared)
                    with shared.turn:
                        shared.turn.notify_all()
            finally:
                with shared.turn:
                    shared.is_busy = False
                    shared.turn.notify_all()
        if asked.error is not None:
            raise asked.error
        return asked.vectors

    def feature_map(self) -> FeatureMap | None:
        """See `OpenVinoExtractor.feature_map`: one image at a time, on the processor.

        Raises:
            ModelFileError: When the network's files cannot be read.
        """
        return OpenVinoExtractor(self.network, "f32").feature_map()

    def start_anew(self) -> None:
        """Leave the parent's session alone: neither its threads nor its GPU are this process's."""
        never_end(self._shared)
        self._shared = _Shared(None)

    def _answer(self, shared: "_Shared") -> None:
        """Embed what is waited for, a batch or little more of it."""
        taken, count = [], 0
        while shared.waiting and count < gpu_batch_size():
            taken.append(shared.waiting.popleft())
            count += len(taken[-1].images)
        try:
            vectors = self._embed(shared, np.concatenate([one.images for one in taken]))
        except BaseException as error:
            for one in taken:
                one.error, one.is_done = error, True
            raise
        start = 0
        for one in taken:
            one.vectors = vectors[start : start + len(one.images)]
            one.is_done = True
            start += len(one.images)

    def _embed(self, shared: "_Shared", images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if shared.session is None:
            session = self._open(shared.model or self._write())
            self._check(session)
            shared.session, shared.model = session, None
        return self._run(shared.session, images)

    def _run(self, session: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed in batches of one size, the last filled with black images."""
        size = gpu_batch_size()
        vectors = np.empty((len(images), self.embedding_dim), np.float32)
        for start in range(0, len(images), size):
            part = images[start : start + size]
            batch = np.zeros((size, *part.shape[1:]), np.uint8)
            batch[: len(part)] = part
            (found,) = session.run(None, {session.get_inputs()[0].name: batch})
            vectors[start : start + size] = found[: len(part)]
        return vectors

    def _write(self) -> bytes:
        """The network as ONNX, for batches of one size."""
        import onnx

        model = make_onnx(read_network(self.network, gpu_batch_size()), in_float=True)
        for value in model.graph.input:
            value.type.tensor_type.shape.dim[0].dim_value = gpu_batch_size()
        if self.precision == "f16":
            converter: Any = import_module("onnxruntime.transformers.float16")
            kept = [*converter.DEFAULT_OP_BLOCK_LIST, *_KEPT_IN_FLOAT32]
            model = converter.convert_float_to_float16(
                model, keep_io_types=True, op_block_list=kept
            )
        if model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
            raise DeviceError(
                f"The network {self.network.xml_path} takes {model.ByteSize() / 1e9:.1f} GB, and "
                "ONNX Runtime takes 2 GB at once. Set `device` to cpu."
            )
        written: bytes = model.SerializeToString()
        return written

    def _open(self, model: bytes) -> Any:
        try:
            return open_session(model, self.provider)
        except DeviceError as error:
            raise DeviceError(f"{error} Set `device` to cpu.") from error

    def _check(self, session: Any) -> None:
        """Hold what the GPU computes of a drawn image against the processor's."""
        image = check_image(self.image_size)
        expected = network_features(read_network(self.network), image)[0].astype(np.float64)
        found = self._run(session, image)[0].astype(np.float64)
        norms = float(np.linalg.norm(found) * np.linalg.norm(expected))
        cosine = float(found @ expected) / norms if norms > 0 else float(not np.any(found))
        if not cosine >= LEAST_COSINE[self.precision]:
            raise DeviceError(
                f"{self.provider} computes other features than the processor: their cosine is "
                f"{cosine:.5f}, expected {LEAST_COSINE[self.precision]} or more. Set `device` to "
                "cpu" + (", or `precision` to f32." if self.precision == "f16" else ".")
            )


class _Asked:
    """Images that a thread waits for."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images
        self.vectors = np.empty((0, 0), np.float32)
        self.error: BaseException | None = None
        self.is_done = False


class _Shared:
    """What belongs to one process: the session, and who waits for it."""

    def __init__(self, model: bytes | None) -> None:
        self.turn, self.is_busy = threading.Condition(), False
        self.waiting: deque[_Asked] = deque()
        self.model, self.session = model, None


@cache
def _opened_once(network: FrozenNetwork, precision: str, provider: str) -> OnnxExtractor:
    """Unpickle: a process opens a network once, however often it is sent there."""
    return OnnxExtractor(network, precision, provider)


def import_runtime() -> Any:
    """Import ONNX Runtime without its telemetry."""
    # Read once, when it is imported: else it leaves an id in the home folder and sends events.
    with default_variables(ORT_DISABLE_TELEMETRY="1"):
        return import_module("onnxruntime")


def open_session(model: bytes, provider: str) -> Any:
    """Open an ONNX model on what was asked for, and on nothing else.

    Args:
        model: The model.
        provider: Such as "CUDAExecutionProvider".

    Returns:
        ONNX Runtime's session.

    Raises:
        DeviceError: When the provider does not start.
    """
    runtime = import_runtime()
    if provider == CUDA:
        _load_libraries(runtime)
        # cuDNN prints a red line for each kernel that it passes over, in 16 bits dozens.
        runtime.set_default_logger_severity(4)
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what went wrong is told by the error below
    try:
        session = runtime.InferenceSession(
            model,
            options,
            providers=[(provider, _OPTIONS.get(provider, {}))],
            # Else it goes on with the processor, and prints so.
            enable_fallback=0,
        )
    except Exception as error:  # of a class that is private to it
        reason = " ".join(str(error).split())[:300]
        raise DeviceError(f"{provider} of ONNX Runtime does not start: {reason}.") from error
    if provider not in session.get_providers():
        raise DeviceError(
            f"{provider} of ONNX Runtime does not start: its libraries (CUDA and cuDNN) or the "
            "GPU's driver are missing, or of other versions than it needs."
        )
    return session


def offers_cuda() -> bool:
    """Whether the ONNX Runtime that is installed was built for CUDA."""
    return CUDA in import_runtime().get_available_providers()


@cache
def cuda_problem() -> str:
    """Whether CUDA computes here, tried with a small convolution.

    Returns:
        "" where it does; else why not, a sentence.
    """
    try:
        session = open_session(_small_convolution(), CUDA)
        session.run(None, {"x": np.ones((1, 1, 4, 4), np.float32)})
    except DeviceError as error:
        return str(error)
    except Exception as error:  # a driver that is there and does not work
        return f"{CUDA} of ONNX Runtime fails: {' '.join(str(error).split())[:300]}."
    return ""


def _small_convolution() -> bytes:
    from onnx import TensorProto, helper

    kernel = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3, 3], [1.0] * 9)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, side, side])
        for name, side in (("x", 4), ("y", 2))
    ]
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "probe", ends[:1], ends[1:], [kernel])
    opset = [helper.make_opsetid("", 18)]
    written: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return written


def _load_libraries(runtime: Any) -> None:
    """Have CUDA's libraries found where pip puts them, quietly."""
    preload = getattr(runtime, "preload_dlls", None)  # since 1.21
    if preload is not None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            preload()
