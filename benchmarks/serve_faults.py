"""What `handful serve` makes of clients that are many, slow, broken or hostile.

    python benchmarks/serve_faults.py RUN PHOTOS [--pictures 20000] [--connections 1000]

Asked: it never crashes or hangs, gives no 5xx but 503, answers every request that it took, keeps
its memory, and ends cleanly. All traffic goes to 127.0.0.1 and is bounded in number and time; the
seed makes a run repeat itself.
"""

import argparse
import io
import json
import os
import random
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from serve_client import (
    HOST,
    Connection,
    Server,
    as_request,
    as_requests,
    expected_answers,
    serving,
    without_path,
)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
FILES_A_REQUEST = 32
Counts = Counter[str]


def originals(folder: Path, count: int) -> list[bytes]:
    """Small pictures of every format."""
    found = []
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))[:count]):
        with Image.open(path) as image:
            small = image.convert("RGB")
        small.thumbnail((160, 160))
        buffer = io.BytesIO()
        small.save(buffer, FORMATS[number % len(FORMATS)])
        found.append(buffer.getvalue())
    return found


def mutate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Cut a file off, flip some of its bits, or splice it with another."""
    kind = rng.randrange(5)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:  # flip bits anywhere
        broken = bytearray(data)
        for _ in range(rng.randint(1, 20)):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        return bytes(broken)
    if kind == 2:  # bytes near the beginning, where sizes and offsets stand
        broken = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            broken[rng.randrange(min(200, len(broken)))] = rng.choice((0, 1, 127, 128, 255))
        return bytes(broken)
    if kind == 3:
        return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + bytes(end - start) + data[end:]


def as_form(files: list[bytes]) -> bytes:
    """A whole POST of many files, named by their numbers."""
    return as_requests({str(number): data for number, data in enumerate(files)})


def send_mutated(server: Server, pictures: list[bytes], count: int) -> Counts:
    """Mutated pictures, 32 a request; every file must be an answer or an error."""
    numbers = range(0, count, FILES_A_REQUEST)
    local = threading.local()

    def send(first: int) -> Counts:
        rng = random.Random(first)
        files = [
            mutate(rng, rng.choice(pictures), rng.choice(pictures))
            for _ in range(min(FILES_A_REQUEST, count - first))
        ]
        if not hasattr(local, "connection"):
            local.connection = Connection(server.port)
        for _ in range(100):
            status, body = local.connection.ask(as_form(files))
            if status != 503:
                break
            time.sleep(0.2)
        answer = json.loads(body)
        errors = answer.get("errors", [])
        named = answer.get("predictions", [])
        if len(errors) + len(named) != len(files):
            return Counter(failed=len(files))
        return Counter(named=len(named), unreadable=len(errors))

    with ThreadPoolExecutor(3) as pool:
        return sum(pool.map(send, numbers), Counter())


def connect_at_once(server: Server, request: bytes, count: int) -> Counts:
    """So many connections in the same moment, each with a photo."""
    barrier = threading.Barrier(count)

    def work(counts: list[str]) -> None:
        connection = Connection(server.port, timeout=90)
        barrier.wait()
        try:
            status, _ = connection.ask(request)
            counts.append(str(status))
        except TimeoutError:
            counts.append("hung")
        except OSError:
            counts.append("refused")
        connection.close()

    counts: list[str] = []
    threads = [threading.Thread(target=work, args=(counts,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(counts)


def send_slowly(server: Server, request: bytes, count: int, seconds: float) -> Counts:
    """Bodies that come byte by byte, while another client asks as ever."""
    done = threading.Event()

    def drip() -> str:
        with socket.create_connection((HOST, server.port), timeout=60) as connection:
            head = request.index(b"\r\n\r\n") + 4
            connection.sendall(request[:head])
            end = time.monotonic() + 3 * seconds
            connection.settimeout(0.1)
            for place in range(head, len(request)):
                try:
                    connection.sendall(request[place : place + 1])
                    answer = connection.recv(65536)
                    return answer.split(b" ", 2)[1].decode() if answer else "closed"
                except TimeoutError:
                    if time.monotonic() > end:
                        return "hung"
                except OSError:
                    return "closed"
        return "hung"

    def ask() -> Counts:
        connection, found = Connection(server.port), Counter()
        while not done.is_set():
            found["beside it " + str(connection.ask(request)[0])] += 1
        connection.close()
        return found

    with ThreadPoolExecutor(count + 1) as pool:
        beside = pool.submit(ask)
        slow = Counter(future.result() for future in [pool.submit(drip) for _ in range(count)])
        done.set()
        return slow + beside.result()


def leave_early(server: Server, request: bytes, count: int) -> Counts:
    """Clients that go away in the middle of their body, with and without a goodbye."""
    rng = random.Random(1)
    for number in range(count):
        with socket.create_connection((HOST, server.port), timeout=60) as connection:
            connection.sendall(request[: rng.randrange(1, len(request) + 1)])
            if number % 2:  # a reset instead of an end
                linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    return Counter(left=count)


def send_malformed(server: Server, picture: bytes, count: int) -> Counts:
    """Requests whose head or form is broken; what matters is that each ends."""
    rng, found = random.Random(2), Counter()
    whole = as_form([picture, picture])
    head_end = whole.index(b"\r\n\r\n") + 4
    for number in range(count):
        head, body = whole[:head_end], whole[head_end:]
        if number % 2:
            broken = bytearray(body)
            for _ in range(rng.randint(1, 6)):
                broken[rng.choice((rng.randrange(150), rng.randrange(len(broken))))] ^= 1 << 5
            body = bytes(broken)[: rng.choice((len(body), rng.randrange(len(body))))]
            head = head.replace(
                b"Content-Length: %d" % (len(whole) - head_end), b"Content-Length: %d" % len(body)
            )
        else:
            broken = bytearray(head)
            for _ in range(rng.randint(1, 4)):
                broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
            head = bytes(broken)
        with socket.create_connection((HOST, server.port), timeout=30) as connection:
            try:
                connection.sendall(head + body)
                answer = connection.recv(65536)
                found[answer.split(b" ", 2)[1].decode() if answer else "closed"] += 1
            except TimeoutError:
                found["hung"] += 1
            except OSError:
                found["closed"] += 1
    return found


def stop_under_load(server: Server, request: bytes, connections: int) -> tuple[Counts, int, float]:
    """SIGTERM while all connections are busy; what was sent before it must be answered."""
    found: list[str] = []
    told = [float("inf")]
    stop = threading.Event()

    def work() -> None:
        connection = Connection(server.port)
        while not stop.is_set():
            sent = time.monotonic()
            try:
                status, _ = connection.ask(request)
                found.append(str(status))
            except TimeoutError:
                found.append("hung")
            except OSError:
                # What is sent in the moment of the signal may come too late: it is new.
                found.append("lost" if sent < told[0] - 0.05 else "refused")
                return

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    told[0] = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(timeout=60)
    seconds = time.monotonic() - told[0]
    stop.set()
    for thread in threads:
        thread.join()
    return Counter(found), code, seconds


def check_answers(server: Server, folder: Path, expected: dict) -> Counts:
    """The same photos as before: are the answers still those of `handful predict`?"""
    connection, found = Connection(server.port), Counter()
    for path in sorted(folder.glob("*.jpg")):
        _, body = connection.ask(as_request(path.read_bytes(), path.name))
        same = without_path(json.loads(body)["predictions"][0]) == expected[path.name]
        found["same" if same else "different"] += 1
    connection.close()
    return found


class Table:
    """Rows as they come, each with the server's memory after it."""

    def __init__(self, server: Server) -> None:
        self.server, self.memory, self.has_failed = server, [server.resident_megabytes()], False
        print("| what | outcome | seconds | memory, MB |\n|---|---|---|---|", flush=True)

    def add(self, what: str, work: "Counts", seconds: float) -> None:
        """Print a row; note what must not be."""
        if self.server.process.poll() is None:
            time.sleep(1)
            self.memory.append(self.server.resident_megabytes())
        bad = ("hung", "lost", "failed", "different", "500", "502", "504")
        self.has_failed |= any(key.endswith(bad) for key in work)
        outcome = ", ".join(f"{key} {count:,}" for key, count in sorted(work.items()))
        print(f"| {what} | {outcome} | {seconds:.1f} | {self.memory[-1]:.0f} |", flush=True)

    def run(self, what: str, function, *arguments) -> None:
        """Do it, time it, add it."""
        started = time.monotonic()
        self.add(what, function(self.server, *arguments), time.monotonic() - started)


