import functools
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from conftest import draw_tensors, frozen_network
from handful.errors import UsageError, WeightsError
from handful.features.backbones.efficientnet_lite import (
    LEVEL_GAIN,
    LITE_VARIANTS,
    LiteVariant,
    build_graph,
    build_lite,
    check_tensors,
    join_graphs,
    lite_convolutions,
    load_lite,
    multilevel_dim,
)
from handful.features.backbones.efficientnet_loading import write_lite
from handful.features.backbones.efficientnet_quantization import quantize
from handful.features.conversion import FrozenNetwork, network_features, save_network
from handful.features.keras_runtime import prepare_keras
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import (
    build_body,
    build_network,
    find_backbone,
    load_extractor,
)
from handful.features.runtime import openvino

# TensorFlow's tensors do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def sample_photos(size: int) -> np.ndarray:
    import cv2
    from sklearn.datasets import load_sample_images

    return np.stack([cv2.resize(image, (size, size)) for image in load_sample_images().images])


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("efficientnet-lite0", 4_652_008),
        ("efficientnet-lite1", 5_416_680),
        ("efficientnet-lite2", 6_092_072),
    ],
)
def test_lite_networks_have_the_published_number_of_parameters(name, parameters):
    backbone = find_backbone(name)
    network = build_network(backbone, include_top=True)
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == parameters
    assert network.output_shape == (None, 1000)
    body = build_network(backbone)
    assert body.input_shape == (None, backbone.metadata.image_size, backbone.metadata.image_size, 3)
    assert body.output_shape == (None, 1280)


# ImageNet's numbers: cats 281 to 285 and dogs 151 to 268.
CATS, DOGS = range(281, 286), range(151, 269)


@pytest.mark.real
def test_the_top_class_of_known_pictures_is_sensible():
    network = build_network(find_backbone(), include_top=True)
    tower, flower = np.argsort(-network.predict(sample_photos(224), verbose=0), axis=1)
    # A tower of the Summer Palace in Beijing: bell cote, palace, monastery, stupa. A dahlia:
    # daisy, the flower that is nearest to it among the thousand classes.
    assert {442, 663, 698, 832} <= set(tower[:6])
    assert tower[0] in {442, 698}
    assert flower[0] == 985


@pytest.mark.real
def test_cats_and_dogs_are_taken_for_cats_and_dogs(shared_folder):
    import cv2

    images, expected = [], []
    with zipfile.ZipFile(shared_folder / "data" / "cats_and_dogs_filtered.zip") as archive:
        for kind, numbers in (("cats", CATS), ("dogs", DOGS)):
            names = sorted(n for n in archive.namelist() if f"validation/{kind}/" in n)
            for name in [n for n in names if n.endswith(".jpg")][:20]:
                data = np.frombuffer(archive.read(name), np.uint8)
                image = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]
                images.append(cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA))
                expected.append(numbers)
    network = build_network(find_backbone(), include_top=True)
    found = network.predict(np.stack(images), verbose=0).argmax(1)
    right = [number in numbers for number, numbers in zip(found, expected, strict=True)]
    assert len(right) == 40
    assert np.mean(right) > 0.85


@pytest.mark.real
def test_torch_weights_of_another_network_are_refused(tmp_path):
    lite1 = find_backbone("efficientnet-lite1").metadata.weights_path
    with pytest.raises(WeightsError, match=r"has tensors of another shape: _blocks"):
        build_network(find_backbone(weights_path=lite1))
    for refuse in (build_network, lambda backbone: frozen_network(backbone, tmp_path)):
        with pytest.raises(WeightsError, match=r"no place for|of another shape|has no tensor"):
            refuse(find_backbone("efficientnet-lite1", find_backbone().metadata.weights_path))


SMALL = LiteVariant(64, 0.5, 1.1, 0.2, "", "", "")


def test_tensors_that_do_not_fit_are_named():
    tensors = draw_tensors(SMALL)
    check_tensors(SMALL, {**tensors, "_bn0.num_batches_tracked": np.array(3)}, Path("a.pth"))
    check = functools.partial(check_tensors, SMALL, path=Path("a.pth"))
    without = {name: value for name, value in tensors.items() if name != "_bn1.bias"}
    with pytest.raises(WeightsError, match=r"a\.pth has no tensor '_bn1\.bias'"):
        check(tensors=without)
    with pytest.raises(WeightsError, match=r"of another shape: _fc\.weight \(1000, 7\)"):
        check(tensors={**tensors, "_fc.weight": np.zeros((1000, 7))})
    with pytest.raises(WeightsError, match=r"a tensor 'more' that the network has no place for"):
        check(tensors={**tensors, "more": np.zeros(1)})


@pytest.mark.slow
@pytest.mark.parametrize("multilevel", [False, True])
@pytest.mark.parametrize("size", [64, 75])  # even and odd sides are padded in different ways
def test_openvino_and_keras_build_the_same_network(size, multilevel):
    tensors = draw_tensors(SMALL)
    prepare_keras()
    body = build_lite(SMALL, size, False, multilevel)
    load_lite(body, SMALL, tensors)
    photos = sample_photos(size)
    expected = np.asarray(body(photos.astype(np.float32), training=False))
    graph = build_graph(SMALL, size, tensors, multilevel)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(graph, "CPU", options)(photos)["embeddings"]
    assert found.dtype == np.float32
    assert found.shape == (2, multilevel_dim(SMALL) if multilevel else 1280)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
    assert found.std(axis=1).min() > 0.01, "the photos are told apart"


