"""What `handful serve` makes of clients that are many, slow, broken or hostile.

    python benchmarks/serve_faults.py RUN PHOTOS [--pictures 20000] [--connections 1000]

Asked: it never crashes or hangs, gives no 5xx but 503, answers every request that it took, keeps
its memory, refuses what two programs may understand differently and what costs too much to decode,
and ends in time. All traffic goes to 127.0.0.1 and is bounded in number and time; the seed makes a
run repeat itself.
"""

import argparse
import io
import json
import os
import random
import signal
import socket
import struct
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


POST = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"
OWN = b"Host: 127.0.0.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
AMBIGUOUS = (
    GET + OWN + b"Host: other.example\r\n\r\n",
    GET + OWN + OWN + b"\r\n",
    GET + b"\r\n",
    GET + b"Host: 127.0.0.1, other.example\r\n\r\n",
    GET + b"Host: other.example@127.0.0.1\r\n\r\n",
    b"GET http://other.example/healthz HTTP/1.1\r\n" + OWN + b"\r\n",
    b"GET /healthz HTTP/2.0\r\n" + OWN + b"\r\n",
    GET + OWN + b"X: a\r\n folded\r\n\r\n",
    GET + OWN + b"X: a\0b\r\n\r\n",
    GET + OWN + b"X: a\rY: b\r\n\r\n",
    GET + OWN + b"X : a\r\n\r\n",
    b"GET /healthz HTTP/1.1\nHost: 127.0.0.1\n\n",
    POST + b"Content-Length: 3\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    POST + CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    POST + b"Content-Length: 3, 3\r\n\r\nabc",
    POST + b"Content-Length: +3\r\n\r\nabc",
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    POST + CHUNKED + b"\r\n0x3\r\nabc\r\n0\r\n\r\n",
    POST + CHUNKED + b"\r\n3\nabc\n0\n\n",
    POST + CHUNKED + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    GET + OWN + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    GET + OWN + b"x: y\r\n" * 4000 + b"\r\n",
)


def answers_to(server: Server, request: bytes) -> list[str]:
    """Send as much of a request as is taken; the status of each answer until the end."""
    data = b""
    with socket.create_connection((HOST, server.port), timeout=30) as connection:
        try:
            connection.sendall(request)
        except OSError:  # refused before all was sent
            pass
        try:
            while more := connection.recv(65536):
                data += more
        except TimeoutError:
            return ["hung"]
        except OSError:
            pass
    return [part[:3].decode() for part in data.split(b"HTTP/1.1 ")[1:]] or ["closed"]


def send_ambiguous(server: Server, count: int) -> Counts:
    """What two programs may understand differently; each must be refused, and be the last."""
    found: Counts = Counter()
    for number in range(count):
        request = AMBIGUOUS[number % len(AMBIGUOUS)]
        statuses = answers_to(server, request + GET + OWN + b"\r\n")
        found[statuses[0] if len(statuses) == 1 and statuses[0] != "200" else "failed"] += 1
    return found


def send_trailers(server: Server, picture: bytes, count: int) -> Counts:
    """Chunked bodies with 30 MB of trailers, or of a chunk's extension."""
    body = POST + CHUNKED + b"\r\n%x\r\n" % len(picture) + picture + b"\r\n"
    trailers = b"0\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyy\r\n" * 1_200_000 + b"\r\n"
    extension = b"1;x=" + b"y" * 30_000_000 + b"\r\n.\r\n0\r\n\r\n"
    found: Counts = Counter()
    for number in range(count):
        found.update(answers_to(server, body + (extension if number % 2 else trailers)))
    return found


def send_options(server: Server, picture: bytes) -> Counts:
    """Odd values of the options: each must be followed or refused."""
    found, connection = Counter(), Connection(server.port)
    values = (
        "1e-12",
        "5e-324",
        "0.5",
        "1",
        "0",
        "-1",
        "nan",
        "inf",
        "1e400",
        "x" * 9000,
        "%00",
        "",
    )
    for name in ("coverage", "error_rate"):
        for value in values:
            for query in (f"?{name}={value}", f"?{name}=0.5&{name}={value}"):
                found[str(connection.ask(as_request(picture, query=query))[0])] += 1
    connection.close()
    return found


def costly_pictures() -> dict[str, bytes]:
    """Small files that cost much to decode, by name."""
    found = {}
    Image.MAX_IMAGE_PIXELS = None
    flat = {mode: Image.new(mode, (10_000, 10_000)) for mode in ("L", "CMYK", "1")}
    for name, mode, kind, options in (
        ("png", "L", "PNG", {}),
        ("cmyk", "CMYK", "JPEG", {}),
        ("progressive", "L", "JPEG", {"progressive": True}),
        ("group4", "1", "TIFF", {"compression": "group4"}),
    ):
        buffer = io.BytesIO()
        flat[mode].save(buffer, kind, **options)
        found[name] = buffer.getvalue()
    small = io.BytesIO()
    Image.effect_noise((512, 512), 50).save(small, "JPEG", progressive=True)
    data = small.getvalue()
    scan = data.rindex(b"\xff\xda")
    found["scans"] = data[:scan] + data[scan:-2] * (2_000_000 // len(data[scan:-2])) + data[-2:]
    for name, width, height in (("rle wide", 12_000_000, 8), ("rle square", 10_000, 10_000)):
        lines = b"\1\0\0\0" * height + b"\0\1"  # each line is one pixel and its end
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(lines), 0, 0, 256, 0)
        start = 14 + len(head) + 1024
        file = b"BM" + struct.pack("<IHHI", start + len(lines), 0, 0, start)
        found[name] = file + head + bytes(1024) + lines
    return found


