"""The wheel as a stranger installs it; needs the package registry, as `make test` itself does."""

import base64
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import REPOSITORY
from installing import LOCK, UV, build_wheel, new_environment, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


def test_the_wheel_has_all_that_the_package_reads_and_nothing_else(wheel: Path) -> None:
    source = REPOSITORY / "src"
    expected = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        text = archive.read(metadata).decode()
    assert {name for name in names if name.startswith("handful/")} == expected
    extras = set(re.findall(r"^Provides-Extra: (.*)$", text, re.M))
    assert {"all", "export", "figures", "keras", "serve", "tensorflow"} <= extras
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_the_base_install_does_the_main_job_in_an_empty_home(
    wheel: Path, photo_folder: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    python = new_environment(tmp_path / "venv")
    run(UV, "pip", "install", "--python", python, "-c", LOCK, wheel)
    handful = python.with_name("handful")
    assert "report.html" in run(handful, "train", photo_folder, home=home, cwd=tmp_path)
    photo = photo_folder / "round" / "000.jpg"
    assert "round" in run(handful, "predict", "latest", photo, home=home, cwd=tmp_path)
    run(UV, "pip", "check", "--python", python)
    uvx = (UV, "tool", "run", "--python", sys.executable, "--from", wheel, "handful")
    assert "predict" in run(*uvx, "--help", home=home)
    script = "import sys, handful; handful.train; print([m for m in sys.modules if m == 'keras'])"
    assert run(python, "-c", script, home=home, cwd=tmp_path).strip() == "[]"
    refused = subprocess.run(
        [handful, "train", photo_folder, "--strategy", "scratch"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert "pip install 'handful[tensorflow]'" in " ".join(refused.stderr.split())


# What somebody may have installed, older than what the extra `tensorflow` takes.
FRAMEWORKS = {
    "tensorflow": "2.16.1+cuda",
    "tensorflow-cpu": "2.16.1",
    "jax": "0.4.30",
    "jaxlib": "0.4.30",
    "torch": "2.3.0+cu121",
}


@pytest.mark.parametrize("extras", ["all", "all,keras"])
def test_a_framework_that_is_there_stays_as_it_is(wheel: Path, tmp_path: Path, extras: str) -> None:
    python = new_environment(tmp_path / "venv")
    stubs = [stub_wheel(tmp_path, name, version) for name, version in FRAMEWORKS.items()]
    run(UV, "pip", "install", "--python", python, "--no-deps", *stubs)
    said = run(
        UV, "pip", "install", "--dry-run", "--python", python, "-c", without_frameworks(tmp_path),
        f"handful[{extras}] @ {wheel.as_uri()}",
    )  # fmt: skip
    changed = set(re.findall(r"^ [-+~] ([\w-]+)", said, re.M))
    assert {"handful", "openvino", "uvicorn"} <= changed
    assert not changed & set(FRAMEWORKS)
    assert ("keras" in changed) == ("keras" in extras)


def without_frameworks(folder: Path) -> Path:
    """The tested versions of all else: a stranger installs without the lock file."""
    lines = LOCK.read_text().splitlines()
    path = folder / "constraints.txt"
    kept = [line for line in lines if line.partition("==")[0] not in FRAMEWORKS]
    path.write_text("\n".join(kept) + "\n")
    return path


def stub_wheel(folder: Path, name: str, version: str) -> Path:
    """A distribution with a name and a version, and no more."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{stem}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            place, data = f"{stem}.dist-info/{file}", text.encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            archive.writestr(place, data)
            record.append(f"{place},sha256={digest},{len(data)}")
        record.append(f"{stem}.dist-info/RECORD,,")
        archive.writestr(f"{stem}.dist-info/RECORD", "\n".join(record) + "\n")
    return path
