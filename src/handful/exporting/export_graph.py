"""A classifier as one OpenVINO graph: from images of any size to probabilities."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.exporting.square_graph import Ops, square
from handful.features.conversion import read_network
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
EMBEDDINGS_NAME = "embeddings"
# Fewer weights are not worth a conversion whenever the network is read.
_FEW = 256


def openvino_ops() -> Ops:
    """The operations of `square` as nodes of an OpenVINO graph.

    Returns:
        The operations.
    """
    from handful.features.runtime import ops

    def arange(images: Any, axis: int) -> Any:
        zero, one = (np.array(number, np.int32) for number in (0, 1))
        shape = ops.shape_of(images, "i32")
        length = ops.gather(shape, np.array(axis, np.int32), zero)
        return ops.range(zero, length, one, "i32")

    return Ops(
        arange=arange,
        cast=lambda value, dtype: ops.convert(value, {"float32": "f32", "int32": "i32"}[dtype]),
        max=lambda value: ops.reduce_max(value, np.array([0], np.int32), True),
        floor_divide=ops.divide,
        minimum=ops.minimum,
        maximum=ops.maximum,
        equal=ops.equal,
        greater_equal=ops.greater_equal,
        where=ops.select,
        sqrt=ops.sqrt,
        round=lambda value: ops.round(value, "half_to_even"),
        transpose=lambda value, axes: ops.transpose(value, np.array(axes, np.int32)),
        matmul=lambda first, second: ops.matmul(first, second, False, False),
    )


def folded_head(head: LinearHead) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A head as one matrix and one bias: standardizing and temperature are in them.

    Args:
        head: D features, C classes.

    Returns:
        (D, C) and (C,) float32: logits are embeddings @ matrix + bias.
    """
    matrix = head.weights.astype(np.float64) / head.scale.astype(np.float64)[:, np.newaxis]
    bias = head.bias.astype(np.float64) - head.mean.astype(np.float64) @ matrix
    return matrix.astype(np.float32), bias.astype(np.float32)


def whole_graph(classifier: Classifier, values: Mapping[str, Any], bf16: bool = False) -> Any:
    """Put resizing, network and head into one graph.

    Args:
        classifier: Whose network and head to take.
        values: Metadata to keep in the graph, plain values; see `metadata`.
        bf16: Whether to keep the network's weights in 16 bits.

    Returns:
        `openvino.Model` from "images", uint8 RGB (N, H, W, 3) of any N, H and W, to
        "probabilities", float32 (N, C).

    Raises:
        ModelFileError: When the classifier's network cannot be read.
    """
    from handful.features.runtime import openvino, ops

    images = _images(-1)
    squares = square(openvino_ops(), images, classifier.settings)
    _, probabilities = _answers(classifier, squares)
    model = openvino.Model([ops.result(probabilities)], [images], "classifier")
    model.validate_nodes_and_infer_types()
    if bf16:
        _keep_in_bf16(model)
    for name, value in metadata_texts(values).items():
        model.set_rt_info(value, ["handful", name])
    return model


def network_and_head(classifier: Classifier) -> Any:
    """Put network and head into one graph, for who resizes images otherwise.

    Args:
        classifier: Whose network and head to take.

    Returns:
        `openvino.Model` from "images", uint8 RGB (N, S, S, 3), to "embeddings", float32 (N, D),
        and "probabilities", float32 (N, C).

    Raises:
        ModelFileError: When the classifier's network cannot be read.
    """
    from handful.features.runtime import openvino, ops

    images = _images(classifier.settings.image_size)
    embeddings, probabilities = _answers(classifier, ops.convert(images, "f32"))
    # A node of its own, for the network may name its output as it likes.
    embeddings = ops.convert(embeddings, "f32")
    embeddings.output(0).set_names({EMBEDDINGS_NAME})
    results = [ops.result(value) for value in (embeddings, probabilities)]
    model = openvino.Model(results, [images], "classifier")
    model.validate_nodes_and_infer_types()
    return model


def _images(side: int) -> Any:
    from handful.features.runtime import openvino, ops

    images = ops.parameter(openvino.PartialShape([-1, side, side, 3]), np.uint8, name=INPUT_NAME)
    images.output(0).set_names({INPUT_NAME})
    return images


def _answers(classifier: Classifier, squares: Any) -> tuple[Any, Any]:
    """Embeddings and probabilities of float squares."""
    from handful.features.runtime import ops

    if classifier.test_time_mirror:
        backwards = np.arange(classifier.settings.image_size - 1, -1, -1, dtype=np.int32)
        mirrored = ops.gather(squares, backwards, np.array(2, np.int32))
        squares = ops.concat([squares, mirrored], 0)
    embeddings = _attach_network(classifier, squares)
    if classifier.test_time_mirror:
        shape = np.array([2, -1, classifier.network.embedding_dim], np.int32)
        both = ops.reshape(embeddings, shape, special_zero=False)
        embeddings = ops.reduce_mean(both, np.array([0], np.int32), False)
    matrix, bias = folded_head(classifier.head)
    logits = ops.add(ops.matmul(embeddings, matrix, False, False), bias[np.newaxis])
    probabilities = ops.softmax(logits, 1)
    probabilities.output(0).set_names({OUTPUT_NAME})
    return embeddings, probabilities


def metadata_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as every format keeps them: names to texts.

    Args:
        values: Plain values.

    Returns:
        Texts stay as they are; all else is JSON. Bytes of a name that are no text stand as escapes,
        for no format takes them.
    """
    return {
        name: (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        .encode("utf-8", "backslashreplace")
        .decode("utf-8")
        for name, value in values.items()
    }


def network_graph(classifier: Classifier) -> Any:
    """Read a classifier's frozen network.

    Args:
        classifier: The classifier.

    Returns:
        `openvino.Model` from "images", uint8 (N, S, S, 3), to "embeddings", float32 (N, D).

    Raises:
        ModelFileError: When its files cannot be read.
    """
    return read_network(classifier.network, batch_size=-1)


def _attach_network(classifier: Classifier, squares: Any) -> Any:
    """The network's output node, fed by float images instead of its own input."""
    model = network_graph(classifier)
    (parameter,) = model.get_parameters()
    for consumer in list(parameter.output(0).get_target_inputs()):
        node = consumer.get_node()
        # Pixels are floats already; another network may use them in other ways.
        if node.get_type_name() == "Convert":
            for after in list(node.output(0).get_target_inputs()):
                after.replace_source_output(squares.output(0))
        else:
            from handful.features.runtime import ops

            consumer.replace_source_output(ops.convert(squares, "u8").output(0))
    (result,) = model.get_results()
    return result.input_value(0)


def _keep_in_bf16(model: Any) -> None:
    """Store large float32 constants in bfloat16, each behind a conversion back."""
    from handful.features.runtime import openvino, ops

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != openvino.Type.f32:
            continue
        values = node.data
        if values.size < _FEW:
            continue
        consumers = list(node.output(0).get_target_inputs())
        wide = ops.convert(ops.constant(values, dtype=openvino.Type.bf16), "f32")
        for consumer in consumers:
            consumer.replace_source_output(wide.output(0))
    model.validate_nodes_and_infer_types()
