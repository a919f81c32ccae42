"""A classifier as one Keras model of Keras' own layers and operations, and as a LiteRT file.

The frozen network is rebuilt from OpenVINO's graph, operation by operation: that is all a run keeps
of it, and it works for networks trained from scratch as well. OpenVINO has channels in the second
axis, Keras and LiteRT in the last: images are kept with channels last all the way through.
"""

import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import HandfulError
from handful.exporting.export_graph import INPUT_NAME, OUTPUT_NAME, folded_head, network_graph
from handful.exporting.square_graph import Ops, square
from handful.features.graph_visitor import GraphVisitor, kind_of, unknown_operation
from handful.features.keras_runtime import prepare_keras, usual_keras
from handful.files.drafts import Draft
from handful.models.classifier import Classifier

if TYPE_CHECKING:
    import keras

METADATA_FILE = "handful.json"
# Place of OpenVINO's axes (images, channels, rows, columns) where channels are last.
_AXES = {0: 0, 1: 3, 2: 1, 3: 2}
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_PAIRS = {
    "Add": "add", "Subtract": "subtract", "Multiply": "multiply", "Divide": "divide",
    "Maximum": "maximum", "Minimum": "minimum", "Power": "power",
}  # fmt: skip
_SINGLES = {
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Log": "log", "Sqrt": "sqrt",
    "Erf": "erf", "Swish": "silu", "HSwish": "hard_silu", "HSigmoid": "hard_sigmoid",
    "SoftPlus": "softplus", "Abs": "absolute", "Negative": "negative",
}  # fmt: skip


def keras_ops() -> Ops:
    """The operations of `square` as Keras'.

    Returns:
        The operations.
    """
    import keras

    ops: Any = keras.ops

    def arange(images: Any, axis: int) -> Any:
        # A symbolic shape has no numbers, so ones are added up.
        line = ops.take(ops.take(images, 0, axis=0), 0, axis=2 - axis)
        ones = ops.ones_like(ops.take(line, 0, axis=1), dtype="int32")
        return ops.cumsum(ones) - np.array([1], np.int32)

    return Ops(
        arange=arange,
        cast=ops.cast,
        max=lambda value: ops.max(value, axis=0, keepdims=True),
        floor_divide=ops.floor_divide,
        minimum=ops.minimum,
        maximum=ops.maximum,
        equal=ops.equal,
        greater_equal=ops.greater_equal,
        where=ops.where,
        sqrt=ops.sqrt,
        round=ops.round,
        transpose=ops.transpose,
        matmul=ops.matmul,
    )


def whole_model(classifier: Classifier) -> "keras.Model":
    """Put resizing, network and head into one Keras model.

    Args:
        classifier: Whose network and head to take; its network computes in floating point.

    Returns:
        Functional model from "images", uint8 RGB (N, H, W, 3) of any N, H and W, to
        "probabilities", float32 (N, C). All layers are Keras' own.

    Raises:
        HandfulError: When the network has an operation that has no like in Keras.
        ModelFileError: When the classifier's network cannot be read.
    """
    prepare_keras()
    with usual_keras():
        return _whole_model(classifier)


def _whole_model(classifier: Classifier) -> "keras.Model":
    import keras

    ops: Any = keras.ops
    images = keras.Input((None, None, 3), dtype="uint8", name=INPUT_NAME)
    squares = square(keras_ops(), images, classifier.settings)
    if classifier.test_time_mirror:
        squares = ops.concatenate([squares, ops.flip(squares, axis=2)], axis=0)
    embeddings = network_layers(network_graph(classifier), squares)
    if classifier.test_time_mirror:
        both = ops.reshape(embeddings, (2, -1, classifier.network.embedding_dim))
        embeddings = ops.mean(both, axis=0)
    head = keras.layers.Dense(
        len(classifier.class_names), activation="softmax", dtype="float32", name=OUTPUT_NAME
    )
    probabilities = head(embeddings)
    head.set_weights(folded_head(classifier.head))
    return keras.Model(images, probabilities, name="classifier")


def network_layers(model: Any, squares: Any) -> Any:
    """Apply OpenVINO's network as Keras layers.

    Args:
        model: `openvino.Model` from (N, S, S, 3) to (N, D).
        squares: (N, S, S, 3) float32 Keras tensor.

    Returns:
        (N, D) float32 Keras tensor.

    Raises:
        HandfulError: When the network has an operation that has no like in Keras.
    """
    visitor = _KerasVisitor(squares)
    visitor.visit_all(model)
    return visitor.result


