"""A network of your own, to begin with: `--network docs/guides/own_network.py:build`."""

import keras
from keras import layers


def build(input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """Build a small convolutional network.

    Args:
        input_shape: Height, width and channels of the photos, values in [0, 255].
        num_classes: Number of classes.

    Returns:
        A Keras model, not compiled, from photos to probabilities: one value for two classes.
    """
    images = keras.Input((None, None, input_shape[2]))  # of any size: training begins small
    x = layers.Rescaling(1 / 255)(images)
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    if num_classes == 2:
        return keras.Model(images, layers.Dense(1, activation="sigmoid")(x))
    return keras.Model(images, layers.Dense(num_classes, activation="softmax")(x))
