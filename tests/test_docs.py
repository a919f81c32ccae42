"""The documentation: links, questions, the tours' lines, and the tools that make pages of it."""

import contextlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import handful
from conftest import REPOSITORY, draw_photo, write_photo
from handful.cli.commands import app

sys.path.insert(0, str(REPOSITORY / "tools"))
from build_docs import broken_links
from site_pages import (
    command_reference,
    parts_reference,
    python_reference,
    restructured,
    sorted_commands,
)

DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
PAGES += sorted(DOCS.rglob("*.md"))
GENERATED = {
    "<!-- commands -->": command_reference,
    "<!-- python -->": python_reference,
    "<!-- parts -->": parts_reference,
}
FENCE = re.compile(r"^(`{3,})(\w*).*?\n(.*?)^\1$", re.DOTALL | re.MULTILINE)


def read_page(path: Path) -> str:
    """A page's text, with what `make docs` puts into it."""
    text = path.read_text(encoding="utf-8")
    for marker, make in GENERATED.items():
        text = text.replace(marker, make()) if marker in text else text
    return text


def anchors(text: str) -> set[str]:
    """What the headings of a page are called in links: as GitHub and MyST call them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 1
        while (name := slug if number == 1 else f"{slug}-{number - 1}") in found:
            number += 1
        found.add(name)
    return found


def links(text: str) -> list[str]:
    plain = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", plain) if ":" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    missing = []
    for link in links(read_page(page)):
        place, _, anchor = unquote(link).partition("#")
        target = page.parent / place if place else page
        is_there = target.exists() and (not anchor or anchor in anchors(read_page(target)))
        missing += [] if is_there else [link]
    assert missing == []


def test_headings_are_named_as_links_name_them() -> None:
    text = "# A `b`: c, d\n## A [link](x.md) & more\n## Twice\n## Twice\n```\n# no heading\n```\n"
    assert anchors(text) == {"a-b-c-d", "a-link--more", "twice", "twice-1"}


def questions() -> dict[str, str]:
    """Each question to its answer."""
    text = (DOCS / "questions.md").read_text(encoding="utf-8")
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)[1:]
    return {
        question: re.split(r"^## ", answer, flags=re.MULTILINE)[0].strip()
        for question, answer in zip(parts[::2], parts[1::2], strict=True)
    }


def test_each_question_is_answered_in_a_few_words_with_a_link() -> None:
    found = questions()
    assert len(found) >= 20
    for question, answer in found.items():
        assert question.endswith(("?", ".")) and "?" in question, question
        assert 3 < len(answer.split()) < 70, question
        # Where more is said is the last thing.
        assert re.search(r"\[[^]]+\]\([^)]+\)$", answer), question


def test_every_page_is_reached_from_the_first_one() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    trees = "\n".join(body for _, kind, body in FENCE.findall(text))
    entries = re.findall(r"^(?:.+ <)?([\w/-]+)>?$", trees, re.MULTILINE)
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    assert pages - {"index"} <= set(entries)


def test_an_answer_is_two_clicks_from_the_first_page() -> None:
    assert "questions.md" in links(read_page(DOCS / "index.md"))


def test_contributing_names_what_there_is() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files = set(re.findall(r"`([\w/]+\.(?:py|toml|lock))`", text))
    modules = list((REPOSITORY / "src").rglob("*.py"))
    there = [*modules, *(REPOSITORY / "tests").glob("*.py"), *REPOSITORY.glob("*.*")]
    lost = [name for name in files if not any(str(path).endswith(f"/{name}") for path in there)]
    assert len(files) > 12 and lost == []
    source = "\n".join(path.read_text(encoding="utf-8") for path in modules)
    tests = (REPOSITORY / "tests/conftest.py").read_text()
    names = set(re.findall(r"`(_?[A-Z][A-Z_]{3,}|[a-z]+_[a-z_]+)`", text)) - {"HANDFUL_SHARED"}
    assert len(names) > 12
    assert [name for name in sorted(names) if name not in source + tests] == []
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"^make ([\w-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_reference_has_every_command_with_every_option() -> None:
    text = command_reference()
    commands = sorted_commands()
    assert len(commands) > 12
    sections = dict(zip(commands, re.split(r"^## handful .+$", text, flags=re.M)[1:], strict=True))
    for name, command in commands.items():
        context = typer.Context(command)
        flags = {flag for option in command.get_params(context) for flag in option.opts}
        spelled = {flag for flag in flags if flag.startswith("--")} - {"--help", "--help-all"}
        assert spelled <= set(re.findall(r"--[\w-]+", sections[name])), name
    for heading in ("Arguments", "Options", "Output", "Data", "Training", "Network", "Trust"):
        assert f"```{{rubric}} {heading}\n" in sections["train"]


def test_the_reference_has_every_public_name_once() -> None:
    text = python_reference()
    listed = re.findall(r"auto(?:class|function):: handful\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(handful.__all__)
    assert anchors(text) >= {"train", "classifier", "errors", "dataoptions"}


def test_a_docstrings_fence_becomes_a_code_block() -> None:
    lines = ["Example:", "    ```python", "    run = 1", "", "    go()", "    ```", "Then."]
    expected = ["Example:", "    .. code-block:: python", "", "       run = 1", "", "       go()"]
    assert list(restructured(lines)) == [*expected, "", "Then."]
    assert list(restructured(["no fence"])) == ["no fence"]


def test_what_is_returned_has_no_type_and_pages_are_links() -> None:
    lines = ["Do.", "", "Returns:", "    A list: see docs/file-formats.md.", "    More: of it."]
    returned = "    : A list: see :doc:`/file-formats`."
    assert list(restructured(lines)) == [*lines[:3], returned, lines[4]]
    assert list(restructured(["Side: S."], is_attribute=True)) == [": Side: S."]
    assert list(restructured(['with "val_" before a_b, `c_`'])) == [
        'with "val\\_" before a_b, `c_`'
    ]


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#here">1</a><a href="b.html#gone">2</a>'
        '<a href="c.html">3</a><a href="#top">4</a><a href="https://example.invalid/">5</a>'
        '<img src="a.png"><script src="https://example.invalid/x.js"></script>'
    )
    (tmp_path / "b.html").write_text('<p id="here">B</p><a href="a.html?x=1">6</a>')
    assert broken_links(tmp_path) == [
        "a.html: loads https://example.invalid/x.js",
        "a.html: nothing is called #gone in b.html#gone",
        "a.html: no c.html",
        "a.html: no a.png",
    ]


def test_the_seams_example_of_a_network_is_whole(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [code for _, language, code in blocks("reference/seams.md") if language == "python"]
    (code,) = [code for code in found if "\nBACKBONE = " in code]
    namespace: dict[str, object] = {}
    exec(compile(code, "seams.md", "exec"), namespace)
    monkeypatch.setitem(sys.modules, "my_package", SimpleNamespace(**namespace))
    package = tmp_path / "my_package-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[handful.backbones]\nmy-network = my_package:BACKBONE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = handful.train(
        photo_folder, backbone="my-network", reporter=handful.Reporter(), output=False
    )
    assert run.classifier.extractor.embedding_dim == 192
    assert 0.4 < run.evaluation.accuracy <= 1


def blocks(page: str) -> list[tuple[str, str, str]]:
    """A page's blocks of code, in order: fence, language, text."""
    return FENCE.findall((DOCS / page).read_text(encoding="utf-8"))