def send_costly(server: Server, pictures: dict[str, bytes], count: int) -> Counts:
    """Costly pictures, one and eight a request, six clients at the same time."""
    requests = [as_requests({str(n): data for n in range(8)}) for data in pictures.values()]
    requests += [as_request(data) for data in pictures.values()]

    def send(number: int) -> str:
        connection = Connection(server.port, timeout=120)
        try:
            return str(connection.ask(requests[number % len(requests)])[0])
        except TimeoutError:
            return "hung"
        except OSError:
            return "closed"
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        return Counter(pool.map(send, range(count)))


def leave_waiting(server: Server, large: bytes, count: int) -> Counts:
    """Clients that leave while their photo waits: it must not count any more."""
    for _ in range(count):
        with socket.create_connection((HOST, server.port), timeout=60) as connection:
            connection.sendall(as_request(large))
            time.sleep(0.02)
    is_free = server.wait_for("handful_waiting 0.0")
    return Counter({"left" if is_free else "hung": count})


def read_nothing(server: Server, count: int) -> Counts:
    """Clients that ask for pages in a row and read none of them; others are answered meanwhile."""
    request = (b"GET /docs HTTP/1.1\r\n" + OWN + b"\r\n") * 3000
    held = []
    for _ in range(count):
        connection = socket.create_connection((HOST, server.port), timeout=1)
        try:
            connection.sendall(request)
        except OSError:
            pass
        held.append(connection)
    answered = b"alive" in server.get("/healthz")
    for connection in held:
        connection.close()
    return Counter({"beside it 200" if answered else "hung": 1})


def stop_while_decoding(server: Server, pictures: dict[str, bytes]) -> tuple[int, float]:
    """SIGTERM while the costliest pictures are decoded; exit code and seconds."""
    held = []
    for data in pictures.values():
        connection = socket.create_connection((HOST, server.port), timeout=60)
        connection.sendall(as_request(data))
        held.append(connection)
    time.sleep(0.5)
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(timeout=60)
    for connection in held:
        connection.close()
    return code, time.monotonic() - started


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
        self.most = 0.0
        print("| what | outcome | seconds | memory, MB | at the peak |", flush=True)
        print("|---|---|---|---|---|", flush=True)

    def add(self, what: str, work: "Counts", seconds: float) -> None:
        """Print a row; note what must not be."""
        if self.server.process.poll() is None:
            self.server.wait_until_idle()
            self.memory.append(self.server.resident_megabytes())
            self.most = self.server.peak_megabytes()
        bad = ("hung", "lost", "failed", "different", "500", "502", "504")
        self.has_failed |= any(key.endswith(bad) for key in work)
        outcome = ", ".join(f"{key} {count:,}" for key, count in sorted(work.items()))
        figures = f"{seconds:.1f} | {self.memory[-1]:.0f} | {self.most:.0f}"
        print(f"| {what} | {outcome} | {figures} |", flush=True)

    def run(self, what: str, function, *arguments) -> None:
        """Do it, time it, add it."""
        self.server.forget_peak()
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
        pictures, costly = originals(asked.photos, 60), costly_pictures()
        small = next(data for data in pictures if data.startswith(b"\xff\xd8"))
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
            table.run("960 ambiguous requests", send_ambiguous, 960)
            table.run("20 bodies with 30 MB of trailers or extensions", send_trailers, small, 20)
            table.run("48 odd options", send_options, small)
            table.run("28 requests of costly pictures, one or eight each", send_costly, costly, 28)
            table.run("100 clients leave while they wait", leave_waiting, costly["png"], 100)
            table.run("20 clients read no answers", read_nothing, 20)
            table.run("200 photos again", check_answers, folder, expected)
            memory = table.memory[:]
            started = time.monotonic()
            found, code, seconds = stop_under_load(server, photo, 32)
            table.add("SIGTERM under 32 connections", found, time.monotonic() - started)
        with serving(asked.run, Path(name) / "second", "--drain-seconds", "2") as server:
            second_code, second_seconds = stop_while_decoding(server, costly)
        events = Counter(json.loads(line)["event"] for line in log.read_text().splitlines())
        growth = memory[-1] / memory[0] - 1  # when all attacks are over, and photos are asked again
        print(f"\nended with {code} after {seconds:.1f} s; memory grew by {100 * growth:.1f} %")
        print(f"of the costly pictures, told to end in 2 s: {second_code}, {second_seconds:.1f} s")
        print(f"logged: {dict(events)}")
        late = second_seconds > 4
        if late or table.has_failed or code or events["failed"] or growth > 0.1:
            raise SystemExit("not as asked")


if __name__ == "__main__":
    main()
