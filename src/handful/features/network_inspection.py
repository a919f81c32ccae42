"""What a network of anybody's is, as far as its graph tells: layout, size, output, pooling.

What no graph tells (what becomes of a pixel's value; the size where any is taken) is asked for.
"""

import difflib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handful.errors import UsageError, WeightsError
from handful.features.graph_files import open_graph
from handful.features.preprocessing import Preprocessing

# Outputs that hold an embedding, the best first, as exporters of transformers name them.
_EMBEDDINGS = ("image_embeds", "pooler_output", "last_hidden_state")
_CLASS_OUTPUTS = ("logits", "probabilities", "probs", "softmax", "scores", "predictions")
_CLASS_COUNTS = (1000, 1001, 21841, 21843)
# Class and register tokens that stand before those of the patches, at most.
_MOST_PREFIX_TOKENS = 8
_AT_THE_END = (
    *("Softmax", "LogSoftmax", "Sigmoid", "Add", "Multiply"),
    *("Reshape", "Squeeze", "Unsqueeze", "Convert"),
)
_INTEGERS = ("u8", "i8", "u16", "i16", "i32", "i64")
_MOST_NAMES = 12
_FEWEST_FEATURES = 8
_EXPLAINED = {
    "none": "all of",
    "cls": "the class token of",
    "mean": "the mean over places of",
    "cls+mean": "the class token and the mean over patches of",
    "penultimate": "what goes into the last layer before",
}
_FOUND_WORDS = {"image_size": "size", "layout": "layout", "output": "output", "pooling": "pooling"}


@dataclass(frozen=True)
class ForeignNetwork:
    """What a network is, complete: nothing is left to be found out.

    Args:
        files: Its files, see `files_of`.
        preprocessing: Size, layout, channel order, output and pooling are known, and what becomes
            of a pixel's value.
        input_index: Number of its image input.
        num_prefix: Tokens before those of the patches.
        embedding_dim: Width of the embedding.
        found: Names of the fields that nobody said.
    """

    files: tuple[Path, ...]
    preprocessing: Preprocessing
    input_index: int
    num_prefix: int
    embedding_dim: int
    found: tuple[str, ...]

    @property
    def network_size(self) -> int:
        """Side in pixels of what the network itself takes."""
        assert self.preprocessing.image_size is not None  # it is complete
        return self.preprocessing.image_size

    @property
    def image_size(self) -> int:
        """Side in pixels that photos are decoded to; the network may see their middle."""
        return round(self.network_size / (self.preprocessing.crop_fraction or 1.0))

    def in_words(self) -> str:
        """What it takes and gives, in a line for people."""
        said, size = self.preprocessing, self.network_size
        crop = ""
        if self.image_size != size:
            crop = f" from the middle of {self.image_size} x {self.image_size}"
        low, high = said.value_range or (0.0, 1.0)
        pixels = f"values {low:g} to {high:g}"
        for word, values in (("mean", said.mean), ("std", said.std)):
            if values is not None:
                pixels += f", {word} " + " ".join(f"{value:.4g}" for value in values)
        found = [word for name, word in _FOUND_WORDS.items() if name in self.found]
        return (
            f"takes {size} x {size} pixels{crop}, {said.channel_order}, {said.layout}, {pixels}; "
            f"its embedding is {_EXPLAINED[said.pooling or 'none']} {said.output}, "
            f"{self.embedding_dim:,} features"
            + (f" ({', '.join(found)} found out from the network)" if found else "")
        )


