"""README's two commands as a stranger runs them, on fresh Debian machines with nothing installed.

    sudo python3 tools/fresh_machine.py [--suite SUITE ...] [--tests [ARGS]] [--keep]

For each suite, `debootstrap` makes a root folder with Python, its venv, make and git. A new user
with an empty home clones this project's last commit there and runs `make demo`, and `make test`
with --tests. Photos and weights in ../shared are seen read-only, as the real ones beside the
project would be. The archive's address comes from apt's settings on this machine; what pip and
uv are told here by files and variables is told there too, and folders named by it are seen
read-only.

Everything is mounted in a namespace of its own, which ends with its processes: nothing is ever
mounted in a folder that is deleted.
"""

import argparse
import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
# The stable release before the last, the last, and the next: Python 3.11, 3.13 and 3.14.
SUITES = ("bookworm", "trixie", "testing")
PACKAGES = ("ca-certificates", "curl", "git", "make", "python3", "python3-venv")
USER, USER_ID = "stranger", 1000
# What is mounted inside is gone when the command ends, and so are its processes.
OWN_NAMESPACE = "unshare --mount --propagation private --pid --fork --kill-child".split()
SETTINGS = re.compile(r"(PIP|UV)_|SSL_CERT_|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|\w+_proxy", re.I)


def archive_address() -> str:
    """Address of Debian's archive, as apt has it on this machine."""
    wanted = ["--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"]
    answer = run(["apt-get", "indextargets", *wanted, "Label: Debian"]).stdout.split()
    if not answer:
        sys.exit("apt knows no archive of Debian; run `apt-get update` first.")
    return answer[0]


def pip_settings() -> "list[tuple[str, str, str]]":
    """What files tell pip here: section, option, value."""
    lines = run([sys.executable, "-m", "pip", "config", "list"]).stdout.splitlines()
    found = [re.fullmatch(r"(global|install)\.([\w-]+)=(.*)", line) for line in lines]
    return [(m[1], m[2], str(ast.literal_eval(m[3]))) for m in found if m]


def shown_folders(texts: "list[str]") -> "list[Path]":
    """Files and folders that settings name, without those inside others.

    The pages of an index on disk lie beside the files that they name.
    """
    words = [word for text in texts for word in re.split(r"[\s,]+", text)]
    named = {Path(word) for word in words if word.startswith("/")}
    named |= {Path(word[7:]).parent for word in words if word.startswith("file:///")}
    paths = sorted(path for path in named if path.exists())
    return [path for path in paths if not any(other in path.parents for other in paths)]


def make_root(root: Path, suite: str, address: str) -> None:
    """Install a machine into a folder, unless it is there."""
    if not (root / "usr/bin/make").exists():
        print(f"{suite}: installing", file=sys.stderr)
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        run([*OWN_NAMESPACE, *command, suite, str(root), address])
    home = root / "home" / USER
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    passwd = root / "etc/passwd"
    if f"\n{USER}:" not in passwd.read_text():
        with passwd.open("a") as file:
            file.write(f"{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/bin/bash\n")
    for name in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{name}", root / "etc" / name)
    sections: dict[str, list[str]] = {}
    for section, option, value in pip_settings():
        indented = "\n    ".join(value.split())
        sections.setdefault(section, []).append(f"{option} = {indented}")
    text = "\n".join("\n".join([f"[{name}]", *lines]) for name, lines in sections.items())
    (root / "etc/pip.conf").write_text(text + "\n")
    run(["git", "clone", "--quiet", "--no-hardlinks", str(PROJECT), str(home / "handful")])
    run(["chown", "-R", f"{USER_ID}:{USER_ID}", str(home)])


