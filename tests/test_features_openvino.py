import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.errors import ModelFileError, WeightsError
from handful.features import openvino as openvino_module
from handful.features.conversion import FrozenNetwork, check_image
from handful.features.gpu_drivers import may_have_intel_gpu
from handful.features.openvino import OpenVinoExtractor, openvino_gpu, resolve_precision


def test_precision_is_what_the_processor_does() -> None:
    from handful.features.runtime import openvino

    native = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert resolve_precision("f32") == "f32" and resolve_precision("int8") == "int8"
    assert resolve_precision("bf16") == ("bf16" if native else "f32")


@pytest.mark.parametrize(("units", "expected"), [(True, "bf16"), (False, "f32")])
def test_bf16_is_chosen_where_there_are_matrix_units(
    units: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from handful.features.runtime import openvino

    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "BF16"]

    monkeypatch.setattr(openvino, "Core", Core)
    monkeypatch.setattr(openvino_module, "_has_matrix_units", lambda: units)
    assert resolve_precision("auto") == expected
    assert resolve_precision("bf16") == "bf16"


def test_16_bits_are_a_gpus() -> None:
    assert resolve_precision("f16") == "f32"


def test_a_gpu_is_chosen_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    class Core:
        available_devices = ("CPU", "GPU.0", "GPU.1")

        def get_property(self, device: str, name: str) -> str:
            return {"GPU.0": "Type.INTEGRATED", "GPU.1": "Type.DISCRETE"}[device]

    monkeypatch.setattr(openvino, "Core", Core)
    monkeypatch.setattr("handful.features.openvino.may_have_intel_gpu", lambda: True)
    openvino_gpu.cache_clear()
    assert openvino_gpu(False) == openvino_gpu(True) == "GPU.1"
    Core.available_devices = ("CPU", "GPU.0")
    openvino_gpu.cache_clear()
    assert (openvino_gpu(False), openvino_gpu(True)) == (None, "GPU.0")
    openvino_gpu.cache_clear()


def test_openvino_is_asked_only_where_graphics_of_intel_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os.path, "exists", lambda _: False)
    assert not may_have_intel_gpu(tmp_path / "none")
    for name, maker in (("card0", "0x10de"), ("card0-HDMI-A-1", ""), ("card1", "0x8086")):
        (tmp_path / name / "device").mkdir(parents=True)
        if maker:
            (tmp_path / name / "device" / "vendor").write_text(f"{maker}\n")
        assert may_have_intel_gpu(tmp_path) == (maker == "0x8086")
    (tmp_path / "odd" / "card0" / "device" / "vendor").mkdir(parents=True)
    assert may_have_intel_gpu(tmp_path / "odd"), "it cannot be read: OpenVINO is asked"
    monkeypatch.setattr("handful.features.openvino.may_have_intel_gpu", lambda: False)
    monkeypatch.setattr("openvino.Core", None)
    openvino_gpu.cache_clear()
    assert openvino_gpu(True) is None
    openvino_gpu.cache_clear()
    monkeypatch.setattr(sys, "platform", "win32")
    assert may_have_intel_gpu(tmp_path / "none")


def test_another_device_compiles_what_a_gpu_would(tiny_network: FrozenNetwork) -> None:
    """A device that gives all to the processor stands in: it takes what a GPU's plugin takes."""
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    own = OpenVinoExtractor(tiny_network, "f32")
    other = OpenVinoExtractor(tiny_network, "bf16", "HETERO:CPU")
    assert other.precision == "f32" and other.key == f"{own.key} HETERO:CPU"
    np.testing.assert_allclose(other.embed(images), own.embed(images), rtol=1e-5)
    assert OpenVinoExtractor(tiny_network, "f16", "GPU").precision == "f16"