def inspect_network(
    files: tuple[Path, ...], said: Preprocessing, image_size: int | None = None
) -> ForeignNetwork:
    """Find out of a network what was not said of it.

    Args:
        files: Its files, see `files_of`.
        said: What is said of it.
        image_size: Side that photos are decoded to instead; None takes what is said, or the
            network's own.

    Returns:
        What it is, complete.

    Raises:
        UsageError: When something is missing that no graph tells, or does not fit the network.
        WeightsError: When the file is no network for images.
    """
    if image_size is not None:
        said = replace(said, image_size=round(image_size * (said.crop_fraction or 1.0)))
    path = files[0]
    with open_graph(files) as graph:
        index = _image_input(graph, path)
        complete = _with_input(graph, index, said, path)
        fix_input(graph, index, complete)
        output = _choose_output(graph, index, complete, path)
    pooling = complete.pooling or _default_pooling(output)
    sides, num_prefix = _check_pooling(output, pooling, path)
    complete = replace(
        complete,
        output=complete.output or _name_of(output),
        pooling=pooling,
        channel_order=complete.channel_order or "RGB",
    )
    # A vector may have sides of 1 around it.
    dim = max(sides) if pooling in ("none", "penultimate") else sides[-1]
    if pooling == "mean" and is_channels_first(sides, complete):
        dim = sides[1]
    if dim < _FEWEST_FEATURES:
        raise UsageError(
            f"{path}: {complete.output} gives {dim} features by pooling {pooling!r}; expected an "
            f"embedding, of {_FEWEST_FEATURES} or more. Name a node before it as output in "
            "`preprocessing`."
        )
    return ForeignNetwork(
        files=files,
        preprocessing=complete,
        input_index=index,
        num_prefix=num_prefix,
        embedding_dim=2 * dim if pooling == "cls+mean" else dim,
        found=tuple(name for name in complete.to_dict() if name not in said.to_dict()),
    )


def fix_input(graph: Any, index: int, said: Preprocessing, batch: int = 1) -> None:
    """Give a network's input the shape that is said of it.

    Args:
        graph: `openvino.Model`, changed in place.
        index: Number of the input.
        said: Its size and layout.
        batch: Photos at a time; -1 for any number.

    Raises:
        RuntimeError: When the network cannot take it.
    """
    side = said.image_size
    shape = [batch, 3, side, side] if said.layout == "NCHW" else [batch, side, side, 3]
    graph.reshape({index: shape})
    # OpenVINO itself lets a Reshape to other numbers pass until it is run.
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Reshape":
            shapes = node.input_value(0).get_partial_shape(), node.get_output_partial_shape(0)
            if all(one.is_static for one in shapes):
                before, after = (math.prod(one.to_shape()) for one in shapes)
                if before != after:
                    raise RuntimeError(f"{node.get_friendly_name()} takes {after} numbers")


def named_output(graph: Any, name: str) -> Any | None:
    """Find what a network computes somewhere.

    Args:
        graph: `openvino.Model`.
        name: Of a tensor, or of a node whose first output is meant.

    Returns:
        OpenVINO's output; None where there is none.
    """
    nodes = [node for node in graph.get_ordered_ops() if node.get_type_name() != "Result"]
    for output in (output for node in nodes for output in node.outputs()):
        if name in output.get_names():
            return output
    return next((node.output(0) for node in nodes if node.get_friendly_name() == name), None)


def last_linear(output: Any) -> Any | None:
    """Find what goes into the last linear layer before an output.

    Args:
        output: OpenVINO's output, such as of logits.

    Returns:
        The layer's input, OpenVINO's output; None where there is no such layer.
    """
    node = output.get_node()
    while node.get_type_name() in _AT_THE_END:
        inputs = [value for value in node.input_values() if not _is_constant(value)]
        if len(inputs) != 1:
            return None
        node = inputs[0].get_node()
    if node.get_type_name() not in ("MatMul", "Convolution"):
        return None
    source, weights = node.input_values()
    return source if _is_constant(weights) and not _is_constant(source) else None


def is_channels_first(sides: list[int], said: Preprocessing) -> bool:
    """Whether the channels of a feature map stand before its places.

    Args:
        sides: Its shape for one photo.
        said: Its input's layout is its own where the shape does not tell.

    Returns:
        False for what is no map.
    """
    if len(sides) != 4:
        return False
    if sides[1] == sides[2] != sides[3]:
        return False
    return sides[2] == sides[3] != sides[1] or said.layout == "NCHW"


