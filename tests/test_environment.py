import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from conftest import REPOSITORY

PIP_SAYS = """\
:env:.cert='/etc/own.pem'
:env:.disable-pip-version-check='1'
global.extra-index-url='https://one.invalid/simple\\nhttps://two.invalid/simple'
global.index-url='https://global.invalid/simple'
install.index-url='https://install.invalid/simple'
global.find-links='/srv/a\\n/srv/b'
user.agent='x'
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script `tools/environment.py`, on a machine where uv has no settings of its own."""
    spec = importlib.util.spec_from_file_location(
        "environment", REPOSITORY / "tools/environment.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = ["UV_INDEX_URL", "UV_INDEX_STRATEGY", "UV_HTTP_TIMEOUT", *module.UV_NAMES.values()]
    for name in names:
        monkeypatch.delenv(name, raising=False)

    def say(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert command[1:] == ["-m", "pip", "config", "list"]
        return subprocess.CompletedProcess(command, 0, PIP_SAYS, "")

    monkeypatch.setattr(module.subprocess, "run", say)
    return module


def test_uv_is_told_what_pip_is_told(environment: ModuleType) -> None:
    settings = environment.uv_settings()
    # The section for installing goes before the one for everything.
    assert settings["UV_DEFAULT_INDEX"] == "https://install.invalid/simple"
    assert settings["UV_INDEX"] == "https://one.invalid/simple https://two.invalid/simple"
    assert settings["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert settings["UV_FIND_LINKS"] == "/srv/a,/srv/b"
    assert settings["SSL_CERT_FILE"] == "/etc/own.pem"
    assert settings["UV_HTTP_TIMEOUT"] == "120"
    assert "UV_NO_INDEX" not in settings and "UV_INSECURE_HOST" not in settings


@pytest.mark.parametrize("name", ["UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX"])
def test_an_index_that_uv_has_is_left_alone(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "https://own.invalid/simple")
    settings = environment.uv_settings()
    assert settings[name] == "https://own.invalid/simple"
    assert "UV_FIND_LINKS" not in settings and "SSL_CERT_FILE" not in settings


def test_a_variable_goes_before_the_files(environment: ModuleType) -> None:
    said = "global.no-index='0'\n:env:.no-index='1'\ninstall.no-index='2'\n"
    assert environment.read_pip_settings(said) == {"no-index": "1"}


def test_an_old_python_is_told_which_will_do(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["environment.py", "python"])
    environment.main()
    monkeypatch.setattr(environment, "FIRST_PYTHON", (4, 0))
    monkeypatch.setattr(environment, "LAST_PYTHON", (4, 2))
    expected = r"TensorFlow has packages for 4\.0 to 4\.2\. .*make PYTHON=python4\.2"
    with pytest.raises(SystemExit, match=expected):
        environment.main()


def test_comments_are_no_pins(environment: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("# by hand\nrich==1.0 ; python_version < '3.12'\n    # via handful\n")
    assert environment.read_pins(path) == ["rich==1.0 ; python_version < '3.12'"]
