import dataclasses
import errno
import functools
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conftest import draw_tensors, frozen_network
from handful.errors import HandfulError, OutputError
from handful.features import conversion
from handful.features.backbones import efficientnet_loading
from handful.features.backbones.efficientnet_lite import LiteVariant
from handful.features.extractor import BackboneMetadata
from handful.features.keras_runtime import prepare_keras
from handful.features.registry import find_backbone
from handful.features.runtime import openvino

# TensorFlow's tensors do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def counted(monkeypatch):
    """Replaces the conversion by one that writes two small files, and counts its calls."""
    calls = []

    def convert(metadata: BackboneMetadata, folder: Path, int8: bool) -> None:
        calls.append(metadata.name)
        (folder / "network.xml").write_text("<net/>")
        (folder / "network.bin").write_bytes(b"weights of " + metadata.name.encode())

    monkeypatch.setattr(efficientnet_loading, "_convert", convert)
    return calls


def test_a_network_is_converted_once(counted, tmp_path):
    backbone = find_backbone()
    first = frozen_network(backbone, tmp_path)
    second = frozen_network(backbone, tmp_path)
    assert counted == ["efficientnet-lite0"]
    assert first.seconds > 0.0 and second.seconds == 0.0
    assert dataclasses.replace(first, seconds=0.0) == second
    folder = tmp_path / "networks" / f"efficientnet-lite0-{backbone.metadata.digest[:16]}"
    assert second.xml_path == folder / "network.xml" and second.bin_path == folder / "network.bin"
    assert second.bin_sha256 == hashlib.sha256(second.bin_path.read_bytes()).hexdigest()
    assert second.xml_sha256 == hashlib.sha256(second.xml_path.read_bytes()).hexdigest()
    assert (second.image_size, second.embedding_dim) == (224, 1280)
    assert second.digest == backbone.metadata.digest
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    facts = json.loads((folder / "network.json").read_text())
    assert facts["weights_sha256"] == backbone.metadata.weights_sha256
    assert str(Path.home()) not in json.dumps(facts)


def test_the_cache_folder_of_the_configuration_is_the_default(counted, tmp_path, monkeypatch):
    monkeypatch.setenv("HANDFUL_CACHE", str(tmp_path / "elsewhere"))
    network = frozen_network(find_backbone())
    assert network.xml_path.is_relative_to(tmp_path / "elsewhere" / "networks")


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("network.bin", b"weights 0f efficientnet-lite0", "its files have changed"),
        ("network.bin", None, "No such file"),
        ("network.xml", b"<net>", "its files have changed"),
        ("network.json", b"{", "Expecting property name"),
        ("network.json", b"[]", "it holds no object"),
        ("network.json", b'{"format": 0, "digest": "", "sha256": {}}', "it is another network"),
        ("network.json", None, "No such file"),
    ],
)
def test_a_damaged_network_is_set_aside_and_made_again(
    counted, tmp_path, caplog, name, damage, problem
):
    backbone = find_backbone()
    folder = frozen_network(backbone, tmp_path).xml_path.parent
    for _ in range(2):
        (folder / name).unlink() if damage is None else (folder / name).write_bytes(damage)
        again = frozen_network(backbone, tmp_path)
        assert again.bin_path.read_bytes() == b"weights of efficientnet-lite0"
    assert len(counted) == 3
    assert "is damaged" in caplog.text and problem in caplog.text
    names = sorted(path.name for path in folder.parent.iterdir())
    assert names == [folder.name, folder.name + ".damaged"]


