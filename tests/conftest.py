import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from handful.features.backbones import efficientnet_loading, keras_loading
from handful.features.backbones.efficientnet_lite import LiteVariant, lite_convolutions
from handful.features.conversion import FrozenNetwork
from handful.features.extractor import Backbone, BackboneMetadata
from handful.features.keras_runtime import prepare_keras
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import load_extractor
from handful.files.atomic import sha256_of
from handful.workflows import train as train_workflow

REPOSITORY = Path(__file__).resolve().parent.parent

# A slow machine fails no test.
settings.register_profile("handful", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("handful")

# What only tests marked `slow` or `real` may do; `make test-fast` leaves them out.
slow_work: set[str] = set()


def note_slow_work(
    event: str,
    arguments: tuple[Any, ...],
    starts: tuple[str, ...] = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"),
    frameworks: tuple[str, ...] = ("keras", "tensorflow", "jax", "torch"),
    noted: set[str] = slow_work,
) -> None:
    """An audit hook; it outlives this module's names."""
    if event in starts:
        if arguments[:1] != ("fc-list",):  # Matplotlib, once for all who have the same home
            noted.add("starts a process")
    elif event == "import" and arguments[0] in frameworks:
        noted.add(f"imports {arguments[0]}")


sys.addaudithook(note_slow_work)

# Where it is set, each process that a test starts would compile all of handful anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_finish() -> None:
    slow_work.discard("starts a process")  # plugins do


@pytest.fixture(autouse=True)
def fast_unless_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that does slow work is marked `slow` or `real`, or it fails."""
    yield
    done = sorted(slow_work)
    slow_work.clear()
    if done and not {"slow", "real"} & {mark.name for mark in request.node.iter_markers()}:
        pytest.fail(f"mark this test `slow`: it {' and '.join(done)}")


@pytest.fixture(autouse=True)
def no_runs_beside_the_tests() -> Iterator[None]:
    """Jobs write to runs/ unless they are told where to, or not to."""
    here, before = Path("runs").resolve(), set(os.listdir("runs") if Path("runs").is_dir() else [])
    yield
    left = set(os.listdir(here) if here.is_dir() else []) - before
    # In a folder of the test's own a run may lie.
    if left and here == REPOSITORY / "runs":
        pytest.fail(f"give `output`: {', '.join(sorted(left))} was written to {here}")


@pytest.fixture(scope="session")
def keras_ready() -> None:
    """Keras is imported, as handful imports it."""
    prepare_keras()


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Folder with the real photos and weights; tests that need it carry the marker `real`."""
    folder = Path(os.environ.get("HANDFUL_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs the real photos and weights; no such folder: {folder}")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test starts with an empty cache; none reads or writes the user's."""
    folder = tmp_path / "handful-cache"
    monkeypatch.setenv("HANDFUL_CACHE", str(folder))
    return folder


def draw_photo(kind: str, seed: int, size: tuple[int, int] = (96, 120)) -> np.ndarray:
    """A noisy picture with an ellipse ("round") or a box ("square"): (H, W, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.integers(30, 220, (6, 7, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    centre = (int(rng.integers(35, width - 35)), int(rng.integers(30, height - 30)))
    colour = (250, 60, 60) if kind == "round" else (60, 60, 250)
    radius = int(rng.integers(18, 28))
    if kind == "round":
        cv2.circle(image, centre, radius, colour, -1)
    else:
        x, y = centre
        cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), colour, -1)
    noise = rng.integers(-12, 13, image.shape)
    return np.clip(image.astype(np.int64) + noise, 0, 255).astype(np.uint8)


def write_photo(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def draw_tensors(variant: LiteVariant, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that an EfficientNet-Lite could have, under the names of torch's files."""
    rng = np.random.default_rng(seed)
    tensors = {"_fc.weight": rng.normal(0, 0.05, (1000, 1280)), "_fc.bias": np.zeros(1000)}
    for layer in lite_convolutions(variant):
        _, inputs, rows, columns = layer.shape
        spread = np.sqrt(2 / (inputs * rows * columns))
        tensors[layer.kernel] = rng.normal(0, spread, layer.shape)
        tensors[f"{layer.norm}.weight"] = rng.uniform(0.5, 1.5, layer.outputs)
        tensors[f"{layer.norm}.bias"] = rng.normal(0, 0.3, layer.outputs)
        tensors[f"{layer.norm}.running_mean"] = rng.normal(0, 0.3, layer.outputs)
        tensors[f"{layer.norm}.running_var"] = rng.uniform(0.5, 1.5, layer.outputs)
    return {name: value.astype(np.float32) for name, value in tensors.items()}


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, "round" and "square", 24 drawn JPEG photos each, no given split."""
    root = tmp_path_factory.mktemp("photos")
    for kind, first_seed in (("round", 0), ("square", 1000)):
        for number in range(24):
            write_photo(root / kind / f"{number:03d}.jpg", draw_photo(kind, first_seed + number))
    return root


@pytest.fixture(scope="session")
def tiny_network(tmp_path_factory: pytest.TempPathFactory) -> FrozenNetwork:
    """A stand-in for a pretrained network: a fixed random projection of 32x32 pixels to 48."""
    from handful.features.runtime import openvino, ops

    folder = tmp_path_factory.mktemp("network")
    images = ops.parameter(openvino.PartialShape([-1, 32, 32, 3]), np.uint8, name="images")
    images.output(0).set_names({"images"})
    values = ops.divide(ops.subtract(ops.convert(images, "f32"), np.float32(127)), np.float32(128))
    pixels = ops.reshape(values, np.array([-1, 32 * 32 * 3]), special_zero=False)
    projection = np.random.default_rng(0).normal(size=(32 * 32 * 3, 48)).astype(np.float32) / 30
    embeddings = ops.relu(ops.matmul(pixels, projection, False, False))
    embeddings.output(0).set_names({"embeddings"})
    model = openvino.Model([embeddings], [images], "projection")
    openvino.save_model(model, folder / "network.xml", compress_to_fp16=False)
    return FrozenNetwork(
        xml_path=folder / "network.xml",
        bin_path=folder / "network.bin",
        xml_sha256=sha256_of(folder / "network.xml"),
        bin_sha256=sha256_of(folder / "network.bin"),
        image_size=32,
        embedding_dim=48,
        digest="projection",
        seconds=0.0,
    )


def install_network(
    network: FrozenNetwork,
    folder: Path,
    patch: pytest.MonkeyPatch,
    int8: FrozenNetwork | None = None,
) -> None:
    """Install a package that embeds with a network under the name of every backbone.

    Another one can be its form in 8 bits.
    """

    def load(_: BackboneMetadata, precision: str) -> OpenVinoExtractor:
        return OpenVinoExtractor(int8 or network if precision == "int8" else network, precision)

    known = efficientnet_loading.BACKBONES | keras_loading.BACKBONES
    module, lines = SimpleNamespace(), ["[handful.backbones]"]
    for name, backbone in known.items():
        attribute = name.replace("-", "_")
        lines.append(f"{name} = stand_in:{attribute}")
        setattr(module, attribute, replace(backbone, load=load))
    package = folder / "stand_in-1.0.dist-info"
    package.mkdir(parents=True, exist_ok=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("\n".join(lines))
    patch.setitem(sys.modules, "stand_in", module)
    patch.syspath_prepend(folder)


def frozen_network(
    backbone: Backbone, folder: Path | None = None, precision: str = "f32"
) -> FrozenNetwork:
    """A backbone's converted network, kept below a folder."""
    with pytest.MonkeyPatch.context() as patch:
        if folder is not None:
            patch.setenv("HANDFUL_CACHE", str(folder))
        extractor = load_extractor(backbone, precision)
    assert isinstance(extractor, OpenVinoExtractor)
    return extractor.network


@pytest.fixture
def tiny_backbone(
    tiny_network: FrozenNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FrozenNetwork:
    """Jobs take the stand-in for whatever backbone they are asked for."""
    install_network(tiny_network, tmp_path / "site-packages", monkeypatch)
    return tiny_network


@pytest.fixture(scope="session")
def tiny_run(
    photo_folder: Path, tiny_network: FrozenNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run on the drawn photos with the stand-in network; read, never changed."""
    root = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDFUL_CACHE", str(root / "cache"))
        install_network(tiny_network, root / "site-packages", patch)
        train_workflow.train(photo_folder, output=root / "run")
    return root / "run"