@dataclass(frozen=True)
class _Value:
    """A Keras tensor; `is_last` ones are OpenVINO's with their channels moved last."""

    tensor: Any
    is_last: bool = False

    @property
    def first(self) -> Any:
        """With OpenVINO's order of axes."""
        import keras

        return keras.ops.transpose(self.tensor, _TO_FIRST) if self.is_last else self.tensor

    @property
    def last(self) -> Any:
        """With channels last."""
        import keras

        return self.tensor if self.is_last else keras.ops.transpose(self.tensor, _TO_LAST)


class _KerasVisitor(GraphVisitor[_Value]):
    """OpenVINO's network as Keras layers: `result` is its output."""

    same = _PAIRS | _SINGLES
    result: Any = None

    def __init__(self, squares: Any) -> None:
        import keras

        super().__init__()
        self._layers: Any = keras.layers
        self._ops: Any = keras.ops
        self._squares = squares

    def _value(self, node: Any, place: int = 0) -> _Value:
        value = self.find(node.input_value(place))
        if value is None:
            raise unknown_operation(node.input_value(place).get_node())
        return value

    def _map(self, node: Any, function: Callable[[Any], Any]) -> _Value:
        """A function of each number by itself."""
        value = self._value(node)
        return _Value(function(value.tensor), value.is_last)

    def visit_result(self, node: Any) -> None:
        self.result = self._value(node).first

    def visit_same(self, node: Any, name: str) -> _Value:
        function = getattr(self._ops, name)
        is_pair = node.get_type_name() in _PAIRS
        return self._pair(node, function) if is_pair else self._map(node, function)

    def visit_Parameter(self, node: Any) -> _Value:
        return _Value(self._squares)

    def visit_Convert(self, node: Any) -> _Value:
        return self._value(node)

    def visit_Transpose(self, node: Any) -> _Value:
        value, order = self._value(node), tuple(_constant(node, 1).tolist())
        if order == _TO_FIRST and not value.is_last:
            return _Value(value.tensor, is_last=True)
        if order == _TO_LAST and value.is_last:
            return _Value(value.tensor)
        return _Value(self._ops.transpose(value.first, order))

    def visit_convolution(self, node: Any, bias: NDArray[np.float32] | None) -> _Value:
        attributes, weights = node.get_attributes(), _constant(node, 1)
        images = self._value(node).last
        same = attributes["auto_pad"] == "same_upper"
        options: dict[str, Any] = {
            "kernel_size": weights.shape[-2:],
            "strides": tuple(attributes["strides"]),
            "padding": "same" if same else "valid",
            "dilation_rate": tuple(attributes["dilations"]),
            "use_bias": bias is not None,
        }
        if not same:
            images = self._padded(images, attributes["pads_begin"], attributes["pads_end"])
        if node.get_type_name() == "Convolution":
            layer = self._layers.Conv2D(len(weights), **options)
            kernel = weights.transpose(2, 3, 1, 0)
        elif weights.shape[2] == 1:
            layer = self._layers.DepthwiseConv2D(depth_multiplier=weights.shape[1], **options)
            kernel = weights[:, :, 0].transpose(2, 3, 0, 1)
        else:
            groups, outputs = weights.shape[:2]
            layer = self._layers.Conv2D(groups * outputs, groups=groups, **options)
            kernel = weights.reshape(-1, *weights.shape[2:]).transpose(2, 3, 1, 0)
        result = layer(images)
        layer.set_weights([kernel] if bias is None else [kernel, bias])
        return _Value(result, is_last=True)

    def _padded(self, images: Any, begin: Any, end: Any) -> Any:
        if not any([*begin, *end]):
            return images
        sides = tuple(zip(map(int, begin), map(int, end), strict=True))
        return self._layers.ZeroPadding2D(sides)(images)

    def visit_MaxPool(self, node: Any) -> _Value:
        return self._pool(node, self._layers.MaxPooling2D)

    def visit_AvgPool(self, node: Any) -> _Value:
        return self._pool(node, self._layers.AveragePooling2D)

    def _pool(self, node: Any, layer: Callable[..., Any]) -> _Value:
        attributes = node.get_attributes()
        same = attributes["auto_pad"] == "same_upper"
        padded = any([*attributes["pads_begin"], *attributes["pads_end"]])
        # A mean over the padding's zeros as well; OpenVINO spells it with a hyphen.
        is_other = padded and not (same and attributes.get("exclude-pad", True))
        if is_other or attributes["rounding_type"] != "floor":
            raise unknown_operation(node)
        size, strides = tuple(attributes["kernel"]), tuple(attributes["strides"])
        pool = layer(size, strides=strides, padding="same" if same else "valid")
        return _Value(pool(self._value(node).last), is_last=True)

    def visit_Relu(self, node: Any) -> _Value:
        return self._map(node, self._layers.ReLU())

    def visit_Elu(self, node: Any) -> _Value:
        return self._map(node, self._layers.ELU(node.get_attributes()["alpha"]))

    def visit_Clamp(self, node: Any) -> _Value:
        low, high = (node.get_attributes()[name] for name in ("min", "max"))
        if low == 0:
            return self._map(node, self._layers.ReLU(max_value=high))
        return self._map(node, lambda tensor: self._ops.clip(tensor, low, high))

    def visit_Gelu(self, node: Any) -> _Value:
        approximate = node.get_attributes()["approximation_mode"].lower() == "tanh"
        return self._map(node, lambda tensor: self._ops.gelu(tensor, approximate=approximate))

    def visit_Softmax(self, node: Any) -> _Value:
        axis = node.get_attributes()["axis"]
        return _Value(self._ops.softmax(self._value(node).first, axis=axis))

    def visit_SquaredDifference(self, node: Any) -> _Value:
        difference = self._pair(node, self._ops.subtract)
        return _Value(self._ops.square(difference.tensor), difference.is_last)

    def _pair(self, node: Any, function: Callable[[Any, Any], Any]) -> _Value:
        """A function of two numbers each; one may be a constant."""
        values = [self.find(source) for source in node.input_values()]
        rank = node.output(0).get_partial_shape().rank.get_length()
        is_last = rank == 4 and any(value is not None and value.is_last for value in values)
        tensors = []
        for place, value in enumerate(values):
            if value is None:
                tensors.append(_spread(_constant(node, place), rank, is_last))
            else:
                is_image = is_last and len(value.tensor.shape) == rank
                tensors.append(value.last if is_image else value.first)
        return _Value(function(*tensors), is_last)

    def visit_ReduceMean(self, node: Any) -> _Value:
        return self._reduce(node, self._ops.mean)

    def visit_ReduceMax(self, node: Any) -> _Value:
        return self._reduce(node, self._ops.max)

    def visit_ReduceSum(self, node: Any) -> _Value:
        return self._reduce(node, self._ops.sum)

    def _reduce(self, node: Any, function: Callable[..., Any]) -> _Value:
        value, keep = self._value(node), bool(node.get_attributes()["keep_dims"])
        rank = len(value.tensor.shape)
        axes = [axis % rank for axis in _constant(node, 1).reshape(-1).tolist()]
        # Without the axes of rows and columns, channels are the last axis either way.
        if value.is_last and (keep or sorted(axes) == [2, 3]):
            axes = [_AXES[axis] for axis in axes]
            return _Value(function(value.tensor, axis=axes, keepdims=keep), is_last=keep)
        return _Value(function(value.first, axis=axes, keepdims=keep))

    def visit_MVN(self, node: Any) -> _Value:
        attributes, value = node.get_attributes(), self._value(node).first
        axes = _constant(node, 1).tolist()
        centered = value - self._ops.mean(value, axis=axes, keepdims=True)
        if not attributes["normalize_variance"]:
            return _Value(centered)
        variance = self._ops.mean(self._ops.square(centered), axis=axes, keepdims=True)
        if attributes["eps_mode"].lower() == "inside_sqrt":
            return _Value(centered / self._ops.sqrt(variance + attributes["eps"]))
        return _Value(centered / (self._ops.sqrt(variance) + attributes["eps"]))

    def visit_Concat(self, node: Any) -> _Value:
        values = [self._value(node, place) for place in range(len(node.inputs()))]
        axis = node.get_attributes()["axis"] % len(values[0].tensor.shape)
        if any(value.is_last for value in values):
            images = [value.last for value in values]
            return _Value(self._ops.concatenate(images, axis=_AXES[axis]), is_last=True)
        return _Value(self._ops.concatenate([value.tensor for value in values], axis=axis))

    def visit_Reshape(self, node: Any) -> _Value:
        # Each image keeps its own numbers: the first axis is never given.
        shape = node.output(0).get_partial_shape()
        sizes = [dimension.get_length() for dimension in list(shape)[1:]]
        return _Value(self._layers.Reshape(sizes)(self._value(node).first))

    def visit_MatMul(self, node: Any) -> _Value:
        attributes, weights = node.get_attributes(), _constant(node, 1)
        value = self._value(node).first
        if attributes["transpose_a"] or weights.ndim != 2:
            raise unknown_operation(node)
        kernel = weights.T if attributes["transpose_b"] else weights
        layer = self._layers.Dense(kernel.shape[1], use_bias=False)
        result = layer(value)
        layer.set_weights([kernel])
        return _Value(result)

    def visit_Pad(self, node: Any) -> _Value:
        begin, end = (_constant(node, place).tolist() for place in (1, 2))
        value = _constant(node, 3).item() if len(node.inputs()) > 3 else 0.0
        outside = [*begin[:2], *end[:2], value]
        if len(begin) != 4 or any(outside) or node.get_attributes()["pad_mode"] != "constant":
            raise unknown_operation(node)
        return _Value(self._padded(self._value(node).last, begin[2:], end[2:]), is_last=True)

    def visit_ReverseSequence(self, node: Any) -> _Value:
        value, axis = self._value(node), node.get_attributes()["seq_axis"]
        axis = _AXES[axis] if value.is_last else axis
        return _Value(self._ops.flip(value.tensor, axis=axis), value.is_last)


