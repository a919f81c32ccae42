import dataclasses
import hashlib
import http.server
import inspect
import socket
import sys
import threading
from pathlib import Path

import pytest

from handful.errors import WeightsError
from handful.features.backbones import keras_applications, keras_loading
from handful.features.backbones.keras_applications import (
    KERAS_BODIES,
    KerasBody,
    find_official_weights,
)
from handful.features.extractor import weights_sha256
from handful.features.keras_runtime import prepare_keras
from handful.features.registry import find_backbone

# TensorFlow's tensors do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def small_body(tmp_path, monkeypatch):
    """A body whose official file is the six bytes b"kernel", and an empty Keras home."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    checksum = hashlib.md5(b"kernel").hexdigest()
    body = KerasBody("Small", "vgg16", 224, 8, "small_notop.h5", checksum)
    monkeypatch.setitem(KERAS_BODIES, "small", body)
    known = keras_loading.BACKBONES["vgg16"]
    metadata = dataclasses.replace(known.metadata, name="small", source=body.url)

    def locate(_):
        path = find_official_weights(body)
        return path, weights_sha256(path)

    small = dataclasses.replace(known, metadata=metadata, locate=locate)
    monkeypatch.setitem(keras_loading.BACKBONES, "small", small)
    return body


def serve(monkeypatch, answer: bytes | None) -> str:
    """Serve one file for a family's weights and return its address; None answers 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write(answer or b"")

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.timeout = 5

    def answer_once():
        with server:
            server.handle_request()

    threading.Thread(target=answer_once, daemon=True).start()
    return point_to(monkeypatch, server.server_port)


def point_to(monkeypatch, port: int) -> str:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = f"http://127.0.0.1:{port}/"
    family = dataclasses.replace(keras_applications.FAMILIES["vgg16"], url=url)
    monkeypatch.setitem(keras_applications.FAMILIES, "vgg16", family)
    return url


def test_official_weights_come_from_keras_own_cache(small_body, tmp_path):
    path = tmp_path / "keras" / "models" / "small_notop.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"kernel")
    backbone = find_backbone("Small")
    assert backbone.metadata.weights_path == path
    assert backbone.metadata.weights_sha256 == hashlib.sha256(b"kernel").hexdigest()
    assert backbone.metadata.source == small_body.url and backbone.metadata.license == "CC-BY-4.0"


def test_official_weights_are_downloaded(small_body, tmp_path, monkeypatch):
    serve(monkeypatch, b"kernel")
    path = find_official_weights(small_body)
    assert path.read_bytes() == b"kernel"
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_file_in_the_cache_is_replaced(small_body, tmp_path, monkeypatch, caplog):
    path = tmp_path / "keras" / "models" / "small_notop.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"kern")
    serve(monkeypatch, b"kernel")
    assert find_official_weights(small_body).read_bytes() == b"kernel"
    assert "is damaged: its checksum is" in caplog.text


def test_a_download_with_another_checksum_is_refused(small_body, tmp_path, monkeypatch):
    serve(monkeypatch, b"kernal")
    with pytest.raises(
        WeightsError, match=r"came with checksum [0-9a-f]{32}; expected .*`weights`"
    ):
        find_official_weights(small_body)
    assert list((tmp_path / "keras" / "models").iterdir()) == []


def offline_message(url: str, tmp_path: Path) -> str:
    return (
        rf"The weights of small are not on this computer .*Download {url}small_notop\.h5 elsewhere "
        rf"and put it at {tmp_path}/keras/models/small_notop\.h5, or .* as `weights`"
    )


def test_offline_says_which_file_to_put_where(small_body, tmp_path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = point_to(monkeypatch, unused.getsockname()[1])
        with pytest.raises(WeightsError, match=offline_message(url, tmp_path)):
            find_backbone("small")


def test_a_missing_page_says_so_too(small_body, tmp_path, monkeypatch):
    url = serve(monkeypatch, None)
    with pytest.raises(WeightsError, match=offline_message(url, tmp_path)):
        find_backbone("small")


def test_a_server_that_never_answers_is_left(small_body, tmp_path, monkeypatch):
    monkeypatch.setattr(keras_applications, "DOWNLOAD_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = point_to(monkeypatch, silent.getsockname()[1])
        with pytest.raises(WeightsError, match=offline_message(url, tmp_path)):
            find_backbone("small")


def test_keras_home_without_the_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keras_applications._keras_home() == tmp_path / ".keras"


@pytest.mark.real
def test_the_table_names_every_network_of_keras_applications():
    prepare_keras()
    import keras

    modules = {name for name in sys.modules if name.startswith("keras.src.applications.")}
    # All of the networks take a minute to build; their source lists the checksums too.
    source = "".join(inspect.getsource(sys.modules[name]) for name in sorted(modules))
    constructors = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {body.constructor for body in KERAS_BODIES.values()} == constructors
    for name, body in KERAS_BODIES.items():
        assert name == body.constructor.lower()
        module = getattr(keras.applications, body.constructor).__module__
        assert module.endswith(f".{body.family}")
        assert body.checksum in source


@pytest.mark.real
@pytest.mark.parametrize(
    "name",
    [
        "convnexttiny", "densenet121", "efficientnetb0", "efficientnetv2b0", "inceptionv3",
        "mobilenet", "mobilenetv2", "mobilenetv3small", "nasnetmobile", "resnet50", "resnet50v2",
        "vgg16", "xception",
    ],
)  # fmt: skip
def test_the_table_agrees_with_keras_applications(monkeypatch, tmp_path, name):
    prepare_keras()
    import keras
    from keras.src.utils import file_utils

    # Keras' own constructor, asked for weights as its users ask for them; none are loaded, and
    # what it builds is what ours is made of: each network is built once.
    asked: list[tuple[object, ...]] = []

    def get_file(fname, origin, file_hash=None, cache_subdir=None):
        asked.append((fname, origin, file_hash or "", cache_subdir))
        return fname

    body = KERAS_BODIES[name]
    constructor = getattr(keras.applications, body.constructor)

    def with_official_weights(*, weights, **options):
        assert weights is None
        return constructor(weights="imagenet", **options)

    monkeypatch.setattr(file_utils, "get_file", get_file)
    monkeypatch.setattr(keras.Model, "load_weights", lambda *args, **options: None)
    monkeypatch.setattr(keras.applications, body.constructor, with_official_weights)
    network = keras_loading._build_body(body, body.image_size, include_top=False)
    assert asked == [(body.file_name, body.url, body.checksum, "models")]
    assert keras.backend.image_data_format() == "channels_last"
    assert network.input_shape == (None, body.image_size, body.image_size, 3)
    assert network.output_shape == (None, body.embedding_dim)
    keras.backend.clear_session()
