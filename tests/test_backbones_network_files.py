"""Networks in files of anybody's: what is found out, put into the graph, and refused."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from handful.errors import UsageError, WeightsError
from handful.features.conversion import check_image
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import find_backbone, load_extractor
from handful.reporting import Reporter
from networks import convolution, write_classifier, write_map_network, write_onnx, write_transformer

MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
SAID = "mean=0.4,0.5,0.6 std=0.2,0.25,0.3"


class Told(Reporter):
    """Keeps lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


def opened(path: Path, said: str | None = SAID, size: int | None = None) -> OpenVinoExtractor:
    extractor = load_extractor(find_backbone(str(path), None, size, said), "f32")
    assert isinstance(extractor, OpenVinoExtractor)
    return extractor


def images_of(side: int) -> np.ndarray:
    first = check_image(side)
    return np.concatenate([first, 255 - first])


def run_onnx(path: Path, images: np.ndarray, output: str) -> np.ndarray:
    """What the network's own runtime gives for normalized pixels, one photo at a time."""
    session = onnxruntime.InferenceSession(path)
    pixels = ((images / 255 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
    return np.concatenate([session.run([output], {"pixels": one[None]})[0] for one in pixels])


def test_a_feature_map_is_averaged_and_can_be_looked_at(tmp_path: Path) -> None:
    path, told = write_map_network(tmp_path / "net.onnx"), Told()
    backbone = find_backbone(str(path), preprocessing=SAID, reporter=told)
    assert (backbone.metadata.image_size, backbone.metadata.embedding_dim) == (32, 16)
    assert backbone.metadata.license == "that of the given file"
    assert backbone.metadata.source == "file: net.onnx"
    assert told.lines == [
        "net.onnx takes 32 x 32 pixels, RGB, NCHW, values 0 to 1, mean 0.4 0.5 0.6, std 0.2 0.25 "
        "0.3; its embedding is the mean over places of map, 16 features (size, layout, output, "
        "pooling found out from the network)."
    ]
    extractor, images = load_extractor(backbone, "f32"), images_of(32)
    assert isinstance(extractor, OpenVinoExtractor)
    expected = run_onnx(path, images, "map").mean(axis=(2, 3))
    np.testing.assert_allclose(extractor.embed(images), expected, rtol=1e-4, atol=1e-5)
    look = extractor.feature_map()
    assert look is not None
    features, embedding = look(images[0])
    assert features.shape == (8, 8, 16)
    np.testing.assert_allclose(features.mean(axis=(0, 1)), embedding, rtol=1e-4, atol=1e-5)


def test_logits_are_passed_over_for_what_they_are_computed_of(tmp_path: Path) -> None:
    path, images = write_classifier(tmp_path / "net.onnx"), images_of(32)
    extractor = opened(path)
    assert extractor.embedding_dim == 16 and extractor.feature_map() is not None
    features = opened(path, f"{SAID} output=features").embed(images)
    np.testing.assert_allclose(extractor.embed(images), features, rtol=1e-5)
    logits = opened(path, f"{SAID} pooling=none")
    expected = run_onnx(path, images, "logits")
    np.testing.assert_allclose(logits.embed(images), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("num_prefix", [0, 1, 5])
@pytest.mark.parametrize("pooling", ["cls", "mean", "cls+mean", None])
def test_tokens_become_an_embedding(tmp_path: Path, num_prefix: int, pooling: str | None) -> None:
    path = write_transformer(tmp_path / "net.onnx", max(num_prefix, 1))
    images, output = images_of(32), "last_hidden_state" if num_prefix else "patches"
    said = f"{SAID} output={output}" + (f" pooling={pooling}" if pooling else "")
    if not num_prefix and pooling in ("cls", "cls+mean"):
        if pooling == "cls+mean":
            with pytest.raises(UsageError, match="expected mean or cls in `preprocessing`"):
                opened(path, said)
        return
    extractor = opened(path, said)
    tokens = run_onnx(path, images, "last_hidden_state")
    first, patches = tokens[:, 0], tokens[:, max(num_prefix, 1) :].mean(axis=1)
    pooling = pooling or ("cls" if num_prefix else "mean")
    expected = {
        "cls": first,
        "mean": patches,
        "cls+mean": np.concatenate([first, patches], axis=1),
    }[pooling]
    np.testing.assert_allclose(extractor.embed(images), expected, rtol=1e-4, atol=1e-5)
    assert (extractor.feature_map() is not None) == (pooling == "mean")


def test_the_pooled_vector_is_taken_where_there_is_one(tmp_path: Path) -> None:
    path, images = write_transformer(tmp_path / "net.onnx"), images_of(32)
    extractor = opened(path)
    expected = run_onnx(path, images, "pooler_output")
    np.testing.assert_allclose(extractor.embed(images), expected, rtol=1e-4, atol=1e-5)
    assert extractor.feature_map() is None


def test_order_range_and_crop_are_put_into_the_graph(tmp_path: Path) -> None:
    path = write_map_network(tmp_path / "net.onnx")
    plain = opened(path, "value_range=0,255")
    swapped = opened(path, "value_range=0,255 channel_order=BGR")
    images = images_of(32)
    np.testing.assert_allclose(swapped.embed(images), plain.embed(images[..., ::-1]), rtol=1e-4)
    cropped = opened(path, "value_range=0,255 crop_fraction=0.5")
    assert cropped.image_size == 64
    large = images_of(64)
    middle = np.ascontiguousarray(large[:, 16:48, 16:48])
    np.testing.assert_allclose(cropped.embed(large), plain.embed(middle), rtol=1e-4)
    assert len({plain.digest, swapped.digest, cropped.digest}) == 3


@pytest.mark.parametrize("shape", [["N", 3, "H", "W"], ["a", "b", "c", "d"], [4, 3, 32, 32]])
def test_free_and_fixed_shapes(tmp_path: Path, shape: list[int | str]) -> None:
    path = write_map_network(tmp_path / "net.onnx", shape)
    if shape[2] != 32:
        with pytest.raises(UsageError, match=r"takes images of any size; expected .*`image_size`"):
            find_backbone(str(path), preprocessing=SAID)
    images = images_of(48)
    found = opened(path, SAID, 48).embed(images)
    np.testing.assert_allclose(found, opened(path, f"{SAID} image_size=48").embed(images))
    free = write_map_network(tmp_path / "free.onnx")
    np.testing.assert_allclose(found, opened(free, SAID, 48).embed(images), rtol=1e-5)


def test_channels_last_are_told_by_the_shape(tmp_path: Path) -> None:
    nodes, weights = convolution(16)
    from onnx import helper

    nodes.insert(0, helper.make_node("Transpose", ["images"], ["pixels"], perm=[0, 3, 1, 2]))
    path = write_onnx(
        tmp_path / "net.onnx",
        nodes,
        weights,
        {"images": ["N", 32, 32, 3]},
        {"map": ["N", 16, 8, 8]},
    )
    other = write_map_network(tmp_path / "other.onnx")
    images = images_of(32)
    np.testing.assert_allclose(opened(path).embed(images), opened(other).embed(images), rtol=1e-5)


def test_the_identity_is_the_files_and_what_is_said(tmp_path: Path) -> None:
    path = write_map_network(tmp_path / "net.onnx")
    found = find_backbone(str(path), preprocessing=SAID).metadata
    other = tmp_path / "elsewhere" / "named otherwise.onnx"
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())
    assert find_backbone(str(other), preprocessing=SAID).metadata.digest == found.digest
    assert find_backbone(str(path), preprocessing="mean=0.5").metadata.digest != found.digest
    changed = write_map_network(tmp_path / "changed.onnx", ["N", 3, 32, "W"])
    assert find_backbone(str(changed), None, 32, SAID).metadata.digest != found.digest
    assert set(found.provenance) == {
        *("backbone", "license", "source", "preprocessing", "weights_sha256"),
    }


@pytest.mark.parametrize("is_linked", [False, True])
def test_weights_in_a_file_of_their_own(tmp_path: Path, is_linked: bool) -> None:
    folder = tmp_path / "real"
    path = write_map_network(folder / "net.onnx", external="net.onnx_data")
    assert (folder / "net.onnx_data").is_file()
    if is_linked:  # as the cache of a hub has them
        (tmp_path / "links").mkdir()
        for name in ("net.onnx", "net.onnx_data"):
            os.symlink(folder / name, tmp_path / "links" / name)
        path = tmp_path / "links" / "net.onnx"
    inside = write_map_network(tmp_path / "inside.onnx")
    images = images_of(32)
    np.testing.assert_allclose(opened(path).embed(images), opened(inside).embed(images))
    digest = find_backbone(str(path), preprocessing=SAID).metadata.digest
    data = bytearray((folder / "net.onnx_data").read_bytes())
    data[-1] ^= 1
    (folder / "net.onnx_data").write_bytes(data)
    assert find_backbone(str(path), preprocessing=SAID).metadata.digest != digest
    (folder / "net.onnx_data").unlink()
    with pytest.raises(WeightsError, match=r"net\.onnx_data: No such file"):
        find_backbone(str(path), preprocessing=SAID)


def test_weights_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    path = write_map_network(tmp_path / "net.onnx", external="abcdefgh")
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"../../ab"))
    with pytest.raises(WeightsError, match=r"names the weights '\.\./\.\./ab'; expected a file b"):
        find_backbone(str(path), preprocessing=SAID)