def _constant(node: Any, place: int) -> NDArray[Any]:
    source = node.input_value(place)
    if kind_of(source) != "Constant":
        raise unknown_operation(source.get_node())
    return np.array(source.get_node().data)


def _spread(values: NDArray[Any], rank: int, is_last: bool) -> NDArray[Any]:
    """A constant to compute with tensors of this rank."""
    if not is_last:
        return values
    return values.reshape([1] * (rank - values.ndim) + list(values.shape)).transpose(_TO_LAST)


def write_keras(model: "keras.Model", path: Path, metadata: Mapping[str, str]) -> None:
    """Write a model as a .keras file.

    Args:
        model: From `whole_model`.
        path: File to make; its name ends in .keras.
        metadata: Metadata, kept in a file of its own inside: a .keras file is a zip archive.
    """
    model.save(path)
    _add_metadata(path, metadata)


def write_litert(model: "keras.Model", path: Path, metadata: Mapping[str, str]) -> None:
    """Write a model as a LiteRT file of LiteRT's own operations.

    Args:
        model: From `whole_model`.
        path: File to make.
        metadata: Metadata, in a zip archive after the model, as LiteRT files keep their labels.

    Raises:
        HandfulError: When Keras does not compute with TensorFlow, or LiteRT lacks an operation.
    """
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise HandfulError(
            f"Keras computes with {keras.backend.backend()} here; LiteRT files are made with "
            "TensorFlow. Set KERAS_BACKEND=tensorflow, or unset it."
        )

    def classify(images: Any) -> Any:
        return {OUTPUT_NAME: model(images, training=False)}

    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8, name=INPUT_NAME)]
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", classify, input_signature=signature)
    with Draft(Path(tempfile.gettempdir())) as draft:
        archive.write_out(str(draft.path), verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(draft.path))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = converter.convert()
        except Exception as error:  # TensorFlow does not show its class
            missing = re.search(r"(?:TF Select|Custom) ops: ([\w, ]+)", str(error))
            reason = f"operations {missing[1]}" if missing else str(error).splitlines()[0]
            raise HandfulError(
                f"LiteRT cannot compute this network without TensorFlow beside it ({reason}). "
                "Export it with `format` openvino, onnx or keras."
            ) from error
        path.write_bytes(content)
    _add_metadata(path, metadata)


def _add_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Add a text file to a zip archive; after a file that is none, an archive is begun."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA_FILE, json.dumps(dict(metadata), indent=2, ensure_ascii=False))
