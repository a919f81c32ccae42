"""What Ray costs over threads, and what a killed job takes to go on.

    python benchmarks/engines.py [PHOTOS] [--count 1000] [--rounds 3]

PHOTOS is a folder or a zip; without it, photos are drawn. Each measurement is a process of its own,
on as many cores as it has workers; in a round, threads and Ray embed the same photos one right
after the other. Their vectors are compared to the bit. Told are photos a second from the first
photo to the last, with the network compiled and Ray started before; the processor time of what
computes, which what else the machine does changes less; and what Ray's other processes take, in
cores. Then a job is killed after half of its parts, and gone on with.
"""

import argparse
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from pyarrow import parquet

_PHOTOS_A_GROUP = 32


def draw_photos(folder: Path, count: int) -> None:
    """Write JPEG photos of 500 x 375 pixels with detail."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        coarse = rng.integers(0, 232, (24, 32, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (500, 375), interpolation=cv2.INTER_CUBIC)
        noise = rng.integers(0, 24, image.shape, dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number:05d}.jpg"), cv2.add(image, noise))


def processor_seconds() -> tuple[float, float]:
    """Processor time so far: of this process and Ray's workers, and of what else Ray runs."""
    working = helping = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if os.getsid(int(folder.name)) != os.getsid(0):
                continue
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            works = (
                folder.name == str(os.getpid()) or b"_Worker" in (folder / "cmdline").read_bytes()
            )
        except (OSError, ValueError):
            continue
        ticks = int(fields[11]) + int(fields[12])
        working, helping = (working + ticks, helping) if works else (working, helping + ticks)
    a_second = os.sysconf("SC_CLK_TCK")
    return working / a_second, helping / a_second


def measure(name: str, cores: int, photos: Path, count: int) -> dict[str, object]:
    """Embed photos with an engine, in a process that has so many cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import handful
    from handful.data.places import find_photos
    from handful.engines.engine import LocalEngine, in_groups
    from handful.engines.ray_engine import RayEngine
    from handful.features.files import FileEmbedder
    from handful.training.steps import open_backbone

    _, spec = open_backbone(handful.TrainConfig(), handful.Reporter())
    work, files = FileEmbedder(spec), find_photos(photos)[:count]
    with RayEngine(cores) as ray:
        engine = LocalEngine() if name == "local" else ray
        # In turn, until all workers are there.
        begun = time.perf_counter()
        for _ in range(3):
            dict(engine.map(work, in_groups(files[: 16 * cores], 8)))
        ready = time.perf_counter() - begun
        groups = list(in_groups(files, _PHOTOS_A_GROUP))
        before, started = processor_seconds(), time.perf_counter()
        found = dict(engine.map(work, groups))
        seconds, after = time.perf_counter() - started, processor_seconds()
    digest = hashlib.sha256()
    for number in range(len(groups)):
        for row in found[number]:
            digest.update(b"" if row.vector is None else row.vector.tobytes())
    return {
        "ready": ready,
        "rate": len(files) / seconds,
        "processor_ms": 1000 * (after[0] - before[0]) / len(files),
        "helpers": (after[1] - before[1]) / seconds,
        "digest": digest.hexdigest(),
    }


def compare_engines(photos: Path, count: int, rounds: int) -> None:
    """Print a line for each number of workers."""
    print("| cores | photos/s, threads | by Ray | time | processor time | Ray itself | ready in |")
    print("|---|---|---|---|---|---|---|")
    digests = set()
    for cores in (1, 2):
        found: dict[str, list[dict[str, float]]] = {"local": [], "ray": []}
        for _ in range(rounds):
            for name in found:
                command = [sys.executable, __file__, str(photos), "--count", str(count)]
                command += ["--measure", name, str(cores)]
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, check=True, start_new_session=True
                )
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
                digests.add(found[name][-1]["digest"])
        local, ray = found["local"], found["ray"]
        slower, costlier = (
            statistics.median(first(one, other) for one, other in zip(local, ray, strict=True))
            for first in (
                lambda one, other: one["rate"] / other["rate"] - 1,
                lambda one, other: other["processor_ms"] / one["processor_ms"] - 1,
            )
        )
        rates = [statistics.median(one["rate"] for one in of) for of in (local, ray)]
        ready, helpers = (statistics.median(one[of] for one in ray) for of in ("ready", "helpers"))
        print(
            f"| {cores} | {rates[0]:.0f} | {rates[1]:.0f} | {100 * slower:+.0f} % | "
            f"{100 * costlier:+.0f} % | {helpers:.2f} cores | {ready:.0f} s |",
            flush=True,
        )
    print(f"Vectors are {'the same to the bit' if len(digests) == 1 else 'NOT THE SAME'}.")


def kill_and_go_on(photos: Path, work: Path) -> None:
    """Kill a job between its parts, and print what going on takes beside the whole."""

    def command(output: Path) -> list[str]:
        job = ["embed", str(photos), "--output", str(output), "--engine", "ray", "--quiet"]
        return [sys.executable, "-m", "handful", *job]

    started = time.perf_counter()
    subprocess.run(command(work / "whole"), check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - started
    num_parts = len(list((work / "whole").glob("*.parquet")))
    job = subprocess.Popen(command(work / "killed"), start_new_session=True)
    while len(list((work / "killed").glob("*.parquet"))) < num_parts // 2:
        time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    job.wait()
    kept = {file: file.stat().st_mtime_ns for file in (work / "killed").glob("*.parquet")}
    started = time.perf_counter()
    subprocess.run(command(work / "killed"), check=True, stdout=subprocess.DEVNULL)
    rest = time.perf_counter() - started
    same = parquet.read_table(work / "killed").equals(parquet.read_table(work / "whole"))
    untouched = all(file.stat().st_mtime_ns == stamp for file, stamp in kept.items())
    print(
        f"Killed with {len(kept)} of {num_parts} parts: going on took {rest:.1f} s, the whole "
        f"{whole:.1f} s; parts that were there are {'untouched' if untouched else 'MADE AGAIN'}, "
        "the table is "
        f"{'the same' if same else 'NOT THE SAME'}."
    )


def main() -> None:
    """Print a table, and a sentence on going on."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="?", help="photos to embed [drawn]")
    parser.add_argument("--count", type=int, default=1000, help="photos to embed [1000]")
    parser.add_argument("--rounds", type=int, default=3, help="times each is measured [3]")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        name, cores = asked.measure
        print(json.dumps(measure(name, int(cores), asked.photos, asked.count)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        photos = asked.photos
        if photos is None:
            photos = work / "photos"
            draw_photos(photos, max(asked.count, 4096))
        compare_engines(photos, asked.count, asked.rounds)
        kill_and_go_on(photos, work)


if __name__ == "__main__":
    main()
