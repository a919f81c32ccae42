"""The project's virtual environment and its lock file: what `make` calls.

    python3 tools/environment.py install [demo|test|docs]  .venv with handful, locked
    python3 tools/environment.py lock [--check]      write requirements.lock, or compare with it
    python3 tools/environment.py python              succeed if this Python is one that will do
    python3 tools/environment.py pythons             list those on this machine that will do

HANDFUL_ENVIRONMENT names another folder than .venv.
Nothing but Python is needed, with its `venv`. uv does the work where it is found or can be
installed, because it is ten times faster; else pip does. Both use the package registry that this
machine is set up for.
"""

import argparse
import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
ENVIRONMENT = Path(os.environ.get("HANDFUL_ENVIRONMENT", PROJECT / ".venv"))
PYTHON = ENVIRONMENT / "bin" / "python"
LOCK = "requirements.lock"
# What is installed for what.
EXTRAS = {"demo": "all,tensorflow", "test": "test", "docs": "docs"}
FIRST_PYTHON, LAST_PYTHON = (3, 11), (3, 14)
# uv reads no pip.conf: what pip is told there, and by PIP_* variables, in uv's own variables.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}


def install(purpose: str) -> None:
    """Make the environment if there is none that works, and install into it what it is for."""
    make_environment()
    wanted = ["-c", LOCK, "-e", f".[{EXTRAS[purpose]}]"]
    uv = find_uv()
    if uv:
        command = [uv, "pip", "install", "--python", str(PYTHON), "--compile-bytecode", *wanted]
        if run(command, env=uv_settings(), check=False):
            return
        print("uv could not install it; trying pip.", file=sys.stderr)
    run([str(PYTHON), "-m", "pip", "install", *wanted])


def find_pythons() -> "list[str]":
    """One interpreter of each version that will do, on the path or among pyenv's."""
    first, last = FIRST_PYTHON[1], LAST_PYTHON[1]
    names = [f"python{dotted((3, minor))}" for minor in range(first, last + 1)]
    candidates = [found for name in ("python3", *names) if (found := shutil.which(name))]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(str(path) for path in root.glob("versions/*/bin/python3"))
    found = {}
    for candidate in candidates:
        # A name on the path may be one of pyenv's that stands for a version not chosen here.
        question = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
        command = [candidate, "-c", question]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        version = tuple(int(number) for number in answer.stdout.split())
        if answer.returncode == 0 and FIRST_PYTHON <= version <= LAST_PYTHON:
            found.setdefault(version, candidate)
    return [found[version] for version in sorted(found)]


def make_environment() -> None:
    """Make .venv, unless its Python runs and is new enough."""
    question = (
        f"import sys, pip; sys.exit(not {FIRST_PYTHON} <= sys.version_info[:2] <= {LAST_PYTHON})"
    )
    if PYTHON.exists() and run([str(PYTHON), "-c", question], check=False, quiet=True):
        return
    print(f"Making {ENVIRONMENT.name} with Python {sys.version.split()[0]}", file=sys.stderr)
    if run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=False, quiet=True):
        return
    uv = shutil.which("uv")
    if uv is None:
        sys.exit("Python's venv is missing; install it (Debian: apt install python3-venv) or uv.")
    run([uv, "venv", "--quiet", "--clear", "--seed", "--python", sys.executable, str(ENVIRONMENT)])


def find_uv() -> "str | None":
    """Path of uv: this machine's, or one installed into the environment."""
    own = ENVIRONMENT / "bin" / "uv"
    found = shutil.which("uv") or (str(own) if own.exists() else None)
    if found is None:
        pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"]
        if run(pip, check=False):
            found = str(own)
    return found


def uv_settings() -> "dict[str, str]":
    """Environment variables for uv: this process's, and pip's settings where uv has none."""
    answer = subprocess.run(
        [str(PYTHON), "-m", "pip", "config", "list"], capture_output=True, text=True
    )
    settings = {"UV_HTTP_TIMEOUT": "120", **os.environ}
    if any(name in os.environ for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX")):
        return settings
    for option, value in read_pip_settings(answer.stdout).items():
        separator = "," if option == "find-links" else " "
        settings.setdefault(UV_NAMES[option], separator.join(value.split()))
    if "UV_INDEX" in settings:
        # pip takes the best version of all indexes, and so does uv then.
        settings.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return settings


def read_pip_settings(text: str) -> "dict[str, str]":
    """What `pip config list` says of UV_NAMES; variables go before [install] before [global]."""
    ranks = {"global": 0, "install": 1, ":env:": 2}
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.partition(".")
        if section in ranks and option in UV_NAMES:
            found[ranks[section], option] = str(ast.literal_eval(value))
    return {option: value for (_, option), value in sorted(found.items())}


def lock(check: bool) -> None:
    """Write the lock file, or say whether it is what pyproject.toml asks for.

    Versions that are locked stay, unless pyproject.toml excludes them; to take newer ones, remove
    the lock file first.
    """
    make_environment()
    uv = find_uv()
    if uv is None:
        sys.exit("The lock file needs uv, and it could not be installed.")
    written = PROJECT / LOCK
    target = ENVIRONMENT / LOCK if check else written
    if check:
        shutil.copy(written, target)
    command = [uv, "pip", "compile", "--quiet", "pyproject.toml", "--extra", "test"]
    command += ["--extra", "docs", "--extra", "gpu"]
    # One version of each package for every Python and platform: the one that was tested.
    command += ["--universal", "--python-version", "3.11", "--fork-strategy", "fewest"]
    command += ["--no-emit-index-url", "--no-emit-find-links"]
    command += ["--custom-compile-command", "make lock", "--output-file", str(target)]
    run(command, env=uv_settings())
    if check and read_pins(target) != read_pins(written):
        sys.exit(f"{LOCK} is not what pyproject.toml asks for; run `make lock`.")


def read_pins(path: Path) -> "list[str]":
    """Lines of a lock file that are no comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.lstrip().startswith("#")]


def dotted(version: "tuple[int, int]") -> str:
    """A version as people write it."""
    return ".".join(str(number) for number in version)


def run(
    command: "list[str]",
    check: bool = True,
    quiet: bool = False,
    env: "dict[str, str] | None" = None,
) -> bool:
    """Run a command in the project's folder; whether it succeeded, or exit when it must."""
    output = subprocess.DEVNULL if quiet else None
    status = subprocess.run(command, cwd=PROJECT, env=env, stdout=output, stderr=output).returncode
    if status and check:
        sys.exit(status)
    return status == 0


def main() -> None:
    """Parse and call."""
    if not FIRST_PYTHON <= sys.version_info[:2] <= LAST_PYTHON:
        sys.exit(
            f"This is Python {sys.version.split()[0]}; TensorFlow has packages for "
            f"{dotted(FIRST_PYTHON)} to {dotted(LAST_PYTHON)}. Install one of these, and name it: "
            f"make PYTHON=python{dotted(LAST_PYTHON)}"
        )
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    install_parser = commands.add_parser("install")
    install_parser.add_argument("purpose", nargs="?", default="demo", choices=EXTRAS)
    commands.add_parser("python")
    commands.add_parser("pythons")
    commands.add_parser("lock").add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.command == "install":
        install(arguments.purpose)
    elif arguments.command == "pythons":
        print(*find_pythons(), sep="\n")
    elif arguments.command == "lock":
        lock(arguments.check)


if __name__ == "__main__":
    main()
