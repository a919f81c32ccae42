"""The solar-cell photos of PyPI's `elpv-dataset`: for where a package registry is all the network.

The package is data: it is installed, never imported, and its table of labels is read here.
"""

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from handful.children import tied
from handful.errors import DataError
from handful.files.atomic import new_file, new_folder
from handful.reporting import Reporter

INSTALL_SECONDS = 600
SOLAR_CELLS = "elpv-dataset"
SOLAR_CELLS_VERSION = "1.0.0.post1"
NUM_SOLAR_CELLS = 2624
SOLAR_CELLS_CREDIT = (
    "Photos: elpv-dataset, CC BY-NC-SA 4.0 (not for commercial use). Please cite Buerhop-Lutz et "
    "al. 2018, Deitsch et al. 2019 and Deitsch et al. 2021; NOTICE has the full references."
)


def fetch_solar_cells(folder: Path, reporter: Reporter | None = None) -> Path:
    """Path of a table of the solar cells of PyPI's `elpv-dataset`, installed if need be.

    The package is used where Python finds it. Otherwise it goes into a folder of its own, and the
    environment that handful runs in stays as it is.

    Args:
        folder: Existing folder for the table, and for the package if it must be installed.
        reporter: Told before something is installed.

    Returns:
        CSV with the columns path and label: "defective" where the probability of a defect is 0.5
        or more, else "intact".

    Raises:
        DataError: When the package cannot be installed or is not the one expected.
        OSError: When the folder cannot be written.

    Source:
        Deitsch et al., Automatic classification of defective photovoltaic module cells in
        electroluminescence images, Solar Energy 185, 2019.
    """
    table = folder / f"{SOLAR_CELLS}.csv"
    own = folder / f"{SOLAR_CELLS}-{SOLAR_CELLS_VERSION}"
    reporter = Reporter(reporter)
    problem = ""
    for package in (_installed_package(), own / "elpv_dataset"):
        if package is not None and package.is_dir():
            try:
                return write_solar_cell_table(package / "data", table)
            except DataError as error:
                problem = str(error)
    if problem:
        reporter.log(problem)
    if own.exists():
        shutil.rmtree(own)
    _install_solar_cells(own, reporter)
    return write_solar_cell_table(own / "elpv_dataset" / "data", table)


def _installed_package() -> Path | None:
    """Folder of the package where Python finds it; it is not imported."""
    spec = importlib.util.find_spec("elpv_dataset")
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def _install_solar_cells(target: Path, reporter: Reporter) -> None:
    """Install the package by name, without what it would bring along, into a folder."""
    command = _installer()
    reporter.log(f"Installing {SOLAR_CELLS} {SOLAR_CELLS_VERSION} (91 MB of photos) into {target}.")
    with new_folder(target) as folder:
        command += ["--target", str(folder), f"{SOLAR_CELLS}=={SOLAR_CELLS_VERSION}"]
        try:
            ended = subprocess.run(
                tied(command),
                # A setting of pip that excludes --target.
                env={**os.environ, "PIP_USER": "0"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=INSTALL_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(
                f"{SOLAR_CELLS} could not be installed within {INSTALL_SECONDS} s."
            ) from error
        except OSError as error:
            raise DataError(f"{SOLAR_CELLS} could not be installed: {error}.") from error
        if ended.returncode != 0:
            words = [line for line in ended.stderr.splitlines() if line.strip()]
            reason = words[-1].strip().removeprefix("ERROR: ") if words else "no reason given"
            raise DataError(f"{SOLAR_CELLS} could not be installed: {reason.rstrip('.')}.")


def _installer() -> list[str]:
    """The start of a command that installs one package, bounded in time, and runs none of it."""
    options = ["install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    if importlib.util.find_spec("pip") is not None:
        bounded = ["--disable-pip-version-check", "--no-input", "--no-compile"]
        bounded += ["--retries", "2", "--timeout", "15"]
        return [sys.executable, "-m", "pip", *options, *bounded]
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    uv = shutil.which("uv", path=search)
    if uv is None:
        raise DataError(
            f"{SOLAR_CELLS} could not be installed: neither pip nor uv is here. Install it with "
            "the tool that installed handful."
        )
    return [uv, "pip", *options, "--python", sys.executable]


def write_solar_cell_table(data_folder: Path, table: Path) -> Path:
    """Write the labels of the solar cells in the form that `load_index` takes.

    Args:
        data_folder: The package's folder with `labels.csv`: path, probability of a defect and
            kind of cell, with spaces between them.
        table: CSV to write, with absolute paths.

    Returns:
        The path of the table.

    Raises:
        DataError: When a photo or a label is missing or is not what is expected.
        OSError: When the table cannot be written.
    """
    labels = data_folder / "labels.csv"
    fix = f"Install {SOLAR_CELLS} {SOLAR_CELLS_VERSION} afresh."
    try:
        rows = [line.split() for line in labels.read_text(encoding="utf-8").splitlines()]
        cells = [(data_folder.resolve() / path, float(chance)) for path, chance, _ in rows]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{labels} is not the table expected: {reason}. {fix}") from error
    missing = [path for path, _ in cells if not path.is_file()]
    if len(cells) != NUM_SOLAR_CELLS or missing:
        raise DataError(
            f"{data_folder} has {len(cells) - len(missing):,} of {len(cells):,} listed photos; "
            f"expected {NUM_SOLAR_CELLS:,}. {fix}"
        )
    with (
        new_file(table, replace=True) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label"))
        writer.writerows(
            (path, "defective" if chance >= 0.5 else "intact") for path, chance in cells
        )
    return table
