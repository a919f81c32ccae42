import asyncio
import gc
import io
import json
import logging
import re
import struct
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

from handful.cli.commands import app as command_line
from handful.models.classifier import Classifier
from handful.serving.application import create_app
from handful.serving.guards import LOOPBACK_NAMES, SECURITY_HEADERS
from handful.serving.problems import KINDS, MEDIA_TYPE
from handful.serving.uploads import Disconnected, HeldBytes, UploadLimits, printable, read_uploads
from live_server import Live, behind_proxy, live, read_answer, wait_until

TOKEN = "a-token-that-is-long-enough"


@pytest.fixture(scope="module")
def server(tiny_run: Path) -> Iterator[Live]:
    with live(tiny_run) as found:
        yield found


@pytest.fixture(scope="module")
def photos(photo_folder: Path) -> dict[str, bytes]:
    paths = sorted(photo_folder.rglob("*.jpg"))
    return {f"{path.parent.name}-{path.name}": path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def photo(photos: dict[str, bytes]) -> bytes:
    return photos["round-000.jpg"]


def as_files(photos: dict[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", item) for item in photos.items()]


def check_problem(answer: httpx.Response, kind: str, detail: str = "") -> dict[str, Any]:
    status, title = KINDS[kind]
    facts = answer.json()
    assert answer.status_code == status and answer.headers["content-type"] == MEDIA_TYPE
    assert set(facts) - {"errors"} == {"type", "title", "status", "detail", "request_id"}
    assert (facts["type"], facts["title"], facts["status"]) == (f"/docs#{kind}", title, status)
    assert facts["request_id"] == answer.headers["x-request-id"]
    assert re.search(detail, facts["detail"])
    assert ("retry-after" in answer.headers) == (status == 503)
    return facts


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--error-rate", "0.2", "--coverage", "0.8"]])
def test_answers_are_those_of_handful_predict_to_the_bit(
    server: Live, tiny_run: Path, photos: dict[str, bytes], tmp_path: Path, options: list[str]
) -> None:
    paths = []
    for name, data in photos.items():
        (tmp_path / name).write_bytes(data)
        paths.append(str(tmp_path / name))
    command = ["predict", str(tiny_run), *paths, "--json", *options]
    expected = json.loads(CliRunner().invoke(command_line, command).stdout)
    for entry in expected["predictions"]:
        entry["path"] = Path(entry["path"]).name
    query = {"error_rate": 0.2, "coverage": 0.8} if options else {}
    assert len(expected["predictions"]) == 48 and ("abstaining" in expected) == bool(options)
    files = as_files(photos)
    together = [
        server.client.post("/predict", files=part, params=query).json()
        for part in (files[:32], files[32:])
    ]
    assert together[0]["predictions"] + together[1]["predictions"] == expected["predictions"]
    assert together[0].get("abstaining") == expected.get("abstaining")
    assert set(together[0]) == set(expected)
    for place, file in list(enumerate(files))[:12]:
        alone = server.client.post("/predict", files=[file], params=query).json()
        assert alone["predictions"] == [expected["predictions"][place]]


@pytest.mark.parametrize("kind", ["image/jpeg", "image/x-whatever", "application/octet-stream"])
def test_a_photo_alone_can_be_the_body(server: Live, photo: bytes, kind: str) -> None:
    form = server.client.post("/predict", files={"file": ("picture", photo)}).json()
    raw = server.client.post("/predict", content=photo, headers={"content-type": kind})
    assert raw.status_code == 200 and raw.json() == form


def test_a_body_may_come_in_pieces_without_a_length(server: Live, photo: bytes) -> None:
    pieces = iter([photo[:1], photo[1:500], photo[500:]])
    answer = server.client.post(
        "/predict", content=pieces, headers={"content-type": "application/octet-stream"}
    )
    assert answer.json()["predictions"][0]["label"] == "round"


def test_good_files_are_answered_and_bad_ones_listed(server: Live, photo: bytes) -> None:
    files = [
        ("file", ("first.jpg", photo)),
        ("file", ("notes.txt", b"milk, bread, eggs")),
        ("file", ("cut.jpg", photo[:1000])),
        ("file", ("huge.png", png_header(60_000, 60_000))),
        ("file", ("none.jpg", b"")),
        ("file", ("last.jpg", photo)),
    ]
    answer = server.client.post("/predict", files=files)
    assert answer.status_code == 200
    facts = answer.json()
    assert [entry["path"] for entry in facts["predictions"]] == ["first.jpg", "last.jpg"]
    reasons = {entry["path"]: entry["reason"] for entry in facts["errors"]}
    assert list(reasons) == ["notes.txt", "cut.jpg", "huge.png", "none.jpg"]
    assert reasons["notes.txt"] == "is not a photo: it looks like text"
    assert "is truncated" in reasons["cut.jpg"] and "is empty" in reasons["none.jpg"]
    assert "has 3,600 megapixels; the limit is 100" in reasons["huge.png"]


def test_when_no_file_can_be_read_the_problem_names_each(server: Live) -> None:
    files = [("file", ("a.txt", b"words")), ("file", ("b.jpg", b"\xff\xd8\xff"))]
    answer = server.client.post("/predict", files=files)
    facts = check_problem(answer, "unreadable", r"a\.txt is not a photo: .*; b\.jpg has no read")
    assert [entry["path"] for entry in facts["errors"]] == ["a.txt", "b.jpg"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<img src=x onerror=alert(1)>.jpg", "<img src=x onerror=alert(1)>.jpg"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("a\u202egpj.exe", "a�gpj.exe"),
        ("line\u2028break", "line�break"),
        ("x" * 400, "x" * 255),
    ],
)
def test_a_hostile_name_comes_back_as_harmless_text(
    server: Live, photo: bytes, name: str, shown: str
) -> None:
    answer = server.client.post("/predict", files={"file": (name, photo)})
    assert answer.json()["predictions"][0]["path"] == shown
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    bad = server.client.post("/predict", files={"file": (name, b"words")})
    assert check_problem(bad, "unreadable")["errors"][0]["path"] == shown


def test_what_cannot_be_printed_is_replaced() -> None:
    assert printable("a\r\nb\x00c\x1b[31m é 日本") == "a��b�c�[31m é 日本"


def test_a_form_without_a_file_or_with_it_elsewhere_says_what_to_send(
    server: Live, photo: bytes
) -> None:
    found = server.client.post("/predict", files={"photo": ("a.jpg", photo)})
    check_problem(found, "bad-form", 'in the field "photo"; expected it in "file"')
    # httpx sends a form with a boundary only when there is a file.
    head = {"content-type": "multipart/form-data; boundary=b"}
    field = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n--b--\r\n'
    check_problem(
        server.client.post("/predict", content=field, headers=head), "no-file", "curl -F file=@"
    )
    empty = b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--b--\r\n'
    check_problem(server.client.post("/predict", content=empty, headers=head), "no-file")
    head = {"content-type": "image/jpeg"}
    check_problem(server.client.post("/predict", content=b"", headers=head), "no-file", "is empty")


def test_a_field_named_file_needs_no_file_name(server: Live, photo: bytes) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + photo + b"\r\n--b--\r\n"
    head = {"content-type": "multipart/form-data; boundary=b"}
    answer = server.client.post("/predict", content=body, headers=head)
    assert answer.json()["predictions"][0]["path"] == "picture 1"


_PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "ends before its closing boundary"),
        (b"hello", "malformed"),
        (_PART + b"half a photo", "ends before its closing boundary"),
        (b"--b\r\nno header at all\r\n\r\nx\r\n--b--\r\n", "malformed"),
        (b"--b\r\nX-Other: 1\r\n\r\nx\r\n--b--\r\n", "name not found in Content-Disposition"),
        (b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\nx\r\n--b--\r\n", "malformed: .*[Hh]ea"),
        (
            b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nx\r\n' * 70 + b"--b--\r\n",
            "more than 64 parts",
        ),
    ],
)
def test_a_malformed_form_is_refused(server: Live, body: bytes, detail: str) -> None:
    head = {"content-type": "multipart/form-data; boundary=b"}
    check_problem(server.client.post("/predict", content=body, headers=head), "bad-form", detail)


