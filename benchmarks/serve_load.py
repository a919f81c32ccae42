"""How fast `handful serve` is, against what was asked and the raw speed of the same network.

    python benchmarks/serve_load.py RUN PHOTOS [--seconds 60] [--connections 32] [--files 1]

The raw speed is that of a process of its own, two threads a core, on photos that are in memory:
decode and embed, nothing else. Raw and served rounds take turns, and a pair's ratio is taken from
neighbors, so that other work on the machine spoils little. Server and client share the machine.
Traffic goes to 127.0.0.1 alone, and ends with the seconds given.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from serve_client import (
    Connection,
    Server,
    as_request,
    as_requests,
    expected_answers,
    serving,
    without_path,
)

QUERY = "?error_rate=0.01&coverage=0.95"
_RAW = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from handful.models.classifier import Classifier
from handful.cores import num_workers
from handful.data.decoding import decode
classifier = Classifier.load(sys.argv[1])
photos = [path.read_bytes() for path in sorted(Path(sys.argv[2]).glob("*.jpg"))]
def embed(data):
    return classifier.extractor.embed(decode(data, classifier.settings)[None])
with ThreadPoolExecutor(num_workers()) as pool:
    list(pool.map(embed, photos[:64]))
    for line in sys.stdin:
        seconds, done, started = float(line), 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            done += len(list(pool.map(embed, photos[:256])))
        print(done / (time.perf_counter() - started), flush=True)
"""


def gather(folder: Path, target: Path, count: int) -> None:
    """Link the first photos of a folder, whatever its shape, into a flat one."""
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))[:count]):
        (target / f"{number:04d}.jpg").symlink_to(path.resolve())


def check_promised(port: int, folder: Path, expected: dict) -> None:
    """Ask once for each photo with both options, and compare with `handful predict`."""
    connection = Connection(port)
    for path in sorted(folder.glob("*.jpg")):
        status, body = connection.ask(as_request(path.read_bytes(), path.name, QUERY))
        if status != 200:
            raise SystemExit(f"{path.name}: status {status}, {body!r}")
        if without_path(json.loads(body)["predictions"][0]) != expected[path.name]:
            raise SystemExit(f"{path.name}: {body!r} is not {expected[path.name]}")
    connection.close()


def without_promises(prediction: dict) -> dict:
    """A prediction as it is when nothing is asked to be promised."""
    return {k: v for k, v in prediction.items() if k not in ("is_confident", "prediction_set")}