def test_two_processes_convert_at_once(tmp_path, monkeypatch):
    both_inside = threading.Barrier(2, timeout=120)

    def convert(metadata: BackboneMetadata, folder: Path, int8: bool) -> None:
        both_inside.wait()
        (folder / "network.xml").write_text("<net/>")
        (folder / "network.bin").write_bytes(folder.name.encode())

    monkeypatch.setattr(efficientnet_loading, "_convert", convert)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(frozen_network(find_backbone(), tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0].bin_sha256 == found[1].bin_sha256
    assert len(list((tmp_path / "networks").iterdir())) == 1


def test_an_interrupted_conversion_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(metadata: BackboneMetadata, folder: Path, int8: bool) -> None:
        (folder / "network.xml").write_text("<ne")
        raise KeyboardInterrupt

    monkeypatch.setattr(efficientnet_loading, "_convert", interrupt)
    with pytest.raises(KeyboardInterrupt):
        frozen_network(find_backbone(), tmp_path)
    assert list((tmp_path / "networks").iterdir()) == []


@pytest.mark.slow
def test_what_a_killed_conversion_left_is_removed(counted, tmp_path):
    parent = tmp_path / "networks"
    parent.mkdir()
    code = f"""
import os, pathlib, signal
from handful.features.conversion import store
store(pathlib.Path({str(parent / "n")!r}), "", {{}}, lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert len(list(parent.iterdir())) == 1
    network = frozen_network(find_backbone(), tmp_path)
    assert list(parent.iterdir()) == [network.xml_path.parent]


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "cache").write_text("a file")
    code = """
import os
from handful.features.backbones import efficientnet_loading
from handful.features.registry import find_backbone, load_extractor
efficientnet_loading._convert = lambda metadata, folder, int8: [
    (folder / name).write_text("") for name in ("network.xml", "network.bin")]
for _ in range(2):
    network = load_extractor(find_backbone(), "f32").network
    assert network.xml_path.is_file()
os._exit(0) if os.fork() == 0 else os.wait()
assert network.xml_path.is_file()
"""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "TMPDIR": str(temporary),
            "HANDFUL_CACHE": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("cannot be used (a file stands where a folder is needed)") == 1
    assert list(temporary.iterdir()) == []


def test_a_full_disk(tmp_path, monkeypatch):
    def fill(metadata: BackboneMetadata, folder: Path, int8: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(efficientnet_loading, "_convert", fill)
    with pytest.raises(OutputError, match=r"neither in .* \(the disk is full\) nor among"):
        frozen_network(find_backbone(), tmp_path)
    assert list((tmp_path / "networks").iterdir()) == []


def test_a_disk_that_loses_what_was_written(tmp_path, monkeypatch, counted):
    monkeypatch.setattr(conversion, "open_stored", lambda folder, digest: None)
    with pytest.raises(OutputError, match="changed while it was written"):
        conversion.store(
            tmp_path / "n", "0", {"image_size": 1, "embedding_dim": 1}, writes_two_files
        )


def writes_two_files(folder: Path) -> None:
    (folder / "network.xml").write_text("")
    (folder / "network.bin").write_text("")


def test_a_damaged_network_that_cannot_be_moved(tmp_path, monkeypatch, counted):
    folder = frozen_network(find_backbone(), tmp_path).xml_path.parent
    (folder / "network.bin").write_bytes(b"")

    rename = os.rename

    def refuse(source, target):
        if Path(source) == folder or Path(target) == folder:
            raise PermissionError(errno.EACCES, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(conversion.os, "rename", refuse)
    spare = tmp_path / "spare"
    monkeypatch.setattr(conversion, "_spare_folder", functools.cache(lambda: spare))
    network = frozen_network(find_backbone(), tmp_path)
    assert network.bin_path.stat().st_size and spare in network.bin_path.parents


def small_body() -> Any:
    """A Keras body that is converted in a moment."""
    prepare_keras()
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 64, -2.0)(images)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2)(x))
    return keras.Model(images, layers.GlobalAveragePooling2D()(layers.ReLU()(x)))


@pytest.mark.slow
def test_a_conversion_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    network = small_body()
    conversion.write_network(network, tmp_path)
    monkeypatch.setattr(conversion, "TOLERANCE", -1.0)
    with pytest.raises(HandfulError, match=r"differs from the original by \d.*Try another version"):
        conversion.write_network(network, tmp_path)
    variant = LiteVariant(64, 0.5, 1.0, 0.2, "", "", "")
    with pytest.raises(HandfulError, match=r"differs from the original by \d.*Try another version"):
        efficientnet_loading.write_lite(variant, 64, draw_tensors(variant), tmp_path, int8=False)


@pytest.mark.slow
def test_keras_networks_pass_by_the_converter_that_new_pythons_refuse(tmp_path, monkeypatch):
    # It runs exec("del tensorflow") in a function, which Python 3.13 and later do not allow.
    monkeypatch.setattr(openvino, "convert_model", lambda *_: pytest.fail("was called"))
    conversion.write_network(small_body(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.bin", "network.xml"]
    graph = openvino.Core().read_model(tmp_path / "network.xml")
    kinds = Counter(op.get_type_name() for op in graph.get_ops())
    assert kinds["Convolution"] == 1 and kinds["Multiply"] == 1, "batch norm is folded"
    assert graph.input(0).any_name == "images" and graph.output(0).any_name == "embeddings"


def test_warnings_go_to_the_project_logger(caplog, counted, tmp_path):
    with caplog.at_level(logging.INFO, "handful"):
        frozen_network(find_backbone(), tmp_path)
    assert "Converting efficientnet-lite0 for OpenVINO, once" in caplog.text


@pytest.mark.slow
def test_a_disk_that_fills_while_openvino_writes_is_said(tiny_network, tmp_path):
    """OpenVINO says "iostream error" alone; a size that files may not pass stands for the disk."""
    code = f"""
import pathlib, resource
from handful.features.conversion import read_network, save_graph
from handful.features.runtime import openvino
folder = pathlib.Path({str(tiny_network.xml_path.parent)!r})
graph = openvino.Core().read_model(folder / "network.xml")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    save_graph(graph, pathlib.Path({str(tmp_path)!r}) / "network.xml")
except OSError as error:
    print(error.strerror)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout == "File too large\n", answer.stderr
