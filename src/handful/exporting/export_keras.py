"""A classifier as one Keras model of Keras' own layers and operations, and as a LiteRT file.

The frozen network is rebuilt from OpenVINO's graph, operation by operation: that is all a run keeps
of it, and it works for networks trained from scratch as well. OpenVINO has channels in the second
axis, Keras and LiteRT in the last: pictures are kept with channels last all the way through.
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
from handful.exporting.export_onnx import biased_convolution, unknown_operation
from handful.exporting.square_graph import Dialect, square
from handful.features.keras_runtime import prepare_keras, usual_keras
from handful.files.drafts import Draft
from handful.models.classifier import Classifier

if TYPE_CHECKING:
    import keras

METADATA_FILE = "handful.json"
# Place of OpenVINO's axes (pictures, channels, rows, columns) where channels are last.
_AXES = {0: 0, 1: 3, 2: 1, 3: 2}
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_PAIRS = {
    "Add": "add", "Subtract": "subtract", "Multiply": "multiply", "Divide": "divide",
    "Maximum": "maximum", "Minimum": "minimum", "Power": "power",
    "SquaredDifference": "subtract",
}  # fmt: skip
_SINGLES = {
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Log": "log", "Sqrt": "sqrt",
    "Erf": "erf", "Swish": "silu", "HSwish": "hard_silu", "HSigmoid": "hard_sigmoid",
    "SoftPlus": "softplus", "Abs": "absolute", "Negative": "negative",
}  # fmt: skip
_REDUCTIONS = {"ReduceMean": "mean", "ReduceMax": "max", "ReduceSum": "sum"}


class KerasDialect(Dialect):
    """The operations of `square_graph.Dialect` as Keras'."""

    def __init__(self) -> None:
        import keras

        self._ops: Any = keras.ops

    def ramp(self, images: Any, axis: int) -> Any:
        """As in `Dialect`; a symbolic shape has no numbers, so ones are added up.

        Args:
            images: (N, H, W, 3).
            axis: 1 or 2.

        Returns:
            (n,) int32.
        """
        line = self._ops.take(images, 0, axis=0)
        line = self._ops.take(line, 0, axis=2 - axis)
        ones = self._ops.ones_like(self._ops.take(line, 0, axis=1), dtype="int32")
        return self._ops.cumsum(ones) - np.array([1], np.int32)

    def to_float(self, value: Any) -> Any:
        """As in `Dialect`.

        Args:
            value: A tensor.

        Returns:
            float32.
        """
        return self._ops.cast(value, "float32")

    def to_int(self, value: Any) -> Any:
        """As in `Dialect`.

        Args:
            value: float32 or bool.

        Returns:
            int32.
        """
        return self._ops.cast(value, "int32")

    def most(self, value: Any) -> Any:
        """As in `Dialect`.

        Args:
            value: (n,) int32.

        Returns:
            (1,) int32.
        """
        return self._ops.max(value, axis=0, keepdims=True)

    def floor_divide(self, value: Any, by: Any) -> Any:
        """As in `Dialect`.

        Args:
            value: int32 of 0 or more.
            by: int32, positive.

        Returns:
            int32.
        """
        return self._ops.floor_divide(value, by)

    def choose(self, condition: Any, first: Any, second: Any) -> Any:
        """As in `Dialect`.

        Args:
            condition: bool.
            first: float32.
            second: float32.

        Returns:
            float32.
        """
        return self._ops.where(condition, first, second)

    def round(self, value: Any) -> Any:
        """As in `Dialect`.

        Args:
            value: float32.

        Returns:
            float32.
        """
        return self._ops.round(value)

    def turn(self, value: Any, axes: tuple[int, ...]) -> Any:
        """As in `Dialect`.

        Args:
            value: A tensor.
            axes: Their new order.

        Returns:
            The tensor with its axes in that order.
        """
        return self._ops.transpose(value, axes)

    def product(self, first: Any, second: Any) -> Any:
        """As in `Dialect`.

        Args:
            first: (..., A, B) float32.
            second: (..., B, C) float32.

        Returns:
            (..., A, C) float32.
        """
        return self._ops.matmul(first, second)


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
    squares = square(KerasDialect(), images, classifier.settings)
    if classifier.test_time_mirror:
        squares = ops.concatenate([squares, ops.flip(squares, axis=2)], axis=0)
    embeddings = _Network(network_graph(classifier)).apply(squares)
    if classifier.test_time_mirror:
        both = ops.reshape(embeddings, (2, -1, classifier.network.embedding_dim))
        embeddings = ops.mean(both, axis=0)
    head = keras.layers.Dense(
        len(classifier.class_names), activation="softmax", dtype="float32", name=OUTPUT_NAME
    )
    probabilities = head(embeddings)
    head.set_weights(folded_head(classifier.head))
    return keras.Model(images, probabilities, name="classifier")


