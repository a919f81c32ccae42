"""Going through a graph of OpenVINO's: what writing it as ONNX and as Keras have in common."""

from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from handful.errors import HandfulError

Value = TypeVar("Value")


class GraphVisitor(Generic[Value]):
    """Rewrites OpenVINO's operations one by one, as `ast.NodeVisitor` goes through Python's.

    A subclass has a method `visit_NAME` for each kind of operation, from a node to the value that
    stands for its output. `same` has the rest: kinds that another library has under another name,
    given to `visit_same`. Constants are read where they are used.
    """

    same: dict[str, str]

    def __init__(self) -> None:
        self._values: dict[tuple[str, int], Value] = {}
        self._errors: dict[tuple[str, int], HandfulError] = {}

    def visit_all(self, model: Any) -> None:
        """Rewrite a graph.

        Args:
            model: `openvino.Model`.

        Raises:
            HandfulError: When an operation that is needed has no like.
        """
        for node in model.get_ordered_ops():
            kind = node.get_type_name()
            if kind == "Result":
                self.visit_result(node)
            elif kind != "Constant" and not _is_biased_later(node):
                key = _key(node.output(0))
                try:
                    self._values[key] = self._visit(node, kind)
                except HandfulError as error:
                    # No harm unless it is asked for: a rule may have read what it computes.
                    self._errors[key] = error

    def _visit(self, node: Any, kind: str) -> Value:
        if kind == "Add" and (parts := _biased_convolution(node)) is not None:
            return self.visit_convolution(*parts)
        if kind.endswith("Convolution"):
            return self.visit_convolution(node, None)
        if kind in self.same:
            return self.visit_same(node, self.same[kind])
        method = getattr(self, f"visit_{kind}", None)
        if method is None:
            raise unknown_operation(node)
        value: Value = method(node)
        return value

    def visit_result(self, node: Any) -> None:
        """Note the graph's output.

        Args:
            node: OpenVINO's Result.
        """
        raise NotImplementedError

    def visit_same(self, node: Any, name: str) -> Value:
        """Rewrite an operation that differs in its name alone.

        Args:
            node: The operation.
            name: From `same`.

        Returns:
            Its output.
        """
        raise NotImplementedError

    def visit_convolution(self, node: Any, bias: NDArray[np.float32] | None) -> Value:
        """Rewrite a convolution, with the sum behind it.

        Args:
            node: OpenVINO's Convolution or GroupConvolution.
            bias: (C,); None where there is none.

        Returns:
            Its output.
        """
        raise NotImplementedError

    def find(self, output: Any) -> Value | None:
        """The value that stands for an output of OpenVINO's.

        Args:
            output: The output.

        Returns:
            The value; None for a constant.

        Raises:
            HandfulError: When the operation could not be rewritten.
        """
        if kind_of(output) == "Constant":
            return None
        key = _key(output)
        if key not in self._values:
            raise self._errors.get(key) or unknown_operation(output.get_node())
        return self._values[key]


def _key(output: Any) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()


def kind_of(output: Any) -> str:
    """Name of the kind of operation that an output comes from.

    Args:
        output: OpenVINO's output.

    Returns:
        Such as "Constant".
    """
    return str(output.get_node().get_type_name())


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


def _biased_convolution(node: Any) -> tuple[Any, NDArray[np.float32]] | None:
    """The convolution that nothing but this sum takes, and its bias (C,); None for other sums."""
    values = sorted(node.input_values(), key=lambda value: kind_of(value) == "Constant")
    if not kind_of(values[0]).endswith("Convolution") or kind_of(values[1]) != "Constant":
        return None
    channels = values[0].get_partial_shape()[1].get_length()
    bias = np.array(values[1].get_node().data)
    if list(bias.shape) != [1, channels, 1, 1] or len(values[0].get_target_inputs()) != 1:
        return None
    return values[0].get_node(), bias.reshape(-1)


def _is_biased_later(node: Any) -> bool:
    """Whether a convolution is written with the sum that takes it."""
    consumers = [target.get_node() for target in node.output(0).get_target_inputs()]
    return node.get_type_name().endswith("Convolution") and any(
        consumer.get_type_name() == "Add" and _biased_convolution(consumer) is not None
        for consumer in consumers
    )