def test_a_network_that_is_none_is_named(tiny_network: FrozenNetwork, tmp_path: Path) -> None:
    (tmp_path / "network.xml").write_text("<net>not a network")
    broken = replace(tiny_network, xml_path=tmp_path / "network.xml")
    with pytest.raises(ModelFileError, match=r"network\.xml cannot be read as a network"):
        OpenVinoExtractor(broken, "f32").embed(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("shares", [True, False])
def test_processes_that_share_cores_are_not_bound_to_the_same(
    tiny_network: FrozenNetwork, monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    monkeypatch.setattr(openvino_module, "is_share", lambda: shares)
    compiled = OpenVinoExtractor(tiny_network, "f32")._compile()
    assert compiled.get_property("ENABLE_CPU_PINNING") is not shares


def test_the_key_names_what_the_vectors_depend_on(
    tiny_network: FrozenNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors of another network, precision, or version of the library are never mixed."""
    keys = [
        OpenVinoExtractor(tiny_network, "f32").key,
        OpenVinoExtractor(tiny_network, "int8").key,
        OpenVinoExtractor(replace(tiny_network, digest="another"), "f32").key,
    ]
    monkeypatch.setattr(openvino_module.importlib.metadata, "version", lambda name: "0.1")
    keys.append(OpenVinoExtractor(tiny_network, "f32").key)
    assert len(set(keys)) == 4 and keys[3] == "projection:f32:openvino 0.1"


def test_the_feature_map_averages_to_the_embedding(tiny_network: FrozenNetwork) -> None:
    assert OpenVinoExtractor(tiny_network, "f32").feature_map() is None


# --- compared once it is compiled ---


def written(folder: Path, features: np.ndarray | None = None) -> FrozenNetwork:
    """A small network, written as handful's own are; with another reference where one is given."""
    from handful.features.conversion import save_network
    from handful.features.runtime import openvino, ops

    folder.mkdir()
    images = ops.parameter([-1, 32, 32, 3], np.uint8, name="images")
    images.output(0).set_names({"images"})
    kernel = np.random.default_rng(0).normal(size=(12, 3, 4, 4)).astype(np.float32)
    pixels = ops.transpose(ops.convert(images, "f32"), np.array([0, 3, 1, 2]))
    zeros = [0, 0]
    maps = ops.relu(ops.convolution(pixels, kernel, [4, 4], zeros, zeros, [1, 1]))
    embeddings = ops.reduce_mean(maps, np.array([2, 3]), keep_dims=False)
    embeddings.output(0).set_names({"embeddings"})
    save_network(openvino.Model([embeddings], [images], "small"), folder, features)
    paths = folder / "network.xml", folder / "network.bin"
    return FrozenNetwork(*paths, "", "", 32, 12, "small", 0.0)


class Streams:
    """OpenVINO's core, whose networks go wrong with several streams, as some did."""

    def __init__(self, core: Any, hints: list[str], wrong: tuple[str, ...]) -> None:
        self.core, self.hints, self.wrong = core, hints, wrong

    def __getattr__(self, name: str) -> Any:
        return getattr(self.core, name)

    def compile_model(self, model: Any, device: str, options: dict[str, Any]) -> Any:
        batch = model.input(0).get_partial_shape()[0].get_length()
        kind = options["PERFORMANCE_HINT"] if batch == 1 else f"{batch} images"
        self.hints.append(kind)
        if kind in self.wrong:
            model = model.clone()
            (node,) = (one for one in model.get_ordered_ops() if one.get_type_name() == "Relu")
            from handful.features.runtime import ops

            channels = np.arange(12, dtype=np.int64)[::-1].copy()
            turned = ops.gather(node, channels, np.array(1))
            for target in list(node.output(0).get_target_inputs()):
                if target.get_node() != turned:
                    target.replace_source_output(turned.output(0))
        return self.core.compile_model(model, device, options)


def with_streams(monkeypatch: pytest.MonkeyPatch, *wrong: str) -> list[str]:
    from handful.features.runtime import openvino

    hints: list[str] = []
    core = openvino.Core
    monkeypatch.setattr(openvino, "Core", lambda: Streams(core(), hints, wrong))
    return hints


def test_a_network_is_compared_with_what_it_gave_when_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network, images = written(tmp_path / "network"), check_image(32)
    expected = OpenVinoExtractor(network, "f32").embed(images)
    assert not caplog.text
    hints = with_streams(monkeypatch, "THROUGHPUT")
    found = OpenVinoExtractor(network, "f32").embed(images)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert hints == ["THROUGHPUT", "LATENCY"]
    assert "wrong features of" in caplog.text and "one is used instead" in caplog.text


def test_a_network_that_is_wrong_in_one_stream_too_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = written(tmp_path / "network")
    with_streams(monkeypatch, "THROUGHPUT", "LATENCY")
    with pytest.raises(WeightsError, match=r"gives other features here than where it was written"):
        OpenVinoExtractor(network, "f32").embed(check_image(32))


@pytest.mark.parametrize("features", [np.ones((1, 7), np.float32), np.full((1, 12), np.nan)])
def test_a_reference_of_something_else_is_refused(tmp_path: Path, features: np.ndarray) -> None:
    with pytest.raises(WeightsError, match="gives other features"):
        OpenVinoExtractor(written(tmp_path / "network", features), "f32").embed(check_image(32))


def test_a_network_without_a_reference_is_taken(tiny_network: FrozenNetwork) -> None:
    assert OpenVinoExtractor(tiny_network, "f32").embed(check_image(32)).shape == (1, 48)


# --- several images at once ---


@pytest.mark.parametrize("count", [1, 3, 4, 6, 9])
def test_batches_give_the_bits_of_single_images(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    network = written(tmp_path / "network")
    hints = with_streams(monkeypatch)
    found = OpenVinoExtractor(network, "int8").embed(images)
    assert hints == (["4 images"] if count >= 4 else ["THROUGHPUT"])
    monkeypatch.undo()
    alone = OpenVinoExtractor(network, "int8")
    assert np.array_equal(found, np.concatenate([alone.embed(image[None]) for image in images]))


def test_a_batch_that_changes_an_answer_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, images = written(tmp_path / "network"), np.repeat(check_image(32), 5, axis=0)
    expected = OpenVinoExtractor(network, "int8").embed(images[:1])
    hints = with_streams(monkeypatch, "4 images")
    found = OpenVinoExtractor(network, "int8").embed(images)
    assert np.array_equal(found, np.repeat(expected, 5, axis=0))
    assert hints[0] == "4 images" and set(hints[1:]) == {"THROUGHPUT"}


def test_a_reference_of_another_processor_does_not_forbid_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.repeat(check_image(32), 4, axis=0)
    features = OpenVinoExtractor(written(tmp_path / "network"), "int8").embed(images[:1])
    network = written(tmp_path / "elsewhere", features * np.float32(1.001))
    hints = with_streams(monkeypatch)
    extractor = OpenVinoExtractor(network, "int8")
    assert np.array_equal(extractor.embed(images), np.repeat(features, 4, axis=0))
    assert hints == ["4 images", "THROUGHPUT"]
    extractor.embed(images)
    assert len(hints) == 2


def test_a_network_for_one_image_at_a_time_is_asked_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from handful.features.runtime import openvino

    network, images = written(tmp_path / "network"), np.repeat(check_image(32), 4, axis=0)
    expected = OpenVinoExtractor(network, "int8").embed(images)
    model = openvino.Core().read_model(network.xml_path)
    model.reshape([1, 32, 32, 3])
    openvino.save_model(model, tmp_path / "one.xml", compress_to_fp16=False)
    one = replace(network, xml_path=tmp_path / "one.xml", bin_path=tmp_path / "one.bin")
    hints = with_streams(monkeypatch)
    assert np.array_equal(OpenVinoExtractor(one, "int8").embed(images), expected)
    assert hints == ["THROUGHPUT"]
