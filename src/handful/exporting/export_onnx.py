"""A graph of OpenVINO's as an ONNX file, operation by operation.

OpenVINO reads ONNX and does not write it. Its operations have nearly the same definitions, so each
is rewritten as its like; one without a like is refused by name. Eight-bit networks become pairs of
QuantizeLinear and DequantizeLinear, which ONNX Runtime computes in whole numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import HandfulError

# Of 2022 and 2023: old runtimes read them.
_OPSET, _IR_VERSION = 18, 8
_SAME = {
    "Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Divide": "Div", "Power": "Pow",
    "Minimum": "Min", "Maximum": "Max", "Equal": "Equal", "GreaterEqual": "GreaterOrEqual",
    "Select": "Where", "Range": "Range", "Relu": "Relu", "Sigmoid": "Sigmoid", "Tanh": "Tanh",
    "Exp": "Exp", "Log": "Log", "Sqrt": "Sqrt", "Round": "Round", "Erf": "Erf",
    "Negative": "Neg", "Floor": "Floor", "Abs": "Abs", "HSwish": "HardSwish",
    "SoftPlus": "Softplus",
}  # fmt: skip
_REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceSum")
_LEVELS = 256


def write_onnx(model: Any, path: Path, facts: Mapping[str, str]) -> None:
    """Write a graph as an ONNX file.

    Args:
        model: `openvino.Model` with one input and one output, sides fixed inside the network.
        path: File to make.
        facts: Metadata, names to texts.

    Raises:
        HandfulError: When the graph has an operation that has no like.
    """
    import onnx

    graph = _Graph()
    for node in model.get_ordered_ops():
        graph.add(node)
    graph.drop_unused()
    made = onnx.helper.make_graph(
        graph.nodes, "classifier", graph.inputs, graph.outputs, graph.constants
    )
    opset = [onnx.helper.make_opsetid("", _OPSET)]
    written = onnx.helper.make_model(
        made, opset_imports=opset, ir_version=_IR_VERSION, producer_name="handful"
    )
    onnx.helper.set_model_props(written, dict(facts))
    onnx.checker.check_model(written, full_check=True)
    onnx.save(written, path)


class _Graph:
    """The ONNX graph as it grows: `add` takes OpenVINO's operations in order."""

    def __init__(self) -> None:
        import onnx

        self._onnx: Any = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        # Where each of OpenVINO's outputs is: (operation's number, output) -> name.
        self._names: dict[Any, str] = {}
        self._errors: dict[Any, HandfulError] = {}
        self._count = 0
        self._rules: dict[str, Callable[[Any], str]] = {
            "Convert": self._convert,
            "Transpose": self._transpose,
            "Convolution": self._convolution,
            "GroupConvolution": self._convolution,
            "MaxPool": self._pool,
            "AvgPool": self._pool,
            "Clamp": self._clamp,
            "Swish": self._swish,
            "HSigmoid": lambda node: self._emit("HardSigmoid", node, alpha=1 / 6, beta=0.5),
            "Elu": lambda node: self._emit("Elu", node, alpha=node.get_attributes()["alpha"]),
            "Gelu": self._gelu,
            "MVN": self._normalise,
            "SquaredDifference": self._squared_difference,
            "ShapeOf": self._shape,
            "Gather": self._gather,
            "Concat": lambda node: self._emit("Concat", node, axis=node.get_attributes()["axis"]),
            "Softmax": lambda node: self._emit("Softmax", node, axis=node.get_attributes()["axis"]),
            "Reshape": self._reshape,
            "Squeeze": lambda node: self._emit("Squeeze", node, wide=(1,)),
            "Unsqueeze": lambda node: self._emit("Unsqueeze", node, wide=(1,)),
            "MatMul": self._product,
            "Pad": self._pad,
            "StridedSlice": self._slice,
            "FakeQuantize": self._quantise,
            "ReverseSequence": self._reverse,
        }

    def add(self, node: Any) -> None:
        """Write one operation of OpenVINO's."""
        kind = node.get_type_name()
        if kind == "Result":
            self._output(node)
        elif kind != "Constant":  # which are written where they are used
            try:
                self._names[_key(node.output(0))] = self._rewritten(node, kind)
            except HandfulError as error:
                # No harm unless it is asked for: a rule may have read what it computes.
                self._errors[_key(node.output(0))] = error

    def _rewritten(self, node: Any, kind: str) -> str:
        """Name of an operation's output."""
        if kind == "Parameter":
            return self._input(node)
        if kind == "Add" and (parts := biased_convolution(node)) is not None:
            return self._convolution(*parts)
        if kind in _SAME:
            return self._emit(_SAME[kind], node)
        if kind in _REDUCTIONS:
            keep = int(node.get_attributes()["keep_dims"])
            return self._emit(kind, node, wide=(1,), keepdims=keep)
        if kind in self._rules:
            return self._rules[kind](node)
        raise unknown_operation(node)

    def drop_unused(self) -> None:
        """Leave out what no output needs."""
        needed = {value.name for value in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = [value for value in self.constants if value.name in needed]

    def _input(self, node: Any) -> str:
        (name,) = node.output(0).get_names()
        shape = ["N", "H", "W", 3]
        kind = self._onnx.TensorProto.UINT8
        self.inputs.append(self._onnx.helper.make_tensor_value_info(name, kind, shape))
        return str(name)

    def _output(self, node: Any) -> None:
        source = node.input_value(0)
        name = next(iter(source.get_names()))
        self.nodes.append(self._onnx.helper.make_node("Identity", [self._name(source)], [name]))
        shape = ["N", int(source.get_partial_shape()[1].get_length())]
        kind = self._onnx.TensorProto.FLOAT
        self.outputs.append(self._onnx.helper.make_tensor_value_info(name, kind, shape))

    def _emit(self, kind: str, node: Any, wide: Sequence[int] = (), **attributes: Any) -> str:
        """An operation with the inputs of OpenVINO's; those in `wide` become int64."""
        inputs = [
            self._integers(value) if place in wide else self._name(value)
            for place, value in enumerate(node.input_values())
        ]
        return self._node(kind, inputs, **attributes)

    def _node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        self._count += 1
        name = f"{kind.lower()}_{self._count}"
        self.nodes.append(
            self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        )
        return name

    def _constant(self, values: NDArray[Any] | np.generic) -> str:
        self._count += 1
        name = f"constant_{self._count}"
        values = np.ascontiguousarray(values)
        self.constants.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def _name(self, value: Any) -> str:
        """Name of a value of OpenVINO's; a constant is written at its first use."""
        key, node = _key(value), value.get_node()
        if key not in self._names:
            if node.get_type_name() != "Constant":
                raise self._errors.get(key) or unknown_operation(node)
            self._names[key] = self._constant(node.data.copy())
        return self._names[key]

    def _integers(self, value: Any) -> str:
        return self._constant(_fixed(value).astype(np.int64))

    def _type(self, value: Any) -> int:
        """Element type, as ONNX numbers it."""
        kind: int = self._onnx.helper.np_dtype_to_tensor_dtype(
            np.dtype(value.get_element_type().to_dtype())
        )
        return kind

    def _convert(self, node: Any) -> str:
        return self._node("Cast", [self._name(node.input_value(0))], to=self._type(node.output(0)))

    def _transpose(self, node: Any) -> str:
        order = _fixed(node.input_value(1)).tolist()
        return self._node("Transpose", [self._name(node.input_value(0))], perm=order)

    def _convolution(self, node: Any, bias: NDArray[np.float32] | None = None) -> str:
        value, source = node.input_value(1), node.input_value(0)
        grouped = node.get_type_name() == "GroupConvolution"
        shape = list(value.get_shape())
        groups = shape[0] if grouped else 1
        # OpenVINO has (groups, outputs, inputs, ...), ONNX all outputs in one axis.
        merged = [shape[0] * shape[1], *shape[2:]] if grouped else shape
        parts = _eight_bits(value)
        if parts is not None and _kind(source) == "FakeQuantize":
            rest = self._eight_bit_weights(*parts, merged, bias, steps_of(source.get_node())[0])
        else:
            rest = [self._constant(_fixed(value).reshape(merged))]
            rest += [] if bias is None else [self._constant(bias.reshape(-1))]
        facts = node.get_attributes()
        return self._node(
            "Conv",
            [self._name(source), *rest],
            group=groups,
            strides=facts["strides"],
            dilations=facts["dilations"],
            pads=[*facts["pads_begin"], *facts["pads_end"]],
        )

    def _eight_bit_weights(
        self,
        numbers: NDArray[np.int8],
        scales: NDArray[np.float32],
        shape: list[int],
        bias: NDArray[np.float32] | None,
        step: float,
    ) -> list[str]:
        """Weights, and the bias in 32-bit steps of input times weight.

        Those steps are fine enough to change nothing; with a bias in floating point ONNX Runtime
        would compute the convolution in floating point.
        """
        bias = np.zeros(shape[0], np.float32) if bias is None else bias.reshape(-1)
        own = np.broadcast_to(scales.reshape(-1), shape[:1]).astype(np.float64)
        # A channel whose weights are next to nothing needs coarser steps for its bias to fit.
        coarse = np.maximum(own, np.abs(bias) / (step * 2**30)).astype(np.float32)
        ratios = (own / coarse).reshape(-1, *[1] * (len(shape) - 1))
        whole = np.round(numbers.reshape(shape) * ratios).astype(np.int8)
        steps = np.float32(step) * coarse
        biases = np.round(bias.astype(np.float64) / steps).astype(np.int32)
        return [
            self._node("DequantizeLinear", [self._constant(part), self._constant(scale)], axis=0)
            for part, scale in ((whole, coarse), (biases, steps))
        ]

    def _pool(self, node: Any) -> str:
        facts = node.get_attributes()
        options: dict[str, Any] = {
            "kernel_shape": facts["kernel"],
            "strides": facts["strides"],
            "pads": [*facts["pads_begin"], *facts["pads_end"]],
            "ceil_mode": int(facts["rounding_type"] == "ceil"),
        }
        if node.get_type_name() == "AvgPool":
            # OpenVINO spells it with a hyphen.
            options["count_include_pad"] = int(not facts["exclude-pad"])
        kind = {"MaxPool": "MaxPool", "AvgPool": "AveragePool"}[node.get_type_name()]
        return self._node(kind, [self._name(node.input_value(0))], **options)

    def _clamp(self, node: Any) -> str:
        facts = node.get_attributes()
        limits = [self._constant(np.float32(facts[name])) for name in ("min", "max")]
        return self._node("Clip", [self._name(node.input_value(0)), *limits])

    def _swish(self, node: Any) -> str:
        x = self._name(node.input_value(0))
        steep = x
        if len(node.inputs()) > 1:
            steep = self._node("Mul", [x, self._name(node.input_value(1))])
        return self._node("Mul", [x, self._node("Sigmoid", [steep])])

    def _gelu(self, node: Any) -> str:
        x = self._name(node.input_value(0))
        half, one = self._constant(np.float32(0.5)), self._constant(np.float32(1))
        if node.get_attributes()["approximation_mode"].lower() == "tanh":
            cube = self._node("Pow", [x, self._constant(np.float32(3))])
            bent = self._node("Mul", [cube, self._constant(np.float32(0.044715))])
            inner = self._node("Add", [x, bent])
            root = self._constant(np.float32(np.sqrt(2 / np.pi)))
            share = self._node("Tanh", [self._node("Mul", [inner, root])])
        else:
            root = self._constant(np.float32(np.sqrt(0.5)))
            share = self._node("Erf", [self._node("Mul", [x, root])])
        return self._node("Mul", [self._node("Mul", [x, half]), self._node("Add", [share, one])])

    def _normalise(self, node: Any) -> str:
        x, axes = self._name(node.input_value(0)), self._integers(node.input_value(1))
        facts = node.get_attributes()
        centred = self._node("Sub", [x, self._node("ReduceMean", [x, axes], keepdims=1)])
        if not facts["normalize_variance"]:
            return centred
        squares = self._node("Mul", [centred, centred])
        variance = self._node("ReduceMean", [squares, axes], keepdims=1)
        epsilon = self._constant(np.float32(facts["eps"]))
        if facts["eps_mode"].lower() == "inside_sqrt":
            spread = self._node("Sqrt", [self._node("Add", [variance, epsilon])])
        else:
            spread = self._node("Add", [self._node("Sqrt", [variance]), epsilon])
        return self._node("Div", [centred, spread])

    def _squared_difference(self, node: Any) -> str:
        difference = self._emit("Sub", node)
        return self._node("Mul", [difference, difference])

    def _shape(self, node: Any) -> str:
        shape = self._node("Shape", [self._name(node.input_value(0))])
        return self._node("Cast", [shape], to=self._type(node.output(0)))

    def _gather(self, node: Any) -> str:
        inputs = [self._name(node.input_value(place)) for place in (0, 1)]
        axis = int(_fixed(node.input_value(2)).reshape(()))
        return self._node("Gather", inputs, axis=axis)

    def _reshape(self, node: Any) -> str:
        shape = list(node.output(0).get_partial_shape())
        sizes = [-1 if size.is_dynamic else size.get_length() for size in shape]
        if sizes.count(-1) > 1:
            raise unknown_operation(node)
        target = self._constant(np.array(sizes, np.int64))
        return self._node("Reshape", [self._name(node.input_value(0)), target])

    def _product(self, node: Any) -> str:
        facts = node.get_attributes()
        inputs = []
        for place, flag in enumerate(("transpose_a", "transpose_b")):
            value = node.input_value(place)
            name = self._name(value)
            if facts[flag]:
                rank = value.get_partial_shape().rank.get_length()
                order = [*range(rank - 2), rank - 1, rank - 2]
                name = self._node("Transpose", [name], perm=order)
            inputs.append(name)
        return self._node("MatMul", inputs)

    def _pad(self, node: Any) -> str:
        begin, end = (_fixed(node.input_value(place)) for place in (1, 2))
        pads = self._constant(np.concatenate([begin, end]).astype(np.int64))
        inputs = [self._name(node.input_value(0)), pads]
        if len(node.inputs()) > 3:
            inputs.append(self._name(node.input_value(3)))
        return self._node("Pad", inputs, mode=node.get_attributes()["pad_mode"])

    def _slice(self, node: Any) -> str:
        starts, ends, steps = slice_of(node)
        axes = np.arange(len(starts), dtype=np.int64)
        bounds = [self._constant(np.array(part, np.int64)) for part in (starts, ends)]
        rest = [self._constant(axes), self._constant(np.array(steps, np.int64))]
        return self._node("Slice", [self._name(node.input_value(0)), *bounds, *rest])

    def _reverse(self, node: Any) -> str:
        axis = node.get_attributes()["seq_axis"]
        length = node.input_value(0).get_partial_shape()[axis].get_length()
        backwards = self._constant(np.arange(length - 1, -1, -1, dtype=np.int64))
        return self._node("Gather", [self._name(node.input_value(0)), backwards], axis=axis)

    def _quantise(self, node: Any) -> str:
        scale, zero = steps_of(node)
        parts = [self._constant(np.float32(scale)), self._constant(np.uint8(zero))]
        source = node.input_value(0)
        facts = source.get_node().get_attributes() if _kind(source) == "Clamp" else None
        limits = [_fixed(node.input_value(place)).item() for place in (1, 2)]
        if facts is not None and [facts["min"], facts["max"]] == limits:
            # The steps end where the clamp does; a convolution right before them runs in 8 bits.
            source = source.get_node().input_value(0)
        whole = self._node("QuantizeLinear", [self._name(source), *parts])
        return self._node("DequantizeLinear", [whole, *parts])


def _key(value: Any) -> tuple[str, int]:
    return value.get_node().get_name(), value.get_index()


def biased_convolution(node: Any) -> tuple[Any, NDArray[np.float32]] | None:
    """Tell whether a sum is a convolution and its bias.

    Args:
        node: OpenVINO's Add.

    Returns:
        The convolution, whose output nothing else takes, and a bias (1, C, 1, 1); or None.
    """
    values = sorted(node.input_values(), key=lambda value: _kind(value) == "Constant")
    if not _kind(values[0]).endswith("Convolution") or _kind(values[1]) != "Constant":
        return None
    channels = values[0].get_partial_shape()[1].get_length()
    bias = np.array(values[1].get_node().data)
    if list(bias.shape) != [1, channels, 1, 1] or len(values[0].get_target_inputs()) != 1:
        return None
    return values[0].get_node(), bias


def _kind(value: Any) -> str:
    return str(value.get_node().get_type_name())


def unknown_operation(node: Any) -> HandfulError:
    """The error for an operation that another format has no like of.

    Args:
        node: OpenVINO's operation.

    Returns:
        The error, to be raised.
    """
    return HandfulError(
        f"The network has an operation {node.get_type_name()} ({node.get_friendly_name()}), which "
        "handful cannot write for this format. Export it with `format` openvino."
    )


def _fixed(value: Any) -> NDArray[Any]:
    """A value that does not depend on the pictures: a constant, or one made of constants."""
    node = value.get_node()
    if _kind(value) == "Constant":
        return np.array(node.data)
    parts = _eight_bits(value)
    if parts is not None:
        return np.asarray(parts[0] * parts[1], dtype=np.float32)
    raise HandfulError(
        f"The network computes an argument of {node.get_friendly_name()} from the pictures, which "
        "handful cannot write for this format. Export it with `format` openvino."
    )


def _eight_bits(value: Any) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """int8 weights and their scales, if a value is their product."""
    node = value.get_node()
    if node.get_type_name() != "Multiply":
        return None
    wide, scales = (node.input_value(place).get_node() for place in (0, 1))
    if wide.get_type_name() != "Convert" or scales.get_type_name() != "Constant":
        return None
    numbers = wide.input_value(0).get_node()
    if numbers.get_type_name() != "Constant" or numbers.data.dtype != np.int8:
        return None
    return numbers.data.copy(), scales.data.copy()


def steps_of(node: Any) -> tuple[float, int]:
    """Scale and zero point of a FakeQuantize with 256 levels.

    Args:
        node: OpenVINO's FakeQuantize.

    Returns:
        Width of a step, and the uint8 number that stands for 0.

    Raises:
        HandfulError: When it is no plain 8-bit quantisation.
    """
    low, high, *others = (_fixed(node.input_value(place)) for place in range(1, 5))
    plain = low.size == high.size == 1 and node.get_attributes()["levels"] == _LEVELS
    if plain and [low.item(), high.item()] == [other.item() for other in others]:
        scale = (high.item() - low.item()) / (_LEVELS - 1)
        zero = -low.item() / scale
        if abs(zero - round(zero)) < 1e-3:
            return scale, round(zero)
    raise HandfulError(
        f"The network quantises {node.get_friendly_name()} in a way that handful cannot write for "
        "this format. Export it with `format` openvino, or with `precision` f32."
    )


def slice_of(node: Any) -> tuple[list[int], list[int], list[int]]:
    """Starts, ends and steps of a StridedSlice without new or dropped axes.

    Args:
        node: OpenVINO's StridedSlice.

    Returns:
        One number an axis that the operation names.

    Raises:
        HandfulError: When it adds or drops axes.
    """
    facts = node.get_attributes()
    masks = [facts[name] for name in ("new_axis_mask", "shrink_axis_mask", "ellipsis_mask")]
    if any(any(mask) for mask in masks):
        raise HandfulError(
            f"The network slices {node.get_friendly_name()} in a way that handful cannot write for "
            "this format. Export it with `format` openvino."
        )
    starts, ends = (_fixed(node.input_value(place)).tolist() for place in (1, 2))
    steps = _fixed(node.input_value(3)).tolist() if len(node.inputs()) > 3 else [1] * len(starts)
    for place, (begin, end) in enumerate(zip(facts["begin_mask"], facts["end_mask"], strict=False)):
        starts[place] = 0 if begin else starts[place]
        ends[place] = 2**31 - 1 if end else ends[place]
    return starts, ends, steps