def run_inside(root: Path, command: str, log: Path, shared: "Path | None") -> "tuple[int, float]":
    """Run a command as the new user, in namespaces that end with it; status and seconds."""
    kept = {name: value for name, value in os.environ.items() if SETTINGS.match(name)}
    settings = [*kept.values(), *(value for _, _, value in pip_settings())]
    home = f"/home/{USER}"
    mounts = [f"mount -t proc proc {quote(root / 'proc')}"]
    mounts += [f"mount --rbind {path} {quote(root)}{path}" for path in ("/dev", "/sys")]
    shown = [(path, path) for path in shown_folders(settings)]
    if shared is not None:
        shown.append((shared, Path(home) / "shared"))
    for source, target in shown:
        place = root / target.relative_to("/")
        if source.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        mounts.append(f"mount --bind {quote(source)} {quote(place)}")
        mounts.append(f"mount -o remount,ro,bind {quote(place)}")
    kept |= {"HOME": home, "USER": USER, "LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    inner = ["env", "-i", *(f"{name}={value}" for name, value in kept.items())]
    inner += ["sh", "-c", f"cd ~/handful && {command}"]
    chroot = ["chroot", f"--userspec={USER_ID}:{USER_ID}", str(root), *inner]
    script = "\n".join(["set -e", *mounts, f"exec {shlex.join(chroot)}"])
    started = time.monotonic()
    with log.open("ab") as file:
        file.write(f"$ {command}\n".encode())
        file.flush()
        status = subprocess.run(
            [*OWN_NAMESPACE, "sh", "-c", script], stdout=file, stderr=file, stdin=subprocess.DEVNULL
        ).returncode
    return status, time.monotonic() - started


def try_machine(
    root: Path, suite: str, log: Path, tests: "str | None", shared: "Path | None"
) -> bool:
    """Run the commands, print a row for each, and say whether all went well."""
    log.write_bytes(b"")
    version = run(["chroot", str(root), "python3", "--version"]).stdout.split()[-1]
    good = True
    more = f"make test {f'ARGS={shlex.quote(tests)}' if tests else ''}".rstrip()
    for command in ["make demo", *([] if tests is None else [more])]:
        print(f"{suite}: {command}", file=sys.stderr)
        status, seconds = run_inside(root, command, log, shared)
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1]
        result = "ok" if status == 0 else f"failed ({status})"
        print(
            f"{suite:10} {version:8} {command:10} {result:11} {seconds:6.0f} s  {last}", flush=True
        )
        good &= status == 0
    home = root / "home" / USER
    left = sorted(
        str(path.relative_to(home)) for path in home.glob("*/*") if path.parent.name[0] == "."
    )
    expected = {".cache/handful", ".cache/pip", ".cache/uv"}
    print(f"{suite:10} {version:8} left in the home folder: {', '.join(left) or 'nothing'}")
    return good and set(left) <= expected


def remove_root(root: Path) -> None:
    """Delete a machine; refused where something is mounted in it."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    if any(line.split()[4].startswith(f"{root}/") for line in mounts):
        sys.exit(f"Something is mounted in {root}; nothing was deleted.")
    shutil.rmtree(root)


def quote(path: Path) -> str:
    """A path as a word of the shell."""
    return shlex.quote(str(path))


def run(command: "list[str]") -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, or exit with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def main() -> None:
    """Parse, and try one machine after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", action="append", help=f"default: {', '.join(SUITES)}")
    parser.add_argument(
        "--tests", nargs="?", const="", metavar="ARGS", help="run `make test` as well, with options"
    )
    parser.add_argument("--keep", action="store_true", help="keep the machines for the next time")
    parser.add_argument("--folder", type=Path, help="where the machines go (1.5 GB and more each)")
    parser.add_argument("--shared", type=Path, default=PROJECT.parent / "shared")
    arguments = parser.parse_args()
    missing = [name for name in ("debootstrap", "unshare", "chroot") if not shutil.which(name)]
    if os.geteuid() or missing:
        sys.exit(f"This needs root and {', '.join(missing) or 'nothing else'}.")
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="fresh-"))
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    shared = arguments.shared.resolve() if arguments.shared.is_dir() else None
    good, address = True, archive_address()
    for suite in arguments.suite or SUITES:
        root = folder / suite
        make_root(root, suite, address)
        good &= try_machine(root, suite, folder / f"{suite}.log", arguments.tests, shared)
        if not arguments.keep:
            remove_root(root)
    print(f"What the commands printed: {folder}/*.log")
    sys.exit(not good)


if __name__ == "__main__":
    main()