def test_a_form_may_have_as_many_parts_as_files_are_taken(tiny_run: Path, photo: bytes) -> None:
    with live(tiny_run, limits=UploadLimits(num_files=100), max_waiting=100) as server:
        files = [("file", (f"{n}.jpg", photo)) for n in range(100)]
        answer = server.client.post("/predict", files=files, data={"note": ["x"] * 32})
        assert answer.status_code == 200 and len(answer.json()["predictions"]) == 100
        more = server.client.post("/predict", files=files, data={"note": ["x"] * 33})
        check_problem(more, "bad-form", "more than 132 parts")


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + "b" * 400])
def test_a_form_needs_a_boundary(server: Live, boundary: str) -> None:
    head = {"content-type": "multipart/form-data" + boundary}
    check_problem(
        server.client.post("/predict", content=b"--b--", headers=head), "bad-form", "oundary"
    )


@pytest.mark.parametrize(
    ("kind", "detail"),
    [("application/json", "application/json"), ("", "is none"), ("text/plain", "")],
)
def test_other_types_of_body_are_refused(server: Live, kind: str, detail: str) -> None:
    head = {"content-type": kind} if kind else {}
    answer = server.client.post("/predict", content=b"{}", headers=head)
    check_problem(answer, "content-type", f"{detail}.*expected multipart/form-data")


