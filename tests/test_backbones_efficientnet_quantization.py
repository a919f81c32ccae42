import numpy as np
import pytest

from conftest import draw_photo, frozen_network
from handful.data.decoding import DecodeSettings, resize
from handful.errors import HandfulError
from handful.features.backbones import keras_loading
from handful.features.backbones.efficientnet_quantization import ChannelStatistics
from handful.features.conversion import FrozenNetwork, check_features
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import find_backbone


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FrozenNetwork]:
    """The default network in float32, and in 8 bits twice, converted independently."""
    backbone = find_backbone()
    folders = [tmp_path_factory.mktemp("networks") for _ in range(2)]
    return {
        "f32": frozen_network(backbone, folders[0]),
        "int8": frozen_network(backbone, folders[0], "int8"),
        "again": frozen_network(backbone, folders[1], "int8"),
    }


@pytest.mark.real
def test_the_result_depends_on_nothing_but_the_weights(networks: dict[str, FrozenNetwork]) -> None:
    first, again = networks["int8"], networks["again"]
    assert (first.xml_sha256, first.bin_sha256) == (again.xml_sha256, again.bin_sha256)
    assert first.digest == again.digest != networks["f32"].digest
    assert first.bin_path.stat().st_size < 0.35 * networks["f32"].bin_path.stat().st_size


@pytest.mark.real
def test_embeddings_point_where_the_originals_do(networks: dict[str, FrozenNetwork]) -> None:
    embedders = [
        OpenVinoExtractor(networks["f32"], "f32"),
        OpenVinoExtractor(networks["int8"], "int8"),
    ]
    images = [
        resize(draw_photo(kind, seed, (240, 320)), DecodeSettings(224))
        for kind in ("round", "square")
        for seed in range(10)
    ]
    original, small = (e.embed(np.stack(images)) for e in embedders)
    lengths = np.linalg.norm(original, axis=1) * np.linalg.norm(small, axis=1)
    assert (np.einsum("nd,nd->n", original, small) / lengths).min() > 0.97
    # Each picture's nearest embedding of the other network is its own.
    unit = original / np.linalg.norm(original, axis=1, keepdims=True)
    assert ((small @ unit.T).argmax(axis=1) == np.arange(20)).mean() > 0.9


@pytest.mark.real
def test_8_bit_arithmetic_is_really_used(networks: dict[str, FrozenNetwork]) -> None:
    embedder = OpenVinoExtractor(networks["int8"], "int8")
    runtime = embedder._compile().get_runtime_model()
    kinds = [
        op.get_rt_info()["runtimePrecision"].astype(str)
        for op in runtime.get_ops()
        if op.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]
    assert len(kinds) > 40
    assert {kind for kind in kinds if kind not in ("u8", "i8")} == set()


def test_other_bodies_have_no_8_bit_form() -> None:
    xception = keras_loading.BACKBONES["xception"]
    with pytest.raises(ValueError, match="`precision` is 'int8' and the backbone xception"):
        frozen_network(xception, precision="int8")


def test_a_wrong_conversion_is_noticed() -> None:
    expected = np.ones((1, 8), np.float32)
    check_features(expected * 1.001, expected, int8=True)
    other = expected * np.array([1, -1] * 4, np.float32)
    with pytest.raises(HandfulError, match=r"has a cosine of 0\.000 .*Take `precision` f32"):
        check_features(other, expected, int8=True)
    with pytest.raises(HandfulError, match=r"differs from the original by 0\.01"):
        check_features(expected * 1.01, expected, int8=False)


def test_ranges_cover_the_widest_channel() -> None:
    statistics = ChannelStatistics(np.array([0.0, -2.0]), np.array([1.0, 0.25]))
    assert statistics.largest() == 5.0