def main() -> None:
    """Parse, start, send, look."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name) / "photos", Path(name) / "log"
        folder.mkdir()
        for number, path in enumerate(sorted(asked.photos.rglob("*.jpg"))[:200]):
            (folder / f"{number}.jpg").symlink_to(path.resolve())
        expected = expected_answers(asked.run, folder)
        pictures = originals(asked.photos, 60)
        photo = as_request(next(iter(sorted(folder.glob("*.jpg")))).read_bytes())
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
        with serving(asked.run, log, "--body-seconds", "3") as server:
            send_mutated(server, pictures, 4096)  # warm: every format's reader is loaded
            check_answers(server, folder, expected)
            table = Table(server)
            table.run(
                f"{asked.pictures:,} mutated pictures", send_mutated, pictures, asked.pictures
            )
            count = asked.connections
            table.run(f"{count:,} connections at once", connect_at_once, photo, count)
            table.run("50 bodies, a byte each 0.1 s", send_slowly, photo, 50, 3.0)
            table.run("400 clients leave in their body", leave_early, photo, 400)
            table.run("1,000 malformed requests", send_malformed, pictures[0], 1000)
            table.run("200 photos again", check_answers, folder, expected)
            memory = table.memory[:]
            started = time.monotonic()
            found, code, seconds = stop_under_load(server, photo, 32)
            table.add("SIGTERM under 32 connections", found, time.monotonic() - started)
        events = Counter(json.loads(line)["event"] for line in log.read_text().splitlines())
        growth = max(memory[1:]) / memory[0] - 1
        print(f"\nended with {code} after {seconds:.1f} s; memory grew by {100 * growth:.1f} %")
        print(f"logged: {dict(events)}")
        if table.has_failed or code or events["failed"] or growth > 0.1:
            raise SystemExit("not as asked")


if __name__ == "__main__":
    main()
