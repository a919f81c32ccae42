"""Mutated pictures, zips, tables, runs, checkpoints and requests, and what handful makes of them.

    python benchmarks/fuzz.py [--count 1000000] [--only pictures] [--state fuzz.json]
    python benchmarks/fuzz.py --only zips --input 4711     make one input again; what comes of it

Asked of every input: no crash, no more than 5 s of processor time, no more than 1.5 GB of memory,
no exception but a `HandfulError`, and nothing taken that its own checksums call damaged. Worker
processes do it under limits of memory and time; one that dies costs its input alone. What has been
done is kept in the state file, and the same command goes on from there; another version of handful
begins anew. Requests go to a server on 127.0.0.1 that each worker starts.
"""

import argparse
import hashlib
import io
import json
import os
import random
import resource
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import fuzz_inputs as inputs

# Shares of all inputs.
SHARES = {
    "pictures": 0.72,
    "zips": 0.10,
    "tables": 0.06,
    "fix lists": 0.06,
    "runs": 0.02,
    "checkpoints": 0.02,
    "requests": 0.02,
}
MAX_SECONDS = 5.0
MAX_BYTES = 1.5e9
FAULTS = ("crash", "hang", "large", "unnamed", "damaged")
_CHUNK = 250
_TICKS = os.sysconf("SC_CLK_TCK")
Judged = tuple[str, str]
Judge = Callable[[random.Random], Judged]


class Fault(Exception):
    """An input that was not taken as asked: one of FAULTS, and what happened."""


# --- what is fed to whom, in a worker --------------------------------------------------------


@contextmanager
def pictures() -> Iterator[Judge]:
    """Decoded as for training."""
    from handful.data.decoding import DecodeSettings, decode
    from handful.data.index import why_no_image
    from handful.data.metadata import read_metadata

    def judge(rng: random.Random) -> Judged:
        data = inputs.picture(rng)
        reason = why_no_image(data)
        if reason:
            return "refused", reason
        pixels = decode(data, DecodeSettings(64))
        read_metadata(data)
        if pixels.shape != (64, 64, 3) or (complaint := checksum_complaint(data)):
            raise Fault("damaged", complaint or f"pixels of shape {pixels.shape}")
        return "taken", ""

    yield judge


