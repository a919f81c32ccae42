"""A server of the tests' own: in a thread, on a free port of 127.0.0.1."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from handful.config import ServeConfig
from handful.models.classifier import Classifier
from handful.serving.batching import Batcher
from handful.serving.connections import make_server
from handful.serving.guards import LOOPBACK_NAMES
from handful.serving.model_card import make_card
from handful.serving.service import Service
from handful.serving.uploads import UploadLimits


class Live:
    """A running server, what it works with, and a client of it."""

    def __init__(
        self, service: Service, server: uvicorn.Server, port: int, client: httpx.Client
    ) -> None:
        self.service, self.port, self.client = service, port, client
        self.connections = server.server_state.connections

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)


@contextmanager
def live(
    run: Path,
    *,
    limits: UploadLimits | None = None,
    max_waiting: int = 64,
    allowed_hosts: tuple[str, ...] = LOOPBACK_NAMES,
    public_names: tuple[str, ...] = (),
    root_path: str = "",
    token: str | None = None,
    is_ready: bool = True,
    **protocol: Any,
) -> Iterator[Live]:
    classifier = Classifier.load(run)
    batcher = Batcher(classifier, max_waiting=max_waiting)
    batcher.warm_up()
    service = Service(
        batcher,
        make_card(classifier),
        limits or UploadLimits(),
        allowed_hosts=allowed_hosts,
        public_names=public_names,
        root_path=root_path,
        token=token,
        is_ready=is_ready,
    )
    server = make_server(service, ServeConfig(drain_seconds=5))
    server.config.load()
    for name, value in protocol.items():
        assert hasattr(server.config.http_protocol_class, name)
        setattr(server.config.http_protocol_class, name, value)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120
        ) as client:
            wait_until(lambda: server.started)
            yield Live(service, server, port, client)
    finally:
        server.should_exit = True
        thread.join()
        batcher.close()


@contextmanager
def behind_proxy(port: int, *, prefix: str = "/handful", strips: bool = True) -> Iterator[int]:
    """A reverse proxy as nginx makes one: Host becomes the upstream's, the prefix is cut off.

    Yields its own port; what is not below the prefix is not found.
    """

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            hidden = ("connection", "host", "content-length")
            headers = {k: v for k, v in self.headers.items() if k.lower() not in hidden}
            headers |= {"Host": f"127.0.0.1:{port}", "Connection": "close"}
            path = self.path.removeprefix(prefix) if strips else self.path
            upstream.request(self.command, path, body, headers)
            answer = upstream.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "content-length", "date"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            upstream.close()

        do_GET = do_POST = pass_on

        def log_message(self, *_: Any) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield proxy.server_address[1]
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def wait_until(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def read_answer(connection: socket.socket) -> bytes:
    """Everything until the other side closes; then this one does."""
    data = b""
    with connection:
        while more := connection.recv(65536):
            data += more
    return data
