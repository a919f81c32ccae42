"""The base install as a new user has it: its size, its first run, and what it says is missing.

    python benchmarks/install_size.py [PHOTOS]

Builds the wheel, installs it with nothing else into a fresh environment, and there trains on
PHOTOS (../shared/data/cats_and_dogs_filtered.zip) with an empty cache. Fails where the install is
larger, or the network's building slower, than docs/benchmarks.md guarantees.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PHOTOS = PROJECT.parent / "shared" / "data" / "cats_and_dogs_filtered.zip"
MOST_MEGABYTES = 550
MOST_SECONDS = 1.0
# Each needs an extra, and says so before any work.
REFUSED = (
    "train {photos} --strategy scratch",
    "train {photos} --strategy distilled",
    "train {photos} --strategy fine-tune",
    "train {photos} --strategy transfer --recipe keras-tutorial",
    "train {photos} --backbone xception",
    "train {photos} --backbone efficientnet-lite1",
    "compare {photos}",
    "summary scratch",
    "serve {run}",
    "export {run} --format onnx",
    "export {run} --format litert",
    "export {run} --format keras",
)


def main() -> None:
    """Install, measure, print, and fail where a promise is broken."""
    photos = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PHOTOS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        handful = install(folder)
        size = megabytes(folder / "venv")
        print(f"installed, with pip: {size:.0f} MB (at most {MOST_MEGABYTES})")
        for package, share in largest(folder / "venv"):
            print(f"  {share:5.0f} MB {package}")
        environment = {**os.environ, "HANDFUL_CACHE": str(folder / "cache")}
        for statement in (["--version"], ["--help"]):
            print(f"handful {statement[0]}: {best_of(5, [handful, *statement]):.2f} s")
        python = str(folder / "venv" / "bin" / "python")
        bare, loaded = (best_of(5, [python, "-c", code]) for code in ("pass", "import handful"))
        print(f"import handful: {loaded - bare:.3f} s more than python itself")
        run = folder / "run"
        started = time.perf_counter()
        train = [handful, "train", str(photos), "--json", "--output", str(run)]
        done = subprocess.run(train, capture_output=True, text=True, env=environment)
        print(f"handful train, nothing cached: {time.perf_counter() - started:.1f} s")
        if done.returncode:
            sys.exit(done.stderr)
        seconds = json.loads(done.stdout)["seconds"]["convert"]
        print(f"the network, built from its weights: {seconds:.2f} s (at most {MOST_SECONDS})")
        for words in REFUSED:
            command = [handful, *words.format(photos=photos, run=run).split()]
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, cwd=folder
            )
            print(f"handful {words}\n  {done.stderr.strip()}")
            if done.returncode != 1 or "pip install" not in done.stderr:
                sys.exit("It did not name an extra.")
    if size > MOST_MEGABYTES or seconds > MOST_SECONDS:
        sys.exit("More than promised.")


def install(folder: Path) -> str:
    """Build the wheel and install it into a fresh environment; the path of its command."""
    run = {"check": True, "stdout": subprocess.DEVNULL}
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*pip, str(PROJECT)], **run)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], **run)
    (wheel,) = folder.glob("*.whl")
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "-c", str(PROJECT / "requirements.lock"), str(wheel)], **run)
    return str(folder / "venv" / "bin" / "handful")


def megabytes(folder: Path) -> float:
    """Size of all files below a folder, in millions of bytes."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files) / 1e6


def largest(environment: Path) -> list[tuple[str, float]]:
    """The six largest folders of packages, in MB."""
    (packages,) = environment.glob("lib/python3*/site-packages")
    sizes = [(path.name, megabytes(path)) for path in packages.iterdir() if path.is_dir()]
    return sorted(sizes, key=lambda item: -item[1])[:6]


def best_of(times: int, command: list[str]) -> float:
    """Least seconds that a command takes."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    main()
