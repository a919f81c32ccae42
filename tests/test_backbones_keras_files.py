"""Networks in Keras' and TensorFlow Lite's files."""

from pathlib import Path

import numpy as np
import pytest

from handful.errors import HandfulError, MissingExtraError
from handful.features.conversion import check_image
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import find_backbone, load_extractor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("keras_ready"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),
]


@pytest.fixture(scope="module")
def network(keras_ready: None):
    """Ends in a map of 12 channels; scales its pixels itself."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    images = keras.Input((32, 32, 3), name="images")
    x = layers.Rescaling(1 / 127.5, -1)(images)
    x = layers.Conv2D(12, 3, 2, activation="relu")(x)
    return keras.Model(images, layers.DepthwiseConv2D(3, activation="relu")(x))


def features_of(path: Path, images: np.ndarray, said: str) -> np.ndarray:
    extractor = load_extractor(find_backbone(str(path), preprocessing=said), "f32")
    assert isinstance(extractor, OpenVinoExtractor)
    assert (extractor.image_size, extractor.embedding_dim) == (32, 12)
    assert extractor.feature_map() is not None
    return extractor.embed(images)


def test_a_keras_file(network, tmp_path: Path, own_cache: Path) -> None:
    network.save(tmp_path / "net.keras")
    images = np.concatenate([check_image(32), 255 - check_image(32)])
    expected = network.predict(images, verbose=0).mean(axis=(1, 2))
    found = features_of(tmp_path / "net.keras", images, "value_range=0,255")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    made = {path.name: path.stat().st_mtime_ns for path in (own_cache / "networks").iterdir()}
    assert len(made) == 2  # as it is, and with its pooling
    features_of(tmp_path / "net.keras", images, "value_range=0,255")
    again = {path.name: path.stat().st_mtime_ns for path in (own_cache / "networks").iterdir()}
    assert again == made


def test_a_tensorflow_lite_file(network, tmp_path: Path) -> None:
    import tensorflow as tf

    path = tmp_path / "net.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    images = np.concatenate([check_image(32), 255 - check_image(32)])
    expected = network.predict(images, verbose=0).mean(axis=(1, 2))
    found = features_of(path, images, "value_range=0,255")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_a_tensorflow_lite_file_in_8_bits_takes_pixels_as_they_are(network, tmp_path: Path) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 256, (16, 1, 32, 32, 3)).astype(np.float32)
    converter.representative_dataset = lambda: ([one] for one in drawn)
    converter.inference_input_type = tf.uint8
    path = tmp_path / "net.tflite"
    path.write_bytes(converter.convert())
    images = np.concatenate([check_image(32), 255 - check_image(32)])
    expected = network.predict(images, verbose=0).mean(axis=(1, 2))
    backbone = find_backbone(str(path))
    assert '"value_range": [0.0, 255.0]' in backbone.metadata.preprocessing
    found = load_extractor(backbone, "f32").embed(images)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_what_is_no_keras_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.keras").write_bytes(b"none")
    with pytest.raises(HandfulError, match=r"could not be converted for OpenVINO: .*keras"):
        find_backbone(str(tmp_path / "net.keras"), preprocessing="mean=0.5")
    monkeypatch.setattr("handful.extras.find_spec", lambda _: None)
    monkeypatch.setattr("sys.modules", {**__import__("sys").modules, "keras": None})
    with pytest.raises(MissingExtraError, match=r"A \.keras file needs keras.*handful\[keras\]"):
        find_backbone(str(tmp_path / "net.keras"), preprocessing="mean=0.5")
