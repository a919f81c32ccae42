import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import draw_photo
from handful.config import TrainConfig
from handful.data.decoding import DecodeSettings
from handful.data.target import softmax
from handful.features.openvino import OpenVinoExtractor
from handful.models.classifier import Classifier
from handful.training.deployment import deploy, head_of_layer, write_body
from handful.training.networks import build_mnist, build_scratch, build_small
from handful.training.recipes import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keras_ready")]

RECIPE = Recipe("scratch", 48, epochs=1, batch_size=4, learning_rate=1e-3)
NAMES = ("ants", "bees", "cows", "dogs")


def pictures(size: int = 48, count: int = 6) -> list[NDArray[np.uint8]]:
    kinds = ("round", "square") * count
    return [draw_photo(kinds[n], n, (96, 96))[:size, :size].copy() for n in range(count)]


def stirred(network: Any, seed: int = 0) -> Any:
    """The network with weights that tell pictures apart, batch norm's statistics included."""
    rng = np.random.default_rng(seed)
    for variable in network.weights:
        moved = np.asarray(variable) + rng.normal(0, 0.01, variable.shape)
        variable.assign(np.abs(moved) if "variance" in variable.path else moved)
    return network


def keras_logits(
    network: Any, recipe: Recipe, images: list[NDArray[np.uint8]], offset: float
) -> NDArray[Any]:
    """What Keras says of the pictures, as logarithms of C probabilities."""
    values = np.stack(images).astype(np.float32)
    if recipe.grey:
        values = values.mean(axis=-1, keepdims=True)
    given = np.asarray(
        network(values * np.float32(recipe.scale) + offset, training=False), np.float64
    )
    if given.shape[1] == 1:
        given = np.concatenate([1 - given, given], axis=1)
    return np.log(np.maximum(given, 1e-12))


def own(num_classes: int, ending: str) -> Any:
    """A user's network; only some endings are a Dense layer that can be the classifier's head."""
    import keras
    from keras import layers

    images = keras.Input((48, 48, 3))
    x = layers.Conv2D(6, 5, strides=3, activation="relu")(images)
    if ending == "reshaped":  # the Dense layer is not the last
        last = layers.Dense(num_classes, activation="softmax")
        return keras.Model(images, layers.Reshape((num_classes,))(last(layers.Flatten()(x))))
    if ending == "pooled":
        x = layers.Conv2D(num_classes, 3)(x)
        return keras.Model(images, layers.Softmax()(layers.GlobalAveragePooling2D()(x)))
    x = layers.Dense(8, activation="tanh")(layers.Flatten()(x))
    if ending == "activation":
        return keras.Model(images, layers.Activation("sigmoid")(layers.Dense(1)(x)))
    if ending == "two sigmoids":  # of one neuron each, adding up to 1
        share = layers.Dense(1, activation="sigmoid")(x)
        return keras.Model(images, layers.Concatenate()([1.0 - share, share]))
    if ending == "without bias":
        last = layers.Dense(1, activation="sigmoid", use_bias=False)
        return keras.Model(images, last(x))
    return keras.Sequential([images, *keras.Model(images, x).layers[1:], _ending(num_classes)])


def _ending(num_classes: int) -> Any:
    from keras import layers

    if num_classes == 2:
        return layers.Dense(1, activation="sigmoid")
    return layers.Dense(num_classes, activation="softmax")


def deployed(
    network: Any,
    recipe: Recipe,
    num_classes: int,
    config: TrainConfig | None = None,
    offset: float = 0.0,
) -> Classifier:
    settings = DecodeSettings(recipe.image_size, "squash")
    config = config or TrainConfig(strategy="scratch", recipe="keras-tutorial")
    return deploy(network, recipe, NAMES[:num_classes], settings, config, offset)


