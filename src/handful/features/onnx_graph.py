"""A graph of OpenVINO's as ONNX, operation by operation.

OpenVINO reads ONNX and does not write it. Its operations have nearly the same definitions, so each
is rewritten as its like; one without a like is refused by name. Eight-bit networks become pairs of
QuantizeLinear and DequantizeLinear, which ONNX Runtime computes in whole numbers on processors; for
GPUs the same steps are written in float32.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import HandfulError
from handful.features.graph_visitor import GraphVisitor, kind_of, unknown_operation

if TYPE_CHECKING:
    import onnx

# Of 2022 and 2023: old runtimes read them.
_OPSET, _IR_VERSION = 18, 8
_SAME = {
    "Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Divide": "Div", "Power": "Pow",
    "Minimum": "Min", "Maximum": "Max", "Equal": "Equal", "GreaterEqual": "GreaterOrEqual",
    "Select": "Where", "Range": "Range", "Relu": "Relu", "Sigmoid": "Sigmoid", "Tanh": "Tanh",
    "Exp": "Exp", "Log": "Log", "Sqrt": "Sqrt", "Round": "Round", "Erf": "Erf",
    "Negative": "Neg", "Floor": "Floor", "Abs": "Abs", "HSwish": "HardSwish",
    "SoftPlus": "Softplus", "Concat": "Concat", "Softmax": "Softmax", "Elu": "Elu",
}  # fmt: skip
_ATTRIBUTES = {"Concat": "axis", "Softmax": "axis", "Elu": "alpha"}
_LEVELS = 256


def write_onnx(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a graph as an ONNX file.

    Args:
        model: `openvino.Model` with one input and one output, sides fixed inside the network.
        path: File to make.
        metadata: Metadata, names to texts.

    Raises:
        HandfulError: When the graph has an operation that has no like.
    """
    import onnx

    onnx.save(make_onnx(model, metadata), path)


def make_onnx(
    model: Any, metadata: Mapping[str, str] | None = None, in_float: bool = False
) -> "onnx.ModelProto":
    """Rewrite a graph as an ONNX model.

    Args:
        model: As for `write_onnx`.
        metadata: As for `write_onnx`.
        in_float: Whether what is computed in eight bits is rounded to the same steps, in float32.

    Returns:
        The model.

    Raises:
        HandfulError: When the graph has an operation that has no like.
    """
    import onnx

    graph = (_FloatVisitor if in_float else _OnnxVisitor)()
    graph.visit_all(model)
    graph.drop_unused()
    made = onnx.helper.make_graph(
        graph.nodes, "classifier", graph.inputs, graph.outputs, graph.constants
    )
    opset = [onnx.helper.make_opsetid("", _OPSET)]
    written = onnx.helper.make_model(
        made, opset_imports=opset, ir_version=_IR_VERSION, producer_name="handful"
    )
    onnx.helper.set_model_props(written, dict(metadata or {}))
    onnx.checker.check_model(written, full_check=True)
    return written


