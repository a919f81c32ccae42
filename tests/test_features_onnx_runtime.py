"""Networks by ONNX Runtime; its provider for processors stands in for the GPU's."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import draw_photo, draw_tensors
from handful.errors import DeviceError, HandfulError
from handful.features.backbones.efficientnet_lite import LiteVariant
from handful.features.backbones.efficientnet_loading import write_lite
from handful.features.conversion import FrozenNetwork
from handful.features.extractor import FeatureExtractor
from handful.features.onnx_runtime import (
    CUDA,
    LEAST_COSINE,
    OnnxExtractor,
    gpu_batch_size,
    offers_cuda,
    open_session,
)
from handful.features.openvino import OpenVinoExtractor
from handful.files.atomic import sha256_of

STAND_IN = "CPUExecutionProvider"
VARIANT = LiteVariant(64, 0.5, 1.0, 0.2, "", "", "")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], FrozenNetwork]:
    """A whole network with drawn weights, in 8 bits or not."""

    def write(int8: bool) -> FrozenNetwork:
        folder = tmp_path_factory.mktemp("lite")
        write_lite(VARIANT, 64, draw_tensors(VARIANT), folder, int8)
        xml, bin = (folder / f"network.{name}" for name in ("xml", "bin"))
        return FrozenNetwork(xml, bin, sha256_of(xml), sha256_of(bin), 64, 1280, "lite", 0.0)

    return write


def photos(count: int, side: int) -> np.ndarray:
    drawn = [draw_photo(("round", "square")[seed % 2], seed, (side, side)) for seed in range(count)]
    return np.stack(drawn)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / norms


@pytest.mark.parametrize("precision", ["f32", "f16", "int8"])
def test_embeddings_are_those_of_the_processor(
    written: Callable[[bool], FrozenNetwork], precision: str
) -> None:
    network = written(precision == "int8")
    images = photos(5, 96)[:, :64, :64]
    expected = OpenVinoExtractor(network, "int8" if precision == "int8" else "f32").embed(images)
    extractor: FeatureExtractor = OnnxExtractor(network, precision, STAND_IN)
    found = extractor.embed(images)
    assert (found.shape, found.dtype) == ((5, 1280), np.float32)
    assert cosines(found, expected).min() > LEAST_COSINE[precision]
    if precision == "f32":
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_an_embedding_does_not_depend_on_its_neighbors(
    tiny_network: FrozenNetwork,
) -> None:
    """More images than a batch, by many threads and alone: to the bit."""
    extractor = OnnxExtractor(tiny_network, "f32", STAND_IN)
    images = photos(3 * gpu_batch_size() + 5, 96)[:, :32, :32]
    together = extractor.embed(images)
    alone = np.concatenate([extractor.embed(image[np.newaxis]) for image in images])
    with ThreadPoolExecutor(16) as pool:
        pairs = list(pool.map(lambda place: extractor.embed(images[place : place + 2]), range(28)))
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal([pair[1] for pair in pairs], together[1:29])
    np.testing.assert_allclose(
        together, OpenVinoExtractor(tiny_network, "f32").embed(images), rtol=1e-4, atol=1e-4
    )
    assert extractor.embed(images[:0]).shape == (0, 48)


def test_keys_never_mix(tiny_network: FrozenNetwork) -> None:
    made: list[Any] = [
        OpenVinoExtractor(tiny_network, "f32"),
        *(OnnxExtractor(tiny_network, precision, STAND_IN) for precision in ("f32", "f16", "int8")),
        OnnxExtractor(tiny_network, "f32", CUDA),
    ]
    assert len({one.key for one in made}) == len(made)
    assert "CUDAExecutionProvider" in made[-1].key and ":f32:onnxruntime " in made[-1].key
    # What it is asked to compute in, and a GPU does not, is float32.
    assert OnnxExtractor(tiny_network, "bf16", STAND_IN).precision == "f32"


def test_it_is_sent_to_other_processes_and_begun_anew_there(tiny_network: FrozenNetwork) -> None:
    extractor, images = OnnxExtractor(tiny_network, "f32", STAND_IN), photos(2, 96)[:, :32, :32]
    before = extractor.embed(images)
    sent = pickle.loads(pickle.dumps(extractor))
    assert sent is pickle.loads(pickle.dumps(extractor)) and sent.key == extractor.key
    extractor.start_anew()
    np.testing.assert_array_equal(extractor.embed(images), before)


def test_wrong_features_are_refused(
    written: Callable[[bool], FrozenNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all who waited, and not kept for the next."""
    monkeypatch.setitem(LEAST_COSINE, "f32", 1.1)
    extractor = OnnxExtractor(written(False), "f32", STAND_IN)
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"computes other features.*Set `device` to cpu\.$"):
            extractor.embed(photos(1, 96)[:, :64, :64])