@dataclass(frozen=True)
class _Value:
    """A Keras tensor; `turned` ones are OpenVINO's with their channels moved last."""

    tensor: Any
    turned: bool = False

    @property
    def plain(self) -> Any:
        """With OpenVINO's order of axes."""
        import keras

        return keras.ops.transpose(self.tensor, _TO_FIRST) if self.turned else self.tensor

    @property
    def pictures(self) -> Any:
        """With channels last."""
        import keras

        return self.tensor if self.turned else keras.ops.transpose(self.tensor, _TO_LAST)


class _Network:
    """OpenVINO's network as Keras layers: `apply` runs through its operations in order."""

    def __init__(self, model: Any) -> None:
        import keras

        self._layers: Any = keras.layers
        self._ops: Any = keras.ops
        self._model = model
        self._values: dict[str, _Value] = {}
        self._errors: dict[str, HandfulError] = {}
        self._rules: dict[str, Callable[[Any], _Value]] = {
            "Convert": lambda node: self._value(node, 0),
            "Transpose": self._transpose,
            "Convolution": self._convolution,
            "GroupConvolution": self._convolution,
            "MaxPool": self._pool,
            "AvgPool": self._pool,
            "Relu": lambda node: self._like(node, self._layers.ReLU()),
            "Clamp": self._clamp,
            "Elu": lambda node: self._like(node, self._layers.ELU(_facts(node)["alpha"])),
            "Gelu": self._gelu,
            "MVN": self._normalise,
            "Softmax": self._softmax,
            "Concat": self._concatenate,
            "Reshape": self._reshape,
            "MatMul": self._product,
            "Pad": self._pad,
            "ReverseSequence": self._reverse,
        }

    def apply(self, squares: Any) -> Any:
        """The network's output for pictures.

        Args:
            squares: (N, S, S, 3) float32 tensor.

        Returns:
            (N, D) float32 tensor.
        """
        for node in self._model.get_ordered_ops():
            kind = node.get_type_name()
            if kind == "Result":
                return self._value(node, 0).plain
            if kind == "Constant":
                continue  # read where it is used
            try:
                value = _Value(squares) if kind == "Parameter" else self._rewritten(node, kind)
            except HandfulError as error:
                # No harm unless it is asked for: a rule may have read what it computes.
                self._errors[node.get_name()] = error
                continue
            if value is not None:
                self._values[node.get_name()] = value
        raise AssertionError("a network has an output")

    def _rewritten(self, node: Any, kind: str) -> _Value | None:
        """An operation's output; None for what is written together with another one."""
        if kind == "Add" and (parts := biased_convolution(node)) is not None:
            return self._convolution(*parts)
        if kind.endswith("Convolution") and _bias_follows(node):
            return None
        if kind in _PAIRS:
            return self._pair(node)
        if kind in _SINGLES:
            return self._like(node, getattr(self._ops, _SINGLES[kind]))
        if kind in _REDUCTIONS:
            return self._reduce(node)
        if kind in self._rules:
            return self._rules[kind](node)
        raise unknown_operation(node)

    def _value(self, node: Any, place: int) -> _Value:
        source = node.input_value(place).get_node()
        if source.get_name() not in self._values:
            raise self._errors.get(source.get_name()) or unknown_operation(source)
        return self._values[source.get_name()]

    def _like(self, node: Any, function: Callable[[Any], Any]) -> _Value:
        """A function of each number by itself."""
        value = self._value(node, 0)
        return _Value(function(value.tensor), value.turned)

    def _transpose(self, node: Any) -> _Value:
        value, order = self._value(node, 0), tuple(_constant(node, 1).tolist())
        if order == _TO_FIRST and not value.turned:
            return _Value(value.tensor, turned=True)
        if order == _TO_LAST and value.turned:
            return _Value(value.tensor)
        return _Value(self._ops.transpose(value.plain, order))

    def _convolution(self, node: Any, bias: NDArray[np.float32] | None = None) -> _Value:
        facts, weights = _facts(node), _constant(node, 1)
        pictures = self._value(node, 0).pictures
        same = facts["auto_pad"] == "same_upper"
        options: dict[str, Any] = {
            "kernel_size": weights.shape[-2:],
            "strides": tuple(facts["strides"]),
            "padding": "same" if same else "valid",
            "dilation_rate": tuple(facts["dilations"]),
            "use_bias": bias is not None,
        }
        if not same:
            pictures = self._padded(pictures, facts["pads_begin"], facts["pads_end"])
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
        result = layer(pictures)
        layer.set_weights([kernel] if bias is None else [kernel, bias.reshape(-1)])
        return _Value(result, turned=True)

    def _padded(self, pictures: Any, begin: Any, end: Any) -> Any:
        if not any([*begin, *end]):
            return pictures
        sides = tuple(zip(begin, end, strict=True))
        return self._layers.ZeroPadding2D(tuple(map(tuple, sides)))(pictures)

    def _pool(self, node: Any) -> _Value:
        facts = _facts(node)
        same = facts["auto_pad"] == "same_upper"
        padded = any([*facts["pads_begin"], *facts["pads_end"]])
        is_mean = node.get_type_name() == "AvgPool"
        if (padded and not same) or facts["rounding_type"] != "floor":
            raise unknown_operation(node)
        if padded and is_mean and not facts["exclude-pad"]:
            raise unknown_operation(node)
        kind = self._layers.AveragePooling2D if is_mean else self._layers.MaxPooling2D
        layer = kind(
            tuple(facts["kernel"]),
            strides=tuple(facts["strides"]),
            padding="same" if same else "valid",
        )
        return _Value(layer(self._value(node, 0).pictures), turned=True)

    def _clamp(self, node: Any) -> _Value:
        low, high = _facts(node)["min"], _facts(node)["max"]
        if low == 0:
            return self._like(node, self._layers.ReLU(max_value=high))
        return self._like(node, lambda tensor: self._ops.clip(tensor, low, high))

    def _gelu(self, node: Any) -> _Value:
        approximate = _facts(node)["approximation_mode"].lower() == "tanh"
        return self._like(node, lambda tensor: self._ops.gelu(tensor, approximate=approximate))

    def _softmax(self, node: Any) -> _Value:
        axis = _facts(node)["axis"]
        return _Value(self._ops.softmax(self._value(node, 0).plain, axis=axis))

    def _pair(self, node: Any) -> _Value:
        """A function of two numbers each; one may be a constant."""
        kind = node.get_type_name()
        function = getattr(self._ops, _PAIRS[kind])
        sides = [value.get_node() for value in node.input_values()]
        found = [self._values.get(side.get_name()) for side in sides]
        rank = node.output(0).get_partial_shape().rank.get_length()
        turned = rank == 4 and any(value is not None and value.turned for value in found)
        tensors = []
        for place, value in enumerate(found):
            if value is None and sides[place].get_name() in self._errors:
                raise self._errors[sides[place].get_name()]
            if value is None:
                tensors.append(_spread(_constant(node, place), rank, turned))
            elif turned and len(value.tensor.shape) == rank:
                tensors.append(value.pictures)
            else:
                tensors.append(value.plain)
        result = function(*tensors)
        return _Value(self._ops.square(result) if kind == "SquaredDifference" else result, turned)

    def _reduce(self, node: Any) -> _Value:
        function = getattr(self._ops, _REDUCTIONS[node.get_type_name()])
        value, keep = self._value(node, 0), bool(_facts(node)["keep_dims"])
        rank = len(value.tensor.shape)
        axes = [axis % rank for axis in _constant(node, 1).reshape(-1).tolist()]
        # Without the axes of rows and columns, channels are the last axis either way.
        if value.turned and (keep or sorted(axes) == [2, 3]):
            axes = [_AXES[axis] for axis in axes]
            return _Value(function(value.tensor, axis=axes, keepdims=keep), turned=keep)
        return _Value(function(value.plain, axis=axes, keepdims=keep))

    def _normalise(self, node: Any) -> _Value:
        facts, value = _facts(node), self._value(node, 0).plain
        axes = _constant(node, 1).tolist()
        centred = value - self._ops.mean(value, axis=axes, keepdims=True)
        if not facts["normalize_variance"]:
            return _Value(centred)
        variance = self._ops.mean(self._ops.square(centred), axis=axes, keepdims=True)
        if facts["eps_mode"].lower() == "inside_sqrt":
            return _Value(centred / self._ops.sqrt(variance + facts["eps"]))
        return _Value(centred / (self._ops.sqrt(variance) + facts["eps"]))

    def _concatenate(self, node: Any) -> _Value:
        values = [self._value(node, place) for place in range(len(node.inputs()))]
        rank = len(values[0].tensor.shape)
        axis = _facts(node)["axis"] % rank
        if any(value.turned for value in values):
            pictures = [value.pictures for value in values]
            return _Value(self._ops.concatenate(pictures, axis=_AXES[axis]), turned=True)
        return _Value(self._ops.concatenate([value.tensor for value in values], axis=axis))

    def _reshape(self, node: Any) -> _Value:
        value = self._value(node, 0).plain
        # Each picture keeps its own numbers: the first axis is never given.
        shape = node.output(0).get_partial_shape()
        sizes = [dimension.get_length() for dimension in list(shape)[1:]]
        return _Value(self._layers.Reshape(sizes)(value))

    def _product(self, node: Any) -> _Value:
        facts, value, weights = _facts(node), self._value(node, 0).plain, _constant(node, 1)
        if facts["transpose_a"] or weights.ndim != 2:
            raise unknown_operation(node)
        kernel = weights.T if facts["transpose_b"] else weights
        layer = self._layers.Dense(kernel.shape[1], use_bias=False)
        result = layer(value)
        layer.set_weights([kernel])
        return _Value(result)

    def _pad(self, node: Any) -> _Value:
        begin, end = (_constant(node, place).tolist() for place in (1, 2))
        value = _constant(node, 3).item() if len(node.inputs()) > 3 else 0.0
        outside = [*begin[:2], *end[:2], value]
        if len(begin) != 4 or any(outside) or _facts(node)["pad_mode"] != "constant":
            raise unknown_operation(node)
        pictures = self._value(node, 0).pictures
        return _Value(self._padded(pictures, begin[2:], end[2:]), turned=True)

    def _reverse(self, node: Any) -> _Value:
        value, axis = self._value(node, 0), _facts(node)["seq_axis"]
        axis = _AXES[axis] if value.turned else axis
        return _Value(self._ops.flip(value.tensor, axis=axis), value.turned)


