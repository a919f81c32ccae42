"""A run's charts as files: of runs by name, of what jobs gave, of comparisons and curves."""

import shutil
from pathlib import Path

import pytest

import handful
from handful.errors import DataError, OutputError, UsageError
from test_evaluation_comparison import compare, first_right
from test_evaluation_comparison import run as training


@pytest.fixture
def runs(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run, "runs/leaf-1")
    return Path("runs")


def test_the_figures_of_a_run_lie_beside_it(runs: Path) -> None:
    drawn = handful.figures("latest")
    assert drawn.path == runs / "leaf-1-figures"
    names = [file.name for file in drawn.files]
    assert names == ["classes.png", "confidence.png", "confusion.png", "reliability.png"]
    assert all(file.is_file() and file.parent == drawn.path for file in drawn.files)
    assert drawn.to_dict() == {
        "path": str(drawn.path),
        "figures": [str(file) for file in drawn.files],
    }
    assert repr(drawn).startswith("<Figures: 4 figures in runs/leaf-1-figures: classes.png, ")
    with pytest.raises(OutputError, match="leaf-1-figures exists already"):
        handful.figures("leaf")
    row = handful.figures(handful.runs()[0], output="slides")
    assert row.path == Path("slides") and len(row.files) == 4


def test_what_is_no_run_has_no_figures(runs: Path, tmp_path: Path) -> None:
    (runs / "leaf-check").mkdir()
    with pytest.raises(DataError, match=r"runs/leaf-check has no run\.json, comparison\.json"):
        handful.figures("leaf-check")
    with pytest.raises(UsageError, match="`run` is 3; expected a run's folder, its name"):
        handful.figures(3)  # type: ignore[arg-type]
    unwritten = compare(training("one", first_right(140), path=runs / "leaf-1"))
    with pytest.raises(UsageError, match="`run` was not written; expected one that was made"):
        handful.figures(unwritten)
    with pytest.raises(UsageError, match="`output` is 3; expected a path"):
        handful.figures("leaf", output=3)  # type: ignore[arg-type]


def test_the_figures_of_a_curve_are_drawn_of_what_curve_gave(
    photo_folder: Path, tiny_backbone: object, runs: Path
) -> None:
    found = handful.curve(photo_folder, reporter=handful.Reporter())
    assert found.path == runs / f"{photo_folder.name}-curve"
    drawn = handful.figures(found)
    assert [file.name for file in drawn.files] == ["learning_curve.png"]
    by_name = handful.figures(found.path.name, output="again")
    assert [file.name for file in by_name.files] == ["learning_curve.png"]
