"""Networks of anybody's as graphs like those of handful's own: uint8 photos in, embeddings out.

Normalization and pooling are put into the graph, so that all that follows knows no difference.
"""

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from handful.errors import HandfulError, WeightsError
from handful.features.conversion import (
    INPUT_NAME,
    OUTPUT_NAME,
    check_features,
    check_image,
    compiled_network,
    network_features,
    save_network,
)
from handful.features.graph_files import open_graph
from handful.features.network_inspection import (
    ForeignNetwork,
    fix_input,
    is_channels_first,
    last_linear,
    named_output,
)


def write_foreign(network: ForeignNetwork, folder: Path) -> None:
    """Write a network with normalization and pooling in it, and check what was written.

    Where it computes each photo by itself it is written for any number of photos, else for one at
    a time.

    Args:
        network: From `inspect_network`.
        folder: Existing folder; gets `network.xml` and `network.bin`.

    Raises:
        WeightsError: When its features are no numbers, or the same for all photos.
        HandfulError: When the written network gives other features.
    """
    first = check_image(network.image_size)
    graph, expected = _computed(network, np.concatenate([first, 255 - first[:, ::-1]]))
    if not np.isfinite(expected).all() or np.allclose(expected[0], expected[1], rtol=1e-5):
        what = "the same features for different photos"
        if not np.isfinite(expected).all():
            what = "features that are no numbers"
        raise WeightsError(
            f"{network.files[0]} gives {what}; expected a trained network. Check that it is whole, "
            f"and that `preprocessing` fits: it {network.in_words()}."
        )
    # What is constant is computed once, so that opening the network takes less.
    import_module("openvino._offline_transformations").apply_moc_transformations(graph, cf=True)
    save_network(graph, folder, expected[:1])
    check_features(network_features(folder / "network.xml", first), expected[:1])


def _computed(network: ForeignNetwork, images: Any) -> tuple[Any, Any]:
    """The graph, for as many photos as it can take, and what it gives for two, each by itself."""
    try:
        graph = fold(network, -1)
        compute = compiled_network(graph)
        expected = np.concatenate([compute(image[np.newaxis]) for image in images])
        if np.isfinite(expected).all():
            check_features(compute(images), expected)
        return graph, expected
    except (RuntimeError, ValueError, HandfulError):
        pass  # it mixes photos, or its graph knows one alone
    graph = fold(network, 1)
    compute = compiled_network(graph)
    return graph, np.concatenate([compute(image[np.newaxis]) for image in images])


def fold(network: ForeignNetwork, batch: int) -> Any:
    """Put normalization, network and pooling into one graph.

    Args:
        network: From `inspect_network`.
        batch: Photos at a time; -1 for any number.

    Returns:
        `openvino.Model` from "images", uint8 RGB (N, S, S, 3), to "embeddings", float32 (N, D).

    Raises:
        RuntimeError: When the network cannot take so many photos.
    """
    from handful.features.runtime import openvino, ops

    said = network.preprocessing
    assert said.output is not None  # it is complete
    with open_graph(network.files) as graph:
        fix_input(graph, network.input_index, said, batch)
        output = named_output(graph, said.output)
        if said.pooling == "penultimate":
            output = last_linear(output)
        side = network.image_size
        images = ops.parameter([batch, side, side, 3], np.uint8, INPUT_NAME)
        images.output(0).set_names({INPUT_NAME})
        _replace_input(graph.get_parameters()[network.input_index], _normalized(images, network))
        embeddings = ops.convert(_pooled(ops.convert(output, "f32"), network), "f32")
        embeddings.output(0).set_names({OUTPUT_NAME})
        folded = openvino.Model([ops.result(embeddings)], [images], "foreign")
    folded.validate_nodes_and_infer_types()
    return folded


def _normalized(images: Any, network: ForeignNetwork) -> Any:
    """Photos as the network takes them, in float32."""
    from handful.features.runtime import ops

    said, size, side = network.preprocessing, network.network_size, network.image_size
    x = ops.convert(images, "f32")
    if size != side:
        start = (side - size) // 2
        begin, end, step = (np.array([one, one]) for one in (start, start + size, 1))
        x = ops.slice(x, begin, end, step, np.array([1, 2]))
    if said.channel_order == "BGR":
        x = ops.gather(x, np.array([2, 1, 0]), np.array(3))
    scale, offset = (np.array(values, np.float32) for values in said.affine())
    if not np.all(scale == 1):
        x = ops.multiply(x, scale)
    if np.any(offset):
        x = ops.add(x, offset)
    return ops.transpose(x, np.array([0, 3, 1, 2])) if said.layout == "NCHW" else x


def _replace_input(parameter: Any, pixels: Any) -> None:
    """Feed a network with normalized pixels instead of its own input."""
    from handful.features.runtime import ops

    wanted = parameter.get_output_element_type(0)
    for consumer in list(parameter.output(0).get_target_inputs()):
        node = consumer.get_node()
        if node.get_type_name() == "Convert" and wanted.is_integral():
            # Where it makes floats of integers itself, these are floats already.
            cast = ops.convert(pixels, node.get_output_element_type(0).get_type_name())
            for after in list(node.output(0).get_target_inputs()):
                after.replace_source_output(cast.output(0))
        elif wanted.get_type_name() == "f32":
            consumer.replace_source_output(pixels.output(0))
        else:
            consumer.replace_source_output(ops.convert(pixels, wanted.get_type_name()).output(0))


def _pooled(x: Any, network: ForeignNetwork) -> Any:
    """The embedding (N, D) of what a network gives."""
    from handful.features.runtime import ops

    said, shape = network.preprocessing, x.output(0).get_partial_shape()
    rank = shape.rank.get_length()
    token = ops.gather(x, np.array(0), np.array(1)) if said.pooling in ("cls", "cls+mean") else None
    if said.pooling == "cls":
        return token
    if said.pooling in ("mean", "cls+mean") and rank == 3:
        mean = _patch_mean(x, shape, network.num_prefix)
        return mean if token is None else ops.concat([token, mean], 1)
    if said.pooling == "mean":
        sides = [1, *(shape[axis].get_length() for axis in range(1, rank))]
        places = [2, 3] if is_channels_first(sides, said) else [1, 2]
        return ops.reduce_mean(x, np.array(places), keep_dims=False)
    return ops.reshape(x, np.array([-1, network.embedding_dim]), special_zero=False)


def _patch_mean(x: Any, shape: Any, num_prefix: int) -> Any:
    """The mean over patches; on their square where they are one, so that maps can be drawn."""
    from handful.features.runtime import ops

    num_tokens, width = (shape[axis].get_length() for axis in (1, 2))
    if num_prefix:
        begin, end, step = (np.array([one]) for one in (num_prefix, num_tokens, 1))
        x = ops.slice(x, begin, end, step, np.array([1]))
    side = math.isqrt(num_tokens - num_prefix)
    if side**2 != num_tokens - num_prefix:
        return ops.reduce_mean(x, np.array([1]), keep_dims=False)
    x = ops.reshape(x, np.array([0, side, side, width]), special_zero=True)
    return ops.reduce_mean(x, np.array([1, 2]), keep_dims=False)