def hammer(port: int, requests: list, expected: dict, connections: int, seconds: float) -> dict:
    """Keep so many connections busy; how many answers, refusals and faults there were."""
    counts = {"answered": 0, "busy": 0, "wrong": 0, "failed": 0}
    lock = threading.Lock()
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        own = dict.fromkeys(counts, 0)
        connection = Connection(port)
        place = number * 7
        while time.perf_counter() < end:
            names, request = requests[place % len(requests)]
            place += 1
            try:
                status, body = connection.ask(request)
            except OSError:
                own["failed"] += 1
                continue
            if status == 200:
                found = map(without_path, json.loads(body)["predictions"])
                same = list(found) == [expected[name] for name in names]
                own["answered" if same else "wrong"] += len(names)
            else:
                own["busy" if status == 503 else "failed"] += 1
        connection.close()
        with lock:
            for key, value in own.items():
                counts[key] += value

    threads = [threading.Thread(target=work, args=(n,)) for n in range(connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts["a_second"] = counts["answered"] / (time.perf_counter() - started)
    return counts


def ask_well(connection: Connection, request: bytes) -> None:
    """Ask; a refusal would be fast, and no figure."""
    status, body = connection.ask(request)
    if status != 200:
        raise RuntimeError(f"status {status}: {body!r}")


def alone(port: int, requests: list, count: int) -> list[float]:
    """Milliseconds of requests that have the server to themselves, one after the other."""
    connection, times = Connection(port), []
    for number in range(count + 10):
        started = time.perf_counter()
        ask_well(connection, requests[number % len(requests)][1])
        times.append(1000 * (time.perf_counter() - started))
        time.sleep(0.01)
    connection.close()
    return times[10:]


def at_rate(port: int, requests: list, rate: float, seconds: float) -> list[float]:
    """Milliseconds of requests that come at random times, counted from when they were due."""
    rng = random.Random(0)
    due, clock = [], 0.0
    while clock < seconds:
        clock += rng.expovariate(rate)
        due.append(clock)
    times: list[float] = []
    lock = threading.Lock()
    started = time.perf_counter()

    def work() -> None:
        connection = Connection(port)
        while True:
            with lock:
                if not due:
                    break
                moment = due.pop(0)
                number = len(due)
            time.sleep(max(0.0, started + moment - time.perf_counter()))
            ask_well(connection, requests[number % len(requests)][1])
            took = 1000 * (time.perf_counter() - started - moment)
            with lock:
                times.append(took)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def grouped(names: list[str], size: int) -> list[list[str]]:
    """Names, so many at a time."""
    return [names[start : start + size] for start in range(0, len(names) - size + 1, size)]


def percentile(values: list[float], share: float) -> float:
    """A percentile, by the nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(server: Server, raw: subprocess.Popen, requests: list, expected: dict, asked) -> None:
    """Make all measurements and print them."""
    load = os.getloadavg()[0]
    check_promised(server.port, asked.folder, expected)
    expected = {name: without_promises(entry) for name, entry in expected.items()}
    hammer(server.port, requests, expected, asked.connections, 5)
    memory = [server.resident_megabytes()]
    ratios, speeds, totals = [], [], {"busy": 0, "wrong": 0, "failed": 0, "answered": 0}
    for _ in range(asked.rounds):
        raws = []
        for part in range(2):
            raw.stdin.write(f"{asked.seconds / asked.rounds / 4}\n")
            raw.stdin.flush()
            raws.append(float(raw.stdout.readline()))
            if part == 0:
                found = hammer(
                    server.port,
                    requests,
                    expected,
                    asked.connections,
                    asked.seconds / asked.rounds,
                )
        memory.append(server.resident_megabytes())
        speeds.append(found["a_second"])
        ratios.append(found["a_second"] / statistics.mean(raws))
        print(f"  raw {raws[0]:.0f} and {raws[1]:.0f}, served {found['a_second']:.0f} a second")
        for key in totals:
            totals[key] += found[key]
    times = alone(server.port, requests, 200)
    half = at_rate(server.port, requests, statistics.median(speeds) / 2 / asked.files, 15)
    growth = max(memory[1:]) / memory[1] - 1 if len(memory) > 2 else max(memory) / memory[0] - 1
    seconds, connections = asked.seconds, asked.connections
    print(f"\nload average before: {load:.1f} on {os.cpu_count()} cores")
    print("| what | asked | measured |\n|---|---|---|")
    print(f"| ready after | 2 s | {server.ready_seconds:.2f} s |")
    print(f"| served of the raw speed | 80 % | {100 * statistics.median(ratios):.0f} % |")
    print(f"| photos a second | | {statistics.median(speeds):.0f} |")
    print(f"| one request alone, median | 25 ms | {percentile(times, 0.5):.1f} ms |")
    print(f"| at half load, 99 of 100 within | 150 ms | {percentile(half, 0.99):.0f} ms |")
    print(
        f"| {seconds:g} s at {connections} connections: answered; wrong, failed, refused (503) "
        f"| 0, 0 | {totals['answered']:,}; {totals['wrong']}, {totals['failed']}, "
        f"{totals['busy']} |"
    )
    print(
        f"| growth of memory after the first round | 10 % | {100 * growth:.1f} % "
        f"of {memory[-1]:.0f} MB |"
    )


def main() -> None:
    """Parse, start, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--files", type=int, default=1, help="photos a request")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        asked.folder = folder
        gather(asked.photos, folder, 256)
        expected = expected_answers(asked.run, folder, "--error-rate", "0.01", "--coverage", "0.95")
        requests = [
            (names, as_requests({name: (folder / name).read_bytes() for name in names}))
            for names in grouped(sorted(expected), asked.files)
        ]
        command = [sys.executable, "-c", _RAW, str(asked.run), str(folder)]
        raw = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with serving(asked.run, Path(name) / "log") as server:
            measure(server, raw, requests, expected, asked)
            raw.stdin.close()
            raw.wait()
            print(f"| ends with | 0 | {server.stop()} |")


if __name__ == "__main__":
    main()
