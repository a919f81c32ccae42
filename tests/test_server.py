import asyncio
import io
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

import handful
from handful.cli.commands import app as command_line
from handful.config import ServeConfig
from handful.errors import MissingExtraError, UsageError
from handful.models.classifier import Classifier
from handful.serving import server as server_module
from handful.serving.batching import Batcher
from handful.serving.connections import raise_file_limit
from handful.serving.log import LogWriter, json_log
from handful.serving.server import read_token
from live_server import Live, live, read_answer, wait_until

HEAD = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


@contextmanager
def serving(run: Path, log: Path, *options: str, **environment: str) -> Iterator[Any]:
    """A process of its own, ready; it is killed if the test did not end it."""
    command = [sys.executable, "-m", "handful", "serve", str(run), "--port", "0", *options]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **environment},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        match = re.match(
            r"serving at (http://127\.0\.0\.1:(\d+)) \(round, square\); press Ctrl-C", line
        )
        assert match
        yield SimpleNamespace(process=process, port=int(match[2]), url=match[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def photo(photo_folder: Path) -> bytes:
    return (photo_folder / "round" / "000.jpg").read_bytes()


@pytest.fixture(scope="module")
def steady(tiny_run: Path) -> Iterator[Live]:
    """A server that no test sets otherwise."""
    with live(tiny_run) as server:
        yield server


def ask(url: str, photo: bytes, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{url}/predict", files={"file": ("a.jpg", photo)}, headers=headers, trust_env=False
    )


@pytest.mark.slow
def test_the_command_serves_logs_json_lines_and_ends_with_success(
    tiny_run: Path, photo: bytes, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with serving(tiny_run, log, "--max-files", "2") as server:
        answer = ask(server.url, photo)
        assert answer.json()["predictions"][0]["label"] == "round"
        hostile = 'no"where\n{"event": "forged"}'
        refused = httpx.get(f"{server.url}/{quote(hostile)}", trust_env=False)
        assert refused.status_code == 404
        files = [("file", (f"{n}.jpg", photo)) for n in range(3)]
        many = httpx.post(f"{server.url}/predict", files=files, trust_env=False)
        assert "more than 2 files" in many.json()["detail"]
        wait_until(lambda: len(read_log(log)) == 4)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == 0
    entries = read_log(log)
    assert [entry["event"] for entry in entries] == [
        "ready",
        "request",
        "request",
        "request",
        "stopping",
        "stopped",
    ]
    assert entries[0]["url"] == server.url and entries[4]["connections"] == 0
    ids = [entry["request_id"] for entry in entries[1:4]]
    assert ids == [found.headers["x-request-id"] for found in (answer, refused, many)]
    assert entries[2]["path"] == f"/{hostile}"
    for entry in entries:
        assert entry["level"] == "info" and entry["time"].endswith("+00:00")


@pytest.mark.slow
def test_sigterm_answers_what_is_under_way_and_refuses_what_is_new(
    tiny_run: Path, photo: bytes, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with serving(tiny_run, log) as server:
        under_way = []
        for _ in range(5):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=120)
            connection.sendall(f"{HEAD}Content-Length: {len(photo)}\r\n\r\n".encode() + photo[:900])
            under_way.append(connection)
        assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in log.read_text())
        wait_until(lambda: _refuses(server.port))
        for connection in under_way:
            connection.sendall(photo[900:])
        for connection in under_way:
            answer = read_answer(connection)
            # Whether or not its photo came in time to be taken, it is told.
            assert answer.startswith(b"HTTP/1.1 200 ") and b'"label": "round"' in answer
        assert server.process.wait(120) == 0
    assert [entry["status"] for entry in read_log(log) if "status" in entry] == [200] * 6


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=120).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.slow
def test_draining_ends_at_its_deadline_and_tells_who_is_left(
    tiny_run: Path, photo: bytes, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with serving(tiny_run, log, "--drain-seconds", "1") as server:
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=120)
        connection.sendall(f"{HEAD}Content-Length: {len(photo)}\r\n\r\n".encode() + photo[:900])
        assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        answer = read_answer(connection)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"/docs#stopping" in answer
        assert b"retry-after: 1" in answer
        assert server.process.wait(120) == 0
        assert time.monotonic() - started > 0.5


# Decoding a PNG takes a minute here: within C, with the interpreter's lock or without.
SLOW_DECODER = """
import ctypes, sys, time
from handful.features import embed
from handful.serving import server
lock = sys.argv.pop(1)
wait = {"held": ctypes.PyDLL(None).sleep, "free": time.sleep}[lock]
if lock == "free":  # it ends by itself, on a busy machine too
    server._KILL_SECONDS = 100.0
decode = embed.decode
def slow(data, settings):
    if data.startswith(b"\\x89PNG"):
        wait(60)
    return decode(data, settings)
embed.decode = slow
from handful.cli.commands import main
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to heed")
@pytest.mark.parametrize(("lock", "code"), [("held", -signal.SIGKILL), ("free", 0)])
def test_whatever_is_being_decoded_it_ends_two_seconds_after_the_time_to_drain(
    tiny_run: Path, lock: str, code: int
) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (90, 90)).save(picture, "PNG")
    options = ["serve", str(tiny_run), "--port", "0", "--drain-seconds", "1", "-q"]
    command = [sys.executable, "-c", SLOW_DECODER, lock, *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[2].rsplit(":", 1)[1])
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
                data = picture.getvalue()
                connection.sendall(f"{HEAD}Content-Length: {len(data)}\r\n\r\n".encode() + data)
                wait_until(lambda: _is_decoding(port, lock))
                started = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert process.wait(120) == code
                assert 0.5 < time.monotonic() - started < 50  # of the minute that it takes
        finally:
            process.kill()


def _is_decoding(port: int, lock: str) -> bool:
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=2, trust_env=False).text
    except httpx.TimeoutException:
        return lock == "held"  # nothing else goes on
    return lock == "free" and "handful_working 1.0" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_it_starts_ends_it_too(tiny_run: Path, tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-m", "handful", "serve", str(tiny_run), "--port", "0"]
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from handful.cli.commands import main; import handful.serving.server; "
        "print('started', flush=True); "
        f"sys.argv = {command[2:]!r}; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        time.sleep(0.15)
        process.send_signal(getattr(signal, name))
        try:
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()  # one that hangs is not waited for
    assert process.returncode in (0, 130, -getattr(signal, name))
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_it_starts_breaks_into_nothing_and_is_heeded(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_card, said, went_on = server_module.make_card, [], []
    number = getattr(signal, name)

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(number)
        went_on.append(True)
        with pytest.raises(KeyboardInterrupt):  # who insists is heard at once
            signal.raise_signal(number)
        return make_card(*arguments)

    monkeypatch.setattr(server_module, "make_card", interrupted)
    # As the command line does; and the tests may run where Ctrl-C is ignored, in the background.
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(name, signal.default_int_handler) for name in names]
    # Else a server that heeds nothing would be waited for without end.
    watchdog = threading.Timer(90, lambda: os.kill(os.getpid(), signal.SIGTERM))
    watchdog.start()
    try:
        with suppress(KeyboardInterrupt):
            server_module.serve(tiny_run, ServeConfig(port=0), announce=said.append)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        watchdog.cancel()
        for kind, handler in zip(names, before, strict=True):
            signal.signal(kind, handler)
    assert went_on == [True] and said == []


@pytest.mark.slow
def test_in_a_notebook_it_serves_until_the_cell_is_interrupted(
    tiny_run: Path, photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event loop runs already there, and its signals are its own."""
    shutil.copytree(tiny_run, tmp_path / "runs" / "leaf-1")
    monkeypatch.chdir(tmp_path)
    said, answers = [], []

    def visit(address: str) -> None:
        try:
            answers.append(ask(address, photo).json())
        finally:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def announce(line: str) -> None:
        said.append(line)
        threading.Thread(target=visit, args=(line.split()[2],)).start()

    async def cell() -> None:
        handful.serve("leaf", port=0, quiet=True, announce=announce)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(cell())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        loop.close()
        signal.signal(signal.SIGINT, before)
    assert (
        said[0].startswith("serving at http") and answers[0]["predictions"][0]["label"] == "round"
    )


def test_options_of_serving_are_given_by_name(tiny_run: Path) -> None:
    with pytest.raises(UsageError, match=r"^`prot` is no option; expected port\.$"):
        handful.serve(tiny_run, prot=8000)
    with pytest.raises(UsageError, match=r"^`port` is 70000; expected 0 to 65535\.$"):
        handful.serve(tiny_run, port=70_000)
    with pytest.raises(UsageError, match=r"^`run` is 8000; expected a run's folder, its name"):
        handful.serve(8000)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_token_comes_from_the_environment_alone(
    tiny_run: Path, photo: bytes, tmp_path: Path
) -> None:
    token = "0123456789abcdef"
    with serving(tiny_run, tmp_path / "log", HANDFUL_TOKEN=token) as server:
        assert ask(server.url, photo).status_code == 401
        assert ask(server.url, photo, authorization=f"Bearer {token}").status_code == 200
    assert token not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("token", ["short", "has a space in it", "not ascii äöüß äöüß"])
def test_a_token_that_is_no_secret_is_refused(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HANDFUL_TOKEN", token)
    result = CliRunner().invoke(command_line, ["serve", str(tiny_run), "--port", "0"])
    assert result.exit_code == 2
    assert re.search(r"HANDFUL_TOKEN has \d+ characters; expected 16 or more", result.stderr)
    assert token not in result.stderr


def test_no_token_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_TOKEN", "")
    assert read_token() is None
    monkeypatch.delenv("HANDFUL_TOKEN")
    assert read_token() is None


def test_a_taken_port_is_said_at_once(tiny_run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = CliRunner().invoke(command_line, ["serve", str(tiny_run), "--port", port])
    assert result.exit_code == 1
    assert re.search(rf"cannot listen at 127\.0\.0\.1, port {port} \(.*--port", result.stderr)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--host", "no such host"], 1, "no such host is no address of this machine"),
        (["--host", "192.0.2.1"], 1, "cannot listen at 192.0.2.1"),
        (["--port", "70000"], 2, "--port is 70000; expected 0 to 65535"),
        (["--max-waiting", "8"], 2, "--max-waiting is 8; expected 32 or more, as --max-files is"),
        (["--max-body", "500"], 2, "--max-body is 500.0; expected 0.001 to 200"),
        (["--max-files", "0"], 2, "--max-files is 0; expected 1 to 1000"),
        (["--body-seconds", "0"], 2, "--body-seconds is 0.0; expected 0.1 to 3600"),
        (["--drain-seconds", "-1"], 2, "--drain-seconds is -1.0; expected 0 to 3600"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tiny_run: Path, options: list[str], code: int, message: str
) -> None:
    arguments = ["serve", str(tiny_run), "--port", "0", *options]
    result = CliRunner().invoke(command_line, arguments)
    assert result.exit_code == code and message in result.stderr


@pytest.mark.slow
def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(command_line, ["serve", str(tmp_path), "--port", "0"])
    assert result.exit_code == 1 and "is not a run or a classifier" in result.stderr


@pytest.mark.slow
def test_a_network_that_cannot_be_compiled_ends_the_server_with_the_reason(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Batcher) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(Batcher, "warm_up", fail)
    result = CliRunner().invoke(command_line, ["serve", str(tiny_run), "--port", "0"])
    assert result.exit_code == 1
    assert "the network cannot be compiled: RuntimeError('no such instruction')" in result.stderr


@pytest.mark.slow
def test_without_the_extra_it_says_how_to_install_it(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "handful.serving.application",
        "handful.serving.uploads",
        "handful.serving.connections",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(
        MissingExtraError, match=r"Serving needs fastapi, .*pip install 'handful\[serve\]'"
    ):
        server_module.serve(tiny_run, ServeConfig(port=0))


def test_an_address_that_others_reach_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for host in ("127.0.0.1", "127.0.0.9", "localhost", "::1"):
        server_module._warn_of_exposure(ServeConfig(host=host))
    assert caplog.messages == []
    server_module._warn_of_exposure(ServeConfig(host="0.0.0.0"))
    (message,) = caplog.messages
    assert message.startswith("0.0.0.0 is reached from other machines: photos can be sent with")
    assert message.endswith("Any Host header is taken; `allow_host` restricts it.")
    caplog.clear()
    server_module._warn_of_exposure(ServeConfig(host="0.0.0.0", allow_host=("a.example",)))
    assert "Host header" not in caplog.text and "0.0.0.0 is reached" in caplog.text


def test_names_are_checked_at_the_loopback_and_where_some_are_given(tiny_run: Path) -> None:
    batcher = Batcher(Classifier.load(tiny_run))

    def hosts(**options: Any) -> set[str]:
        config = ServeConfig(**options)
        made = server_module._make_service(batcher, {}, config, None, tiny_run)
        return set(made.allowed_hosts)

    assert hosts() == {"localhost", "127.0.0.1", "[::1]"}
    assert hosts(host="0.0.0.0") == set()
    assert hosts(host="127.0.0.7") > {"127.0.0.7", "localhost"}
    named = hosts(host="0.0.0.0", allow_host=("photos.example",))
    assert named > {"photos.example", "localhost"}
    batcher.close()


@pytest.mark.slow
def test_nothing_is_imported_that_serving_does_not_need() -> None:
    code = "import sys; from handful.serving import connections, server; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in answer.stdout.split()}
    assert "fastapi" in loaded
    assert loaded & {"tensorflow", "keras", "matplotlib", "scipy", "sklearn", "jinja2"} == set()


def test_a_head_that_does_not_come_is_waited_for_so_long(tiny_run: Path) -> None:
    with live(tiny_run, head_seconds=0.3) as server:
        for start in (b"", b"GET /healthz HTTP/1.1\r\nHost: lo", b"\r\n"):
            connection = server.connect()
            connection.sendall(start)
            answer = read_answer(connection)
            assert answer.startswith(b"HTTP/1.1 408 ") and b"no whole head came in 0.3 s" in answer
        # After an answer, too: and an idle line break is no request.
        connection = server.connect()
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"alive" in connection.recv(65536)
        connection.sendall(b"\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_waits_behind_an_answer_does_not_disturb_it(
    tiny_run: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live(tiny_run, head_seconds=0.2) as server:
        batcher, opened = server.service.batcher, threading.Event()
        embed = batcher._embed

        def held(data: bytes) -> Any:
            assert opened.wait(120)
            return embed(data)

        monkeypatch.setattr(batcher, "_embed", held)
        connection = server.connect()
        body = f"{HEAD}Content-Length: {len(photo)}\r\n\r\n".encode() + photo
        connection.sendall(body + b"GET /healthz HT")
        time.sleep(0.7)
        opened.set()
        answer = read_answer(connection)
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"label": "round"' in answer
        assert answer.count(b"HTTP/1.1 ") == 2 and b"HTTP/1.1 408 " in answer


@pytest.mark.parametrize("next_head", [b"GET /healthz HT", b"GET /" + b"y" * 6000, b"no HTTP"])
def test_a_request_is_answered_whatever_comes_behind_it(
    tiny_run: Path, photo: bytes, next_head: bytes
) -> None:
    body = photo + bytes(20_000)
    request = f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with live(tiny_run, head_bytes=5000) as server:
        connection = server.connect()
        connection.sendall(request + next_head)
        answer = b""
        while b'"label"' not in answer:
            more = connection.recv(65536)
            assert more, answer
            answer += more
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"label": "round"' in answer
        if next_head.startswith(b"GET /healthz"):
            connection.sendall(b"TP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b"alive" in answer + read_answer(connection)
        else:
            # Refused once the answer is sent: at once, or when more of it comes.
            with suppress(OSError):
                for _ in range(100):
                    connection.sendall(b"y" * 100)
            status = b"431" if next_head.startswith(b"GET") else b"400"
            assert b"HTTP/1.1 " + status in answer + read_answer(connection)


def test_what_is_too_large_behind_a_request_waits_for_its_answer(
    tiny_run: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live(tiny_run, head_bytes=5000) as server:
        batcher, opened = server.service.batcher, threading.Event()
        embed = batcher._embed
        monkeypatch.setattr(batcher, "_embed", lambda data: opened.wait(120) and embed(data))
        connection = server.connect()
        connection.sendall(f"{HEAD}Content-Length: {len(photo)}\r\n\r\n".encode() + photo)
        wait_until(lambda: batcher.num_working == 1)
        connection.sendall(b"GET /")
        for _ in range(20):
            connection.sendall(b"y" * 1000)
            time.sleep(0.01)
        opened.set()
        answer = read_answer(connection)
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"label": "round"' in answer
        assert answer.count(b"HTTP/1.1 ") == 2 and b"HTTP/1.1 431 " in answer


def test_a_head_that_comes_slowly_and_never_ends_is_refused(tiny_run: Path) -> None:
    with live(tiny_run, head_bytes=5000) as server:
        for start in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            connection = server.connect()
            connection.sendall(start + b"GET / HTTP/1.1\r\n")
            with suppress(OSError):  # it is closed before all is sent
                for _ in range(20):
                    connection.sendall(b"X: " + b"y" * 500 + b"\r\n")
                    time.sleep(0.02)
            answer = read_answer(connection)
            assert answer.count(b"HTTP/1.1 ") == 1 + bool(start) and b"HTTP/1.1 431 " in answer


def test_a_head_may_be_so_large(tiny_run: Path) -> None:
    with live(tiny_run, head_bytes=5000) as server:
        for start in (b"GET /", b"GET / HTTP/1.1\r\nX: "):
            connection = server.connect()
            connection.sendall(start + b"y" * 6000)
            answer = read_answer(connection)
            assert answer.startswith(b"HTTP/1.1 431 ") and b"more than 5000 bytes" in answer
        fits = {"x": "y" * 4000}
        for _ in range(3):  # of each request on a connection, not of all together
            assert server.client.get("/healthz", headers=fits).status_code == 200


GET = "GET /healthz HTTP/1.1\r\n"
OWN = "Host: localhost\r\n"


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (f"{GET}{OWN}Host: other.example\r\n\r\n", 400),
        (f"{GET}{OWN}{OWN}\r\n", 400),
        (f"{GET}\r\n", 400),
        (f"{GET}Host: localhost/other\r\n\r\n", 400),
        (f"{GET}Host: other@localhost\r\n\r\n", 400),
        (f"{GET}Host: localhost, other.example\r\n\r\n", 400),
        (f"GET http://other.example/healthz HTTP/1.1\r\n{OWN}\r\n", 400),
        (f"GET http://localhost/healthz HTTP/1.1\r\n{OWN}\r\n", 200),
        (f"GET /healthz HTTP/2.0\r\n{OWN}\r\n", 400),
        ("GET /healthz\r\n\r\n", 400),
        (f"GET /healthz HTTP/1.0\r\n{OWN}\r\n", 200),
        (f"{GET}{OWN}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
        (f"{GET}{OWN}X: a\r\n folded\r\n\r\n", 400),
        (f"{GET}{OWN}X: a\0b\r\n\r\n", 400),
        (f"{GET}{OWN}X\0Y: a\r\n\r\n", 400),
        (f"{GET}{OWN}X: a\rY: b\r\n\r\n", 400),
        (f"{GET}{OWN}X : a\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\nHost: localhost\n\n", 400),
        (f"{HEAD}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (f"{HEAD}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (f"{HEAD}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (f"{HEAD}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (f"{HEAD}Content-Length: 3, 3\r\n\r\nabc", 400),
        (f"{HEAD}Content-Length: +3\r\n\r\nabc", 400),
        (f"{HEAD}Content-Length: 99999999999999999999\r\n\r\nabc", 400),
        (f"{HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (f"{HEAD}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (f"{HEAD}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (f"{HEAD}Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
        (f"{HEAD}Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", 400),
        (f"{HEAD}Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", 400),
        (f"{HEAD.replace('1.1', '1.0')}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (f"{GET}{OWN}X: {'y' * 70_000}\r\n\r\n", 431),
        (f"GET /{'y' * 70_000} HTTP/1.1\r\n{OWN}\r\n", 431),
        (f"{GET}{OWN}{'x: y' * 8}\r\n" + "x: y\r\n" * 200 + "\r\n", 431),
        (f"{GET}{OWN}X: {'y' * 60_000}\r\n\r\n", 200),
    ],
)
def test_what_two_programs_may_understand_differently_is_refused(
    steady: Live, request_text: str, status: int
) -> None:
    with steady.connect() as connection:
        connection.sendall(request_text.encode())
        answer = connection.recv(65536)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
        if status != 200:
            assert b"application/problem+json" in answer
            with suppress(ConnectionResetError):
                assert connection.recv(65536) == b""  # and it is closed
    assert steady.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "rest",
    [
        b"0\r\n" + b"X: yyyyyyyy\r\n" * 100_000,
        b"0\r\nX: " + b"y" * 1_000_000,
        b"1;x=" + b"y" * 1_000_000,
        b"1;x=yyyyyyyyyyyyyyyyyyyyyyyy\r\n.\r\n" * 40_000,
    ],
    ids=["trailers", "a trailer", "an extension", "extensions"],
)
def test_what_stands_around_a_chunked_body_counts_too(
    steady: Live, photo: bytes, rest: bytes
) -> None:
    connection = steady.connect()
    head = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{len(photo):x}\r\n".encode()
    with suppress(OSError):  # it is closed before all is sent
        connection.sendall(head + photo + b"\r\n" + rest + b"\r\n\r\n0\r\n\r\n")
    answer = b""
    with connection, suppress(ConnectionResetError):
        while more := connection.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 413 ") and b"frames or trailers" in answer


def test_a_body_in_very_small_chunks_is_taken(steady: Live, photo: bytes) -> None:
    pieces = (photo[place : place + 1] for place in range(len(photo)))
    answer = steady.client.post("/predict", content=pieces, headers={"content-type": "image/jpeg"})
    assert answer.json()["predictions"][0]["label"] == "round"


def test_trailers_are_no_headers(steady: Live, photo: bytes) -> None:
    connection = steady.connect()
    first = f"{HEAD}Content-Length: {len(photo)}\r\n\r\n".encode() + photo
    second = f"{HEAD}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    second += b"%x\r\n" % len(photo) + photo + b"\r\n0\r\nX-Request-ID: forged\r\n\r\n"
    connection.sendall(first + second)
    answer = read_answer(connection)
    assert answer.count(b"HTTP/1.1 200 ") == 2 and b"forged" not in answer


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_a_wish_for_another_protocol_is_passed_over_and_ends_the_connection(
    steady: Live, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    connection = steady.connect()
    wish = f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n"
    connection.sendall(f"{GET}{OWN}{wish}\r\n".encode())
    assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
    assert caplog.messages == []
    connection = steady.connect()
    connection.sendall(f"{HEAD}{wish}Content-Length: 3\r\n\r\nabc".encode())
    answer = read_answer(connection)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"asks for another protocol" in answer


def test_very_many_requests_at_once_are_answered_up_to_a_limit(steady: Live) -> None:
    one = f"{GET}{OWN}\r\n".encode()
    for count in (15, 3000):
        connection = steady.connect()
        with suppress(OSError):
            connection.sendall(
                one * count + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            )
        answers = b""
        with connection, suppress(ConnectionResetError):
            while more := connection.recv(65536):
                answers += more
        assert answers.count(b"HTTP/1.1 200 ") == (16 if count == 15 else 17)
        assert (b"more than 16 requests" in answers) == (count > 16)


@pytest.mark.slow
def test_a_client_that_reads_no_answers_is_let_go(tiny_run: Path) -> None:
    with live(tiny_run, write_seconds=0.3, max_pipelined=10_000) as server:
        connection = server.connect()
        # Left to itself, the kernel takes all answers for the client.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        one = b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.sendall(one)
        wait_until(lambda: server.connections)
        connection.settimeout(1.0)
        with suppress(OSError):  # nothing is taken any more, or it is closed
            for _ in range(30):
                connection.sendall(one * 100)
        wait_until(lambda: not server.connections)
        answers = b""
        connection.settimeout(120.0)  # a window that was shut is asked for again after seconds only
        with connection, suppress(ConnectionError):
            while more := connection.recv(65536):
                answers += more
        assert 0 < answers.count(b"HTTP/1.1 200 ") < 2500
        assert server.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01", b"HELO there\r\n\r\n", b"GET / HTTP/1.1\r\n:\r\n\r\n"]
)
def test_what_is_no_http_is_a_problem(tiny_run: Path, garbage: bytes) -> None:
    with live(tiny_run) as server:
        connection = server.connect()
        connection.sendall(garbage)
        head, _, body = read_answer(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and b"application/problem+json" in head
        assert json.loads(body)["type"] == "/docs#bad-request"
        assert server.client.get("/healthz").status_code == 200


def test_connections_are_limited_and_the_rest_go_on(tiny_run: Path) -> None:
    with live(tiny_run, max_connections=5) as server:
        assert server.client.get("/healthz").status_code == 200
        held = [server.connect() for _ in range(4)]
        with server.connect() as extra:
            try:
                assert extra.recv(1) == b""
            except ConnectionResetError:
                pass
        assert server.client.get("/healthz").status_code == 200
        for connection in held:
            connection.close()
        wait_until(lambda: _can_ask(server.port))


def _can_ask(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_limit_of_open_files_is_raised_and_never_lowered() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 500), hard))
        raise_file_limit(900)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(900, hard), hard)
        raise_file_limit(600)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(900, hard), hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_large_memory_is_given_back() -> None:
    # Freeing one block of 20 MB would teach glibc to keep the next ones.
    code = """
import sys
from handful.serving.server import return_large_memory
if sys.argv[1] == "yes":
    return_large_memory()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
bytearray(20_000_000)
before = resident()
blocks = [bytearray(5_000_000) for _ in range(20)]
for block in blocks:
    block[::4096] = b"x" * len(block[::4096])
last = bytearray(600_000)
del blocks, block
print(resident() - before)
"""
    kept = {}
    for answer in ("no", "yes"):
        found = subprocess.run(
            [sys.executable, "-c", code, answer], capture_output=True, text=True, check=True
        )
        kept[answer] = int(found.stdout)
    assert kept["yes"] < 5_000_000 < 50_000_000 < kept["no"]


def test_the_log_holds_what_is_said_by_anyone_and_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    before = logging.getLogger().handlers[:]
    with json_log():
        logging.getLogger("handful.serve").info("request", extra={"fields": {"status": 200}})
        logging.getLogger("somebody").warning('forged\n{"event": "x"}')
        logging.getLogger("somebody").info("unimportant")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old age", stacklevel=1)
        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("asyncio").exception("failed")
    assert logging.getLogger().handlers == before
    entries = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [entry["level"] for entry in entries] == ["info", "warning", "warning", "error"]
    assert entries[0]["status"] == 200 and "from" not in entries[0]
    assert entries[1]["event"] == 'forged\n{"event": "x"}' and entries[1]["from"] == "somebody"
    assert "old age" in entries[2]["event"]
    assert "ValueError: broken" in entries[3]["traceback"]


def test_quiet_logs_no_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    with json_log(is_quiet=True):
        logging.getLogger("handful.serve").info("request")
        logging.getLogger("handful.serve").warning("exposed")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["exposed"]


def test_a_log_that_nobody_reads_drops_lines_and_says_how_many() -> None:
    out = io.StringIO()
    writer = LogWriter(out, most=2)
    for number in range(5):
        writer.handle(logging.makeLogRecord({"msg": f"line {number}"}))
    assert out.getvalue() == ""
    writer.start()
    wait_until(lambda: out.getvalue().count("\n") == 2)
    writer.handle(logging.makeLogRecord({"msg": "after"}))
    writer.stop()
    entries = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [entry["event"] for entry in entries] == ["line 0", "line 1", "after"]
    assert [entry.get("dropped_lines") for entry in entries] == [None, None, 3]


def test_a_record_that_cannot_be_written_is_named_and_the_log_goes_on() -> None:
    out = io.StringIO()
    writer = LogWriter(out)
    writer.start()
    for facts in ({"msg": "%d things", "args": ("a",)}, {"msg": "odd", "fields": {"x": object()}}):
        writer.handle(logging.makeLogRecord({"pathname": "a.py", "lineno": 7, **facts}))
    writer.handle(logging.makeLogRecord({"msg": "after"}))
    writer.stop()
    entries = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [entry["event"] for entry in entries] == ["unwritable record"] * 2 + ["after"]
    assert [entry.get("place") for entry in entries] == ["a.py:7", "a.py:7", None]
    assert [entry.get("error") for entry in entries] == ["TypeError", "TypeError", None]


def test_a_log_that_nobody_reads_is_known_to_be_stuck() -> None:
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    writer = LogWriter(stream)
    writer.start()
    assert not writer.is_stuck
    writer.handle(logging.makeLogRecord({"msg": "x" * 200_000}))
    writer.stop()
    assert writer.is_stuck
    with os.fdopen(reading) as pipe:
        assert len(pipe.readline()) > 200_000
    wait_until(lambda: not writer.is_stuck)
    stream.close()


def test_a_log_whose_reader_has_gone_does_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    writer = LogWriter(out)
    writer.start()
    out.close()
    writer.handle(logging.makeLogRecord({"msg": "lost"}))
    writer.stop()
    assert not writer.is_stuck and capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_standard_error_that_stands_still_does_not_stop_the_server(
    tiny_run: Path, photo: bytes
) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "handful", "serve", str(tiny_run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writing, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[2]
        with httpx.Client(base_url=url, trust_env=False) as client:
            for _ in range(600):  # 64 KB of log fill the pipe
                assert client.get("/" + "x" * 150).status_code == 404
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(120) == 0
        finally:
            process.kill()  # one that hangs is not waited for
    os.close(reading)
    os.close(writing)
