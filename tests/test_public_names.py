import ast
import subprocess
import sys
from pathlib import Path

import pytest

import handful


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_every_public_name_is_found_listed_and_seen_by_type_checkers() -> None:
    source = ast.parse(Path(handful.__file__).read_text())
    (for_types,) = [node for node in source.body if isinstance(node, ast.If)]
    typed = {alias.name for node in for_types.body for alias in node.names}  # type: ignore[attr-defined]
    assert typed == set(handful.__all__) <= set(dir(handful))
    for node in for_types.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert getattr(handful, alias.name).__module__ == node.module
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        handful.nothing  # noqa: B018


@pytest.mark.slow
def test_importing_handful_loads_nothing_of_others() -> None:
    code = (
        "import sys; before = set(sys.modules); import handful, handful.__main__\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(loaded - sys.stdlib_module_names))"
    )
    assert python(code).stdout == "handful\n"


@pytest.mark.slow
def test_ctrl_c_is_heeded_while_the_command_is_loaded() -> None:
    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from handful.__main__ import main\n"
        "main()\n"
    )
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.slow
@pytest.mark.parametrize(("ends", "code"), [("0", 0), ("sys.exit(3)", 3), ("sys.exit('no')", 1)])
def test_the_command_leaves_when_all_have_tidied_up(ends: str, code: int) -> None:
    source = (
        "import atexit, sys\n"
        "import handful.cli.commands as commands\n"
        "def run():\n"
        "    atexit.register(print, 'tidied')\n"
        f"    {ends}\n"
        "commands.main = run\n"
        "from handful.__main__ import main\n"
        "main()\n"
    )
    done = python(source)
    assert (done.returncode, done.stdout) == (code, "tidied\n")
