"""`kill -9` at random times: is anything lost, what is left behind, does the next start work.

Five jobs are begun again and again and killed: a head, a network (a new one, and one that goes on
in the place of an interrupted run), a check in the place of an earlier one, a comparison, the
conversion of a network. After each kill: the user's photos, lists, notes and earlier results are
the same to the byte; children end; the same command again succeeds and leaves no litter.

    python benchmarks/kills.py FOLDER [--kills 100] [--jobs head check] [--minutes 60]

FOLDER keeps what was found, a line for each kill; begun again, it goes on until there are so many.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

JOBS = ("head", "network", "check", "compare", "convert")
PATIENCE_SECONDS = 600.0  # for a whole command, on a busy machine
CHILD_SECONDS = 5.0
MARK = "HANDFUL_KILLS"
HANDFUL = [sys.executable, "-m", "handful"]
_NETWORK = """
import keras


def build(shape, num_classes):
    images = keras.Input((None, None, shape[2]))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(images)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(1, activation="sigmoid")(x))
"""
_WEIGHTS = """
import keras
keras.applications.MobileNet(weights=None, include_top=False).save_weights("w.weights.h5")
"""
_INTERRUPTED = """
from handful import Reporter, TrainConfig, train

class Interrupter(Reporter):
    def progress(self, done, total):
        if self.phases[-1] == "train" and done > total // 2 > 0:
            raise KeyboardInterrupt

