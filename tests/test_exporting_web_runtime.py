import base64
import functools
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from handful.errors import DataError
from handful.exporting import web_runtime as runtimes
from handful.exporting.web_runtime import SCRIPT, WASM, registry, tarball_url, web_runtime
from reporters import Recorder

CONTENTS = {SCRIPT: b"export{a as Tensor};", WASM: b"\0asm" * 500}


def pack(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small package in the place of the real one."""
    data = pack({"package/package.json": b"{}", **in_dist(CONTENTS)})
    sizes = {name: (len(d), hashlib.sha256(d).hexdigest()) for name, d in CONTENTS.items()}
    monkeypatch.setattr(runtimes, "FILES", sizes)
    monkeypatch.setattr(runtimes, "TARBALL_BYTES", len(data))
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    monkeypatch.setattr(runtimes, "TARBALL_SHA512", digest)
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(tmp_path / "no-npmrc"))
    path = tmp_path / "package.tgz"
    path.write_bytes(data)
    return path


def in_dist(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"package/dist/{name}": data for name, data in files.items()}


@pytest.fixture
def registry_folder(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """What a registry of our own serves, with the package in it."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    folder = tmp_path / "registry"
    place = folder / "onnxruntime-web" / "-" / "onnxruntime-web-1.30.0.tgz"
    place.parent.mkdir(parents=True)
    place.write_bytes(package.read_bytes())
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
    yield place
    server.shutdown()
    server.server_close()


def test_it_is_fetched_once_and_kept(registry_folder: Path, own_cache: Path) -> None:
    listener = Recorder()
    found = web_runtime(reporter=listener)
    assert (found.script.encode(), found.wasm) == (CONTENTS[SCRIPT], CONTENTS[WASM])
    assert any("Downloading http://127.0.0.1" in str(event) for event in listener.events)
    kept = [path.relative_to(own_cache).as_posix() for path in own_cache.rglob("*")]
    assert sorted(kept) == [
        "onnxruntime-web-1.30.0",
        *(f"onnxruntime-web-1.30.0/{name}" for name in sorted(CONTENTS)),
    ]
    registry_folder.unlink()
    assert web_runtime() == found


def test_a_damaged_copy_is_fetched_again(registry_folder: Path, own_cache: Path) -> None:
    found = web_runtime()
    (own_cache / "onnxruntime-web-1.30.0" / WASM).write_bytes(b"x" * len(CONTENTS[WASM]))
    assert web_runtime() == found


def test_what_is_not_the_published_file_is_refused(registry_folder: Path, own_cache: Path) -> None:
    data = bytearray(registry_folder.read_bytes())
    data[-9] ^= 1
    registry_folder.write_bytes(data)
    with pytest.raises(DataError, match="not the file that was published"):
        web_runtime()
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_without_a_network_it_says_what_to_do(registry_folder: Path) -> None:
    registry_folder.unlink()
    with pytest.raises(DataError) as caught:
        web_runtime()
    message = str(caught.value)
    assert "the server answered 404" in message and tarball_url() in message
    assert "`npm pack onnxruntime-web@1.30.0` and give it as `runtime`" in message


def test_a_package_or_a_folder_can_be_given(package: Path, tmp_path: Path) -> None:
    found = web_runtime(package)
    assert found.wasm == CONTENTS[WASM]
    with tarfile.open(package) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    for folder in ("unpacked", "unpacked/package", "unpacked/package/dist"):
        assert web_runtime(tmp_path / folder) == found


@pytest.mark.parametrize(
    "members",
    [
        {"package/dist/other.js": b"x"},
        in_dist({**CONTENTS, WASM: b"\0asn" * 500}),
        in_dist({**CONTENTS, WASM: b"\0asm" * 501}),
        {f"../{name}": data for name, data in CONTENTS.items()},
    ],
)
def test_another_package_is_refused(
    members: dict[str, bytes], package: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.tgz").write_bytes(pack(members))
    with pytest.raises(DataError, match=r"does not hold .* of onnxruntime-web 1\.30\.0"):
        web_runtime(tmp_path / "other.tgz")


def test_what_is_no_package_is_refused(package: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.tgz").write_bytes(package.read_bytes()[:-200])
    (tmp_path / "text.tgz").write_text("hello")
    for name in ("cut.tgz", "text.tgz"):
        with pytest.raises(DataError, match="cannot be read as a package of npm's"):
            web_runtime(tmp_path / name)
    with pytest.raises(DataError, match="does not exist"):
        web_runtime(tmp_path / "nothing.tgz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="does not hold"):
        web_runtime(tmp_path / "empty")


def test_the_registry_is_npm_s(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registry() == "https://registry.npmjs.org"
    settings = tmp_path / "npmrc"
    settings.write_text("; mine\nregistry = https://npm.example.org/all/\n//x/:_authToken=secret\n")
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(settings))
    assert registry() == "https://npm.example.org/all"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://other.example.org")
    assert tarball_url() == (
        "https://other.example.org/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz"
    )