CASES = {
    "sigmoid": (lambda: build_scratch((48, 48, 3), 2), RECIPE, 2),
    "any size, batch norm": (lambda: build_small((48, 48, 3), 3), replace(RECIPE, scale=1.0), 3),
    "grey": (
        lambda: build_mnist((28, 28, 1), 4),
        replace(RECIPE, network="mnist", image_size=28, grey=True, centre=True),
        4,
    ),
    "sequential": (lambda: own(3, ""), RECIPE, 3),
    "reshaped": (lambda: own(4, "reshaped"), RECIPE, 4),
    "activation": (lambda: own(2, "activation"), RECIPE, 2),
    "two sigmoids": (lambda: own(2, "two sigmoids"), RECIPE, 2),
    "without bias": (lambda: own(2, "without bias"), RECIPE, 2),
    "mirror": (lambda: build_scratch((48, 48, 3), 2), replace(RECIPE, mirror=True), 2),
    "mirror, pooled": (lambda: own(3, "pooled"), replace(RECIPE, mirror=True), 3),
}


@pytest.mark.parametrize("case", CASES)
def test_the_classifier_says_what_the_network_says(case: str, tmp_path: Path) -> None:
    import keras

    build, recipe, num_classes = CASES[case]
    keras.utils.set_random_seed(0)
    network = stirred(build())
    images = pictures(recipe.image_size)
    offset = -0.4 if recipe.centre else 0.0
    classifier = deployed(network, recipe, num_classes, offset=offset)
    expected = keras_logits(network, recipe, images, offset)
    if recipe.mirror:
        mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        expected = (expected + keras_logits(network, recipe, mirrored, offset)) / 2
    found = classifier.predict_proba(images)
    np.testing.assert_allclose(found, softmax(expected), atol=1e-4)
    assert np.ptp(found, axis=0).max() > 1e-3, "the photos are told apart"
    assert classifier.test_time_mirror == recipe.mirror
    classifier.save(tmp_path / "saved")
    loaded = Classifier.load(tmp_path / "saved")
    assert np.array_equal(loaded.predict_proba(images), found)
    assert loaded.class_names == NAMES[:num_classes] and loaded.provenance == classifier.provenance


def test_it_says_what_it_is_and_its_files_go_with_it() -> None:
    network = own(2, "activation")
    config = TrainConfig(strategy="scratch", recipe="keras-tutorial", tta=True)
    classifier = deployed(network, RECIPE, 2, config)
    about = {
        "backbone": network.name,
        "license": "yours",
        "source": "trained on these photos",
        "strategy": "scratch",
        "recipe": "keras-tutorial",
    }
    assert classifier.provenance == about and classifier.test_time_mirror
    assert classifier.extractor.precision == "f32" and classifier.head.C is None
    folder = classifier.network.xml_path.parent
    assert folder.is_dir()
    del classifier
    gc.collect()
    assert not folder.exists()


def test_a_broken_conversion_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("handful.training.deployment.write_network", interrupt)
    with pytest.raises(KeyboardInterrupt):
        deployed(own(2, ""), RECIPE, 2)
    assert list(tmp_path.iterdir()) == []


def test_one_neuron_is_two_logits() -> None:
    from keras import layers

    layer = layers.Dense(1, activation="sigmoid")
    layer.build((None, 3))
    layer.set_weights([np.array([[1.0], [-2.0], [0.5]]), np.array([0.25])])
    head = head_of_layer(layer)
    features = np.array([[1, 0, 0], [0.5, 1, 2]], np.float32)
    logits = features @ np.array([1, -2, 0.5]) + 0.25
    np.testing.assert_allclose(head.predict_proba(features)[:, 1], 1 / (1 + np.exp(-logits)))


def test_a_body_is_there_for_as_long_as_a_block() -> None:
    import keras
    from keras import layers

    images = keras.Input((32, 32, 3), name="images")
    body = keras.Model(images, layers.Flatten()(layers.AveragePooling2D(16)(images)))
    (image,) = pictures(32, 1)
    with write_body(body, 32) as frozen:
        features = OpenVinoExtractor(frozen, "f32").embed(image[np.newaxis])[0]
        assert frozen.embedding_dim == 12 and frozen.xml_path.exists()
    means = image.reshape(2, 16, 2, 16, 3).mean(axis=(1, 3)).ravel()
    np.testing.assert_allclose(np.ravel(features), means, rtol=1e-5)
    assert not frozen.xml_path.parent.exists()
