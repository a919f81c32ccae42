import functools
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import draw_photo, draw_tensors
from handful.data.decoding import DecodeSettings, resize
from handful.data.target import softmax
from handful.errors import HandfulError, MissingExtraError
from handful.exporting.export_graph import folded_head, whole_graph
from handful.exporting.export_jobs import Export, export
from handful.exporting.export_runtime import FILE_NAMES, check_extra, open_export
from handful.features.backbones.efficientnet_lite import LiteVariant
from handful.features.backbones.efficientnet_loading import write_lite
from handful.features.conversion import FrozenNetwork, write_network
from handful.features.onnx_graph import write_onnx
from handful.features.openvino import OpenVinoExtractor
from handful.files.atomic import sha256_of
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keras_ready")]

SIDE = 32
# Smaller than the network's square, larger, the same, narrow, wide, halved, tripled.
SIZES = [(20, 27), (100, 80), (32, 32), (200, 12), (9, 300), (64, 64), (96, 96), (150, 97)]

# What a stranger writes: nothing of handful's is imported.
STRANGERS = {
    "openvino": """
import openvino
compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
run = lambda images: compiled({"images": images})[0]
names = json.loads(openvino.Core().read_model(path).get_rt_info(["handful", "class_names"]).value)
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
run = lambda images: session.run(None, {"images": images})[0]
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
assert [value.name for value in session.get_outputs()] == ["probabilities"]
""",
    "litert": """
import zipfile
from ai_edge_litert.interpreter import Interpreter
signature = Interpreter(path).get_signature_runner()
run = lambda images: signature(images=images)["probabilities"]
names = json.loads(json.loads(zipfile.ZipFile(path).read("handful.json"))["class_names"])
""",
    "keras": """
import zipfile, keras
model = keras.saving.load_model(path, compile=False, safe_mode=True)
run = lambda images: np.asarray(model(images))
names = json.loads(json.loads(zipfile.ZipFile(path).read("handful.json"))["class_names"])
""",
}
_ASK = """
import json, sys
import numpy as np
path = sys.argv[1]
{opening}
images = np.load(sys.argv[2])
answers = []
for name in images.files:
    image = images[name]
    answers += run(image[np.newaxis] if image.ndim == 3 else image).tolist()
assert not any(name.partition(".")[0] == "handful" for name in sys.modules)
print(json.dumps({{"answers": answers, "names": names}}))
"""


def pictures(sizes: list[tuple[int, int]] = SIZES) -> list[NDArray[np.uint8]]:
    found = []
    for number, size in enumerate(sizes):
        image = draw_photo(("round", "square")[number % 2], number)
        found.append(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA))
    return found