def _image_input(graph: Any, path: Path) -> int:
    """Number of the one parameter that can take images."""
    parameters = graph.get_parameters()
    found = [index for index, node in enumerate(parameters) if _can_be_image(node)]
    if len(found) == 1:
        return found[0]
    inputs = "; ".join(
        f"{node.get_friendly_name()} {node.get_output_partial_shape(0)}" for node in parameters
    )
    raise WeightsError(
        f"{path} has the inputs {inputs or '(none)'}, of which "
        f"{'more than one' if found else 'none'} can be an image; expected one of shape "
        "(N, 3, height, width) or (N, height, width, 3). Give a network for color images, or "
        "export that part of it."
    )


def _can_be_image(parameter: Any) -> bool:
    shape = parameter.get_output_partial_shape(0)
    return shape.rank.is_static and shape.rank.get_length() == 4 and bool(_layouts(shape))


def _layouts(shape: Any) -> tuple[str, ...]:
    """Layouts that an input's shape allows, the likelier first."""
    axes = {"NCHW": shape[1], "NHWC": shape[3]}
    known = {name: side.get_length() for name, side in axes.items() if side.is_static}
    certain = tuple(name for name, channels in known.items() if channels == 3)
    return certain or tuple(name for name, side in axes.items() if side.is_dynamic)


def _with_input(graph: Any, index: int, said: Preprocessing, path: Path) -> Preprocessing:
    """Add layout, size and normalization where the graph tells."""
    parameter = graph.get_parameters()[index]
    shape = parameter.get_output_partial_shape(0)
    if parameter.get_output_element_type(0).get_type_name() in _INTEGERS:
        # It takes pixels as they are.
        said = Preprocessing(value_range=(0.0, 255.0)).updated(said)
    if not said.is_normalization_known:
        raise UsageError(
            f"{path} does not tell what it expects of a pixel's value, and nothing beside it or in "
            "`preprocessing` does. Expected such as 'mean=0.485,0.456,0.406 "
            "std=0.229,0.224,0.225', which most networks for ImageNet take; 'mean=0.5 std=0.5'; or "
            "'value_range=0,255' where it normalizes by itself."
        )
    problem = "of another layout"
    side = said.image_size
    for layout in _layouts(shape):
        if said.layout not in (None, layout):
            continue
        side = said.image_size or _own_side(shape, layout, path)
        tried = replace(said, layout=layout, image_size=side)
        try:
            fix_input(graph.clone(), index, tried)
        except RuntimeError as error:
            problem = str(error).strip().splitlines()[-1][:200]
        else:
            return tried
    asked = "" if side is None else f" of {side} x {side} pixels"
    raise UsageError(
        f"{path} takes images of the shape {shape}, and none{asked}"
        f"{'' if said.layout is None else f' in {said.layout}'} ({problem}). Expected its own size "
        "and layout, or others that it can take; change `image_size`, or what `preprocessing` says."
    )


def _own_side(shape: Any, layout: str, path: Path) -> int:
    """The side that a graph is made for."""
    height, width = (shape[axis] for axis in ((2, 3) if layout == "NCHW" else (1, 2)))
    if height.is_dynamic or width.is_dynamic:
        raise UsageError(
            f"{path} takes images of any size; expected to be told the one that it was trained on, "
            "as `image_size`, or as image_size in `preprocessing`. 224 is usual."
        )
    if height.get_length() != width.get_length():
        raise WeightsError(
            f"{path} takes images of {height.get_length()} x {width.get_length()} pixels; expected "
            "a square. Give `image_size` if it can take one, or export it anew."
        )
    return int(height.get_length())


