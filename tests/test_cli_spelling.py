"""Fields in messages, and the options that they are on the command line."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import handful
from handful.cli.commands import app
from handful.cli.spelling import OPTIONS, with_options

SOURCE = Path(handful.__file__).parent


def test_fields_become_options() -> None:
    assert (
        with_options("`epochs` is 0; expected 1 or more.") == "--epochs is 0; expected 1 or more."
    )
    assert with_options("leave `folds` or `from_run` out") == "leave --folds or --from out"
    kept = "a `word`, `handful check`, `Epochs` and epochs"
    assert with_options(kept) == kept


def test_each_option_exists() -> None:
    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    known = {name for command in commands for option in command.params for name in option.opts}
    assert set(OPTIONS.values()) <= known


@pytest.mark.slow
def test_no_message_below_the_command_line_spells_an_option() -> None:
    """Errors name the field; pip is another program, with options of its own."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE)
        if place.parts[0] == "cli" or place == Path("datasets", "solar_cells.py"):
            continue
        tree = ast.parse(path.read_text())
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        found += [
            f"{place}:{node.lineno} {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documented
            and re.search(r"(?<![\w-])--[a-z]", node.value)
            # An argument of a process, or a style's own property, is no message.
            and not re.fullmatch(r"--[a-z-]+:?", node.value)
        ]
    assert found == []


@pytest.mark.slow
def test_options_are_named_in_the_log() -> None:
    script = (
        "import logging, sys\nfrom handful.cli.commands import main\nsys.argv = ['handful', "
        "'--version']\ntry:\n    main()\nfinally:\n"
        "    logging.getLogger('handful.serve').warning('`allow_host` restricts it')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == "WARNING: --allow-host restricts it\n"
