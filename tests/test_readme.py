import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from handful.networks.backbones import FrozenNetwork

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


def test_its_links_lead_somewhere() -> None:
    for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_its_commands_exist() -> None:
    targets = (REPOSITORY / "Makefile").read_text()
    for name in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{name}:", targets, re.MULTILINE)
    result = subprocess.run(
        [sys.executable, "-m", "handful", "--help"], capture_output=True, text=True, check=True
    )
    for name in set(re.findall(r"\bhandful (\w+) (?:[A-Z]|--|\w+/)", README)):
        assert re.search(rf"\b{name}\b", result.stdout), name
