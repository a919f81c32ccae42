from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.errors import DataError, UsageError
from handful.features.registry import build_network, find_backbone
from handful.training.networks import (
    NETWORKS,
    build_head,
    build_mnist,
    build_scratch,
    build_small,
    build_transfer,
    check_network,
    load_builder,
    takes_sizes,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keras_ready")]


def kinds(network: Any) -> list[str]:
    return [type(layer).__name__ for layer in network.layers]


def test_the_exercises_network_from_scratch() -> None:
    network = build_scratch()
    assert network.count_params() == 1_667_169
    assert network.input_shape == (None, 150, 150, 3) and network.output_shape == (None, 1)
    block = ["Conv2D", "MaxPooling2D", "Dropout"]
    end = ["Flatten", "Dense", "Dropout", "Dense"]
    assert kinds(network) == ["InputLayer", *block * 4, *end]
    convolutions = [layer for layer in network.layers if type(layer).__name__ == "Conv2D"]
    assert [layer.filters for layer in convolutions] == [16, 32, 64, 64]
    assert {(layer.kernel_size, layer.padding) for layer in convolutions} == {((3, 3), "valid")}
    assert [layer.rate for layer in network.layers if hasattr(layer, "rate")] == [0.2] * 5
    flat = next(layer for layer in network.layers if type(layer).__name__ == "Flatten")
    assert flat.output.shape == (None, 3136)
    assert network.layers[-1].activation.__name__ == "sigmoid"


def test_the_exercises_network_for_digits() -> None:
    network = build_mnist()
    assert network.count_params() == 260_476
    assert network.output_shape == (None, 10)
    assert [layer.rate for layer in network.layers if hasattr(layer, "rate")] == [0.5] * 3


@pytest.mark.real
def test_the_exercises_transfer_network(shared_folder: Path) -> None:
    weights = shared_folder / "weights" / "xception_imagenet_notop.weights.h5"
    body = build_network(find_backbone("xception", weights, 150))
    assert body.count_params() == 20_861_480
    assert sum(int(np.prod(w.shape)) for w in body.non_trainable_weights) == 54_528
    convolved = body.layers[-2].output
    assert convolved.shape == (None, 5, 5, 2048)
    network = build_transfer(body)
    assert network.count_params() == 20_863_529
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == 2_049
    # In inference mode, training changes nothing in the body.
    before = [weight.numpy() for weight in body.weights]
    network.compile("adam", "binary_crossentropy")
    network.fit(np.random.rand(2, 150, 150, 3) * 255, np.array([[0], [1]]), verbose=0)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, body.weights, strict=True))


def test_our_networks_size_is_free() -> None:
    network = build_small()
    assert 800_000 < network.count_params() < 1_000_000
    assert kinds(network).count("Conv2D") == 8 and kinds(network).count("Add") == 2
    for side in (64, 112):
        values = np.asarray(network(np.zeros((2, side, side, 3), np.float32)))
        assert values.shape == (2, 1)
    assert build_small(width=2.0).count_params() > 3 * network.count_params()


@pytest.mark.parametrize("name", NETWORKS)
def test_more_classes_get_a_softmax(name: str) -> None:
    shape = (64, 64, 3)
    network = NETWORKS[name](shape, 7)
    assert network.output_shape == (None, 7)
    values = np.asarray(network(np.random.rand(3, *shape).astype(np.float32)))
    assert np.allclose(values.sum(axis=1), 1, atol=1e-5)
    check_network(network, shape, 7)


def test_the_head_has_2049_parameters() -> None:
    assert build_head().count_params() == 2_049
    assert build_head(1280, 5).count_params() == 1281 * 5


def test_too_small_pictures_and_too_few_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Photos are \(32, 32\); this network needs 46 pixels"):
        build_scratch((32, 32, 3))
    with pytest.raises(ValueError, match="`num_classes` is 1; expected 2 or more"):
        build_head(10, 1)


def dense_network(shape: Any, units: int, activation: str | None) -> Any:
    import keras

    images = keras.Input(shape)
    flat = keras.layers.GlobalAveragePooling2D()(images)
    return keras.Model(images, keras.layers.Dense(units, activation=activation)(flat))