config = TrainConfig(strategy="scratch", network="net.py:build", epochs=2, image_size=64)
run = train("photos", config, output="interrupted/net", reporter=Interrupter())
assert run.stopped == "interrupted"
"""


@dataclass(frozen=True)
class Kill:
    """What came of one kill.

    Args:
        job: Which job.
        number: Which kill of it, from 0.
        seconds: When, after the start.
        left: Hidden and temporary files after the kill.
        lost: The user's files that were gone or other after the kill, or after the next command.
        child_seconds: How long the last child lived on; more than 5 s are not waited for.
        litter: Hidden and temporary files after the next command.
        failed: What the next command said, where it failed or hung.
        next_seconds: How long that took.
    """

    job: str
    number: int
    seconds: float
    left: int
    lost: list[str]
    child_seconds: float
    litter: list[str]
    failed: str
    next_seconds: float


class Lab:
    """A folder with photos, a fix list, notes and earlier results, and a job that is done in it.

    Args:
        folder: Where; it is made and filled where it is not there.
        job: One of `JOBS`.
    """

    def __init__(self, folder: Path, job: str) -> None:
        self.folder, self.job = folder.resolve(), job
        self.environment = {
            **os.environ,
            "HANDFUL_CACHE": str(self.folder / "cache"),
            "TMPDIR": str(self.folder / "tmp"),
            MARK: hashlib.sha256(str(self.folder).encode()).hexdigest(),
        }
        if not (self.folder / "ready").exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self._fill()
            (self.folder / "ready").touch()

    def _fill(self) -> None:
        (self.folder / "tmp").mkdir(parents=True)
        for number in range(32):
            kind = ("round", "square")[number % 2]
            path = self.folder / "photos" / kind / f"{number:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), _draw(number))
        (self.folder / "fixes.csv").write_text("path,action,label\nround/00.jpg,remove,\n")
        (self.folder / "net.py").write_text(_NETWORK)
        self.run([*HANDFUL, "train", "photos", "-o", "runs/kept"])
        (self.folder / "runs" / "kept" / "notes.txt").write_text("mine")
        if self.job == "check":
            self.run(self.command())
            shutil.copy(self.folder / "fixes.csv", self.folder / "runs" / "check")
        if self.job == "network":
            self.run([sys.executable, "-c", _INTERRUPTED])
            shutil.copy(self.folder / "fixes.csv", self.folder / "interrupted" / "net")
        if self.job == "convert":
            self.run([sys.executable, "-c", _WEIGHTS])

    def prepare(self, number: int) -> None:
        """Bring the folder into the state before a kill."""
        for name in ("new", "net", "net.checkpoint"):
            shutil.rmtree(self.folder / "runs" / name, ignore_errors=True)
        if self.job == "convert":
            shutil.rmtree(self.folder / "cache" / "networks", ignore_errors=True)
        if self.job == "network" and number % 2:
            shutil.copytree(self.folder / "interrupted", self.folder / "runs", dirs_exist_ok=True)

    def command(self) -> list[str]:
        """What is begun; where something unfinished is there, it goes on."""
        words = {
            "head": "train photos --fixes fixes.csv -o runs/new",
            "network": "train photos --strategy scratch --network net.py:build --epochs 2 "
            "--image-size 64 -o runs/net",
            "check": "check photos -o runs/check",
            "compare": "compare photos --strategy scratch --network net.py:build --epochs 1 "
            "--seeds 2 -o runs/new",
            "convert": "train photos --backbone mobilenet --weights w.weights.h5 -o runs/new",
        }[self.job].split()
        return [*HANDFUL, *words, *(["--resume"] if self._goes_on() else [])]

    def _goes_on(self) -> bool:
        runs = self.folder / "runs"
        if self.job == "compare":
            return (runs / "new").is_dir()
        return (runs / "net.checkpoint").is_dir()

    def is_done(self) -> bool:
        """Whether the killed command had put its result in place."""
        runs = self.folder / "runs"
        if self.job == "network":
            return (runs / "net").is_dir() and not (runs / "net.checkpoint").is_dir()
        return self.job in ("head", "convert") and (runs / "new").is_dir()

    def run(self, command: list[str]) -> str:
        """Run a command to its end: what it said where it failed, or empty."""
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PATIENCE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return f"hung for {PATIENCE_SECONDS:g} s"
        return f"{done.returncode}: {done.stderr[-500:]}" if done.returncode else ""

    def users_files(self) -> dict[str, str]:
        """Digest of each file that is not to change, whatever is killed."""
        kept = [self.folder / "fixes.csv", self.folder / "net.py"]
        for name in ("photos", "runs/kept"):
            kept += (self.folder / name).rglob("*")
        kept += (self.folder / "runs").glob("*/fixes.csv")
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in kept
            if path.is_file()
        }

    def is_whole(self) -> bool:
        """Whether what stands under the result's name, if anything does, is whole."""
        found = (self.folder / "runs").glob("[!.]*")
        needed = {"check": "check.html", "kept": "run.json", "net": "run.json"}
        if self.job != "compare":
            needed["new"] = "run.json"
        return all((path / needed[path.name]).is_file() for path in found if path.name in needed)

    def litter(self) -> list[str]:
        """Hidden and temporary files."""
        found = [path.relative_to(self.folder) for path in self.folder.rglob("*")]
        ends = (".tmp", ".part", ".damaged", ".checkpoint")
        return sorted(
            str(path)
            for path in found
            if path.parts[0] != "interrupted"
            and (path.name.startswith(".") or path.name.endswith(ends) or path.parts[0] == "tmp")
            and len(path.parts) > 1
        )

    def processes(self) -> list[int]:
        """Ids of the processes that were started here and have not ended."""
        mark, found = f"{MARK}={self.environment[MARK]}".encode(), []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                state = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                if state != "Z" and mark in (place / "environ").read_bytes().split(b"\0"):
                    found.append(int(place.name))
            except OSError:
                continue
        return [pid for pid in found if pid != os.getpid()]

    def kill_once(self, number: int, at: float) -> Kill | None:
        """Begin the job, kill it, look, and do it again; None where it had ended before."""
        self.prepare(number)
        before = self.users_files()
        process = subprocess.Popen(
            self.command(),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(at)
            return None
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        killed = time.monotonic()
        while self.processes() and time.monotonic() - killed < CHILD_SECONDS:
            time.sleep(0.01)
        child_seconds = time.monotonic() - killed
        left, lost = len(self.litter()), self._lost(before)
        begun = time.monotonic()
        if self.is_done():
            shutil.rmtree(self.folder / "runs" / ("net" if self.job == "network" else "new"))
            before = self.users_files()
        failed = self.run(self.command())
        next_seconds = time.monotonic() - begun
        lost += self._lost(before)
        return Kill(
            self.job, number, at, left, lost, child_seconds, self.litter(), failed, next_seconds
        )

    def _lost(self, before: dict[str, str]) -> list[str]:
        now = self.users_files()
        lost = [path for path, digest in before.items() if now.get(path) != digest]
        return lost if self.is_whole() else [*lost, "a result is not whole"]


def _draw(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 200, (96, 120, 3)).astype(np.uint8)
    centre = (int(rng.integers(35, 85)), int(rng.integers(35, 60)))
    if seed % 2:
        corner = (centre[0] + 25, centre[1] + 25)
        cv2.rectangle(image, centre, corner, (250, 60, 60), -1)
    else:
        cv2.circle(image, centre, 22, (60, 60, 250), -1)
    return image


def kills(
    folder: Path, jobs: tuple[str, ...], count: int, seconds: float, seed: int = 0
) -> Iterator[Kill]:
    """Kill each job in turn, going on with what the folder holds.

    Args:
        folder: Keeps a lab for each job, and what was found.
        jobs: Which ones.
        count: Kills of each.
        seconds: When to stop, whatever is missing.
        seed: Seed of the times.

    Yields:
        What came of each kill, those of earlier calls first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, give_up = folder / "kills.jsonl", time.monotonic() + seconds
    lines = log.read_text().splitlines() if log.exists() else []
    found = [Kill(**json.loads(line)) for line in lines]
    yield from (kill for kill in found if kill.job in jobs)
    have = {job: sum(kill.job == job for kill in found) for job in jobs}
    whole = {job: max([k.next_seconds for k in found if k.job == job] or [0.0]) for job in jobs}
    rng = random.Random(f"{seed} {have}")
    while missing := [job for job in jobs if have[job] < count]:
        for job in missing:
            if time.monotonic() > give_up:
                return
            lab = Lab(folder / job, job)
            if not whole[job]:
                lab.prepare(0)
                begun = time.monotonic()
                problem = lab.run(lab.command())
                if problem:
                    raise SystemExit(f"{job} fails without a kill: {problem}")
                whole[job] = time.monotonic() - begun
            kill = lab.kill_once(have[job], rng.uniform(0, whole[job]))
            if kill is None:  # it was faster than the last time
                whole[job] *= 0.8
                continue
            if not kill.failed:
                whole[job] = kill.next_seconds
            have[job] += 1
            with log.open("a") as file:
                file.write(json.dumps(asdict(kill)) + "\n")
            yield kill


def table(found: list[Kill]) -> str:
    """What was found, as Markdown.

    Args:
        found: The kills.

    Returns:
        A line for each job.
    """
    lines = [
        "| job | kills | that left something behind | lost or changed | litter after the next "
        "command | next command failed | longest that a child lived on |",
        "|---|---|---|---|---|---|---|",
    ]
    for job in JOBS:
        own = [kill for kill in found if kill.job == job]
        if own:
            cells = [
                len(own),
                sum(kill.left > 0 for kill in own),
                sum(bool(kill.lost) for kill in own),
                sum(bool(kill.litter) for kill in own),
                sum(bool(kill.failed) for kill in own),
                f"{max(kill.child_seconds for kill in own):.2f} s",
            ]
            lines.append(f"| {job} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Kill, and print the table and what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=100, help="of each job")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    parser.add_argument("--minutes", type=float, default=600.0, help="when to stop")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = []
    for kill in kills(asked.folder, tuple(asked.jobs), asked.kills, 60 * asked.minutes, asked.seed):
        found.append(kill)
        if kill.lost or kill.litter or kill.failed or kill.child_seconds > 1:
            print(kill, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
