"""Where networks compute: on the processor, or on a GPU that is there and works."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from handful.errors import DeviceError, HandfulError, MissingExtraError, UsageError
from handful.extras import is_installed, missing_extra
from handful.features.conversion import FrozenNetwork
from handful.features.extractor import FeatureExtractor
from handful.features.gpu_drivers import has_nvidia_gpu
from handful.features.openvino import OpenVinoExtractor, openvino_gpu

_logger = logging.getLogger("handful")


@dataclass(frozen=True)
class Gpu:
    """A GPU that networks can run on.

    Args:
        name: What people read.
        open: From a network and a precision to what embeds.
    """

    name: str
    open: Callable[[FrozenNetwork, str], FeatureExtractor]


def find_gpu(device: str) -> Gpu | None:
    """Choose where networks compute.

    Args:
        device: "cpu" never looks for a GPU. "auto" takes CUDA where ONNX Runtime offers it and it
            really starts, else a graphics card of Intel's. "gpu" takes graphics inside the
            processor too.

    Returns:
        The GPU; None for the processor.

    Raises:
        DeviceError: For "gpu", when there is one that does not work.
        MissingExtraError: For "gpu", when there is one and what runs networks on it is missing.
        UsageError: For "gpu", when there is none.
    """
    if device == "cpu":
        return None
    problem = _cuda_problem()
    if problem is None:
        return _cuda()
    intel = openvino_gpu(takes_integrated=device == "gpu")
    if intel is not None:
        return Gpu("Intel GPU", partial(OpenVinoExtractor, device=intel))
    if device == "gpu":
        raise problem
    if isinstance(problem, DeviceError):
        _warn_once(f"The NVIDIA GPU is not used: {problem}")
    return None


def suited_precision(asked: str, on_processor: str, device: str) -> str:
    """What a frozen network is to compute in.

    Args:
        asked: As the user did; "auto" leaves it open.
        on_processor: What suits the network on a processor, such as "int8".
        device: As for `find_gpu`.

    Returns:
        A precision; for "auto" float32 on a GPU, to which 8 bits are of no use.
    """
    if asked != "auto":
        return asked
    return on_processor if find_gpu(device) is None else "f32"


def on_device(
    extractor: FeatureExtractor, device: str, precision: str | None = None
) -> FeatureExtractor:
    """Put a network where it is to compute.

    Args:
        extractor: On the processor. One that a package brings decides itself, and stays as it is.
        device: As for `find_gpu`; "auto" leaves a network in 8 bits on the processor, which alone
            gains by them.
        precision: What was asked for; None takes the extractor's.

    Returns:
        What embeds there; for "auto" the same extractor, with a warning, where the GPU cannot.

    Raises:
        HandfulError: For "gpu", when it cannot, and as `find_gpu` does.
    """
    if not isinstance(extractor, OpenVinoExtractor):
        return extractor
    precision = precision or extractor.precision
    if device == "auto" and precision == "int8":
        return extractor
    gpu = find_gpu(device)
    if gpu is None:
        return extractor
    try:
        return gpu.open(extractor.network, precision)
    except HandfulError as error:
        if device == "gpu":
            raise
        _logger.warning("The network stays on the processor: %s", error)
        return extractor


def network_of(extractor: FeatureExtractor) -> FrozenNetwork | None:
    """The files of the network that embeds, wherever it computes.

    Args:
        extractor: The network.

    Returns:
        Its files; None where a package brings it, and keeps it elsewhere.
    """
    network = getattr(extractor, "network", None)
    return network if isinstance(network, FrozenNetwork) else None


def device_of(extractor: FeatureExtractor) -> str:
    """Where a network computes, for people.

    Args:
        extractor: The network.

    Returns:
        "cpu", "NVIDIA GPU" or "Intel GPU"; "" where only its package knows.
    """
    if isinstance(extractor, OpenVinoExtractor):
        return "cpu" if extractor.device == "CPU" else "Intel GPU"
    return "NVIDIA GPU" if getattr(extractor, "provider", "") else ""


def _cuda() -> Gpu:
    from handful.features.onnx_runtime import OnnxExtractor

    return Gpu("NVIDIA GPU", OnnxExtractor)


def _cuda_problem() -> HandfulError | None:
    """Why there is no NVIDIA GPU to be used; without a driver nothing is imported."""
    if not has_nvidia_gpu():
        return UsageError(
            "`device` is 'gpu', and there is none that handful can use: there is no NVIDIA "
            "driver, and OpenVINO sees no graphics card of Intel's. Set `device` to auto or cpu."
        )
    if not all(map(is_installed, ("onnx", "onnxruntime"))):
        return _not_installed("it needs onnxruntime-gpu, which is not installed")
    from handful.features import onnx_runtime

    if not onnx_runtime.offers_cuda():
        return _not_installed(
            "the onnxruntime that is installed is the one for processors. Remove it first, with "
            "pip uninstall onnxruntime"
        )
    problem = onnx_runtime.cuda_problem()
    return DeviceError(f"{problem} Mend it, or set `device` to cpu.") if problem else None


def _not_installed(why: str) -> MissingExtraError:
    return missing_extra("gpu", f"An NVIDIA GPU is there and runs no networks: {why}.")


@cache
def _warn_once(text: str) -> None:
    _logger.warning(text)
