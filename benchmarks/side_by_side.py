"""Time two versions of handful against each other, whole commands in turns.

On a machine that others use too, seconds tell little: both versions run within minutes of each
other, the second first in every other round, and the processor time of each process is compared
besides its duration. Each version has a cache of its own, its networks converted beforehand.

    git worktree add ../before COMMIT
    python benchmarks/side_by_side.py ../before . cats_and_dogs_filtered.zip

With `--cached` the training that embeds the photos is not timed.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path


class Version:
    """A checkout, with a cache and a run of its own.

    Args:
        checkout: The folder with `src`.
        work: Where it may write.
    """

    def __init__(self, checkout: Path, work: Path) -> None:
        self.work, self.run = work, work / "run"
        (work / "cache").mkdir(parents=True)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(checkout.resolve() / "src"),
            "HANDFUL_CACHE": str(work / "cache"),
            # As where it is installed, a first run compiles its code and later ones do not.
            "PYTHONPYCACHEPREFIX": str(work / "code"),
        }
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def time(self, *arguments: str) -> tuple[float, float]:
        """Run a command; its processor time and its duration, in seconds."""
        begun = time.perf_counter()
        command = [sys.executable, "-m", "handful", *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, env=self.environment, cwd=self.work
        ) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
        return usage.ru_utime + usage.ru_stime, time.perf_counter() - begun

    def train(self, photos: Path, is_cold: bool) -> tuple[float, float]:
        """Train, with no embedding cached where it is to be cold."""
        shutil.rmtree(self.run, ignore_errors=True)
        for file in (self.work / "cache").glob("embeddings.sqlite*") if is_cold else ():
            file.unlink()
        return self.time("train", str(photos), "--quiet", "-o", str(self.run))

    def measure(self, name: str, photos: Path, picture: Path) -> tuple[float, float]:
        """Time one of the commands compared."""
        if name.startswith("train"):
            return self.train(photos, is_cold=name == "train")
        if name == "check, cached":
            return self.time("check", str(photos), "--quiet")
        return self.time("predict", str(self.run), str(picture))


COMMANDS = ("train", "train, cached", "check, cached", "predict, one photo")


def compare(
    versions: Sequence[Version],
    photos: Path,
    picture: Path,
    rounds: int,
    commands: Sequence[str] = COMMANDS,
) -> None:
    """Print a line for each command."""
    for version in versions:
        version.train(photos, is_cold=True)
    print("| command | processor time | | ratio | time | | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in commands:
        taken: list[list[tuple[float, float]]] = [[], []]
        for number in range(rounds):
            for place in (0, 1) if number % 2 == 0 else (1, 0):
                taken[place].append(versions[place].measure(name, photos, picture))
        cells = []
        for kind in (0, 1):
            before, after = (statistics.median(one[kind] for one in rows) for rows in taken)
            cells += [f"{before:.2f} s", f"{after:.2f} s", f"{after / before:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    same = [(version.run / "predictions.csv").read_bytes() for version in versions]
    print(f"\npredictions are {'the same bytes' if same[0] == same[1] else 'OTHERS'}")


def main() -> None:
    """Compare the two versions given."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("before", type=Path, help="checkout of the one version")
    parser.add_argument("after", type=Path, help="checkout of the other")
    parser.add_argument("photos", type=Path, help="cats_and_dogs_filtered.zip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cached", action="store_true", help="only what finds photos embedded")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        with zipfile.ZipFile(given.photos) as archive:
            member = min(one for one in archive.namelist() if one.endswith(".jpg"))
            (work / "picture.jpg").write_bytes(archive.read(member))
        versions = [Version(given.before, work / "before"), Version(given.after, work / "after")]
        commands = COMMANDS[1:] if given.cached else COMMANDS
        compare(versions, given.photos.resolve(), work / "picture.jpg", given.rounds, commands)


if __name__ == "__main__":
    main()
