import csv
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from handful.data.index import load_index
from handful.datasets import solar_cells
from handful.datasets.solar_cells import NUM_SOLAR_CELLS, fetch_solar_cells, write_solar_cell_table
from handful.errors import DataError
from reporters import Recorder

CHANCES = ("0.0", "0.3333333333333333", "0.6666666666666666", "1.0")
# Told by its first bytes, and never decoded here.
PNG_START = b"\x89PNG\r\n\x1a\n"
REAL_SEARCH = solar_cells._installed_package


def package_files(count: int = NUM_SOLAR_CELLS) -> dict[str, bytes]:
    """The package as it is published, with other pictures: path -> content."""
    rows = [
        f"images/cell{number:04d}.png  {CHANCES[number % 4]:<20} {'mono' if number % 2 else 'poly'}"
        for number in range(1, count + 1)
    ]
    files = {"elpv_dataset/data/labels.csv": "\n".join(rows).encode()}
    for number in range(1, count + 1):
        name = f"elpv_dataset/data/images/cell{number:04d}.png"
        files[name] = PNG_START + number.to_bytes(4)
    return files


def write_package(folder: Path) -> Path:
    for name, content in package_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "elpv_dataset" / "data"


def write_wheel(folder: Path) -> None:
    """A wheel of the package that a package installer takes."""
    info = "elpv_dataset-1.0.0.post1.dist-info"
    facts = "Metadata-Version: 2.1\nName: elpv-dataset\nVersion: 1.0.0.post1\n"
    # Not to be installed: what the photos do not need.
    facts += "Requires-Dist: no-such-package-anywhere\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = package_files() | {
        "elpv_dataset/__init__.py": b"raise RuntimeError('never imported')",
        f"{info}/METADATA": facts.encode(),
        f"{info}/WHEEL": tags.encode(),
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / "elpv_dataset-1.0.0.post1-py3-none-any.whl", "w") as wheel:
        for name, content in (files | {f"{info}/RECORD": record.encode()}).items():
            wheel.writestr(name, content)


@pytest.fixture
def own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, empty at first, as the only place that installers look in."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("PIP", "UV"):
        monkeypatch.setenv(f"{name}_NO_INDEX", "1")
        monkeypatch.setenv(f"{name}_FIND_LINKS", str(wheels))
    monkeypatch.setattr(solar_cells, "_installed_package", lambda: None)
    return wheels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


@pytest.mark.slow
def test_the_table_is_what_load_index_takes(tmp_path: Path) -> None:
    data = write_package(tmp_path)
    table = write_solar_cell_table(data, tmp_path / "cells.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {"path": str(data / "images/cell0002.png"), "label": "defective"}
    labels = [row["label"] for row in rows]
    # cell0001 has a chance of 1/3, cell0002 of 2/3, cell0003 of 1, cell0004 of 0.
    assert labels[:4] == ["intact", "defective", "defective", "intact"]
    index = load_index(table)
    assert index.class_names == ("defective", "intact")
    assert index.counts() == {"all": {"defective": 1312, "intact": 1312}}
    assert index.rejected == () and index.warnings == ()


@pytest.mark.slow
def test_a_missing_photo_or_row_is_an_error(tmp_path: Path) -> None:
    data = write_package(tmp_path)
    (data / "images" / "cell0007.png").unlink()
    with pytest.raises(DataError, match=r"has 2,623 of 2,624 listed photos; expected 2,624\. Ins"):
        write_solar_cell_table(data, tmp_path / "cells.csv")
    labels = data / "labels.csv"
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[7:]))
    with pytest.raises(DataError, match="has 2,617 of 2,617 listed photos; expected 2,624"):
        write_solar_cell_table(data, tmp_path / "cells.csv")
    labels.write_text("images/cell0001.png 1.0")
    with pytest.raises(DataError, match=r"labels\.csv is not the table expected: not enough val"):
        write_solar_cell_table(data, tmp_path / "cells.csv")
    labels.unlink()
    with pytest.raises(DataError, match=r"labels\.csv is not the table expected: No such file"):
        write_solar_cell_table(data, tmp_path / "cells.csv")
    assert not (tmp_path / "cells.csv").exists()


