"""Small networks of others' formats, made for a test."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RNG_SEED = 7


def write_onnx(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    external: str | None = None,
) -> Path:
    """Write a graph as ONNX; `external` names a file beside it for the weights."""

    def infos(shapes: dict[str, list[int | str]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]

    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "small", infos(inputs), infos(outputs), tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.parent.mkdir(parents=True, exist_ok=True)
    if external is None:
        onnx.save(model, path)
    else:
        onnx.save_model(
            model, path, save_as_external_data=True, location=external, size_threshold=0
        )
    return path


def convolution(
    channels: int, stride: int = 4
) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """`pixels` -> `map`: a convolution of patches and a ReLU."""
    rng = np.random.default_rng(RNG_SEED)
    weights = {
        "kernel": (rng.normal(size=(channels, 3, stride, stride)) / 7).astype(np.float32),
        "bias": rng.normal(size=channels).astype(np.float32),
    }
    nodes = [
        helper.make_node(
            "Conv",
            ["pixels", "kernel", "bias"],
            ["convolved"],
            name="conv",
            kernel_shape=[stride, stride],
            strides=[stride, stride],
        ),
        helper.make_node("Relu", ["convolved"], ["map"], name="relu"),
    ]
    return nodes, weights


def write_map_network(
    path: Path, shape: list[int | str] | None = None, external: str | None = None
) -> Path:
    """A network whose output is a feature map of 16 channels, 1/4 of the side."""
    nodes, weights = convolution(16)
    return write_onnx(
        path,
        nodes,
        weights,
        {"pixels": shape or ["N", 3, 32, 32]},
        {"map": ["N", 16, "h", "w"]},
        external,
    )


def write_classifier(path: Path) -> Path:
    """A network with 16 pooled features and 10 logits of them."""
    nodes, weights = convolution(16)
    rng = np.random.default_rng(RNG_SEED + 1)
    weights |= {
        "weight": rng.normal(size=(16, 10)).astype(np.float32),
        "offset": rng.normal(size=10).astype(np.float32),
    }
    nodes += [
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], name="flatten"),
        helper.make_node("Gemm", ["features", "weight", "offset"], ["logits"], name="head"),
    ]
    return write_onnx(path, nodes, weights, {"pixels": ["N", 3, 32, 32]}, {"logits": ["N", 10]})


def write_transformer(
    path: Path, num_prefix: int = 1, batch: int | str = 1, one_photo: bool = False
) -> Path:
    """Tokens of 16 numbers, of 64 patches behind some others; and a pooled vector.

    The others are the patches' mean and something constant, so that they depend on the image.
    `one_photo` has the graph know one photo alone.
    """
    nodes, weights = convolution(16)
    rng = np.random.default_rng(RNG_SEED + 2)
    weights |= {
        "flat": np.array([1 if one_photo else 0, 16, 64], np.int64),
        "prefix": rng.normal(size=(1, num_prefix, 16)).astype(np.float32),
        "weight": rng.normal(size=(16, 12)).astype(np.float32),
    }
    nodes += [
        helper.make_node("Reshape", ["map", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["patches"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Add", ["mean", "prefix"], ["special"]),
        helper.make_node("Concat", ["special", "patches"], ["last_hidden_state"], axis=1),
        helper.make_node("ReduceMean", ["special"], ["vector"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["vector", "weight"], ["projected"], name="projection"),
        helper.make_node("Tanh", ["projected"], ["pooler_output"]),
    ]
    return write_onnx(
        path,
        nodes,
        weights,
        {"pixels": [batch, 3, 32, 32]},
        {"last_hidden_state": [batch, 64 + num_prefix, 16], "pooler_output": [batch, 12]},
    )