def test_features_of_several_levels_end_in_those_of_the_last():
    """A level is the last depthwise convolution at a stride of 8, 16 or 32."""
    levels = [
        part.outputs
        for part in lite_convolutions(LITE_VARIANTS["efficientnet-lite0"])
        if part.is_level
    ]
    assert levels == [240, 672, 1152]
    assert multilevel_dim(LITE_VARIANTS["efficientnet-lite0"]) == 240 + 672 + 1152 + 1280
    tensors, photos = draw_tensors(SMALL), sample_photos(64)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    several, last = (
        openvino.Core().compile_model(build_graph(SMALL, 64, tensors, many), "CPU", options)(
            photos
        )[0]
        for many in (True, False)
    )
    # The power mean of numbers of 0 or more lies between their average and the largest.
    assert np.all(several[:, -1280:] >= last - 1e-4) and np.all(several <= 6.001 * LEVEL_GAIN)
    assert several[:, -1280:].mean() > 1.1 * last.mean()
    assert several[:, :-1280].std(axis=1).min() > 0.01, "the photos are told apart"


@pytest.mark.parametrize("size", [64, 75])  # maps that divide each other's sides, and that do not
def test_maps_of_several_levels_average_to_the_embedding(size, tmp_path):
    write_lite(SMALL, size, draw_tensors(SMALL), tmp_path, False, True)
    dim = multilevel_dim(SMALL)
    network = FrozenNetwork(
        tmp_path / "network.xml", tmp_path / "network.bin", "", "", size, dim, "small", 0.0
    )
    extractor, image = OpenVinoExtractor(network, "f32"), sample_photos(size)[0]
    look = extractor.feature_map()
    assert look is not None
    features, embedding = look(image)
    side = -(-size // 8)
    assert features.shape == (side, side, dim)
    np.testing.assert_allclose(features.mean((0, 1)), embedding, atol=1e-4 * embedding.max())
    np.testing.assert_allclose(embedding, extractor.embed(image[None])[0], atol=1e-4)


@pytest.mark.real
@pytest.mark.parametrize("name", LITE_VARIANTS)
def test_lite_needs_neither_keras_nor_tensorflow(name, tmp_path):
    code = f"""
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
from handful.features.registry import find_backbone, load_extractor
for precision in ("f32", "int8"):
    extractor = load_extractor(find_backbone({name!r}), precision)
    print(extractor.embedding_dim)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1280", "1280"]
    photos = sample_photos(find_backbone(name).metadata.image_size)
    network = frozen_network(find_backbone(name), tmp_path)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(network.xml_path, "CPU", options)(photos)["embeddings"]
    expected = build_network(find_backbone(name)).predict(photos, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_joined_networks_give_what_each_gives_alone(tmp_path):
    """Also in 8 bits, and with the feature maps whose averages they are."""
    other = LiteVariant(64, 0.6, 1.0, 0.2, "", "", "")
    photos, alone, graphs = sample_photos(64), [], {}
    for name, variant in (("small", SMALL), ("other", other)):
        tensors = draw_tensors(variant)
        graph = build_graph(variant, 64, tensors, multilevel=True)
        quantize(graph, lite_convolutions(variant), tensors)
        alone.append(network_features(graph, photos))
        graphs[name] = graph
    save_network(join_graphs(graphs), tmp_path)
    joined = network_features(tmp_path / "network.xml", photos)
    np.testing.assert_array_equal(joined, np.concatenate(alone, axis=1))
    network = FrozenNetwork(
        tmp_path / "network.xml", tmp_path / "network.bin", "", "", 64, joined.shape[1], "both", 0.0
    )
    look = OpenVinoExtractor(network, "int8").feature_map()
    assert look is not None
    feature_map, embedding = look(photos[0])
    assert feature_map.shape == (8, 8, joined.shape[1])
    np.testing.assert_allclose(feature_map.mean(axis=(0, 1)), embedding, atol=1e-4)


def test_weights_of_ones_own_are_no_joined_network(tmp_path):
    file = tmp_path / "mine.pth"
    file.write_bytes(b"any")
    backbone = find_backbone("efficientnet-lite-joined", file)
    with pytest.raises(UsageError, match=r"`weights` is '.*mine\.pth' and the backbone"):
        load_extractor(backbone)


@pytest.mark.slow
def test_a_joined_network_is_counted_in_keras():
    body = build_body("efficientnet-lite-joined", 64)
    backbone = find_backbone("efficientnet-lite-joined")
    assert body.output_shape == (None, backbone.metadata.embedding_dim)
    parts = sum(build_body(name, 64).count_params() for name in LITE_VARIANTS)
    assert body.count_params() == parts
    with pytest.raises(UsageError, match="can only embed images"):
        build_network(backbone, include_top=True)
