import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from handful.config import TrainConfig
from handful.errors import DeviceError, HandfulError, MissingExtraError, UsageError
from handful.features import devices, gpu_drivers, onnx_runtime
from handful.features.conversion import FrozenNetwork
from handful.features.devices import Gpu, device_of, find_gpu, on_device, suited_precision
from handful.features.gpu_drivers import has_nvidia_gpu
from handful.features.onnx_runtime import OnnxExtractor
from handful.features.openvino import OpenVinoExtractor
from handful.models.classifier import Classifier
from handful.workflows.predict import predict
from handful.workflows.train import evaluate, train


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A GPU that is the processor, by ONNX Runtime."""
    gpu = Gpu("NVIDIA GPU", partial(OnnxExtractor, provider="CPUExecutionProvider"))
    monkeypatch.setattr(devices, "find_gpu", lambda device: None if device == "cpu" else gpu)
    return gpu


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What a machine has: "driver", "installed", "offers", "problem", "intel"."""
    has = {"driver": True, "installed": True, "offers": True, "problem": "", "intel": None}
    monkeypatch.setattr(devices, "has_nvidia_gpu", lambda: has["driver"])
    monkeypatch.setattr(devices, "is_installed", lambda _: has["installed"])
    monkeypatch.setattr(onnx_runtime, "offers_cuda", lambda: has["offers"])
    monkeypatch.setattr(onnx_runtime, "cuda_problem", lambda: has["problem"])

    def openvino_gpu(takes_integrated: bool) -> object:
        return (
            "GPU.0" if has["intel"] == "discrete" or (has["intel"] and takes_integrated) else None
        )

    monkeypatch.setattr(devices, "openvino_gpu", openvino_gpu)
    return has


def test_cuda_is_taken_where_it_starts(machine: dict[str, object]) -> None:
    for device in ("auto", "gpu"):
        found = find_gpu(device)
        assert found is not None and found.name == "NVIDIA GPU" and found.open is OnnxExtractor
    assert find_gpu("cpu") is None


@pytest.mark.parametrize(
    ("lacks", "error", "says"),
    [
        ({"driver": False}, UsageError, "there is no NVIDIA driver, and OpenVINO sees no"),
        ({"installed": False}, MissingExtraError, r"onnxruntime-gpu.*'handful\[gpu\]'$"),
        ({"offers": False}, MissingExtraError, r"pip uninstall onnxruntime.*'handful\[gpu\]'$"),
        ({"problem": "No."}, DeviceError, r"^No\. Mend it, or set `device` to cpu\.$"),
    ],
)
def test_gpu_says_what_is_missing_and_auto_goes_on(
    machine: dict[str, object], lacks: dict[str, object], error: type[HandfulError], says: str
) -> None:
    machine.update(lacks)
    assert find_gpu("auto") is None
    with pytest.raises(error, match=says):
        find_gpu("gpu")


def test_a_broken_driver_is_warned_of_once(
    machine: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    machine["problem"] = "CUDA driver version is insufficient."
    with caplog.at_level(logging.WARNING, "handful"):
        assert find_gpu("auto") is None and find_gpu("auto") is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "The NVIDIA GPU is not used: CUDA driver version is insufficient." in caplog.text


def test_graphics_in_the_processor_are_taken_when_asked_for(machine: dict[str, object]) -> None:
    machine.update({"driver": False, "intel": "integrated"})
    assert find_gpu("auto") is None
    found = find_gpu("gpu")
    assert found is not None and found.name == "Intel GPU"
    machine["intel"] = "discrete"
    assert find_gpu("auto") is not None


def test_hidden_gpus_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_drivers.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert has_nvidia_gpu()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not has_nvidia_gpu()


def test_auto_leaves_8_bits_to_the_processor(stand_in: Gpu, tiny_network: FrozenNetwork) -> None:
    own = OpenVinoExtractor(tiny_network, "int8")
    assert on_device(own, "auto") is own and on_device(own, "cpu") is own
    moved = on_device(own, "gpu")
    assert (moved.precision, device_of(moved), device_of(own)) == ("int8", "NVIDIA GPU", "cpu")
    assert on_device(own, "gpu", "f16").precision == "f16"
    # 8 bits are of no use to a GPU; what was asked for is done.
    assert suited_precision("auto", "int8", "gpu") == "f32"
    assert suited_precision("auto", "int8", "cpu") == "int8"
    assert suited_precision("int8", "int8", "gpu") == "int8"


def test_a_network_that_a_gpu_cannot_run_stays(
    tiny_network: FrozenNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(network: FrozenNetwork, precision: str) -> OnnxExtractor:
        raise HandfulError("There is an operation Cos.")

    monkeypatch.setattr(devices, "find_gpu", lambda device: Gpu("broken", fail))
    own = OpenVinoExtractor(tiny_network, "f32")
    assert on_device(own, "auto") is own
    assert "stays on the processor: There is an operation Cos." in caplog.text
    with pytest.raises(HandfulError, match="operation Cos"):
        on_device(own, "gpu")


def test_a_package_decides_itself(stand_in: Gpu) -> None:
    class Brought:
        digest, precision, image_size, embedding_dim, key = "own", "f64", 8, 2, "own"

        def embed(self, images: np.ndarray) -> np.ndarray:
            return np.zeros((len(images), 2), np.float32)

    own = Brought()
    assert on_device(own, "gpu") is own and device_of(own) == ""


def test_from_a_gpu_to_a_machine_without(
    stand_in: Gpu, tiny_backbone: FrozenNetwork, photo_folder: Path, tmp_path: Path
) -> None:
    """Trained on the stand-in; the answers are the processor's, to rounding."""
    run = train(photo_folder, TrainConfig(device="gpu"), output=tmp_path / "run")
    assert isinstance(run.classifier.extractor, OnnxExtractor)
    assert run.to_dict()["device"] == "NVIDIA GPU" and run.classifier.extractor.precision == "f32"
    photos = sorted((photo_folder / "round").iterdir())
    there = run.classifier.predict_proba(photos)
    here = Classifier.load(tmp_path / "run", "cpu")
    assert isinstance(here.extractor, OpenVinoExtractor)
    np.testing.assert_allclose(here.predict_proba(photos), there, atol=1e-4)
    for device, kind in (("auto", OnnxExtractor), ("cpu", OpenVinoExtractor)):
        assert isinstance(Classifier.load(tmp_path / "run", device).extractor, kind)
    named = predict(tmp_path / "run", photos[:3], device="cpu")
    assert [one.label for one in named] == [here.class_names[row.argmax()] for row in there[:3]]
    scores = [evaluate(tmp_path / "run", photo_folder, device=one)[0] for one in ("cpu", "gpu")]
    np.testing.assert_allclose(scores[0].probabilities, scores[1].probabilities, atol=1e-4)


def test_no_such_device(tiny_run: Path) -> None:
    for use in (lambda: TrainConfig(device="cuda"), lambda: Classifier.load(tiny_run, "cuda")):
        with pytest.raises(UsageError, match="`device` is 'cuda'; expected one of auto, cpu, gpu"):
            use()


def test_a_classifier_says_what_is_missing(machine: dict[str, object], tiny_run: Path) -> None:
    machine["driver"] = False
    with pytest.raises(UsageError, match=r"^`device` is 'gpu', and there is none"):
        Classifier.load(tiny_run, "gpu")
    assert device_of(Classifier.load(tiny_run).extractor) == "cpu"
