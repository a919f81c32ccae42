"""Networks trained from scratch, as Keras functional models: the exercise's, and ours.

Every builder takes the pictures' shape and the number of classes, and gives a model that ends in
one sigmoid neuron for two classes, or a softmax over more. Keras is imported when one is called.
"""

import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handful.errors import DataError, UsageError
from handful.features.keras_runtime import prepare_keras

if TYPE_CHECKING:
    import keras

Shape = tuple[int, int, int]
Builder = Callable[[Shape, int], "keras.Model"]

# (filters, whether two more convolutions follow, added to what they begin with)
_SMALL_STAGES = ((24, False), (48, False), (96, True), (160, True))


def build_scratch(input_shape: Shape = (150, 150, 3), num_classes: int = 2) -> "keras.Model":
    """Build the exercise's convolutional network: 1,667,169 parameters at its own size.

    Args:
        input_shape: Height, width and channels of the pictures, values in [0, 1].
        num_classes: 2 gives one sigmoid neuron, more a softmax.

    Returns:
        A functional model, not compiled.

    Raises:
        ValueError: When the pictures are smaller than 46 pixels: nothing is left of them.
    """
    _check_side(input_shape, 46)
    layers = _layers()
    images = x = layers.Input(input_shape, name="images")
    for filters in (16, 32, 64, 64):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(0.2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(512, activation="relu")(x)
    x = layers.Dropout(0.2)(x)
    return _model(images, x, num_classes, "scratch")


def build_mnist(input_shape: Shape = (28, 28, 1), num_classes: int = 10) -> "keras.Model":
    """Build the exercise's network for handwritten digits: 260,476 parameters.

    Args:
        input_shape: Height, width and channels; mean-free values.
        num_classes: Number of classes.

    Returns:
        A functional model, not compiled.

    Raises:
        ValueError: When the pictures are smaller than 10 pixels.
    """
    _check_side(input_shape, 10)
    layers = _layers()
    images = x = layers.Input(input_shape, name="images")
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Dropout(0.5)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(150, activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    return _model(images, x, num_classes, "mnist")


def build_head(
    embedding_dim: int = 2048, num_classes: int = 2, dropout: float = 0.5
) -> "keras.Model":
    """Build the exercise's head on a frozen network's pooled features: 2,049 parameters.

    Args:
        embedding_dim: Width D of the features.
        num_classes: 2 gives one sigmoid neuron, more a softmax.
        dropout: Share of the features dropped while training.

    Returns:
        Model from (N, D) to probabilities, not compiled.
    """
    layers = _layers()
    features = layers.Input((embedding_dim,), name="features")
    return _model(features, layers.Dropout(dropout)(features), num_classes, "head")


def build_transfer(
    body: "keras.Model", num_classes: int = 2, dropout: float = 0.5
) -> "keras.Model":
    """Put the exercise's head on a frozen pretrained body.

    With Xception there are 20,863,529 parameters, of which 2,049 are trained.

    Args:
        body: From pictures to pooled features, see `handful.features.registry.build_network`.
        num_classes: 2 gives one sigmoid neuron, more a softmax.
        dropout: Share of the features dropped while training.

    Returns:
        A functional model, not compiled; the body is frozen and in inference mode.
    """
    layers = _layers()
    body.trainable = False
    images = layers.Input(body.input_shape[1:], name="images")
    features = body(images, training=False)
    return _model(images, layers.Dropout(dropout)(features), num_classes, "transfer")


def build_small(
    input_shape: Shape = (128, 128, 3), num_classes: int = 2, width: float = 1.0
) -> "keras.Model":
    """Build our network for training from scratch: eight convolutions, 0.8 million parameters.

    Convolution, max-pooling, batch norm, ReLU, in this order: normalizing what is left after
    pooling costs a quarter. The last two of four stages end in a residual block. Height and width
    are free, so that training can begin small.

    Args:
        input_shape: Height, width and channels of the pictures, values in [0, 255].
        num_classes: 2 gives one sigmoid neuron, more a softmax.
        width: Factor on the numbers of filters, rounded to multiples of 8.

    Returns:
        A functional model, not compiled; its input shape is (None, None, channels).

    Raises:
        ValueError: When the pictures are smaller than 32 pixels.
    """
    _check_side(input_shape, 32)
    layers = _layers()
    images = layers.Input((None, None, input_shape[2]), name="images")
    x = layers.Rescaling(1 / 58, -2.0)(images)  # to about unit variance around 0
    for stage, is_residual in _SMALL_STAGES:
        filters = 8 * round(stage * width / 8)
        x = _normalized(layers.MaxPooling2D(2)(_convolved(x, filters)))
        if is_residual:
            block = x
            for _ in range(2):
                block = _normalized(_convolved(block, filters))
            x = layers.Add()([x, block])
    x = layers.GlobalAveragePooling2D()(x)
    return _model(images, layers.Dropout(0.3)(x), num_classes, "small")


def _convolved(x: Any, filters: int) -> Any:
    layer = _layers().Conv2D(
        filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal"
    )
    return layer(x)


def _normalized(x: Any) -> Any:
    layers = _layers()
    return layers.ReLU()(layers.BatchNormalization(momentum=0.97)(x))


NETWORKS: dict[str, Builder] = {
    "scratch": build_scratch,
    "mnist": build_mnist,
    "small": build_small,
}


def load_builder(text: str) -> Builder:
    """Find a function that builds a network, in a Python file of the user's.

    Args:
        text: "file.py:function"; the file is run.

    Returns:
        The function: `build(input_shape, num_classes)` gives a Keras model.

    Raises:
        DataError: When there is no such file or function, or the file cannot be run.
    """
    file, _, name = text.rpartition(":")
    path = Path(file)
    if not file or not path.is_file():
        raise DataError(
            f"{text} names no network: no file {file or text}. Give file.py:build, where "
            "build(input_shape, num_classes) returns a Keras model."
        )
    prepare_keras()
    module_name = f"handful_network_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path} is not a Python file; give file.py:build.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise DataError(f"{path} cannot be run: {type(error).__name__}: {error}.") from error
    builder = getattr(module, name, None)
    if not callable(builder):
        found = [key for key, value in vars(module).items() if callable(value)]
        raise DataError(f"{path} has no function {name!r}; it has {', '.join(found) or 'none'}.")
    return builder  # type: ignore[no-any-return]


def check_network(network: Any, input_shape: Shape, num_classes: int) -> None:
    """Refuse a network that does not fit the photos, before the first step.

    Args:
        network: What a builder returned.
        input_shape: Height, width and channels of the pictures.
        num_classes: Number of classes C.

    Raises:
        UsageError: When it is no Keras model, takes other pictures, does not give one value (two
            classes) or C values a picture, or gives no probabilities.
    """
    import keras

    if not isinstance(network, keras.Model):
        raise UsageError(f"The network is a {type(network).__name__}; expected a Keras model.")
    if isinstance(network, keras.Sequential) and not network.built:
        with _words("The network cannot be built for the photos"):
            network.build((None, *input_shape))
    _check_form(network)
    _check_input(network.input_shape, input_shape)
    _check_output(network.output_shape, num_classes)
    _check_values(network, input_shape)
    if not network.trainable_weights:
        raise UsageError(
            "The network has no weights that can be trained; set `trainable` of some layers."
        )


def _check_form(network: Any) -> None:
    outputs = getattr(network, "output", None)
    if isinstance(outputs, dict | list | tuple):
        names = list(outputs) if isinstance(outputs, dict) else network.output_names
        raise UsageError(
            f"The network has outputs of the names {', '.join(names)}; expected one output by "
            "itself, the probabilities of the classes. Make it with keras.Model(inputs, output)."
        )
    if not isinstance(getattr(network, "output_shape", None), tuple):
        raise UsageError(
            f"The network is a {type(network).__name__}, which does not know its shapes before it "
            "is called; expected a sequential model, or a functional one made with "
            "keras.Model(inputs, output)."
        )


def _check_input(wanted: Any, input_shape: Shape) -> None:
    if isinstance(wanted, tuple) and wanted[0] is not None:
        raise UsageError(
            f"The network takes {wanted[0]} photos at a time; expected any number. Build it with "
            "keras.Input(input_shape), without a batch size."
        )
    fits = isinstance(wanted, tuple) and len(wanted) == 4
    if not fits or any(a not in (None, b) for a, b in zip(wanted[1:], input_shape, strict=True)):
        raise UsageError(
            f"The network takes {wanted}; the photos are {('N', *input_shape)}. Build it with the "
            "input_shape that it is given, or set `image_size`."
        )


def _check_output(output: Any, num_classes: int) -> None:
    expected = [(None, num_classes)] + ([(None, 1)] if num_classes == 2 else [])
    if output not in expected:
        raise UsageError(
            f"The network gives {output}; {num_classes} classes need "
            f"{' or '.join(str(shape) for shape in expected)}. End it with "
            f"Dense({1 if num_classes == 2 else num_classes}, "
            f"activation={'sigmoid' if num_classes == 2 else 'softmax'!r})."
        )


def _check_values(network: Any, input_shape: Shape) -> None:
    """Refuse what gives no probabilities for images of noise."""
    # Pictures of different brightness: on plain noise two sigmoids may happen to add up to 1.
    rng = np.random.default_rng(0)
    pictures = rng.normal(0, 3, (4, *input_shape)) + np.array([-9, -3, 3, 9])[:, None, None, None]
    with _words("The network fails on images of noise"):
        values = np.asarray(network(pictures.astype(np.float32), training=False), np.float64)
    has_one = values.shape[1] == 1
    sums = np.ones(4) if has_one else values.sum(axis=1)
    # Written so that what is no number is no probability either.
    if not (values.min() >= 0 and values.max() <= 1 and np.abs(sums - 1).max() <= 1e-2):
        raise UsageError(
            f"The network's values are no probabilities (0 to 1, adding up to 1): on images of "
            f"noise they are {values.min():.2g} to {values.max():.2g}. If it ends in logits, add "
            "activation='sigmoid' to a last layer of one value, 'softmax' to one of several."
        )
    if has_one and (values == 1).all():
        raise UsageError(
            "The network's one value is always 1, as that of a softmax over one value; end it with "
            "Dense(1, activation='sigmoid')."
        )


@contextmanager
def _words(problem: str) -> Iterator[None]:
    """Say in a sentence what a user's network raises."""
    try:
        with warnings.catch_warnings():
            # What Keras warns of is said in our words.
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{problem}: {type(error).__name__}: {reason[:300]}") from error


def takes_sizes(network: "keras.Model", sizes: Iterable[int]) -> bool:
    """Whether a network also takes pictures of other sizes than it was built for.

    Args:
        network: From (N, S, S, c) pictures to probabilities.
        sizes: Sides in pixels to try.

    Returns:
        True only where its shapes leave height and width free, and each size works.
    """
    if network.input_shape[1:3] != (None, None):
        return False
    try:
        for size in set(sizes):
            pictures = np.zeros((1, size, size, network.input_shape[3]), np.float32)
            network(pictures, training=False)
    except Exception:  # whatever its layers raise
        return False
    return True


def _check_side(input_shape: Shape, least: int) -> None:
    if min(input_shape[:2]) < least:
        raise UsageError(f"Photos are {input_shape[:2]}; this network needs {least} pixels.")


def _layers() -> Any:
    prepare_keras()
    from keras import layers

    return layers


def _model(inputs: Any, features: Any, num_classes: int, name: str) -> "keras.Model":
    """End in probabilities, float32 whatever the other layers compute in."""
    import keras

    if num_classes < 2:
        raise UsageError(f"`num_classes` is {num_classes}; expected 2 or more.")
    units, activation = (1, "sigmoid") if num_classes == 2 else (num_classes, "softmax")
    output = keras.layers.Dense(
        units, activation=activation, dtype="float32", name="probabilities"
    )(features)
    return keras.Model(inputs, output, name=name)