class _OnnxVisitor(GraphVisitor[str]):
    """The ONNX graph as it grows; a value is the name of an output."""

    same = _SAME
    in_float = False

    def __init__(self) -> None:
        import onnx

        super().__init__()
        self._onnx: Any = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._constant_names: dict[str, str] = {}
        self._count = 0

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

    def visit_Parameter(self, node: Any) -> str:
        (name,) = node.output(0).get_names()
        shape = ["N", "H", "W", 3]
        kind = self._onnx.TensorProto.UINT8
        self.inputs.append(self._onnx.helper.make_tensor_value_info(name, kind, shape))
        return str(name)

    def visit_result(self, node: Any) -> None:
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
        values = np.asarray(values, order="C")  # of no dimension too
        self.constants.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def _name(self, value: Any) -> str:
        """Name of a value of OpenVINO's; a constant is written at its first use."""
        name = self.find(value)
        if name is not None:
            return name
        node = value.get_node()
        key = node.get_name()
        if key not in self._constant_names:
            self._constant_names[key] = self._constant(node.data.copy())
        return self._constant_names[key]

    def _integers(self, value: Any) -> str:
        return self._constant(_fixed(value).astype(np.int64))

    def _type(self, value: Any) -> int:
        """Element type, as ONNX numbers it."""
        kind: int = self._onnx.helper.np_dtype_to_tensor_dtype(
            np.dtype(value.get_element_type().to_dtype())
        )
        return kind

    def visit_Convert(self, node: Any) -> str:
        return self._node("Cast", [self._name(node.input_value(0))], to=self._type(node.output(0)))

    def visit_Transpose(self, node: Any) -> str:
        order = _fixed(node.input_value(1)).tolist()
        return self._node("Transpose", [self._name(node.input_value(0))], perm=order)

    def visit_convolution(self, node: Any, bias: NDArray[np.float32] | None) -> str:
        value, source = node.input_value(1), node.input_value(0)
        grouped = node.get_type_name() == "GroupConvolution"
        shape = list(value.get_shape())
        groups = shape[0] if grouped else 1
        # OpenVINO has (groups, outputs, inputs, ...), ONNX all outputs in one axis.
        merged = [shape[0] * shape[1], *shape[2:]] if grouped else shape
        parts = None if self.in_float else _eight_bits(value)
        if parts is not None and kind_of(source) == "FakeQuantize":
            rest = self._eight_bit_weights(*parts, merged, bias, _steps_of(source.get_node())[0])
        else:
            rest = [self._constant(_fixed(value).reshape(merged))]
            rest += [] if bias is None else [self._constant(bias)]
        attributes = node.get_attributes()
        return self._node(
            "Conv",
            [self._name(source), *rest],
            group=groups,
            strides=attributes["strides"],
            dilations=attributes["dilations"],
            pads=[*attributes["pads_begin"], *attributes["pads_end"]],
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
        bias = np.zeros(shape[0], np.float32) if bias is None else bias
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

    def visit_MaxPool(self, node: Any) -> str:
        return self._pool(node, "MaxPool")

    def visit_AvgPool(self, node: Any) -> str:
        # OpenVINO spells it with a hyphen.
        include = int(not node.get_attributes()["exclude-pad"])
        return self._pool(node, "AveragePool", count_include_pad=include)

    def _pool(self, node: Any, kind: str, **options: Any) -> str:
        attributes = node.get_attributes()
        return self._node(
            kind,
            [self._name(node.input_value(0))],
            kernel_shape=attributes["kernel"],
            strides=attributes["strides"],
            pads=[*attributes["pads_begin"], *attributes["pads_end"]],
            ceil_mode=int(attributes["rounding_type"] == "ceil"),
            **options,
        )

    def visit_ReduceMean(self, node: Any) -> str:
        keep = int(node.get_attributes()["keep_dims"])
        return self._emit(node.get_type_name(), node, wide=(1,), keepdims=keep)

    visit_ReduceMax = visit_ReduceSum = visit_ReduceMean

    def visit_Squeeze(self, node: Any) -> str:
        return self._emit(node.get_type_name(), node, wide=(1,))

    visit_Unsqueeze = visit_Squeeze

    def visit_HSigmoid(self, node: Any) -> str:
        return self._emit("HardSigmoid", node, alpha=1 / 6, beta=0.5)

    def visit_same(self, node: Any, name: str) -> str:
        attribute = _ATTRIBUTES.get(name)
        copied = {attribute: node.get_attributes()[attribute]} if attribute else {}
        return self._emit(name, node, **copied)

    def visit_Clamp(self, node: Any) -> str:
        attributes = node.get_attributes()
        limits = [self._constant(np.float32(attributes[name])) for name in ("min", "max")]
        return self._node("Clip", [self._name(node.input_value(0)), *limits])

    def visit_Swish(self, node: Any) -> str:
        x = self._name(node.input_value(0))
        steep = x
        if len(node.inputs()) > 1:
            steep = self._node("Mul", [x, self._name(node.input_value(1))])
        return self._node("Mul", [x, self._node("Sigmoid", [steep])])

    def visit_Gelu(self, node: Any) -> str:
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

    def visit_MVN(self, node: Any) -> str:
        x, axes = self._name(node.input_value(0)), self._integers(node.input_value(1))
        attributes = node.get_attributes()
        centered = self._node("Sub", [x, self._node("ReduceMean", [x, axes], keepdims=1)])
        if not attributes["normalize_variance"]:
            return centered
        squares = self._node("Mul", [centered, centered])
        variance = self._node("ReduceMean", [squares, axes], keepdims=1)
        epsilon = self._constant(np.float32(attributes["eps"]))
        if attributes["eps_mode"].lower() == "inside_sqrt":
            spread = self._node("Sqrt", [self._node("Add", [variance, epsilon])])
        else:
            spread = self._node("Add", [self._node("Sqrt", [variance]), epsilon])
        return self._node("Div", [centered, spread])

    def visit_SquaredDifference(self, node: Any) -> str:
        difference = self._emit("Sub", node)
        return self._node("Mul", [difference, difference])

    def visit_ShapeOf(self, node: Any) -> str:
        shape = self._node("Shape", [self._name(node.input_value(0))])
        return self._node("Cast", [shape], to=self._type(node.output(0)))

    def visit_Gather(self, node: Any) -> str:
        inputs = [self._name(node.input_value(place)) for place in (0, 1)]
        axis = int(_fixed(node.input_value(2)).reshape(()))
        return self._node("Gather", inputs, axis=axis)

    def visit_Reshape(self, node: Any) -> str:
        shape = list(node.output(0).get_partial_shape())
        sizes = [-1 if size.is_dynamic else size.get_length() for size in shape]
        if sizes.count(-1) > 1:
            raise unknown_operation(node)
        target = self._constant(np.array(sizes, np.int64))
        return self._node("Reshape", [self._name(node.input_value(0)), target])

    def visit_MatMul(self, node: Any) -> str:
        attributes = node.get_attributes()
        inputs = []
        for place, flag in enumerate(("transpose_a", "transpose_b")):
            value = node.input_value(place)
            name = self._name(value)
            if attributes[flag]:
                rank = value.get_partial_shape().rank.get_length()
                order = [*range(rank - 2), rank - 1, rank - 2]
                name = self._node("Transpose", [name], perm=order)
            inputs.append(name)
        return self._node("MatMul", inputs)

    def visit_Pad(self, node: Any) -> str:
        begin, end = (_fixed(node.input_value(place)) for place in (1, 2))
        pads = self._constant(np.concatenate([begin, end]).astype(np.int64))
        inputs = [self._name(node.input_value(0)), pads]
        if len(node.inputs()) > 3:
            inputs.append(self._name(node.input_value(3)))
        return self._node("Pad", inputs, mode=node.get_attributes()["pad_mode"])

    def visit_StridedSlice(self, node: Any) -> str:
        attributes = node.get_attributes()
        if any(any(attributes[f"{name}_mask"]) for name in ("new_axis", "shrink_axis", "ellipsis")):
            raise unknown_operation(node)
        bounds = [_fixed(node.input_value(place)).astype(np.int64) for place in (1, 2)]
        for values, name, open_end in zip(bounds, ("begin", "end"), (0, 2**31 - 1), strict=True):
            mask = np.array(attributes[f"{name}_mask"], bool)
            values[: len(mask)][mask[: len(values)]] = open_end
        axes = np.arange(len(bounds[0]))
        has_steps = len(node.inputs()) > 3
        steps = _fixed(node.input_value(3)).astype(np.int64) if has_steps else np.ones_like(axes)
        rest = [self._constant(values) for values in (*bounds, axes, steps)]
        return self._node("Slice", [self._name(node.input_value(0)), *rest])

    def visit_Slice(self, node: Any) -> str:
        inputs = node.input_values()
        starts, ends, steps = (self._integers(value) for value in inputs[1:4])
        axes = inputs[4] if len(inputs) > 4 else None
        every = np.arange(inputs[0].get_partial_shape().rank.get_length())
        named = self._constant(every) if axes is None else self._integers(axes)
        return self._node("Slice", [self._name(inputs[0]), starts, ends, named, steps])

    def visit_Broadcast(self, node: Any) -> str:
        if node.get_attributes()["mode"] not in ("numpy", "bidirectional"):
            raise unknown_operation(node)
        shape = self._node(
            "Cast", [self._name(node.input_value(1))], to=self._onnx.TensorProto.INT64
        )
        return self._node("Expand", [self._name(node.input_value(0)), shape])

    def visit_ScaledDotProductAttention(self, node: Any) -> str:
        query, key, value, *rest = node.input_values()
        is_true_or_false = bool(rest) and not rest[0].get_element_type().is_real()
        if node.get_attributes()["causal"] or is_true_or_false:
            raise unknown_operation(node)
        rank = key.get_partial_shape().rank.get_length()
        order = [*range(rank - 2), rank - 1, rank - 2]
        turned = self._node("Transpose", [self._name(key)], perm=order)
        if len(rest) > 1:
            scale = self._name(rest[1])
        else:
            width = query.get_partial_shape()[rank - 1].get_length()
            scale = self._constant(np.float32(1 / np.sqrt(width)))
        scaled = self._node("Mul", [self._name(query), scale])
        scores = self._node("MatMul", [scaled, turned])
        if rest:
            scores = self._node("Add", [scores, self._name(rest[0])])
        shares = self._node("Softmax", [scores], axis=-1)
        return self._node("MatMul", [shares, self._name(value)])

    def visit_ReverseSequence(self, node: Any) -> str:
        axis = node.get_attributes()["seq_axis"]
        length = node.input_value(0).get_partial_shape()[axis].get_length()
        backwards = self._constant(np.arange(length - 1, -1, -1, dtype=np.int64))
        return self._node("Gather", [self._name(node.input_value(0)), backwards], axis=axis)

    def visit_FakeQuantize(self, node: Any) -> str:
        scale, zero = _steps_of(node)
        parts = [self._constant(np.float32(scale)), self._constant(np.uint8(zero))]
        source = node.input_value(0)
        attributes = source.get_node().get_attributes() if kind_of(source) == "Clamp" else None
        limits = [_fixed(node.input_value(place)).item() for place in (1, 2)]
        if attributes is not None and [attributes["min"], attributes["max"]] == limits:
            # The steps end where the clamp does; a convolution right before them runs in 8 bits.
            source = source.get_node().input_value(0)
        whole = self._node("QuantizeLinear", [self._name(source), *parts])
        return self._node("DequantizeLinear", [whole, *parts])


class _FloatVisitor(_OnnxVisitor):
    """The graph with eight-bit steps as sums and products, which any GPU computes."""

    in_float = True

    def visit_FakeQuantize(self, node: Any) -> str:
        scale, _ = _steps_of(node)
        low, high = (_fixed(node.input_value(place)).item() for place in (1, 2))
        limits = [self._constant(np.float32(limit)) for limit in (low, high)]
        step = self._constant(np.float32(scale))
        clipped = self._node("Clip", [self._name(node.input_value(0)), *limits])
        # Zero is one of the steps, so that they are multiples of their width.
        return self._node("Mul", [self._node("Round", [self._node("Div", [clipped, step])]), step])


def _fixed(value: Any) -> NDArray[Any]:
    """A value that does not depend on the images: a constant, or one made of constants."""
    node = value.get_node()
    if kind_of(value) == "Constant":
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


def _steps_of(node: Any) -> tuple[float, int]:
    """Width of a step of a FakeQuantize with 256 levels, and the uint8 number that stands for 0."""
    low, high, *others = (_fixed(node.input_value(place)) for place in range(1, 5))
    plain = low.size == high.size == 1 and node.get_attributes()["levels"] == _LEVELS
    if plain and [low.item(), high.item()] == [other.item() for other in others]:
        scale = (high.item() - low.item()) / (_LEVELS - 1)
        zero = -low.item() / scale
        if abs(zero - round(zero)) < 1e-3:
            return scale, round(zero)
    raise HandfulError(
        f"The network quantizes {node.get_friendly_name()} in a way that handful cannot write for "
        "this format. Export it with `format` openvino, or with `precision` f32."
    )
