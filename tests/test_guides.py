import json
import os
import re
import sys
import types
from pathlib import Path

import nbclient
import nbformat
import pytest

from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools"))
from build_guides import (
    FIGURES,
    GUIDES,
    LARGEST_FIGURE,
    SHARED,
    STRATEGIES,
    build_pages,
    colab_link,
    compared_figures,
    drawn_figures,
    guide_scripts,
)

# What each page draws when it is run.
DRAWN = {
    "1_data": ("1-photos",),
    "2_from_scratch": ("2-by-hand", "2-curves", "2-own"),
    "3_augmentation": ("3-views", "3-curves"),
    "4_transfer": ("4-curves", "4-comparison"),
}
PAGES = [pytest.param(script, id=script.stem) for script in guide_scripts()]


def test_there_are_four_pages() -> None:
    assert [script.stem for script in guide_scripts()] == list(DRAWN)


# Makes of a kernel that has run a page one that has run none, but for what is loaded.
FRESH = """
%reset -f
import os, sys
for name in ("guide", "own_network"):
    sys.modules.pop(name, None)
os.environ["HANDFUL_GUIDE_OUTPUT"] = {output!r}
os.chdir({folder!r})
"""


@pytest.mark.slow
def test_the_notebooks_run_and_their_assertions_hold(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one kernel, for each would load Keras anew."""
    given = {"PHOTOS": photo_folder, "QUICK": "1", "XCEPTION": ""}
    for name, value in given.items():
        monkeypatch.setenv(f"HANDFUL_GUIDE_{name}", str(value))
    monkeypatch.setenv("PYTHONPATH", f"{GUIDES}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    client = nbclient.NotebookClient(nbformat.v4.new_notebook(), timeout=300)
    with client.setup_kernel():
        for script in guide_scripts():
            folder = tmp_path / script.stem
            folder.mkdir()
            notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
            fresh = FRESH.format(output=str(folder / "out"), folder=str(folder))
            client.nb = notebook
            notebook.cells.insert(0, nbformat.v4.new_code_cell(fresh))
            for number, cell in enumerate(notebook.cells):
                client.execute_cell(cell, number)
            check_page(script, notebook, folder)


def check_page(script: Path, notebook: nbformat.NotebookNode, folder: Path) -> None:
    """What a page says and draws when it is run."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    answer = "".join(output.get("text", "") for output in outputs)
    assert answer.splitlines()[-1] == f"Page {script.stem[0]}: all assertions held"
    assert script.read_text(encoding="utf-8").count("\nassert ") >= 2
    pictures = {path.stem for path in (folder / "out").glob("*.png")}
    assert pictures == set(DRAWN[script.stem])
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) >= len(pictures)
    # Nothing is written anywhere else.
    assert {path.name for path in folder.iterdir()} == {"out"}


@pytest.mark.parametrize("script", PAGES)
def test_notebook_and_page_are_those_of_the_script(script: Path) -> None:
    for path, text in build_pages(script).items():
        assert path.read_text(encoding="utf-8") == text, "run: python tools/build_guides.py"


@pytest.mark.parametrize("script", PAGES)
def test_a_notebook_has_the_script_in_it_and_no_outputs(script: Path) -> None:
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    source = script.read_text(encoding="utf-8")
    setup, *code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert setup.source.startswith("# @title In Colab") and setup.outputs == []
    assert len(code) == len(re.findall(r"^# %%$", source, re.MULTILINE)) >= 5
    assert all(cell.source in source and cell.outputs == [] for cell in code)


def test_in_colab_a_notebook_brings_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = nbformat.read(GUIDES / "1_data.ipynb", as_version=4)
    lines = notebook.cells[0].source.splitlines()
    assert lines[4].strip() == '%pip install --quiet "handful[figures,keras]"'
    code = "\n".join([*lines[:4], "    pass", *lines[5:]])
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert not any((tmp_path / name).exists() for name in SHARED)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    exec(code, {})
    for name in SHARED:
        assert (tmp_path / name).read_text() == (GUIDES / name).read_text()


def test_a_page_has_a_button_for_colab_where_it_is_published() -> None:
    script = GUIDES / "1_data.py"
    link = colab_link(script, {"urls": {"Repository": "https://github.com/somebody/handful/"}})
    address = "colab.research.google.com/github/somebody/handful/blob/main/docs/guides/1_data.ipynb"
    assert f"](https://{address})" in link
    assert colab_link(script, {}) == ""
    assert colab_link(script, {"urls": {"Repository": "https://example.org/handful"}}) == ""


@pytest.mark.parametrize("page", [*(GUIDES / f"{stem}.md" for stem in DRAWN), GUIDES / "README.md"])
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)\)", page.read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("script", PAGES)
def test_every_question_has_an_answer(script: Path) -> None:
    _, _, text = script.read_text(encoding="utf-8").partition("# ## Questions\n")
    numbers = [int(number) for number in re.findall(r"^# \*\*(\d)\. ", text, re.MULTILINE)]
    assert numbers == [1, 2, 3, 4, 5]
    assert text.count("<details><summary>Answer</summary>") == text.count("</details>") == 5


@pytest.mark.parametrize("script", PAGES)
def test_measured_figures_stand_between_their_marks(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    outside = re.sub(r"<!-- measured -->.*?<!-- /measured -->", "", text, flags=re.DOTALL)
    assert "measured -->" not in outside and "TODO" not in outside


def test_the_figures_are_small_and_each_is_shown() -> None:
    texts = "".join(script.read_text(encoding="utf-8") for script in guide_scripts())
    shown = set(re.findall(r"\(figures/([\w-]+\.png)\)", texts))
    assert {path.name for path in FIGURES.iterdir()} == shown
    assert all(path.stat().st_size <= LARGEST_FIGURE for path in FIGURES.iterdir())


@pytest.mark.slow
def test_the_tool_draws_every_figure(tmp_path: Path) -> None:
    for name in STRATEGIES:
        (tmp_path / f"{name}-0").mkdir()
        (tmp_path / f"{name}-0" / "history.csv").write_text(
            "epoch,loss,accuracy,val_loss,val_accuracy\n1,0.7,0.5,0.7,0.5\n2,0.6,0.7,0.6,0.6\n"
        )
    run = {"seconds": 9.0, "accuracy": 0.9}
    one = {"name": "scratch", **run, "accuracy_interval": [0.8, 0.95], "runs": [run]}
    facts = {"result": {"strategies": [one]}}
    (tmp_path / "comparison.json").write_text(json.dumps(facts))
    drawn = {name for name, _ in (*drawn_figures(), *compared_figures(tmp_path))}
    assert {f"{name}.png" for name in drawn} == {path.name for path in FIGURES.iterdir()}


def test_a_comparison_without_a_strategy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no history of scratch; compare with --strategy"):
        list(compared_figures(tmp_path))
