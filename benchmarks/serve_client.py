"""What the two benchmarks of `handful serve` share: a server's process, and a lean client.

The client is a thread and a plain socket for each connection, for on a machine of few cores what
the client takes is taken from the server. Nothing but 127.0.0.1 is ever connected to.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
BOUNDARY = b"----handful-benchmark"


@dataclass
class Server:
    """A running `handful serve`."""

    process: subprocess.Popen
    port: int
    ready_seconds: float
    log: Path

    def resident_megabytes(self) -> float:
        """Memory of the process that is in RAM."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def forget_peak(self) -> None:
        """Begin to look for the most memory anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_megabytes(self) -> float:
        """Most memory of the process that was in RAM since then."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1000

    def wait_for(self, figure: str, seconds: float = 20.0) -> bool:
        """Whether /metrics comes to say so."""
        end = time.monotonic() + seconds
        while figure.encode() not in self.get("/metrics"):
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def wait_until_idle(self) -> None:
        """Wait until no picture is worked on, and a second more."""
        self.wait_for("handful_working 0.0", 60.0)
        time.sleep(1)

    def get(self, path: str) -> bytes:
        """The body at an address."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=30) as answer:
            return answer.read()

    def stop(self) -> int:
        """End it as a service manager does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def serving(run: Path, log: Path, *options: str) -> Iterator[Server]:
    """Start a server, wait until /readyz says 200, and end it."""
    command = [sys.executable, "-m", "handful", "serve", str(run), "--port", "0", *options]
    started = time.perf_counter()
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"the server did not start: {log.read_text()}")
        port = int(line.partition("http://")[2].split()[0].rsplit(":", 1)[1])
        server = Server(process, port, 0.0, log)
        while b"ready" not in server.get("/readyz"):
            time.sleep(0.01)
        server.ready_seconds = time.perf_counter() - started
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)


def as_request(data: bytes, name: str = "photo.jpg", query: str = "") -> bytes:
    """A whole POST of one photo as a form, as bytes."""
    return as_requests({name: data}, query)


def as_requests(files: dict[str, bytes], query: str = "") -> bytes:
    """A whole POST of several photos as a form, as bytes."""
    parts = []
    for name, data in files.items():
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        parts += [b"--", BOUNDARY, b"\r\n", head.encode(), b"\r\n\r\n", data, b"\r\n"]
    body = b"".join([*parts, b"--", BOUNDARY, b"--\r\n"])
    head = (
        f"POST /predict{query} HTTP/1.1\r\nHost: {HOST}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """One connection to a server that is kept open, and opened again when it was closed."""

    def __init__(self, port: int, timeout: float = 60.0) -> None:
        self.port, self.timeout = port, timeout
        self.socket: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; status and body of the answer. OSError when there is none."""
        if self.socket is None:
            self.socket = socket.create_connection((HOST, self.port), timeout=self.timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.sendall(request)
            return self._answer()
        except OSError:
            self.close()
            raise

    def _answer(self) -> tuple[int, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self._more()
        if b"connection: close" in lines:
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed without an answer")
        return data

    def close(self) -> None:
        """Close it."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def expected_answers(run: Path, folder: Path, *options: str) -> dict[str, dict]:
    """What `handful predict --json` says of each photo of a folder, by the file's name."""
    command = [sys.executable, "-m", "handful", "predict", str(run), str(folder), "--json"]
    answer = subprocess.run([*command, *options], capture_output=True, text=True)
    found = json.loads(answer.stdout)
    return {Path(entry["path"]).name: without_path(entry) for entry in found["predictions"]}


def without_path(prediction: dict) -> dict:
    """A prediction without what differs: where the photo came from."""
    return {name: value for name, value in prediction.items() if name != "path"}