def test_files_and_bytes_are_limited(tiny_run: Path, photo: bytes) -> None:
    limits = UploadLimits(body_bytes=50_000, num_files=3)
    with live(tiny_run, limits=limits) as server:
        large = photo + bytes(60_000)
        head = {"content-type": "image/jpeg"}
        declared = server.client.post("/predict", content=large, headers=head)
        check_problem(declared, "too-large", r"the body has 0\.1 MB; at most 0\.05 MB")
        assert declared.headers["connection"] == "close"
        pieces = iter([large[n : n + 10_000] for n in range(0, len(large), 10_000)])
        streamed = server.client.post("/predict", content=pieces, headers=head)
        check_problem(streamed, "too-large", r"more than 0\.05 MB")
        # Nothing stays behind: the same server takes what is small enough.
        files = [("file", (f"{n}.jpg", photo)) for n in range(4)]
        assert len(photo) * 4 < 50_000
        many = server.client.post("/predict", files=files)
        check_problem(many, "too-many-files", "more than 3 files")
        good = server.client.post("/predict", files=files[:3])
        assert [entry["path"] for entry in good.json()["predictions"]] == [
            "0.jpg",
            "1.jpg",
            "2.jpg",
        ]


def test_a_refused_upload_is_read_on_so_that_the_client_sees_why(
    tiny_run: Path, photo: bytes
) -> None:
    with live(tiny_run, limits=UploadLimits(body_bytes=50_000)) as server:
        connection = server.connect()
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        connection.sendall(f"{head}Content-Length: 8000000\r\n\r\n".encode())
        connection.sendall(bytes(8_000_000))
        answer = read_answer(connection)
        assert answer.startswith(b"HTTP/1.1 413 ") and b"/docs#too-large" in answer


def test_bodies_in_memory_are_limited_over_all_requests(tiny_run: Path, photo: bytes) -> None:
    limits = UploadLimits(held_bytes=30_000)
    with live(tiny_run, limits=limits) as server:
        head = {"content-type": "image/jpeg"}
        answer = server.client.post("/predict", content=photo + bytes(40_000), headers=head)
        check_problem(answer, "queue-full", "at most 0 MB may be")
        assert len(photo) < 30_000
        for _ in range(5):  # what was held is given back
            assert server.client.post("/predict", content=photo, headers=head).status_code == 200


def test_bytes_are_held_for_as_long_as_the_block_lasts() -> None:
    held = HeldBytes(100)
    with held.hold() as add:
        add(60)
        with held.hold() as add_more, pytest.raises(Exception, match="at most 0 MB"):
            add_more(41)
        assert held.num_bytes == 60
    assert held.num_bytes == 0


@pytest.mark.parametrize("name", ["", '; filename="a.jpg"'])
def test_what_came_of_a_broken_upload_is_let_go_at_once(name: str) -> None:
    head = f'--b\r\nContent-Disposition: form-data; name="file"{name}\r\n\r\n'.encode()

    async def receive() -> dict[str, Any]:
        return {"type": next(kinds), "body": head + bytes(1_000_000), "more_body": True}

    async def read() -> None:
        with suppress(Disconnected):
            await read_uploads(
                {"content-type": "multipart/form-data; boundary=b"},
                receive,
                UploadLimits(),
                lambda _: None,
            )

    with asyncio.Runner() as runner:
        gc.disable()
        try:
            for _ in range(2):  # the first time, something is imported or kept for the next
                kinds = iter(["http.request", "http.disconnect"])
                tracemalloc.start()
                runner.run(read())
                left, most = tracemalloc.get_traced_memory()
                tracemalloc.stop()
        finally:
            gc.enable()
    assert left < 100_000 < 1_000_000 < most


def test_a_slow_body_is_given_up(tiny_run: Path, photo: bytes) -> None:
    with live(tiny_run, limits=UploadLimits(body_seconds=0.3)) as server:
        connection = server.connect()
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        connection.sendall(f"{head}Content-Length: {len(photo)}\r\n\r\n".encode() + photo[:100])
        answer = read_answer(connection)
        assert answer.startswith(b"HTTP/1.1 408 ") and b"100 bytes of the body came" in answer


def test_a_client_that_goes_away_in_its_body_leaves_nothing(
    server: Live, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "handful.serve")
    connection = server.connect()
    head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    connection.sendall(f"{head}Content-Length: {len(photo)}\r\n\r\n".encode() + photo[:5000])
    connection.close()
    wait_until(lambda: any(r.fields["status"] == 499 for r in caplog.records))
    assert b"handful_held_bytes 0.0" in server.client.get("/metrics").content