def test_a_package_that_python_finds_is_used_unimported(
    tmp_path: Path, folder: Path, own_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solar_cells, "_installed_package", REAL_SEARCH)
    data = write_package(tmp_path)
    (data.parent / "__init__.py").write_text("raise RuntimeError('never imported')")
    monkeypatch.syspath_prepend(tmp_path)
    recorder = Recorder()
    table = fetch_solar_cells(folder, recorder)
    assert str(data) in table.read_text() and recorder.lines == []
    assert "elpv_dataset" not in sys.modules
    assert [path.name for path in folder.iterdir()] == ["elpv-dataset.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_the_package_is_installed_once_into_its_own_folder(
    folder: Path, own_registry: Path, monkeypatch: pytest.MonkeyPatch, installer: str
) -> None:
    write_wheel(own_registry)
    if installer == "uv":
        fake_uv(own_registry.parent, monkeypatch)
    # Settings that people have, and that exclude what is asked of pip here.
    monkeypatch.setenv("PIP_USER", "1")
    recorder = Recorder()
    table = fetch_solar_cells(folder, recorder)
    own = folder / "elpv-dataset-1.0.0.post1"
    assert recorder.lines == [f"Installing elpv-dataset 1.0.0.post1 (91 MB of photos) into {own}."]
    assert Counter(load_index(table).labels.tolist()) == {0: 1312, 1: 1312}
    assert str(own / "elpv_dataset" / "data" / "images" / "cell0001.png") in table.read_text()
    assert {path.name for path in folder.iterdir()} == {own.name, table.name}
    table.unlink()
    (own_registry / "elpv_dataset-1.0.0.post1-py3-none-any.whl").unlink()
    assert fetch_solar_cells(folder, recorder) == table and len(recorder.lines) == 1


def fake_uv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pip, and a uv on the path that does with pip what it is asked."""
    script = folder / "bin" / "uv"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\n"
        "import subprocess, sys\n"
        "pip, *options = sys.argv[1:]\n"
        "at = options.index('--python')\n"
        "python = options[at + 1]\n"
        "assert pip == 'pip' and options[0] == 'install'\n"
        "options = options[:at] + options[at + 2:]\n"
        "sys.exit(subprocess.run([python, '-m', 'pip', *options]).returncode)\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(solar_cells.shutil, "which", lambda name, path: str(script))
    find_spec = solar_cells.importlib.util.find_spec
    monkeypatch.setattr(
        solar_cells.importlib.util,
        "find_spec",
        lambda name: None if name == "pip" else find_spec(name),
    )


@pytest.mark.slow
def test_a_damaged_package_is_installed_afresh(folder: Path, own_registry: Path) -> None:
    write_wheel(own_registry)
    own = folder / "elpv-dataset-1.0.0.post1"
    data = write_package(own)
    (data / "images" / "cell0007.png").unlink()
    recorder = Recorder()
    fetch_solar_cells(folder, recorder)
    assert "has 2,623 of 2,624 listed photos" in recorder.lines[0]
    assert recorder.lines[1].startswith("Installing")
    assert (data / "images" / "cell0007.png").is_file()


@pytest.mark.slow
def test_an_installation_that_fails_says_why_and_leaves_nothing(
    folder: Path, own_registry: Path
) -> None:
    expected = "could not be installed: No matching distribution found for elpv-dataset==1.0.0.pos"
    with pytest.raises(DataError, match=expected):
        fetch_solar_cells(folder)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_an_installation_that_hangs_is_ended(
    folder: Path, own_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solar_cells, "INSTALL_SECONDS", 0.05)
    with pytest.raises(DataError, match=r"could not be installed within 0\.05 s"):
        fetch_solar_cells(folder)
    assert list(folder.iterdir()) == []


def test_without_pip_and_uv_the_error_says_so(
    folder: Path, own_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solar_cells.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(solar_cells.shutil, "which", lambda name, path: None)
    with pytest.raises(DataError, match="neither pip nor uv is here"):
        fetch_solar_cells(folder)


@pytest.mark.slow
def test_an_installer_that_cannot_start_is_an_error(
    folder: Path, own_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solar_cells.sys, "executable", "/no/such/python")
    with pytest.raises(DataError, match=r"could not be installed: .*No such file"):
        fetch_solar_cells(folder)