@pytest.mark.skipif(offers_cuda(), reason="this ONNX Runtime has CUDA")
def test_what_does_not_start_is_an_error_and_nothing_else(
    tiny_network: FrozenNetwork, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime would go on with the processor, and say so on the screen."""
    with pytest.raises(DeviceError, match=f"^{CUDA} of ONNX Runtime does not start"):
        OnnxExtractor(tiny_network).embed(np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(DeviceError, match="does not start"):
        open_session(b"no model", STAND_IN)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("has_mask", [False, True])
def test_attention_is_written(tmp_path: Path, has_mask: bool) -> None:
    """A class's token before 16 patches, attention, and the token taken out again."""
    from handful.features.runtime import openvino, ops

    def weights(*shape: int) -> np.ndarray:
        return np.random.default_rng(len(shape)).normal(0, 0.3, shape).astype(np.float32)

    images = ops.parameter(openvino.PartialShape([-1, 8, 8, 3]), np.uint8, name="images")
    images.output(0).set_names({"images"})
    pixels = ops.multiply(ops.convert(images, "f32"), np.float32(1 / 255))
    patches = ops.reshape(pixels, np.array([-1, 1, 16, 12]), special_zero=False)
    rows = ops.gather(ops.shape_of(patches, "i64"), np.array([0]), np.array(0))
    shape = ops.concat([rows, np.array([1, 1, 12])], 0)
    token = ops.broadcast(weights(1, 1, 1, 12), shape)
    tokens = ops.concat([token, patches], 2)
    parts = [ops.matmul(tokens, weights(12, 12) * sign, False, False) for sign in (1, -1, 2)]
    mask = [weights(17, 17)] if has_mask else []
    seen = ops.scaled_dot_product_attention(*parts, *mask)
    first, last, step, axis = (np.array([number]) for number in (0, 1, 1, 2))
    taken = ops.slice(seen, first, last, step, axis)
    flat = ops.reshape(taken, np.array([-1, 12]), special_zero=False)
    flat.output(0).set_names({"embeddings"})
    xml = tmp_path / "network.xml"
    openvino.save_model(openvino.Model([flat], [images]), xml, compress_to_fp16=False)
    network = FrozenNetwork(xml, xml.with_suffix(".bin"), "", "", 8, 12, "attention", 0.0)
    drawn = photos(11, 96)[:, :8, :8]
    expected = OpenVinoExtractor(network, "f32").embed(drawn)
    found = OnnxExtractor(network, "f32", STAND_IN).embed(drawn)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.01


def test_an_operation_without_a_like_is_named_at_once(tmp_path: Path) -> None:
    from handful.features.runtime import openvino, ops

    images = ops.parameter(openvino.PartialShape([-1, 8, 8, 3]), np.uint8, name="images")
    images.output(0).set_names({"images"})
    flat = ops.reshape(ops.convert(images, "f32"), np.array([-1, 192]), special_zero=False)
    last = ops.cos(flat)
    last.output(0).set_names({"embeddings"})
    xml = tmp_path / "network.xml"
    openvino.save_model(openvino.Model([last], [images]), xml, compress_to_fp16=False)
    network = FrozenNetwork(xml, xml.with_suffix(".bin"), "", "", 8, 192, "cosine", 0.0)
    with pytest.raises(HandfulError, match="an operation Cos"):
        OnnxExtractor(network, "f32", STAND_IN)
