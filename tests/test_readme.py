import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from handful.features.conversion import FrozenNetwork
from installing import LOCK, UV, build_wheel, new_environment, stranger

README = (REPOSITORY / "README.md").read_text()


def test_the_python_example_runs(
    photo_folder: Path,
    tiny_backbone: FrozenNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    shutil.copytree(photo_folder, tmp_path / "photos")
    shutil.copy(photo_folder / "round" / "000.jpg", tmp_path / "new.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "round"
    assert (tmp_path / "runs/photos/report.html").exists()


NEEDS_A_COPY = ("make demo", "make test")  # tools/fresh_machine.py runs them
NEEDS_AN_ARCHIVE = ("handful data",)  # of 2,000 photos; drawn ones lie in its place
# Hours on 2,000 photos; the drawn ones are small, and one epoch tells whether the line works, as do
# two seeds. The last of two values counts.
SHORTENED = {
    "handful compare": " --quick --epochs 1",
    "handful compare data/cats-vs-dogs --seeds": " --seeds 2",
    "handful train data": " --epochs 1",
}
# What the page is asked, once it is served, before it is stopped.
ASK = (
    "curl --silent --show-error --retry 20 --retry-connrefused -F file=@new.jpg {}/predict",
    "kill %1",
)


def readme_commands() -> list[str]:
    """The lines of all shell blocks, in order."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    shell = [block for language, block in blocks if not language]
    return [line.rstrip() for block in shell for line in block.splitlines() if line.strip()]


def free_port() -> int:
    with socket.socket() as waiting:
        waiting.bind(("127.0.0.1", 0))
        return int(waiting.getsockname()[1])


@pytest.mark.real
def test_its_commands_run_line_by_line_in_order(
    photo_folder: Path, shared_folder: Path, tmp_path: Path
) -> None:
    work = tmp_path / "handful"
    for place in ("photos", "data/cats-vs-dogs"):
        shutil.copytree(photo_folder, work / place)
    shutil.copy(photo_folder / "round" / "000.jpg", work / "new.jpg")
    shutil.copytree(photo_folder / "square", work / "more")
    (work / "docs").symlink_to(REPOSITORY / "docs")
    python = new_environment(work / ".venv")
    wheels = build_wheel(tmp_path / "dist").parent
    pip = work / "bin/pip"
    pip.parent.mkdir()
    # As pip installs, in a tenth of the time, and what was tested.
    options = f"--quiet --python '{python}' --find-links '{wheels}' -c '{LOCK}'"
    pip.write_text(f"#!/bin/sh\nshift\nexec '{UV}' pip install {options} \"$@\"\n")
    pip.chmod(0o755)
    weights = shared_folder / "weights" / "xception_imagenet_notop.weights.h5"
    port = free_port()
    script, expected = ["set -m"], []
    for line in readme_commands():
        command = line.partition(" #")[0].rstrip()
        if command.startswith(NEEDS_A_COPY + NEEDS_AN_ARCHIVE):
            continue
        for start, more in SHORTENED.items():
            if command.startswith(start):
                command += more
        if "--recipe keras-tutorial" in command:
            command += f" --weights '{weights}'"
        commands = [command]
        if command.endswith(" &"):
            asked = [ask.format(f"http://127.0.0.1:{port}") for ask in ASK]
            commands = [command.replace(" &", f" --port {port} &"), *asked]
        for command in commands:
            script += [command, f"printf '\\n=> %s %s\\n' $? {shlex.quote(command)}"]
            expected.append(f"=> 0 {command}")
    environment = stranger(tmp_path)
    environment["PATH"] = f"{pip.parent}:{python.parent}:{environment['PATH']}"
    environment["HANDFUL_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(script)],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("=> ")] == expected, done.stdout
    assert len(expected) > 12
    assert len(README.splitlines()) < 120
    # Lines after one that makes a run mean that run, not the one before.
    named = set(re.findall(r"runs/([\w-]+)", "\n".join(readme_commands())))
    assert named <= {path.name for path in (work / "runs").iterdir()}


@pytest.mark.slow
def test_its_commands_exist() -> None:
    targets = (REPOSITORY / "Makefile").read_text()
    for name in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{name}:", targets, re.MULTILINE)
    result = subprocess.run(
        [sys.executable, "-m", "handful", "--help"], capture_output=True, text=True, check=True
    )
    for name in set(re.findall(r"\bhandful (\w+) (?:[A-Z]|--|\w+/)", README)):
        assert re.search(rf"\b{name}\b", result.stdout), name