@pytest.mark.parametrize(
    ("shape", "units", "activation", "message"),
    [
        ((64, 64, 3), 1, "sigmoid", r"takes \(None, 64, 64, 3\); the photos are \('N', 80, 80, 3"),
        ((80, 80, 1), 1, "sigmoid", "set `image_size`"),
        ((80, 80, 3), 3, "softmax", r"gives \(None, 3\); 2 classes need \(None, 2\) or \(None, 1"),
        ((80, 80, 3), 1, None, r"no probabilities .*: .* -?\d.* to .*\. If it ends in logits, add"),
        ((80, 80, 3), 2, "sigmoid", "no probabilities"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    shape: Any, units: int, activation: str | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_network(dense_network(shape, units, activation), (80, 80, 3), 2)


def test_something_else_is_no_network() -> None:
    with pytest.raises(ValueError, match="The network is a str; expected a Keras model"):
        check_network("resnet", (80, 80, 3), 2)


def odd_network(kind: str) -> Any:
    import keras
    from keras import layers, ops

    def model(inputs: Any, outputs: Any) -> Any:
        return keras.Model(inputs, outputs)

    images = keras.Input((80, 80, 3))
    flat = layers.GlobalAveragePooling2D()(images)
    one = layers.Dense(1, activation="sigmoid")
    if kind == "constant":
        return model(images, layers.Dense(1, activation="softmax")(flat))
    if kind == "no number":
        return model(images, layers.Dense(1, activation=lambda x: ops.log(-ops.abs(x)))(flat))
    if kind == "frozen":
        one.trainable = False
        return model(images, one(flat))
    if kind == "two outputs":
        return model(images, [one(flat), layers.Dense(1, activation="sigmoid")(flat)])
    if kind == "named outputs":
        return model(images, {"class": one(flat)})
    if kind == "two inputs":
        other = keras.Input((80, 80, 3))
        return model([images, other], one(flat + layers.GlobalAveragePooling2D()(other)))
    if kind == "batch of 32":
        images = keras.Input(batch_shape=(32, 80, 80, 3))
        return model(images, one(layers.Flatten()(images)))
    if kind == "map":
        return model(images, layers.Conv2D(1, 1, activation="sigmoid")(images))
    if kind == "channels first":
        images = keras.Input((3, 80, 80))
        return model(images, one(layers.Flatten()(images)))
    if kind == "unbuilt, does not fit":
        return keras.Sequential([layers.Conv2D(4, 100), layers.Flatten(), one])
    return type("Own", (keras.Model,), {"call": lambda self, images: images})()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("constant", r"one value is always 1, as that of a softmax over one value; .*sigmoid"),
        ("no number", "values are no probabilities"),
        ("frozen", "no weights that can be trained"),
        ("two outputs", r"has outputs of the names dense\S*, dense\S*; expected one output by"),
        ("named outputs", "has outputs of the names class; expected one output by itself"),
        ("two inputs", r"The network takes \["),
        ("batch of 32", "takes 32 photos at a time; expected any number"),
        ("map", r"gives \(None, 80, 80, 1\); 2 classes need"),
        ("channels first", r"takes \(None, 3, 80, 80\); the photos are \('N', 80, 80, 3\)"),
        ("unbuilt, does not fit", "cannot be built for the photos: ValueError: "),
        ("subclass", "The network is a Own, which does not know its shapes before it is called"),
    ],
)
def test_odd_networks_are_refused_in_words(kind: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        check_network(odd_network(kind), (80, 80, 3), 2)
    assert "\n" not in str(caught.value)


def test_a_sequential_network_without_an_input_is_built() -> None:
    import keras
    from keras import layers

    ends = [layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")]
    network = keras.Sequential([layers.Conv2D(4, 3), *ends])
    check_network(network, (80, 80, 3), 2)
    assert network.input_shape == (None, 80, 80, 3)


def test_only_networks_of_free_size_take_smaller_pictures() -> None:
    import keras
    from keras import layers

    def pooled(images: Any) -> Any:
        features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 9)(images))
        return keras.Model(images, layers.Dense(1, activation="sigmoid")(features))

    assert takes_sizes(build_small(), [64, 80]) and not takes_sizes(build_scratch(), [150, 64])
    assert not takes_sizes(pooled(keras.Input((80, 80, 3))), [64])
    free = pooled(keras.Input((None, None, 3)))
    assert takes_sizes(free, [64, 16]) and not takes_sizes(free, [64, 8])


def test_a_builder_comes_out_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from handful.training.networks import build_scratch\n"
        "def build(input_shape, num_classes):\n"
        "    return build_scratch(input_shape, num_classes)\n"
    )
    network = load_builder(f"{file}:build")((150, 150, 3), 2)
    assert network.count_params() == 1_667_169
    with pytest.raises(DataError, match=r"mine\.py has no function 'made'; it has build_scratch"):
        load_builder(f"{file}:made")
    with pytest.raises(DataError, match="names no network: no file"):
        load_builder(f"{tmp_path}/other.py:build")
    file.write_text("import nothing_of_the_kind\n")
    with pytest.raises(DataError, match=r"mine\.py cannot be run: ModuleNotFoundError"):
        load_builder(f"{file}:build")