def ask_stranger(format: str, path: Path, images: list[NDArray[np.uint8]], folder: Path) -> Any:
    np.savez(folder / "images.npz", *images)
    command = [sys.executable, "-c", _ASK.format(opening=STRANGERS[format]), str(path)]
    answer = subprocess.run(
        [*command, str(folder / "images.npz")], capture_output=True, text=True, cwd=folder
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    found = json.loads(answer.stdout.splitlines()[-1])
    return np.array(found["answers"]), found["names"]


def build_body(keras: Any, last: str = "relu") -> Any:
    """A small network with the operations that real ones are made of."""
    layers = keras.layers
    images = keras.Input((SIDE, SIDE, 3), name="images")
    x = layers.Rescaling(1 / 128, -1.0)(images)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = shortcut = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Activation("swish")(x)
    # Squeeze and excitation.
    share = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    share = layers.Conv2D(8, 1, activation="sigmoid")(share)
    x = layers.Multiply()([x, share])
    x = layers.Add()([x, shortcut])
    x = layers.ZeroPadding2D(((0, 1), (1, 0)))(x)
    x = layers.Conv2D(12, 3, strides=2, groups=4, activation="relu")(x)
    x = layers.Concatenate()([layers.MaxPooling2D(2)(x), layers.AveragePooling2D(2)(x)])
    x = layers.Conv2D(16, 3, padding="same", activation="hard_silu")(x)
    x = layers.LayerNormalization(epsilon=1e-3)(x)
    x = layers.Dense(20, activation=last)(x)
    return keras.Model(images, layers.GlobalAveragePooling2D()(x))


def frozen(body: Any, folder: Path, size: int = SIDE) -> FrozenNetwork:
    write_network(body, folder)
    xml_path, bin_path = folder / "network.xml", folder / "network.bin"
    return FrozenNetwork(
        xml_path=xml_path,
        bin_path=bin_path,
        xml_sha256=sha256_of(xml_path),
        bin_sha256=sha256_of(bin_path),
        image_size=size,
        embedding_dim=body.output_shape[-1],
        digest="a test's",
        seconds=0.0,
    )


def classifier_on(network: FrozenNetwork, **options: Any) -> Classifier:
    rng = np.random.default_rng(4)
    dim = network.embedding_dim
    # Spread to what the network gives, so that answers are neither all sure nor all alike.
    extractor, settings = OpenVinoExtractor(network, "f32"), DecodeSettings(network.image_size)
    embeddings = extractor.embed(np.stack([resize(picture, settings) for picture in pictures()]))
    # A network that was not trained hardly tells pictures apart: not to be blown up to rounding.
    spread = embeddings.std(0) + 0.02 * np.abs(embeddings).max()
    head = LinearHead(*heads_of(dim, embeddings.mean(0), spread, rng))
    names = ("an ant", "bee | wasp", "kuh, ütter")
    settings = DecodeSettings(network.image_size, options.pop("resize", "halfway"))
    return Classifier(names, extractor, head, settings, **options)


def heads_of(dim: int, mean: Any, scale: Any, rng: np.random.Generator) -> Any:
    values = (mean, scale, rng.normal(0, 3 / dim**0.5, (dim, 3)), rng.normal(0, 0.2, 3))
    return (*(np.asarray(value, np.float32) for value in values), None)


@pytest.fixture(scope="module")
def body_network(tmp_path_factory: pytest.TempPathFactory) -> FrozenNetwork:
    import keras

    return frozen(stirred(build_body(keras)), tmp_path_factory.mktemp("body"))


def stirred(body: Any) -> Any:
    """With weights that are not all at their beginning."""
    rng = np.random.default_rng(0)
    for variable in body.weights:
        spread = 0.3 if variable.path.endswith(("mean", "beta", "bias")) else 0.02
        moved = np.asarray(variable) + rng.normal(0, spread, variable.shape)
        variable.assign(np.abs(moved) if "variance" in variable.path else moved)
    return body


def test_an_operation_that_litert_lacks_is_named(tmp_path: Path) -> None:
    import keras

    (tmp_path / "body").mkdir()
    body = stirred(build_body(keras, last="gelu"))
    classifier_on(frozen(body, tmp_path / "body")).save(tmp_path / "saved")
    for format in ("onnx", "keras"):
        made = export(tmp_path / "saved", format, output=tmp_path / format)
        assert made.parity.largest_difference_resized < 1e-5
    with pytest.raises(HandfulError, match=r"LiteRT cannot compute.*operations Erf\).*openvino"):
        export(tmp_path / "saved", "litert", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def exported(
    body_network: FrozenNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Classifier, Export]]:
    """A classifier and its export in a format, made once; read, never changed."""
    folder = tmp_path_factory.mktemp("exported")
    classifier = classifier_on(body_network, test_time_mirror=True)
    classifier.save(folder / "saved")

    @functools.cache
    def made(format: str) -> tuple[Classifier, Export]:
        return classifier, export(folder / "saved", format, output=folder / format)

    return made


@pytest.mark.parametrize("format", STRANGERS)
def test_a_stranger_gets_handfuls_answers(
    format: str, exported: Callable[[str], tuple[Classifier, Export]], tmp_path: Path
) -> None:
    classifier, made = exported(format)
    assert made.parity.pictures.startswith("drawn pictures")
    images = pictures()
    # Pictures of one size may come together.
    images.append(np.stack(pictures([(70, 90)] * 3)))
    found, names = ask_stranger(format, made.file, images, tmp_path)
    expected = classifier.predict_proba([*images[:-1], *images[-1]])
    assert np.ptp(expected, axis=0).min() > 0.05  # the pictures are told apart
    # Cubic curves are rounded by OpenCV, see `square`; elsewhere it is floating point alone.
    assert np.abs(found - expected).max() < 2e-3
    shrunk = [number for number, size in enumerate(SIZES) if min(size) >= 2 * SIDE]
    assert np.abs(found - expected)[[*shrunk, -3, -2, -1]].max() < 1e-4
    assert names == list(classifier.class_names)


def test_every_format_has_its_stranger() -> None:
    """That of a page is a browser, see test_exporting_web_browser.py."""
    assert {*STRANGERS, "web"} == set(FILE_NAMES)


@pytest.mark.parametrize("format", ["onnx", "keras"])
def test_networks_trained_from_scratch_can_be_exported(format: str, tmp_path: Path) -> None:
    from handful.config import TrainConfig
    from handful.training.deployment import deploy
    from handful.training.networks import build_mnist, build_small
    from handful.training.recipes import Recipe

    for build, grey in ((build_small, False), (build_mnist, True)):
        recipe = Recipe("scratch", SIDE, 1, 4, 1e-3, grey=grey)
        network = build((SIDE, SIDE, 1 if grey else 3), 3)
        names = ("a", "b", "c")
        saved = tmp_path / build.__name__
        made = deploy(network, recipe, names, DecodeSettings(SIDE), TrainConfig(strategy="scratch"))
        made.save(saved)
        exported = export(saved, format, output=tmp_path / f"{saved.name}-out")
        assert exported.parity.largest_difference_resized < 1e-5


def test_the_heads_matrix_holds_standardizing_and_temperature(body_network: FrozenNetwork) -> None:
    classifier = classifier_on(body_network)
    hot = classifier.head.at_temperature(2.5)
    embeddings = np.random.default_rng(0).normal(hot.mean, hot.scale, (5, 20)).astype(np.float32)
    matrix, bias = folded_head(hot)
    found = softmax((embeddings @ matrix + bias).astype(np.float64))
    assert np.abs(found - hot.predict_proba(embeddings)).max() < 1e-5
    assert np.abs(found - classifier.head.predict_proba(embeddings)).max() > 0.01


def test_keras_files_hold_keras_own_layers_alone(
    exported: Callable[[str], tuple[Classifier, Export]],
) -> None:
    _, made = exported("keras")
    with zipfile.ZipFile(made.file) as archive:
        config = json.loads(archive.read("config.json"))
        facts = json.loads(archive.read("handful.json"))
    modules = {layer["module"] for layer in config["config"]["layers"]}
    assert modules and all(module.startswith("keras.") for module in modules)
    assert not {layer["class_name"] for layer in config["config"]["layers"]} & {"Lambda"}
    assert facts["precision"] == "f32" and facts["handful_version"]


def test_litert_files_hold_litert_own_operations_alone(
    exported: Callable[[str], tuple[Classifier, Export]],
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    _, made = exported("litert")
    names = {found["op_name"] for found in Interpreter(str(made.file))._get_ops_details()}
    assert "CONV_2D" in names and not [name for name in names if name.startswith("Flex")]


def tiny_lite(folder: Path) -> FrozenNetwork:
    """An EfficientNet-Lite of a few channels in 8 bits."""
    variant = LiteVariant(64, 0.5, 1.0, 0.2, "", "", "")
    write_lite(variant, 64, draw_tensors(variant), folder, int8=True)
    return FrozenNetwork(
        xml_path=folder / "network.xml",
        bin_path=folder / "network.bin",
        xml_sha256=sha256_of(folder / "network.xml"),
        bin_sha256=sha256_of(folder / "network.bin"),
        image_size=64,
        embedding_dim=1280,
        digest="8 bits",
        seconds=0.0,
    )


def test_8_bit_networks_stay_in_8_bits(tmp_path: Path) -> None:
    import onnx

    (tmp_path / "made").mkdir()
    network = tiny_lite(tmp_path / "made")
    eight = classifier_on(network)
    extractor = OpenVinoExtractor(network, "int8")
    classifier = Classifier(eight.class_names, extractor, eight.head, eight.settings)
    write_onnx(whole_graph(classifier, {}), tmp_path / "model.onnx", {"a": "b"})
    graph = onnx.load(tmp_path / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    scales = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 20 and kinds.count("QuantizeLinear") > 20
    # Input, weights and bias of each are whole numbers behind their scales.
    assert all(set(node.input) <= scales for node in convolutions)
    small = sum(len(value.raw_data) for value in graph.initializer if value.data_type == 3)
    assert small > 0.6 * (tmp_path / "model.onnx").stat().st_size - 200_000
    # Answers are compared with a trained network, among the real ones; this one is noise.
    found = open_export(tmp_path / "model.onnx", "onnx")(pictures()[0])
    assert found.shape == (3,) and found.sum() == pytest.approx(1)


def test_an_operation_without_a_like_is_named(tmp_path: Path) -> None:
    import openvino
    from openvino import opset13 as ops

    from handful.exporting.export_keras import network_layers

    images = ops.parameter(openvino.PartialShape([-1, SIDE, SIDE, 3]), np.uint8, name="images")
    images.output(0).set_names({"images"})
    flat = ops.reshape(ops.convert(images, "f32"), np.array([0, SIDE * SIDE * 3]), True)
    odd = ops.asinh(flat)
    odd.set_friendly_name("the odd one")
    odd.output(0).set_names({"embeddings"})
    model = openvino.Model([odd], [images])
    with pytest.raises(HandfulError, match=r"operation Asinh \(the odd one\).*`format` openvino"):
        write_onnx(model, tmp_path / "model.onnx", {})
    import keras

    with pytest.raises(HandfulError, match=r"operation Asinh \(the odd one\).*`format` openvino"):
        network_layers(model, keras.Input((SIDE, SIDE, 3)))
    assert not (tmp_path / "model.onnx").exists()


def test_litert_needs_tensorflow_below_keras(
    body_network: FrozenNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    classifier_on(body_network).save(tmp_path / "saved")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(HandfulError, match=r"computes with jax here.*KERAS_BACKEND=tensorflow"):
        export(tmp_path / "saved", "litert", output=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.parametrize(
    ("format", "package", "extra"),
    [
        ("onnx", "onnxruntime", "export"),
        ("litert", "ai-edge-litert", "export"),
        ("litert", "tensorflow", "tensorflow"),
    ],
)
def test_a_missing_package_is_named_before_the_work(
    format: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_extra(format)
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    message = rf"Format {format} needs {package}, .*pip install 'handful\[{extra}\]'"
    with pytest.raises(MissingExtraError, match=message):
        check_extra(format)