@pytest.fixture
def gate(server: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Pictures are embedded once this is set."""
    batcher, opened = server.service.batcher, threading.Event()
    embed = batcher._embed

    def held(data: bytes) -> Any:
        assert opened.wait(120)
        return embed(data)

    monkeypatch.setattr(batcher, "_embed", held)
    yield opened
    opened.set()
    wait_until(lambda: not batcher.num_waiting and not batcher.num_working)


HEAD = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


def test_a_full_queue_is_503_with_the_time_to_retry_and_every_taken_photo_is_answered(
    server: Live, photo: bytes, gate: threading.Event
) -> None:
    batcher = server.service.batcher
    answers: list[httpx.Response] = []

    def ask(num_files: int) -> None:
        files = [("file", (f"{n}.jpg", photo)) for n in range(num_files)]
        url = f"http://127.0.0.1:{server.port}/predict"
        answers.append(httpx.post(url, files=files, timeout=120, trust_env=False))

    threads = [threading.Thread(target=ask, args=(batcher.num_threads,))]
    threads[0].start()
    wait_until(lambda: batcher.num_working == batcher.num_threads)
    for _ in range(2):
        threads.append(threading.Thread(target=ask, args=(32,)))
        threads[-1].start()
    wait_until(lambda: batcher.num_waiting == 64)
    for _ in range(3):
        refused = server.client.post("/predict", files={"file": ("one.jpg", photo)})
        check_problem(refused, "queue-full", "64 pictures are waiting and 1 more came; at most 64")
        assert int(refused.headers["retry-after"]) >= 1
    assert server.client.get("/healthz").status_code == 200
    assert b"handful_waiting 64.0" in server.client.get("/metrics").content
    gate.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    counts = sorted(len(answer.json()["predictions"]) for answer in answers)
    assert counts == sorted([batcher.num_threads, 32, 32])
    assert server.client.post("/predict", files={"file": ("one.jpg", photo)}).status_code == 200


def test_what_a_client_that_went_away_asked_for_is_not_worked_on(
    server: Live, photo: bytes, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "handful.serve")
    batcher = server.service.batcher
    before = server.client.get("/metrics").text
    gone = []
    for _ in range(batcher.num_threads + 3):
        connection = server.connect()
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        connection.sendall(f"{head}Content-Length: {len(photo)}\r\n\r\n".encode() + photo)
        gone.append(connection)
    wait_until(lambda: batcher.num_waiting == 3)
    for connection in gone:
        connection.close()
    wait_until(lambda: sum(r.fields["status"] == 499 for r in caplog.records) == len(gone))
    gate.set()
    wait_until(lambda: not batcher.num_working and not batcher.num_waiting)
    after = server.client.get("/metrics").text

    def named(text: str) -> float:
        return figure(text, 'handful_pictures_total{outcome="named"}')

    assert named(after) == named(before)


def test_photos_that_a_client_left_behind_do_not_count_as_waiting(
    server: Live, photo: bytes, gate: threading.Event
) -> None:
    batcher = server.service.batcher
    head = f"{HEAD}Content-Length: {len(photo)}\r\n\r\n".encode()
    held = [server.connect() for _ in range(batcher.num_threads)]
    for connection in held:
        connection.sendall(head + photo)
    wait_until(lambda: batcher.num_working == batcher.num_threads)
    gone = [server.connect() for _ in range(5)]
    for connection in gone:
        connection.sendall(head + photo)
    wait_until(lambda: batcher.num_waiting == 5)
    for connection in gone:
        connection.close()
    wait_until(lambda: batcher.num_waiting == 0)
    assert batcher.num_working == batcher.num_threads
    gate.set()
    for connection in held:
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
        connection.close()


@pytest.mark.slow
def test_what_a_request_s_pictures_cost_to_decode_is_limited_together(
    tiny_run: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = io.BytesIO()
    Image.new("L", (4000, 4000)).save(picture, "PNG")  # half a second, or as much memory
    large = picture.getvalue()
    with live(tiny_run, limits=UploadLimits(decode_seconds=2.0)) as server:
        decoded: list[bytes] = []
        embed = server.service.batcher._embed

        def watched(data: bytes) -> Any:
            decoded.append(data)
            return embed(data)

        monkeypatch.setattr(server.service.batcher, "_embed", watched)

        def ask(*files: bytes) -> httpx.Response:
            return server.client.post("/predict", files=[("file", ("a", data)) for data in files])

        check_problem(ask(*[large] * 8, photo), "too-costly", "at most 2 s are given to a request")
        big_raw = {"content-type": "image/png"}
        assert decoded == []
        assert server.client.post("/predict", content=large, headers=big_raw).status_code == 200
        assert ask(*[photo] * 20).status_code == 200
        # One that is refused by itself costs nothing, and is listed.
        Image.new("L", (11_000, 11_000)).save(picture := io.BytesIO(), "PNG")
        answer = ask(*[picture.getvalue()] * 5, photo)
        assert answer.status_code == 200 and len(answer.json()["errors"]) == 5
        assert server.client.get("/model").json()["limits"]["decode_seconds"] == 2.0


def test_a_photo_s_bytes_are_let_go_once_it_is_embedded(
    server: Live, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher, seen, counts = server.service.batcher, [], []
    embed, name = batcher._embed, batcher._name

    def watched(data: bytes) -> Any:
        seen.append(data)
        return embed(data)

    def counted(batch: Any) -> None:
        wait_until(lambda: sys.getrefcount(seen[0]) == 2)  # this list, and the call
        counts.append(len(batch))
        name(batch)

    monkeypatch.setattr(batcher, "_embed", watched)
    monkeypatch.setattr(batcher, "_name", counted)
    for kind in ({"files": {"file": ("a.jpg", photo)}}, {"content": photo}):
        headers = {} if "files" in kind else {"content-type": "image/jpeg"}
        answer = server.client.post("/predict", headers=headers, **kind)
        assert answer.status_code == 200
        seen.clear()
    assert counts == [1, 1]


def test_before_it_is_ready_and_when_it_stops_photos_are_refused(
    tiny_run: Path, photo: bytes
) -> None:
    with live(tiny_run, is_ready=False) as server:
        for answer in (
            server.client.get("/readyz"),
            server.client.post("/predict", files={"file": ("a.jpg", photo)}),
        ):
            check_problem(answer, "not-ready", "being compiled")
        assert server.client.get("/healthz").json() == {"status": "alive"}
        server.service.is_ready = True
        assert server.client.get("/readyz").json() == {"status": "ready"}
        server.service.stop()
        check_problem(server.client.get("/readyz"), "stopping")
        check_problem(server.client.post("/predict", files={"file": photo}), "stopping")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("error_rate=2", "`error_rate` is 2.0; expected a number between 0 and 1"),
        ("coverage=0", "`coverage` is 0.0; expected a number between 0 and 1"),
        ("error_rate=nan", "`error_rate` is nan"),
        ("error_rate=often", '`error_rate` is "often"; expected a number'),
        ("error_rate=", '`error_rate` is ""; expected a number'),
        ("coverage=0.9&coverage=high", '`coverage` is "high"'),
        *[
            (f"{name}={value}", f"`{name}` is ")
            for name in ("error_rate", "coverage")
            for value in ("inf", "-inf", "NaN", "0", "1", "-0.1", "1e400", "1e-400", "0x1p-3", ".")
        ],
        ("coverage=%000.5", "`coverage` is"),
        ("coverage=" + "a" * 30_000, '`coverage` is "aaaa'),
        ("coverage=" + "9" * 30_000, "`coverage` is inf"),
        ("&".join(["coverage=0.5"] * 3000 + ["coverage=2"]), "`coverage` is 2.0"),
    ],
)
def test_an_option_that_cannot_be_followed_is_refused_before_the_work(
    server: Live, photo: bytes, query: str, detail: str
) -> None:
    answer = server.client.post(f"/predict?{query}", files={"file": photo})
    check_problem(answer, "option", detail)


def test_of_several_options_the_last_counts(server: Live, photo: bytes) -> None:
    def ask(query: str) -> dict[str, Any]:
        answer = server.client.post(f"/predict{query}", files={"file": photo})
        return answer.raise_for_status().json()

    assert ask("?coverage=0.5&coverage=0.9") == ask("?coverage=0.9") != ask("")
    assert ask("?error_rate=0.1&other=1") == ask("?error_rate=0.1") != ask("")


@pytest.mark.parametrize("name", ["error_rate", "coverage"])
@pytest.mark.parametrize("value", ["5e-324", "1e-300", "1e-12", "0.3", "0.5", "0.9999999999999999"])
def test_every_number_between_0_and_1_is_followed_or_refused(
    server: Live, photo: bytes, name: str, value: str
) -> None:
    answer = server.client.post(f"/predict?{name}={value}", files={"file": photo})
    if answer.status_code != 200:
        check_problem(answer, "option")
    elif name == "coverage":
        (found,) = answer.json()["predictions"]
        assert found["prediction_set"][0] == found["label"]


def test_a_token_guards_all_but_pages_and_probes(tiny_run: Path, photo: bytes) -> None:
    files = {"file": ("a.jpg", photo)}
    with live(tiny_run, token=TOKEN) as server:
        ask = server.client.post
        missing = ask("/predict", files=files)
        check_problem(missing, "token", "no token came; expected the header Authorization: Bearer")
        assert missing.headers["www-authenticate"] == "Bearer"
        for given in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", f"Basic {TOKEN}", "é"):
            wrong = ask("/predict", files=files, headers={"authorization": given.encode()})
            check_problem(wrong, "token", "not the right one")
            assert TOKEN not in wrong.text
        right = {"authorization": f"bearer {TOKEN}"}
        assert ask("/predict", files=files, headers=right).status_code == 200
        for path in ("/model", "/metrics", "/openapi.json", "/elsewhere"):
            check_problem(server.client.get(path), "token")
        for path in ("/", "/docs", "/page/app.js", "/healthz", "/readyz"):
            assert server.client.get(path).status_code == 200


def test_without_the_token_nothing_is_answered_but_pages_that_tell_nothing(
    tiny_run: Path,
) -> None:
    with live(tiny_run, token=TOKEN) as server:
        app = create_app(server.service)
        described = app.openapi()["paths"]
        paths = {path for path in described if path not in ("/healthz", "/readyz")}
        assert len(paths) == 4
        for path in (*paths, "/openapi.json", "/no", "/page", "/docs/x", "/PREDICT"):
            for method in ("GET", "POST", "HEAD", "PUT"):
                assert server.client.request(method, path).status_code == 401, path
        for path in ("/", "/docs", "/healthz"):
            text = server.client.get(path).text
            assert TOKEN not in text and "square" not in text, path


def test_another_name_of_the_server_is_refused(server: Live, photo: bytes) -> None:
    for name in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", ""):
        answer = server.client.get("/model", headers={"host": name})
        check_problem(answer, "host", r"expected one of 127\.0\.0\.1, \[::1\], localhost")
    for name in ("localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:8000", "[::1]"):
        assert server.client.get("/healthz", headers={"host": name}).status_code == 200


def test_pages_of_other_sites_may_not_ask(server: Live, photo: bytes) -> None:
    own = f"http://127.0.0.1:{server.port}"
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://[", "//[x]", ""):
        answer = server.client.post("/predict", files={"file": photo}, headers={"origin": origin})
        check_problem(answer, "other-site")
    answer = server.client.post("/predict", files={"file": photo}, headers={"origin": own})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    check_problem(server.client.options("/predict", headers={"origin": own}), "method")


@pytest.mark.slow
def test_behind_a_proxy_that_hides_the_name_the_own_page_may_ask_and_others_may_not(
    tiny_run: Path, photo: bytes
) -> None:
    own, other = "https://photos.example.org", "https://evil.example"
    forwarded = {"x-forwarded-host": "photos.example.org:8443"}
    cases: list[tuple[bool, dict[str, str]]] = [
        (True, {"origin": own}),
        (True, {"origin": own, "sec-fetch-site": "same-origin"}),
        (True, {"origin": "https://any.example", "sec-fetch-site": "same-origin"}),
        (True, {"origin": f"{own}:8443", **forwarded}),
        (True, {}),
        (False, {"origin": other}),
        (False, {"origin": "null"}),
        (False, {"origin": ""}),
        (False, {"origin": f"{own}:8443"}),
        (False, {"origin": f"{own}.evil.example"}),
        (False, {"origin": other, "x-forwarded-host": "evil.example"}),
        (False, {"origin": own, "sec-fetch-site": "cross-site"}),
        (False, {"origin": own, "sec-fetch-site": "same-site"}),
        (False, {"origin": "null", "sec-fetch-site": "none"}),
        (False, {"origin": "http://localhost:3000"}),
        (False, {"origin": "http://localhost"}),
    ]
    names = (*LOOPBACK_NAMES, "photos.example.org")
    with (
        live(tiny_run, allowed_hosts=names, public_names=("photos.example.org",)) as server,
        behind_proxy(server.port) as port,
    ):
        for is_taken, headers in cases:
            answer = httpx.post(
                f"http://127.0.0.1:{port}/handful/predict",
                files={"file": photo},
                headers=headers,
                trust_env=False,
            )
            assert answer.status_code == (200 if is_taken else 403), headers


@pytest.mark.parametrize("strips", [True, False])
def test_below_a_proxy_s_path_every_address_leads_to_where_it_should(
    tiny_run: Path, photo: bytes, strips: bool
) -> None:
    root = "" if strips else "/handful"
    with live(tiny_run, root_path=root) as server, behind_proxy(server.port, strips=strips) as port:
        base = f"http://127.0.0.1:{port}/handful/"
        found = set()
        with httpx.Client(trust_env=False) as client:
            for page in (base, f"{base}docs"):
                text = client.get(page).raise_for_status().text
                found |= {urljoin(page, a) for a in re.findall(r'(?:src|href)="([^"]*)"', text)}
            script = client.get(f"{base}page/app.js").raise_for_status().text
            asked = set(re.findall(r'fetch\("([^"]*)"|[`"](predict)\b', script))
            found |= {urljoin(base, a or b) for a, b in asked} - {f"{base}predict"}
            assert len(found) == 7 and f"{base}model" in found
            for address in found:
                client.get(address).raise_for_status()
            described = client.get(f"{base}openapi.json").json()
            place = urljoin(f"{base}openapi.json", described["servers"][0]["url"]).rstrip("/")
            for path, methods in described["paths"].items():
                method = "post" if "post" in methods else "get"
                files = {"file": photo} if method == "post" else None
                answer = client.request(method, place + path, files=files)
                assert answer.status_code == (404 if path == "/corrections" else 200), path


def test_every_answer_carries_the_security_headers(server: Live, photo: bytes) -> None:
    answers = [server.client.get(path) for path in ("/", "/docs", "/page/app.js", "/model", "/no")]
    answers.append(server.client.post("/predict", files={"file": photo}))
    answers.append(server.client.get("/", headers={"host": "evil.example"}))
    for answer in answers:
        for name, value in SECURITY_HEADERS:
            assert answer.headers[name.decode()] == value.decode()
        cached = answer.headers["cache-control"]
        assert cached == ("no-cache" if "text/" in answer.headers["content-type"] else "no-store")
        assert "server" not in answer.headers
    policy = answers[0].headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy


def test_unknown_addresses_and_methods_are_problems(server: Live) -> None:
    check_problem(server.client.get("/nowhere"), "not-found", "/docs lists")
    check_problem(server.client.get("/page/../server.py"), "not-found")
    check_problem(server.client.get("/page/index.html"), "not-found")
    answer = server.client.get("/predict")
    check_problem(answer, "method")
    assert answer.headers["allow"] == "POST"


def test_the_card_tells_classes_network_and_figures_and_no_path(
    server: Live, tiny_run: Path
) -> None:
    answer = server.client.get("/model")
    card = answer.json()
    run = json.loads((tiny_run / "run.json").read_text())
    assert card["class_names"] == ["round", "square"]
    assert {"backbone", "license", "source", "network_digest", "precision"} <= set(card)
    assert card["figures"]["accuracy"] == run["result"]["accuracy"]
    assert card["figures"]["num_images"] == 10 and card["figures"]["num_train"] == 38
    assert card["calibration"]["num_photos"] == 38 and card["tells_unlike_photos"] is True
    assert card["limits"] == {
        "max_body_bytes": 20_000_000,
        "max_files": 32,
        "body_seconds": 30.0,
        "decode_seconds": 10.0,
        "max_waiting": 64,
    }
    assert str(tiny_run.parent) not in answer.text and run["photos"] not in answer.text


def figure(text: str, name: str) -> float:
    (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.M)
    return float(value)


def test_metrics_count_requests_pictures_labels_and_batches(
    tiny_run: Path, photos: dict[str, bytes]
) -> None:
    with live(tiny_run) as server:
        files = [("file", (name, photos[name])) for name in ("round-000.jpg", "square-001.jpg")]
        files.append(("file", ("notes.txt", b"words")))
        for _ in range(3):
            assert server.client.post("/predict", files=files).status_code == 200
        server.client.post("/predict", files=files[2:])
        server.client.get("/made-up-1")
        server.client.request("PURGE", "/made-up-2")
        text = server.client.get("/metrics").text
        assert server.client.get("/metrics").headers["content-type"].startswith("text/plain")
    requests = 'handful_requests_total{method="%s",path="%s",status="%s"}'
    assert figure(text, requests % ("POST", "/predict", 200)) == 3
    assert figure(text, requests % ("POST", "/predict", 422)) == 1
    assert figure(text, requests % ("GET", "other", 404)) == 1
    assert figure(text, requests % ("other", "other", 404)) == 1
    assert "made-up" not in text
    assert figure(text, 'handful_pictures_total{outcome="named"}') == 6
    assert figure(text, 'handful_pictures_total{outcome="unreadable"}') == 4
    assert figure(text, 'handful_labels_total{label="round"}') == 3
    assert figure(text, 'handful_labels_total{label="square"}') == 3
    assert figure(text, "handful_batch_size_sum") == 6
    assert figure(text, 'handful_request_seconds_count{path="/predict"}') == 4
    assert figure(text, "handful_ready") == 1 and figure(text, "handful_held_bytes") == 0
    assert figure(text, "process_resident_memory_bytes") > 1e7


def test_the_page_for_programs_knows_every_address_and_every_problem(server: Live) -> None:
    page = server.client.get("/docs").text
    described = server.client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        *("/predict", "/corrections", "/model", "/healthz", "/readyz", "/metrics")
    }
    for path, methods in described["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}</code>" in page
    for kind, (status, _) in KINDS.items():
        assert f'<dt id="{kind}">{status} {kind}</dt>' in page
    predict = described["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) > {"multipart/form-data"}
    assert {entry["name"] for entry in predict["parameters"]} == {"error_rate", "coverage"}
    assert set(predict["responses"]) >= {"200", "413", "415", "422", "503"}
    for name in ("error_rate", "coverage"):
        assert f"<code>{name}</code>" in page


def test_programs_are_told_of_refusals_and_of_the_token(server: Live) -> None:
    described = server.client.get("/openapi.json").json()
    paths = described["paths"]
    predict = paths["/predict"]["post"]
    assert set(predict["responses"]) >= {"403", "421", "500"}
    for operation in (paths["/model"]["get"], paths["/metrics"]["get"]):
        assert set(operation["responses"]) == {"200", "401", "403", "421"}
        assert operation["security"] == predict["security"] == [{"bearer": []}, {}]
    for path in ("/healthz", "/readyz"):
        assert set(paths[path]["get"]["responses"]) >= {"200", "403", "421"}
        assert "security" not in paths[path]["get"]
    scheme = described["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    problem = predict["responses"]["422"]["content"][MEDIA_TYPE]["schema"]["properties"]
    assert set(problem["errors"]["items"]["properties"]) == {"path", "reason"}


def test_programs_are_told_of_fields_limits_and_errors_as_they_are(
    tiny_run: Path, photo: bytes
) -> None:
    limits = UploadLimits(body_bytes=100_000, num_files=3, body_seconds=7, decode_seconds=9)
    with live(tiny_run, limits=limits) as server:
        described = server.client.get("/openapi.json").json()
        schemas, operation = described["components"]["schemas"], described["paths"]["/predict"]
        predict = operation["post"]
        for parameter in predict["parameters"]:
            schema = parameter["schema"]
            assert (schema["exclusiveMinimum"], schema["exclusiveMaximum"]) == (0, 1)
        body = predict["requestBody"]
        form = body["content"]["multipart/form-data"]["schema"]
        assert form["required"] == ["file"] and form["properties"]["file"]["maxItems"] == 3
        assert body["content"]["image/*"]["schema"]["maxLength"] == 100_000
        for limit in ("100,000 bytes", "7 s", "3 files", "9 s to decode"):
            assert limit in body["description"]

        def check_fields(found: dict[str, Any], schema: dict[str, Any], *, is_whole: bool) -> None:
            assert set(schema["required"]) <= set(found) <= set(schema["properties"])
            assert not is_whole or set(found) == set(schema["properties"])

        (answered,) = predict["responses"]["200"]["content"].values()
        assert answered["schema"]["$ref"].rpartition("/")[2] == "Predictions"
        files = [("file", ("a.jpg", photo)), ("file", ("b.txt", b"words"))]
        for query in ("", "?error_rate=0.2&coverage=0.8"):
            answer = server.client.post(f"/predict{query}", files=files).json()
            check_fields(answer, schemas["Predictions"], is_whole=bool(query))
            check_fields(answer["predictions"][0], schemas["Prediction"], is_whole=bool(query))
            check_fields(answer["errors"][0], schemas["FileError"], is_whole=True)
        check_fields(answer["abstaining"], schemas["Abstention"], is_whole=True)
        problem = server.client.post("/predict", files=files[1:]).json()
        refused = {code: entry for code, entry in predict["responses"].items() if code != "200"}
        assert set(refused) == {str(code) for code, _ in KINDS.values()} - {"404", "405"}
        for entry in refused.values():
            assert list(entry["content"]) == [MEDIA_TYPE] and entry["description"]
            assert set(entry["content"][MEDIA_TYPE]["schema"]["properties"]) == set(problem)


def test_a_head_request_is_answered_as_a_get_without_the_body(server: Live) -> None:
    for path in ("/", "/docs", "/page/app.js", "/healthz", "/readyz", "/model", "/openapi.json"):
        full, head = server.client.get(path), server.client.head(path)
        assert head.status_code == 200 and head.content == b""
        for name in ("content-type", "content-length"):
            assert head.headers[name] == full.headers[name]
    assert server.client.head("/metrics").status_code == 200
    assert server.client.head("/predict").headers["allow"] == "POST"
    refused = server.client.post("/healthz")
    check_problem(refused, "method")
    assert refused.headers["allow"] == "GET, HEAD"


def test_an_address_with_a_slash_behind_it_is_another(server: Live, photo: bytes) -> None:
    check_problem(server.client.get("/docs/"), "not-found")
    check_problem(server.client.post("/predict/", files={"file": photo}), "not-found")


def test_pages_load_nothing_from_elsewhere(server: Live) -> None:
    for path in ("/", "/docs", "/page/app.js", "/page/app.css", "/page/icon.svg"):
        text = server.client.get(path).text
        assert not re.findall(r"https?://(?!127\.0\.0\.1|www\.w3\.org/2000/svg)", text)
        assert not re.findall(r"\son\w+=|\sstyle=|<style|<script>|@import|url\(", text)


def test_a_request_keeps_its_own_id_if_it_is_harmless(server: Live) -> None:
    asked = server.client.get("/healthz", headers={"x-request-id": "trace-42.a_b"})
    assert asked.headers["x-request-id"] == "trace-42.a_b"
    for given in ("two words", "x" * 65, 'a"b', ""):
        answer = server.client.get("/healthz", headers={"x-request-id": given})
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])


def test_a_fault_of_the_server_is_logged_and_not_shown(
    server: Live,
    photo: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: bytes) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(server.service.batcher, "_embed", fail)
    answer = server.client.post("/predict", files={"file": ("a.jpg", photo)})
    facts = check_problem(answer, "internal", "its log has the reason")
    assert "secret" not in answer.text
    (record,) = (record for record in caplog.records if record.message == "failed")
    assert record.exc_info and record.fields["request_id"] == facts["request_id"]
    monkeypatch.undo()
    assert server.client.post("/predict", files={"file": photo}).status_code == 200


def test_the_log_has_a_request_s_facts_and_nothing_that_was_in_it(
    server: Live, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "handful.serve")
    answer = server.client.post(
        "/predict?error_rate=0.2",
        files={"file": ("aunt-mary.jpg", photo)},
        headers={"authorization": "Bearer nobody"},
    )
    wait_until(lambda: caplog.records)
    (record,) = caplog.records
    assert record.message == "request"
    assert record.fields.pop("milliseconds") > 0 and record.fields.pop("bytes") > len(photo)
    assert record.fields == {
        "request_id": answer.headers["x-request-id"],
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "files": 1,
    }


def test_a_class_whose_name_is_no_text_is_served(
    tiny_run: Path, photo: bytes, tmp_path: Path
) -> None:
    classifier = Classifier.load(tiny_run)
    classifier.class_names = ("caf\udce9", "\x1b[1m\u202e")
    with live(classifier.save(tmp_path / "classifier")) as server:
        answer = server.client.post("/predict", files={"file": ("x.jpg", photo)})
        assert answer.status_code == 200
        label = answer.json()["predictions"][0]["label"]
        assert label in classifier.class_names
        assert server.client.get("/model").json()["class_names"] == list(classifier.class_names)
        metrics = server.client.get("/metrics")
        assert metrics.status_code == 200 and "handful_labels_total{label=" in metrics.text
