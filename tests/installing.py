"""Installing the project's wheel as a stranger would, from the registry that pip is set up for."""

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from conftest import REPOSITORY

LOCK = REPOSITORY / "requirements.lock"
# The machine's own, or the one that `make` has put into the environment.
UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))


@cache
def registry_settings() -> dict[str, str]:
    """Environment variables with which uv asks the registry that pip asks."""
    script = "import environment, json; print(json.dumps(environment.uv_settings()))"
    command = [sys.executable, "-c", script]
    tools = REPOSITORY / "tools"
    done = subprocess.run(command, cwd=tools, capture_output=True, text=True, check=True)
    settings: dict[str, str] = json.loads(done.stdout)
    if "UV_CACHE_DIR" not in settings:
        found = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True)
        settings["UV_CACHE_DIR"] = found.stdout.strip()
    return settings


def stranger(home: Path) -> dict[str, str]:
    """The environment of somebody with an empty home.

    The cache of downloads stays the user's, or each test would load 500 MB anew.
    """
    settings = registry_settings()
    kept = {name: settings[name] for name in settings if name.startswith(("UV_", "SSL_"))}
    return kept | {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def run(*command: str | Path, home: Path | None = None, cwd: Path | None = None) -> str:
    """What a command says on both streams; it must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        env=registry_settings() if home is None else stranger(home),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build the project's wheel into a folder."""
    run(UV, "build", "--wheel", "--out-dir", folder, REPOSITORY)
    (built,) = folder.glob("*.whl")
    return built


def new_environment(folder: Path) -> Path:
    """An empty virtual environment's Python."""
    run(UV, "venv", "--python", sys.executable, folder)
    return folder / "bin/python"
