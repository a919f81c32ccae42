from pathlib import Path

import pytest

from handful.errors import DataError
from handful.training.summaries import BodySummary, NetworkSummary, summary

pytestmark = pytest.mark.slow


def check_sums(found: NetworkSummary) -> None:
    assert found.parameters == found.trainable + found.non_trainable
    assert found.parameters == sum(layer.parameters for layer in found.layers)


@pytest.mark.parametrize(
    ("name", "input_shape", "output_shape", "parameters", "trainable"),
    [
        ("scratch", (150, 150, 3), (1,), 1_667_169, 1_667_169),
        ("mnist", (28, 28, 1), (10,), 260_476, 260_476),
        ("small", (128, 128, 3), (1,), 820_937, 819_257),
    ],
)
def test_networks_from_scratch(
    name: str,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    parameters: int,
    trainable: int,
) -> None:
    found = summary(name)
    assert (found.input_shape, found.output_shape) == (input_shape, output_shape)
    assert (found.parameters, found.trainable) == (parameters, trainable)
    assert found.body is None
    check_sums(found)


def test_the_layers_of_the_exercises_network() -> None:
    layers = summary("scratch").layers
    rows = [(layer.type, layer.output_shape, layer.parameters) for layer in layers]
    assert rows[:4] == [
        ("InputLayer", (150, 150, 3), 0),
        ("Conv2D", (148, 148, 16), 448),
        ("MaxPooling2D", (74, 74, 16), 0),
        ("Dropout", (74, 74, 16), 0),
    ]
    assert rows[-4:] == [
        ("Flatten", (3136,), 0),
        ("Dense", (512,), 1_606_144),
        ("Dropout", (512,), 0),
        ("Dense", (1,), 513),
    ]


def test_the_exercises_transfer_network_needs_no_weights() -> None:
    found = summary("xception")
    assert (found.input_shape, found.output_shape) == ((150, 150, 3), (1,))
    assert (found.parameters, found.trainable) == (20_863_529, 2_049)
    assert found.body == BodySummary("xception", 20_861_480, 20_806_952, 54_528)
    check_sums(found)
    names = {layer.name: layer for layer in found.layers}
    # What is flattened in the exercise's picture of it: 5 x 5 x 2,048.
    assert names["xception/block14_sepconv2_act"].output_shape == (5, 5, 2048)
    assert found.layers[-1].parameters == 2_049


def test_our_default_network() -> None:
    found = summary("efficientnet-lite0", num_classes=3)
    assert (found.input_shape, found.output_shape) == ((224, 224, 3), (3,))
    assert found.trainable == 1280 * 3 + 3
    assert found.body == BodySummary("efficientnet-lite0", 3_413_024, 3_371_008, 42_016)
    check_sums(found)


def test_classes_and_size_can_be_chosen() -> None:
    found = summary("small", num_classes=4, image_size=64)
    assert (found.input_shape, found.output_shape) == ((64, 64, 3), (4,))
    # Its own size is open; the summary's is not.
    assert found.layers[2].output_shape == (64, 64, 24)
    facts = found.to_dict()
    assert list(facts) == [
        "name",
        "input_shape",
        "output_shape",
        "parameters",
        "trainable",
        "non_trainable",
        "layers",
        "body",
    ]
    assert set(facts["layers"][0]) == {"name", "type", "output_shape", "parameters"}


USERS = """
import keras
from keras import layers

class Open(keras.layers.Layer):
    def __init__(self, number):
        super().__init__()
    def call(self, x):
        return x

def build(input_shape, num_classes):
    inner = keras.Sequential([layers.Input((None, None, 8)), layers.Conv2D(4, 1)], name="inner")
    images = layers.Input(input_shape)
    x = layers.Conv2D(8, 3)(images)
    x = layers.GlobalAveragePooling2D()(inner(x))
    return keras.Model(images, layers.Dense(num_classes, activation="softmax")(x))

def build_open(input_shape, num_classes):
    images = layers.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(Open(1)(images))
    return keras.Model(images, layers.Dense(num_classes, activation="softmax")(x))

def build_two(input_shape, num_classes):
    images, more = layers.Input(input_shape), layers.Input(input_shape)
    return keras.Model([images, more], layers.Flatten()(layers.Add()([images, more])))

class Sub(keras.Model):
    def call(self, x):
        return x

def build_sub(input_shape, num_classes):
    return Sub()

def build_text(input_shape, num_classes):
    return "a network"

def build_wrong(input_shape, num_classes):
    return layers.Conv2D(8, 99)(layers.Input(input_shape))
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("networks") / "mine.py"
    path.write_text(USERS)
    return path


def test_a_users_network(file: Path) -> None:
    found = summary(f"{file}:build", num_classes=3, image_size=20)
    assert (found.input_shape, found.output_shape) == ((20, 20, 3), (3,))
    rows = [(layer.name, layer.parameters) for layer in found.layers if layer.parameters]
    # A network within the network is opened.
    inner = (8 * 4) + 4
    assert [count for _, count in rows] == [224, inner, 15]
    assert rows[1][0].startswith("inner/conv2d")
    check_sums(found)


def test_a_network_that_cannot_be_copied_keeps_its_sizes_open(file: Path) -> None:
    found = summary(f"{file}:build_open")
    assert found.input_shape == (None, None, 3) and found.output_shape == (2,)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("build_two", "with several inputs or outputs; expected photos in"),
        ("build_sub", "returned a model whose layers are not known yet"),
        ("build_text", "returned a str; expected a Keras model"),
        ("build_wrong", r"failed for images of shape \(150, 150, 3\) and 2 classes: \w+: .*Mend"),
        ("build_none", "has no function 'build_none'"),
    ],
)
def test_what_is_no_network_is_named(file: Path, name: str, words: str) -> None:
    if name == "build_wrong":
        file.write_text(USERS.replace("99", "999"))
    with pytest.raises(DataError, match=words):
        summary(f"{file}:{name}")


def test_wrong_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="no network 'alexnet'; expected scratch, mnist, small, "):
        summary("alexnet")
    with pytest.raises(ValueError, match="'dinov2-small', a network whose layers Keras does not"):
        summary("dinov2-small")
    with pytest.raises(ValueError, match="`num_classes` is 1; expected 2 or more"):
        summary("scratch", num_classes=1)
    with pytest.raises(ValueError, match="`image_size` is 0; expected a number of pixels"):
        summary("scratch", image_size=0)
    with pytest.raises(ValueError, match="this network needs 46 pixels"):
        summary("scratch", image_size=20)
    with pytest.raises(DataError, match=r"names no network: no file none\.py"):
        summary("none.py:build")