def _facts(node: Any) -> dict[str, Any]:
    facts: dict[str, Any] = node.get_attributes()
    return facts


def _constant(node: Any, place: int) -> NDArray[Any]:
    source = node.input_value(place).get_node()
    if source.get_type_name() != "Constant":
        raise unknown_operation(source)
    return np.array(source.data)


def _spread(values: NDArray[Any], rank: int, turned: bool) -> NDArray[Any]:
    """A constant to compute with tensors of this rank."""
    if not turned:
        return values
    return values.reshape([1] * (rank - values.ndim) + list(values.shape)).transpose(_TO_LAST)


def _bias_follows(node: Any) -> bool:
    """Whether a convolution is written with the sum that takes it."""
    consumers = [target.get_node() for target in node.output(0).get_target_inputs()]
    return any(
        consumer.get_type_name() == "Add" and biased_convolution(consumer) is not None
        for consumer in consumers
    )


def write_keras(model: "keras.Model", path: Path, facts: Mapping[str, str]) -> None:
    """Write a model as a .keras file.

    Args:
        model: From `whole_model`.
        path: File to make; its name ends in .keras.
        facts: Metadata, kept in a file of its own inside: a .keras file is a zip archive.
    """
    model.save(path)
    _add_metadata(path, facts)


def write_litert(model: "keras.Model", path: Path, facts: Mapping[str, str]) -> None:
    """Write a model as a LiteRT file of LiteRT's own operations.

    Args:
        model: From `whole_model`.
        path: File to make.
        facts: Metadata, in a zip archive after the model, as LiteRT files keep their labels.

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
    _add_metadata(path, facts)


def _add_metadata(path: Path, facts: Mapping[str, str]) -> None:
    """Add a text file to a zip archive; after a file that is none, an archive is begun."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA_FILE, json.dumps(dict(facts), indent=2, ensure_ascii=False))
