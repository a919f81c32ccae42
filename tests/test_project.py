"""What holds of the project as a whole: its order, its papers, its guarantees about starting up."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import handful
from conftest import REPOSITORY
from handful.datasets.registry import CATS_AND_DOGS
from handful.datasets.solar_cells import SOLAR_CELLS, SOLAR_CELLS_VERSION
from handful.features.backbones.efficientnet_lite import LITE_VARIANTS
from handful.features.backbones.keras_applications import FAMILIES

PACKAGE = REPOSITORY / "src" / "handful"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)
# Slow to load, and needed by a part of the work only.
HEAVY = {
    "tensorflow",
    "keras",
    "openvino",
    "numpy",
    "cv2",
    "matplotlib",
    "scipy",
    "sklearn",
    "jinja2",
}


def module_file(name: str) -> Path:
    return PACKAGE.joinpath(*name.split(".")).with_suffix(".py")


@pytest.mark.slow
@pytest.mark.parametrize("statement", ["import handful", "import handful.cli.commands"])
def test_nothing_heavy_is_imported_to_start_with(statement: str) -> None:
    code = f"{statement}; import sys; print(*sorted(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in answer.stdout.split()}
    assert "handful" in loaded and loaded & HEAVY == set()


@pytest.mark.slow
def test_openvino_is_imported_in_one_place() -> None:
    # Elsewhere it would bring its telemetry along; for type checkers it may be named.
    found = []
    for name in MODULES:
        tree = ast.parse(module_file(name).read_text(encoding="utf-8"))
        for_types = {
            node
            for block in tree.body
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in block.body
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import) and node not in for_types:
                imported = [alias.name for alias in node.names]
            else:
                imported = [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            found += [name for other in imported if other.partition(".")[0] == "openvino"]
    assert found == []


@pytest.mark.slow
def test_all_that_is_printed_goes_through_one_printer() -> None:
    """Names of files may hold what acts on a terminal: `printable` writes it out."""
    printing = set()
    for name in MODULES:
        for node in ast.walk(ast.parse(module_file(name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "sys.stdout.write",
                "sys.stderr.write",
                "typer.echo",
            ):
                printing.add(name)
    # `keras_loading` prints to its parent process.
    assert printing <= {"cli.terminal", "features.backbones.keras_loading", "reporting"}


def tracked_texts() -> dict[str, str]:
    """Path -> text of every file that belongs to the project."""
    command = ["git", "ls-files", "-z"]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        paths = [REPOSITORY / name for name in answer.stdout.split("\0") if name]
    else:  # an unpacked source archive
        folders = ("src", "tests", "benchmarks", "tools", "docs")
        paths = [path for name in folders for path in (REPOSITORY / name).rglob("*.*")]
    texts = {}
    for path in paths:
        if path.is_file() and path.suffix not in (".png", ".jpg", ".pyc"):
            texts[path.relative_to(REPOSITORY).as_posix()] = path.read_text(encoding="utf-8")
    return texts


@pytest.mark.slow
def test_no_file_knows_somebodys_folders() -> None:
    texts = tracked_texts()
    assert len(texts) > 40 and "src/handful/errors.py" in texts
    private = re.compile(
        r"/(?:home|Users)/(?!handful\b)\w|/root/\w|[A-Z]:\\Users|" + re.escape(f"{REPOSITORY}/")
    )
    assert private.search("see /" + "home/me/photos") and private.search(f"{REPOSITORY}/src")
    found = {name: match[0] for name, text in texts.items() if (match := private.search(text))}
    assert found == {}


def read_pins() -> dict[str, list[str]]:
    """Name of a locked package -> its versions."""
    pins: dict[str, list[str]] = {}
    for line in (REPOSITORY / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if not line.lstrip().startswith("#"):
            match = re.fullmatch(r"([a-z0-9-]+)==([\w.!+]+)(?: ; .+)?", line)
            assert match, f"{line!r} is no plain name==version"
            pins.setdefault(match[1], []).append(match[2])
    return pins


def test_every_dependency_is_locked_by_name_to_a_version_it_allows() -> None:
    facts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = facts["optional-dependencies"]
    texts = [*facts["dependencies"], *(text for extra in extras.values() for text in extra)]
    texts = [text for text in texts if not text.startswith("handful[")]
    wanted: dict[str, list[Requirement]] = {}
    for text in texts:
        wanted.setdefault(canonicalize_name(Requirement(text).name), []).append(Requirement(text))
    pins = read_pins()
    assert len(wanted) > 15
    for name, requirements in wanted.items():
        # Each has a version that it allows; each version is one that some of them allows.
        fits = [
            [requirement.specifier.contains(version, prereleases=True) for version in pins[name]]
            for requirement in requirements
        ]
        assert all(map(any, fits)) and all(map(any, zip(*fits, strict=True))), name


def test_credits_name_the_source_of_all_weights_and_photos() -> None:
    text = (REPOSITORY / "NOTICE").read_text(encoding="utf-8")
    for variant in LITE_VARIANTS.values():
        assert variant.package.replace("_", "-") in text
    for name, family in FAMILIES.items():
        assert re.search(rf"^  {name} +{re.escape(family.license)} +\w", text, re.M), name
    assert CATS_AND_DOGS.file_name in text
    assert f"{SOLAR_CELLS} {SOLAR_CELLS_VERSION}" in text


def test_the_license_is_the_one_the_package_names() -> None:
    facts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    words = (REPOSITORY / "LICENSE").read_text(encoding="utf-8").split()
    assert facts["license"] == "Apache-2.0"
    assert words[:4] == ["Apache", "License", "Version", "2.0,"] and len(words) > 1500


def test_the_changelog_knows_this_version() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(handful.__version__)}\] - \S", text, re.M)


def test_every_benchmark_that_make_runs_is_there() -> None:
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    listed = re.search(r"^BENCHMARKS \?= (.+)$", text, re.M)
    assert listed
    scripts = listed[1].split()
    assert scripts and [name for name in scripts if not (REPOSITORY / name).is_file()] == []


def test_the_architecture_says_what_each_module_is_for() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    tables = text.partition("## Modules")[2].partition("\n## ")[0]
    listed: set[str] = set()
    for room, table in re.findall(r"^### (.+)\n([^#]+)", tables, re.M):
        prefix = f"{room.strip('`/').replace('/', '.')}." if room.startswith("`") else ""
        rows = re.findall(r"^\| (`[^|]+) \|", table, re.M)
        listed |= {prefix + name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed == set(MODULES) - {"__main__"}


def test_rooms_re_export_nothing() -> None:
    rooms = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    assert len(rooms) > 10
    for room in rooms:
        text = room.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)) and len(ast.parse(text).body) == 1


@pytest.mark.slow
def test_importing_leaves_the_host_as_it_is() -> None:
    """No threads of OpenCV's, no filters of warnings, no variables, signals or mask of its."""
    code = """
import os, signal, sys, warnings
import cv2, numpy, PIL.Image
def state():
    mask = os.umask(0o77); os.umask(mask)
    signals = [signal.getsignal(number) for number in signal.valid_signals()]
    return [cv2.getNumThreads(), list(warnings.filters), dict(os.environ), mask, signals,
        os.fstat(2).st_ino, sys.excepthook, sys.getrecursionlimit(), PIL.Image.MAX_IMAGE_PIXELS]
cv2.setNumThreads(3)
before = state()
import handful
from handful.data import decoding, index
import handful.features.embed, handful.workflows.train, handful.models.activation_maps
decoding.decode(open(sys.argv[1], "rb").read(), decoding.DecodeSettings())
assert state() == before, [(a, b) for a, b in zip(state(), before) if a != b]
assert "pi_heif" not in sys.modules
"""
    picture = str(REPOSITORY / "docs" / "report.png")
    subprocess.run([sys.executable, "-c", code, picture], check=True)