def checksum_complaint(data: bytes) -> str:
    """What a picture's own checksums say against the pixels that it was taken for, or ""."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png_complaint(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff_complaint(data)
    return ""


def _png_complaint(data: bytes) -> str:
    place, packed = 8, b""
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + length]
        checksum = data[place + 8 + length : place + 12 + length]
        decides_pixels = kind[:1].isupper() or kind == b"tRNS"
        if decides_pixels and checksum != zlib.crc32(kind + body).to_bytes(4, "big"):
            return f"the checksum of {kind!r} differs"
        if kind == b"IDAT":
            packed += body
        if kind == b"IEND":
            break
        place += 12 + length
    return _zlib_complaint(packed)


def _tiff_complaint(data: bytes) -> str:
    from handful.data.containers import TiffDirectory

    fields = TiffDirectory(data)
    if fields.number(259, 1) not in (8, 32946):  # deflate, by both of its numbers
        return ""
    places = fields.numbers(273) or fields.numbers(324)
    lengths = fields.numbers(279) or fields.numbers(325)
    for place, length in zip(places, lengths, strict=False):
        if complaint := _zlib_complaint(data[place : place + length]):
            return complaint
    return ""


def _zlib_complaint(packed: bytes) -> str:
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed)
    except zlib.error as error:
        return str(error)
    return "" if unpacker.eof else "the compressed data has no end"


@contextmanager
def zips() -> Iterator[Judge]:
    """Indexed as data to train on, read, and as photos to classify."""
    from handful.data.index import load_index, load_unlabeled

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "photos.zip"

        def judge(rng: random.Random) -> Judged:
            path.write_bytes(inputs.archive(rng))
            load_unlabeled([path])
            index = load_index(path)
            with zipfile.ZipFile(path) as archive:
                sums = {info.CRC for info in archive.infolist()}
            for row in range(len(index)):
                if zlib.crc32(index.read(row)) not in sums:
                    raise Fault("damaged", f"{index.paths[row]!a} is not what was packed")
            return "taken", ""

        yield judge


def write_photos(folder: Path) -> None:
    """Twelve small pictures in two classes."""
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(6):
            data = inputs.small_pictures()[number % 5] + bytes([number])
            (folder / label / f"{number}.jpg").write_bytes(data)


@contextmanager
def tables() -> Iterator[Judge]:
    """Indexed as lists of photos with their labels."""
    from handful.data.index import load_index

    names = ("path", "label", "split", "group")
    with tempfile.TemporaryDirectory() as name:
        write_photos(Path(name))
        path = Path(name) / "photos.csv"

        def judge(rng: random.Random) -> Judged:
            path.write_bytes(inputs.table(rng, names[: rng.randint(2, 4)]))
            load_index(path)
            return "taken", ""

        yield judge


@contextmanager
def fix_lists() -> Iterator[Judge]:
    """Read, and honoured for a folder."""
    from handful.data.fixes import apply_fixes, read_fixes
    from handful.data.index import load_index

    with tempfile.TemporaryDirectory() as name:
        write_photos(Path(name) / "photos")
        index = load_index(Path(name) / "photos")
        path = Path(name) / "fixes.csv"

        def judge(rng: random.Random) -> Judged:
            path.write_bytes(inputs.table(rng, ("path", "action", "label", "reason")))
            apply_fixes(index, read_fixes(path), path)
            return "taken", ""

        yield judge


def train_small(folder: Path) -> Path:
    """A run of a frozen network on drawn photos."""
    import handful

    write_photos(folder / "photos")
    handful.train(folder / "photos", output=folder / "run")
    return folder / "run"


@contextmanager
def run_folders() -> Iterator[Judge]:
    """A run of which one file is mutated, some with digests that agree again, is loaded."""
    from handful import Classifier
    from handful.run_store.store import RunStore

    with tempfile.TemporaryDirectory() as name:
        run = train_small(Path(name))
        files = sorted(
            path
            for path in run.rglob("*")
            if path.suffix in (".json", ".csv", ".safetensors", ".xml")
        )
        contents = {path: path.read_bytes() for path in files}

        def judge(rng: random.Random) -> Judged:
            path = rng.choice(files)
            data = contents[path]
            if path.suffix == ".json" and rng.random() < 0.8:
                data = inputs.json_text(rng, data)
            else:
                data = inputs.mutate(rng, data, rng.choice(list(contents.values())))
            path.write_bytes(data)
            try:
                if rng.random() < 0.7:
                    _reseal(run / "classifier" / "classifier.json")
                classifier = Classifier.load(run)
                store = RunStore(run.parent)
                store.of(classifier)
                store.list()
                for name in ("config", "predictions", "history", "counts", "training_photos"):
                    getattr(store.read(run), name)
                return "taken", ""
            finally:
                for kept, content in contents.items():
                    kept.write_bytes(content)

        yield judge


def _reseal(path: Path) -> None:
    """Make the digests of a classifier.json those of what lies there, as a forger would."""
    try:
        description = json.loads(path.read_bytes())
        for name, facts in description["files"].items():
            facts["sha256"] = hashlib.sha256((path.parent / name).read_bytes()).hexdigest()
        description.pop("digest", None)
        text = json.dumps(description, sort_keys=True, ensure_ascii=False)
        description["digest"] = hashlib.sha256(text.encode()).hexdigest()
        path.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        pass


@contextmanager
def checkpoints() -> Iterator[Judge]:
    """A checkpoint of which the archive, an array or the metadata is mutated."""
    import numpy as np

    from handful.training.loop import CHECKPOINT_FILE, COLUMNS
    from handful.training.loop import _read_checkpoint as read_checkpoint

    rng = np.random.default_rng(0)
    arrays = {f"state_{n}": rng.normal(size=(3, n + 1)).astype(np.float32) for n in range(4)}
    arrays |= {f"best_{n}": arrays[f"state_{n}"] for n in range(4)}
    facts = {"format": 1, "key": "key", "ended": "", "planned_epochs": 3, "estimated_seconds": 9.5}
    facts |= {"history": {name: [0.5, 0.4] for name in COLUMNS}, "seconds": 4.0}
    facts |= {"best_loss": 0.4, "best_epoch": 2, "num_best": 4}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def judge(rng: random.Random) -> Judged:
            text = json.dumps(facts).encode()
            if forged := rng.random() < 0.5:
                text = inputs.json_text(rng, text)
            file = io.BytesIO()
            np.savez(file, facts=np.array(text.decode("utf-8", "replace")), **arrays)
            data = file.getvalue()
            if not forged or rng.random() < 0.1:
                data = inputs.mutate(rng, data, text)
            (folder / CHECKPOINT_FILE).write_bytes(data)
            read_checkpoint(folder, "key")
            return "taken", ""

        yield judge


@contextmanager
def requests() -> Iterator[Judge]:
    """Sent to a server, which answers each with anything but a 5xx of its own making."""
    import socket

    from serve_client import HOST, serving

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(
            serving(train_small(folder), folder / "log", "--body-seconds", "1")
        )

        def judge(rng: random.Random) -> Judged:
            data = inputs.request(rng)
            begun = _cpu_seconds(server.process.pid)
            answer = b""
            with socket.create_connection((HOST, server.port), timeout=20) as connection:
                try:
                    connection.sendall(data)
                    while more := connection.recv(65536):
                        answer += more
                except TimeoutError as error:
                    raise Fault("hang", "no answer in 20 s") from error
                except OSError:
                    pass
            if server.process.poll() is not None:
                raise Fault("crash", (folder / "log").read_text()[-500:])
            if _cpu_seconds(server.process.pid) - begun > MAX_SECONDS:
                raise Fault("hang", "more than 5 s of the server's processor time")
            if server.resident_megabytes() * 1e6 > MAX_BYTES:
                raise Fault("large", f"the server has {server.resident_megabytes():.0f} MB")
            status = answer.split(b" ", 2)[1][:3].decode() if answer.startswith(b"HTTP/") else ""
            if status.startswith("5") and status != "503":
                time.sleep(0.5)  # its log is written by a thread
                raise Fault("unnamed", f"{status}: {(folder / 'log').read_text()[-1500:]}")
            return ("taken" if status == "200" else "refused"), status or "closed"

        yield judge


TARGETS: dict[str, Callable[[], object]] = {
    "pictures": pictures,
    "zips": zips,
    "tables": tables,
    "fix lists": fix_lists,
    "runs": run_folders,
    "checkpoints": checkpoints,
    "requests": requests,
}


def judge_one(judge: Judge, seed: int, target: str, number: int) -> Judged:
    """Make an input by its number and say what came of it."""
    from handful.errors import HandfulError
    from handful.wording import printable

    memory, begun = _peak_bytes(), time.process_time()
    try:
        outcome, words = judge(random.Random(f"{seed} {target} {number}"))
    except HandfulError as error:
        # As the command line shows it.
        outcome, words = "refused", printable(str(error))
        if "\n" in words or not words.strip():
            outcome = "unnamed"
    except Fault as fault:
        outcome, words = fault.args
    except Exception as error:
        outcome, words = "unnamed", f"{type(error).__name__}: {error}"[:500]
    if time.process_time() - begun > MAX_SECONDS:
        outcome, words = "hang", f"{time.process_time() - begun:.1f} s of processor time"
    if _peak_bytes() - memory > MAX_BYTES:
        outcome, words = "large", f"{_peak_bytes() / 1e9:.1f} GB"
    return outcome, words


def _peak_bytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def work(target: str, seed: int, place: Path) -> None:
    """Serve the parent: read "first count" lines, answer each with counts and faults as JSON."""
    os.environ["HANDFUL_CACHE"] = str(place.parent / f"cache-{os.getpid()}")
    # A safety net; what is counted as too large is measured.
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with TARGETS[target]() as judge, place.open("r+b", buffering=0) as note:
        print("ready", flush=True)
        for line in sys.stdin:
            first, count = map(int, line.split())
            counts: Counter[str] = Counter()
            faults = []
            for number in range(first, first + count):
                note.write(number.to_bytes(8, "little"))
                note.seek(0)
                outcome, words = judge_one(judge, seed, target, number)
                counts[outcome] += 1
                if outcome in FAULTS:
                    faults.append([number, outcome, words])
            print(json.dumps({"counts": counts, "faults": faults}), flush=True)
    shutil.rmtree(os.environ["HANDFUL_CACHE"], ignore_errors=True)


# --- the parent ------------------------------------------------------------------------------


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Worker:
    """A process that judges inputs, begun anew when it dies or hangs."""

    def __init__(self, target: str, seed: int, folder: Path) -> None:
        self.target, self.seed = target, seed
        handle, name = tempfile.mkstemp(dir=folder)
        os.close(handle)
        self.place = Path(name)
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the process, and wait until it can judge."""
        command = [sys.executable, __file__, "--work", str(self.place)]
        command += ["--only", self.target, "--seed", str(self.seed)]
        self.errors = self.place.with_suffix(".errors").open("w+b")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors
        )
        while (line := self.process.stdout.readline()) != b"ready\n":
            if not line:
                self.errors.seek(0)
                raise SystemExit(f"no worker for {self.target}: {self.errors.read().decode()}")

    def judge(self, first: int, count: int) -> tuple[Counter, list]:
        """Judge inputs; one that ends the process is a fault, and the others are judged again."""
        if self.process is None:
            self.start()
        self.place.write_bytes(first.to_bytes(8, "little"))
        self.process.stdin.write(b"%d %d\n" % (first, count))
        self.process.stdin.flush()
        is_hung = self._wait()
        line = b"" if is_hung else self.process.stdout.readline()
        if line:
            answer = json.loads(line)
            return Counter(answer["counts"]), answer["faults"]
        number = int.from_bytes(self.place.read_bytes(), "little")
        self.close()
        self.errors.seek(0)
        words = "killed after 20 s" if is_hung else self.errors.read().decode(errors="replace")
        fault = [number, "hang" if is_hung else "crash", words[-500:]]
        counts, faults = Counter({fault[1]: 1}), [fault]
        for start, end in ((first, number), (number + 1, first + count)):
            if end > start:
                more, others = self.judge(start, end - start)
                counts, faults = counts + more, faults + others
        return counts, faults

    def _wait(self) -> bool:
        """Until the answer comes or the process ends (False), or an input hangs (True)."""
        last, since, clock = b"", 0.0, time.monotonic()
        while not select.select([self.process.stdout], [], [], 0.25)[0]:
            try:
                spent = _cpu_seconds(self.process.pid)
            except (OSError, IndexError):
                return False
            number = self.place.read_bytes()
            if number != last:
                last, since, clock = number, spent, time.monotonic()
            elif spent - since > 20 or time.monotonic() - clock > 300:
                return True
        return False

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.stdin.close()
            try:
                self.process.wait(timeout=5 if self.process.poll() is None else 0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
            self.process = None


def version_of_code() -> str:
    """Digest of what is tried and of what tries it."""
    import handful

    digest = hashlib.sha256()
    files = [*Path(handful.__file__).parent.rglob("*.py"), *Path(__file__).parent.glob("fuzz*.py")]
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def run_target(target: str, count: int, state: dict, save: Callable[[], None], asked) -> None:
    """Judge what is still to be judged of a target's inputs, in all workers."""
    known = state.setdefault(target, {"done": [], "counts": {}, "faults": [], "seconds": 0.0})
    todo = [place for place in range(0, count, _CHUNK) if place not in set(known["done"])]
    lock, begun, before = threading.Lock(), time.monotonic(), known["seconds"]
    chunks = iter(todo)

    def drive(folder: Path) -> None:
        worker = Worker(target, asked.seed, folder)
        try:
            while True:
                with lock:
                    first = next(chunks, None)
                    if first is None or time.monotonic() > asked.end:
                        return
                counts, faults = worker.judge(first, min(_CHUNK, count - first))
                with lock:
                    known["done"].append(first)
                    known["counts"] = dict(Counter(known["counts"]) + counts)
                    known["faults"] += faults
                    known["seconds"] = before + time.monotonic() - begun
                    save()
        finally:
            worker.close()

    with tempfile.TemporaryDirectory() as name:
        threads = [
            threading.Thread(target=drive, args=(Path(name),))
            for _ in range(min(asked.workers, len(todo)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def print_table(state: dict) -> int:
    """What came of each target's inputs; the number of faults."""
    print("| inputs | number | taken | refused | " + " | ".join(FAULTS) + " | seconds |")
    print("|" + "---|" * (len(FAULTS) + 5))
    total: Counter[str] = Counter()
    for target in SHARES:
        if target in state:
            counts = Counter(state[target]["counts"])
            total += counts
            print(_row(target, counts, state[target]["seconds"]))
    seconds = sum(known["seconds"] for known in state.values() if isinstance(known, dict))
    print(_row("all", total, seconds))
    return sum(total[fault] for fault in FAULTS)


def _row(name: str, counts: Counter, seconds: float) -> str:
    cells = [counts[outcome] for outcome in ("taken", "refused", *FAULTS)]
    numbers = " | ".join(f"{number:,}" for number in (counts.total(), *cells))
    return f"| {name} | {numbers} | {seconds:.0f} |"


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs in all")
    parser.add_argument("--only", choices=tuple(SHARES), help="one kind alone; COUNT of it")
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--minutes", type=float, default=120, help="stop after so long")
    parser.add_argument("--state", type=Path, help="where to keep what has been done")
    parser.add_argument("--input", type=int, help="judge this input alone, and show what comes")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        return work(asked.only, asked.seed, asked.work)
    if asked.input is not None:
        with TARGETS[asked.only]() as judge:
            print(*judge_one(judge, asked.seed, asked.only, asked.input))
        return None
    version = f"{version_of_code()} {asked.seed}"
    state = json.loads(asked.state.read_text()) if asked.state and asked.state.exists() else {}
    if state.get("version") != version:
        state = {"version": version}

    def save() -> None:
        if asked.state:
            part = asked.state.with_suffix(".part")
            part.write_text(json.dumps(state))
            part.replace(asked.state)

    asked.end = time.monotonic() + 60 * asked.minutes
    for target, share in SHARES.items():
        if asked.only in (None, target):
            number = asked.count if asked.only else round(asked.count * share)
            run_target(target, number, state, save, asked)
    num_faults = print_table(state)
    for target in SHARES:
        for number, outcome, words in state.get(target, {"faults": ()})["faults"][:20]:
            print(f"\n{target} {number}: {outcome}: {words}")
    if num_faults:
        raise SystemExit("not as asked")


if __name__ == "__main__":
    main()