def test_openvinos_own_format(tmp_path: Path) -> None:
    from handful.features.runtime import openvino

    path = write_map_network(tmp_path / "net.onnx")
    openvino.save_model(openvino.Core().read_model(path), tmp_path / "net.xml", False)
    images = images_of(32)
    found, expected = opened(tmp_path / "net.xml"), opened(path)
    np.testing.assert_allclose(found.embed(images), expected.embed(images), rtol=1e-5)
    (tmp_path / "net.bin").unlink()
    with pytest.raises(WeightsError, match=r"net\.bin: No such file"):
        find_backbone(str(tmp_path / "net.xml"), preprocessing=SAID)


def test_what_is_missing_or_wrong_is_said(tmp_path: Path) -> None:
    path = write_transformer(tmp_path / "net.onnx")
    for said, message in (
        (None, r"does not tell what it expects of a pixel's value.*'mean=0.5 std=0.5'"),
        (f"{SAID} output=last_hidden", "no output or node 'last_hidden'; expected last_hidden_st"),
        (f"{SAID} pooling=mean", r"pooler_output \[1,12\] has no embedding by pooling 'mean'"),
        (f"{SAID} output=patches pooling=none", "expected mean or cls in `preprocessing`"),
        (f"{SAID} output=last_hidden_state pooling=penultimate", "not come from a linear layer"),
        (f"{SAID} layout=NHWC", "takes images of the shape .* and none in NHWC"),
    ):
        with pytest.raises(UsageError, match=message):
            find_backbone(str(path), preprocessing=said)
    with pytest.raises(UsageError, match=r"of the shape .* and none of 48 x 48 pixels"):
        find_backbone(str(path), None, 48, SAID)
    with pytest.raises(UsageError, match=r"`weights` is 'x.h5' .* leave `weights` out"):
        find_backbone(str(path), Path("x.h5"), None, SAID)
    with pytest.raises(UsageError, match="`preprocessing` is for networks in files and of a hub"):
        find_backbone("efficientnet-lite0", preprocessing=SAID)
    with pytest.raises(UsageError, match=r"expected one of efficientnet-lite0, .*, or another pre"):
        load_extractor(find_backbone(str(path), preprocessing=SAID), "int8")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("net.onnx", None, r"Cannot read the weights file .*net\.onnx: No such file"),
        ("net.onnx", b"", "cannot be read as a network"),
        ("net.onnx", b"not a network", "cannot be read as a network"),
        ("net.tflite", b"not a network", "cannot be read as a network"),
        ("net.xml", b"<net>", r"net\.bin: No such file"),
    ],
)
def test_files_that_are_no_networks(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        find_backbone(str(tmp_path / name), preprocessing=SAID)


@pytest.mark.parametrize("name", ["net.pt", "weights/net.safetensors", "folder/net"])
def test_other_formats_are_named_with_a_way_out(name: str) -> None:
    with pytest.raises(UsageError, match=r"ends in \.onnx, .*torch\.onnx\.export"):
        find_backbone(name)


def test_networks_that_are_for_something_else(tmp_path: Path) -> None:
    nodes, weights = convolution(16)
    grey = write_onnx(
        tmp_path / "grey.onnx",
        nodes,
        weights | {"kernel": weights["kernel"][:, :1]},
        {"pixels": ["N", 1, 32, 32]},
        {"map": ["N", 16, 8, 8]},
    )
    with pytest.raises(WeightsError, match=r"has the inputs pixels .* of which none can be an ima"):
        find_backbone(str(grey), preprocessing=SAID)
    wide = write_map_network(tmp_path / "wide.onnx", ["N", 3, 32, 64])
    with pytest.raises(WeightsError, match="takes images of 32 x 64 pixels; expected a square"):
        find_backbone(str(wide), preprocessing=SAID)
    one = write_onnx(
        tmp_path / "one.onnx",
        nodes,
        {"kernel": weights["kernel"][:2], "bias": weights["bias"][:2]},
        {"pixels": ["N", 3, 32, 32]},
        {"map": ["N", 2, 8, 8]},
    )
    with pytest.raises(UsageError, match=r"map gives 2 features .*expected an embedding"):
        find_backbone(str(one), preprocessing=SAID)
    dead = write_onnx(
        tmp_path / "dead.onnx",
        nodes,
        weights | {"kernel": 0 * weights["kernel"]},
        {"pixels": ["N", 3, 32, 32]},
        {"map": ["N", 16, 8, 8]},
    )
    with pytest.raises(WeightsError, match="gives the same features for different photos"):
        opened(dead)
    broken = write_onnx(
        tmp_path / "broken.onnx",
        nodes,
        weights | {"bias": np.full(16, np.inf, np.float32)},
        {"pixels": ["N", 3, 32, 32]},
        {"map": ["N", 16, 8, 8]},
    )
    with pytest.raises(WeightsError, match="gives features that are no numbers"):
        opened(broken)


def test_a_network_is_written_once_under_a_name_that_can_be_a_folders(
    tmp_path: Path, own_cache: Path
) -> None:
    path = write_map_network(tmp_path / "näme of mine\n.onnx")
    first = opened(path).network
    assert first.seconds > 0 and opened(path).network == replace(first, seconds=0.0)
    (folder,) = (own_cache / "networks").iterdir()
    assert folder.name.startswith("n-me-of-mine-.onnx-")
