import sys
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from handful.reports.compiled_templates import CompiledTemplates


def page(folder: Path) -> str:
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, bytecode_cache=CompiledTemplates()
    )
    return environment.get_template("page.html").render(name="<a>")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    (tmp_path / "page.html").write_text("Hello {{ name }}")
    return tmp_path


def test_a_template_is_compiled_once_and_anew_where_it_has_changed(folder: Path) -> None:
    assert page(folder) == "Hello &lt;a&gt;"
    (kept,) = (folder / "__pycache__").iterdir()
    # What is kept is what is run.
    kept.write_bytes(kept.read_bytes().replace(b"Hello ", b"HELLO "))
    assert page(folder) == "HELLO &lt;a&gt;"
    (folder / "page.html").write_text("Bye {{ name }}")
    assert page(folder) == "Bye &lt;a&gt;"
    assert page(folder) == "Bye &lt;a&gt;"
    assert len([*(folder / "__pycache__").iterdir()]) == 1


def test_damaged_code_is_compiled_anew(folder: Path) -> None:
    page(folder)
    (kept,) = (folder / "__pycache__").iterdir()
    kept.write_bytes(kept.read_bytes()[:60])
    assert page(folder) == "Hello &lt;a&gt;"


def test_nothing_is_kept_where_python_may_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert page(folder) == "Hello &lt;a&gt;"
    assert not (folder / "__pycache__").exists()