def _choose_output(graph: Any, index: int, said: Preprocessing, path: Path) -> Any:
    """The output, or that of a node, that the embedding is made of."""
    results = [result.input_value(0) for result in graph.get_results()]
    if said.output is not None:
        found = named_output(graph, said.output)
        if found is None:
            names = sorted({name for node in graph.get_ordered_ops() for name in _names(node)})
            near = difflib.get_close_matches(said.output, names, 3, 0.5)
            raise UsageError(
                f"{path} has no output or node {said.output!r}; expected "
                f"{_some(near or [_name_of(result) for result in results])} as output in "
                "`preprocessing`."
            )
        results = [found]
    named = [one for name in _EMBEDDINGS for one in results if name in one.get_names()]
    image = graph.get_parameters()[index].get_name()
    able = [one for one in named[:1] or results if _parameters_of(one) == {image}]
    if len(able) == 1:
        return able[0]
    shown = _some([f"{_name_of(one)} {one.get_partial_shape()}" for one in able or results])
    raise UsageError(
        f"{path} has {'several outputs' if able else 'no output of the image alone'}: {shown}; "
        "expected one that an embedding can be made of. Name it, or a node before it, as output in "
        "`preprocessing`."
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _name_of(output: Any) -> str:
    """The name that people know an output by."""
    names = sorted(output.get_names())
    return names[0] if names else str(output.get_node().get_friendly_name())


def _names(node: Any) -> set[str]:
    if node.get_type_name() in ("Constant", "Result", "Parameter"):
        return set()
    return {node.get_friendly_name()}.union(*(one.get_names() for one in node.outputs()))


def _parameters_of(output: Any) -> set[str]:
    """Names of the parameters that an output is computed of."""
    seen, waiting, found = set(), [output.get_node()], set()
    while waiting:
        node = waiting.pop()
        if node.get_name() not in seen:
            seen.add(node.get_name())
            waiting += [value.get_node() for value in node.input_values()]
            if node.get_type_name() == "Parameter":
                found.add(node.get_name())
    return found


def _is_constant(value: Any) -> bool:
    return not _parameters_of(value)


def _default_pooling(output: Any) -> str:
    """How an output becomes an embedding where nobody said, by its rank and name."""
    shape = output.get_partial_shape()
    if not shape.is_static:
        return "none"
    sides = list(shape.to_shape())
    if len(sides) == 3:
        return "cls" if _prefix_tokens(sides[1]) else "mean"
    if len(sides) == 4 and not _is_vector(sides):
        return "mean"
    is_class = any(name.lower() in _CLASS_OUTPUTS for name in output.get_names())
    if (is_class or sides[-1] in _CLASS_COUNTS) and last_linear(output) is not None:
        return "penultimate"
    return "none"


def _is_vector(sides: list[int]) -> bool:
    return sum(side != 1 for side in sides) <= 1


def _prefix_tokens(num_tokens: int) -> int:
    """Tokens before those of a square of patches: a class token, registers; 0 where unclear."""
    rest = num_tokens - math.isqrt(num_tokens) ** 2
    return rest if rest <= _MOST_PREFIX_TOKENS else 0


def _check_pooling(output: Any, pooling: str, path: Path) -> tuple[list[int], int]:
    """The shape of what is pooled, for one photo, and how many of its tokens are no patches."""
    source = last_linear(output) if pooling == "penultimate" else output
    where = f"{path}: {_name_of(output)} {output.get_partial_shape()}"
    if source is None:
        raise UsageError(
            f"{where} does not come from a linear layer; expected another pooling than "
            "'penultimate', or another output, in `preprocessing`."
        )
    shape = source.get_partial_shape()
    if not shape.is_static:
        raise UsageError(f"{where} has no fixed shape; expected another output in `preprocessing`.")
    sides = list(shape.to_shape())
    able = {
        "none": _is_vector(sides),
        "penultimate": _is_vector(sides),
        "mean": len(sides) in (3, 4),
        "cls": len(sides) == 3,
        "cls+mean": len(sides) == 3 and _prefix_tokens(sides[1]) > 0,
    }
    if not able[pooling] or not sides or sides[0] != 1:
        others = [name for name, fits in able.items() if fits and name != "penultimate"]
        raise UsageError(
            f"{where} has no embedding by pooling {pooling!r}; expected "
            f"{' or '.join(others) or 'another output'} in `preprocessing`."
        )
    return sides, _prefix_tokens(sides[1]) if len(sides) == 3 else 0