# What a test cannot run as it stands there: an installation, and what waits for somebody.
NOT_RUN = ("pip install", "python -m venv", "handful data", "handful serve runs/photos")


def run_lines(text: str, work: Path) -> None:
    """Run a block of a shell's lines in a folder; each must succeed.

    Where a block is of plain commands, they run in this process, where Keras is loaded but once.
    """
    lines = []
    for line in text.splitlines():
        command = line.partition(" #")[0].rstrip()
        if command.startswith(NOT_RUN):
            continue
        if command.startswith("handful compare"):
            # All strategies are compared by README's lines, in their test.
            command += " --epochs 1 --strategy scratch --strategy transfer"
        lines.append(command.replace("--epochs 10", "--epochs 1"))
    if all(line.startswith("handful ") and not {*line} & {*"&|<>$"} for line in lines):
        with contextlib.chdir(work):
            for line in lines:
                answer = CliRunner().invoke(app, shlex.split(line)[1:])
                assert answer.exit_code == 0, f"{line}\n{answer.output}"
        return
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {**os.environ, "PATH": path, "HOME": str(work), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(["set -em", *lines])],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}"


@pytest.fixture
def workplace(photo_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with photos, as the tours have them."""
    work = tmp_path / "work"
    shutil.copytree(photo_folder, work / "photos")
    shutil.copytree(photo_folder / "square", work / "new")
    shutil.copy(photo_folder / "round" / "000.jpg", work / "new.jpg")
    for place, (part, name) in enumerate(
        (part, name) for part in ("train", "validation") for name in ("cat", "dog")
    ):
        for number in range(8):
            image = draw_photo("round" if name == "cat" else "square", 100 * place + number)
            folder = work / "data/cats-vs-dogs" / part / f"{name}s"
            write_photo(folder / f"{name}.{number}.jpg", np.asarray(image))
    yield work


@pytest.mark.real
def test_the_tour_of_a_folder_of_photos_runs(workplace: Path) -> None:
    for _, language, text in blocks("tours/photos.md"):
        if not language:
            run_lines(text, workplace)
    assert (workplace / "runs/photos/report.html").exists()
    assert (workplace / "answers.csv").read_text().count("\n") == 25


@pytest.mark.real
def test_the_tour_for_students_runs(workplace: Path) -> None:
    (code,) = [text for _, language, text in blocks("tours/students.md") if language == "python"]
    (workplace / "my_network.py").write_text(code)
    for _, language, text in blocks("tours/students.md"):
        if not language:
            run_lines(text, workplace)
    made = {path.name for path in (workplace / "runs").iterdir()}
    assert made >= {"scratch", "augmented", "transfer", "comparison", "comparison-figures", "mine"}


@pytest.mark.real
def test_the_tour_for_engineers_runs(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    with socket.socket() as waiting:
        waiting.bind(("127.0.0.1", 0))
        port = str(waiting.getsockname()[1])
    namespace: dict[str, object] = {}
    for _, language, text in blocks("tours/engineers.md"):
        if language == "python":
            exec(compile(text, "engineers.md", "exec"), namespace)
        elif not language:
            run_lines(text.replace("8000", port), workplace)
    assert "round" in capsys.readouterr().out.splitlines()
    assert namespace["answer"].label == "round"  # type: ignore[attr-defined]
