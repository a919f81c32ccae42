import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from handful.files import download as downloads
from handful.files.download import DownloadError, download, remove_part

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
ETAG = '"version-1"'


@dataclass
class Behaviour:
    """What the local server does, and what it was asked."""

    content: bytes = CONTENT
    kind: str = "application/zip"
    ranges: bool = True
    length: int | None = len(CONTENT)
    status: int = 200
    etag: str = ETAG
    modified: str = ""
    content_range: str = ""
    redirect: str = ""
    # Bytes of the body after which each answer, in turn, ends; None is all of it.
    cuts: list[int | None] = field(default_factory=list)
    pause: float = 0.0
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        b = self.behaviour
        b.asked.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
        if b.redirect and self.path != b.redirect:
            self.send_response(302)
            self.send_header("Location", b.redirect)
            self.end_headers()
            return
        if b.status >= 400 and not (b.status == 416 and "range" not in b.asked[-1]):
            self.send_error(b.status)
            return
        start = 0
        wanted = b.asked[-1].get("range")
        if wanted and b.ranges and b.asked[-1].get("if-range") in (b.etag, b.modified):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        body = b.content[start:]
        self.send_response(206 if start else 200)
        if start:
            last = len(b.content) - 1
            said = b.content_range or f"bytes {start}-{last}/{len(b.content)}"
            self.send_header("Content-Range", said)
        self.send_header("Content-Type", b.kind)
        if b.length is not None:
            self.send_header("Content-Length", str(b.length - start))
        if b.etag:
            self.send_header("ETag", b.etag)
        if b.modified:
            self.send_header("Last-Modified", b.modified)
        self.end_headers()
        body = body[: b.cuts.pop(0) if b.cuts else None]
        step = 1000 if b.pause else 1 << 16
        for first in range(0, len(body), step):
            self.wfile.write(body[first : first + step])
            self.wfile.flush()
            time.sleep(b.pause)

    def do_CONNECT(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[Behaviour]:
    behaviour = Behaviour()
    handler = type("OwnHandler", (Handler,), {"behaviour": behaviour})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        http.handle_error = lambda *_: None  # a client that hangs up is part of the tests
        behaviour.url = f"http://127.0.0.1:{http.server_address[1]}/file.zip"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield behaviour
        http.shutdown()
        thread.join()


def fetch(server: Behaviour, path: Path, **options: object) -> None:
    download(server.url, path, len(CONTENT), **options)


def mark_of(path: Path) -> dict[str, str]:
    return json.loads(path.with_name(path.name + ".json").read_text())


def test_a_file_arrives_whole_with_progress(server: Behaviour, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    fetch(server, tmp_path / "part", progress=lambda done, total: told.append((done, total)))
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["part"]
    done = [d for d, _ in told]
    assert done == sorted(done) and done[-1] == len(CONTENT) and len(done) > 2
    assert {total for _, total in told} == {len(CONTENT)}


def test_a_cut_connection_is_taken_up_where_it_broke(server: Behaviour, tmp_path: Path) -> None:
    server.cuts = [100_000, 150_000]
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert [asked.get("range") for asked in server.asked] == [
        None,
        "bytes=100000-",
        "bytes=250000-",
    ]
    assert server.asked[1]["if-range"] == ETAG


def test_a_later_call_goes_on_where_the_first_stopped(server: Behaviour, tmp_path: Path) -> None:
    server.cuts = [100_000, 0]
    with pytest.raises(DownloadError, match="the connection ended after 100000 of 512000 bytes"):
        fetch(server, tmp_path / "part")
    assert (tmp_path / "part").stat().st_size == 100_000
    assert mark_of(tmp_path / "part") == {"url": server.url, "mark": ETAG}
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert server.asked[-1]["range"] == "bytes=100000-"


def test_a_date_marks_the_version_where_the_etag_is_weak(server: Behaviour, tmp_path: Path) -> None:
    server.etag, server.modified = 'W/"version-1"', "Thu, 01 Jan 2015 00:00:00 GMT"
    server.cuts = [100_000]
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert server.asked[1]["if-range"] == server.modified


def test_a_server_without_ranges_starts_over(server: Behaviour, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [100_000]
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_part_of_unknown_version_is_not_continued(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"x" * 1000)
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert "range" not in server.asked[0]


def test_a_new_version_replaces_the_part_of_the_old(server: Behaviour, tmp_path: Path) -> None:
    server.cuts = [100_000, 0]
    with pytest.raises(DownloadError, match="the connection ended"):
        fetch(server, tmp_path / "part")
    server.etag, server.content = '"version-2"', CONTENT[::-1]
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT[::-1]


def test_a_whole_part_is_not_asked_for_again(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(CONTENT)
    (tmp_path / "part.json").write_text(json.dumps({"url": server.url, "mark": ETAG}))
    fetch(server, tmp_path / "part")
    assert server.asked == []


def test_a_refused_part_makes_it_start_over(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"x" * 1000)
    (tmp_path / "part.json").write_text(json.dumps({"url": server.url, "mark": ETAG}))
    server.status = 416
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_wrong_part_is_refused_and_forgotten(server: Behaviour, tmp_path: Path) -> None:
    server.cuts, server.content_range = [100_000], "bytes 5-511999/512000"
    expected = "the server sent the part 'bytes 5-511999/512000'; expected 'bytes 100000-511999"
    with pytest.raises(DownloadError, match=expected):
        fetch(server, tmp_path / "part")
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_is_followed(server: Behaviour, tmp_path: Path) -> None:
    server.redirect = "/elsewhere.zip"
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert [asked["path"] for asked in server.asked] == ["/file.zip", "/elsewhere.zip"]


@pytest.mark.parametrize(("status", "words"), [(403, "403 Forbidden"), (404, "404 Not Found")])
def test_a_refusal_names_its_status(
    server: Behaviour, tmp_path: Path, status: int, words: str
) -> None:
    server.status = status
    with pytest.raises(DownloadError, match=f"the server answered {words}"):
        fetch(server, tmp_path / "part")
    assert len(server.asked) == 1 and list(tmp_path.iterdir()) == []


def test_a_web_page_is_no_file(server: Behaviour, tmp_path: Path) -> None:
    server.kind, server.length, server.content = "text/html; charset=utf-8", None, b"<html>Log in"
    with pytest.raises(DownloadError, match="a web page came instead of the file"):
        fetch(server, tmp_path / "part")
    assert list(tmp_path.iterdir()) == []


def test_another_size_is_refused_before_it_is_read(server: Behaviour, tmp_path: Path) -> None:
    server.length = 1234
    with pytest.raises(DownloadError, match="the server offers 1234 bytes; expected 512000"):
        fetch(server, tmp_path / "part")
    assert list(tmp_path.iterdir()) == []


def test_an_endless_file_is_cut_off(server: Behaviour, tmp_path: Path) -> None:
    server.length, server.content = None, CONTENT * 3
    with pytest.raises(DownloadError, match="more than the expected 512000 bytes came"):
        fetch(server, tmp_path / "part")
    assert (tmp_path / "part").stat().st_size == 0


def test_a_silent_server_is_given_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "OPEN_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.zip"
        with pytest.raises(DownloadError, match=r"no answer in 0\.2 s"):
            download(url, tmp_path / "part", 1000)


def test_a_crawling_line_is_given_up_and_its_part_kept(
    server: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.3)
    server.pause = 0.02
    with pytest.raises(DownloadError, match=r"the line is too slow: \d+ bytes in 0\.3 s"):
        fetch(server, tmp_path / "part")
    assert 1000 <= (tmp_path / "part").stat().st_size < len(CONTENT)
    server.pause = 0.0
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert server.asked[-1]["range"].startswith("bytes=")


def test_a_closed_port_is_a_plain_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match=r"^Connection refused$"):
        download(f"http://127.0.0.1:{port}/file.zip", tmp_path / "part", 1000)


def test_an_unknown_scheme_is_a_plain_reason(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="unknown url type: 'nowhere'"):
        download("nowhere", tmp_path / "part", 1000)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_a_reason(
    server: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    server.status = 403
    monkeypatch.setenv(f"{scheme}_proxy", server.url.removesuffix("/file.zip"))
    with pytest.raises(DownloadError, match="403 Forbidden"):
        download(f"{scheme}://photos.invalid/file.zip", tmp_path / "part", 1000)


def test_a_place_that_cannot_be_written_is_an_oserror(server: Behaviour, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fetch(server, tmp_path / "missing" / "part")


def test_remove_part_removes_the_mark_too(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"x")
    (tmp_path / "part.json").write_text("{}")
    remove_part(tmp_path / "part")
    remove_part(tmp_path / "part")
    assert list(tmp_path.iterdir()) == []
