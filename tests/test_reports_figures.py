import json
import logging
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from handful.cli.commands import app
from handful.data.ignored import is_figure
from handful.errors import DataError, MissingExtraError, OutputError
from handful.files.tables import write_csv
from handful.reports import figures
from handful.reports.charts import reliability_chart
from handful.reports.figures import plot, plot_confusion, write_figures
from handful.reports.training_charts import history_charts
from test_reports_charts import curve, draw_evaluation, draw_strategies, rising

__all__ = ["curve"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "DOTS_PER_INCH", 60)


def put_run(folder: Path, names: list[str], num: int = 60, epochs: int = 0, **result: Any) -> Path:
    """What figures need of a run's folder."""
    folder.mkdir(parents=True)
    evaluation = draw_evaluation(num, names)
    rows = zip(evaluation.labels, evaluation.predicted, evaluation.probabilities, strict=True)
    write_csv(
        folder / "predictions.csv",
        [
            ["path", "label", "predicted", "group", *names],
            *(["x", names[a], names[b], row, *some] for row, (a, b, some) in enumerate(rows)),
        ],
    )
    history = rising(epochs, 0.9, 0.1) if epochs else {"accuracy": [0.9]}
    columns = {"epoch": [*range(1, epochs + 1)], **history} if epochs else history
    write_csv(folder / "history.csv", [list(columns), *zip(*columns.values(), strict=True)])
    facts = {"config": {"strategy": "scratch"}, "result": result}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num", "names"),
    [
        (1, ["a", "b"]),
        (60, ["$x^{", "a_$b$", "\\frac", "猫", "<script>", "عربى"]),
        (60, ["bad\udce9bytes", "line\nbreak", "\x07", "", "n" * 300]),
        (99, [f"a class with a long name, number {number}" for number in range(45)]),
    ],
)
def test_figures_of_any_names_are_drawn_quietly(
    tmp_path: Path, num: int, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = put_run(tmp_path / "run", names, num)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        paths = write_figures(run, tmp_path / "out")
    assert caught == [] and caplog.records == []
    stems = ["classes", "confidence", "confusion", "reliability"]
    assert [path.name for path in paths] == [f"{stem}.png" for stem in stems]
    for path in paths:
        assert is_figure(path.read_bytes())
        with Image.open(path) as image:
            assert image.format == "PNG" and 200 < image.width < 900 and 100 < image.height < 1100
            colors = image.convert("RGB").getcolors(1 << 24)
            assert colors is not None and len(colors) > 50


@pytest.mark.slow
def test_a_run_has_a_figure_of_all_that_was_measured(tmp_path: Path, curve: Any) -> None:
    spread = {
        "accuracy": {"mean": 0.9, "interval": [0.8, 0.95]},
        "resamples": [{"accuracy": 0.85}, {"accuracy": 0.95}],
    }
    more = {"resampling": spread, "learning_curve": curve.to_dict()}
    run = put_run(tmp_path / "run", ["a", "b"], epochs=5, **more)
    stems = {path.stem for path in write_figures(run, tmp_path / "out")}
    assert stems >= {"confusion", "history", "spread", "learning_curve"}
    with pytest.raises(OutputError, match="out exists already"):
        write_figures(run, tmp_path / "out")


@pytest.mark.slow
def test_comparisons_and_curves_have_figures_too(tmp_path: Path, curve: Any) -> None:
    strategies = draw_strategies()[:2]
    strategies[1]["name"] = "transfer"
    put_run(tmp_path / "pets" / "scratch-0", ["a", "b"], epochs=4)
    put_run(tmp_path / "pets" / "transfer-0", ["a", "b"])
    (tmp_path / "pets" / "comparison.json").write_text(
        json.dumps({"result": {"strategies": strategies}})
    )
    paths = write_figures(tmp_path / "pets", tmp_path / "one")
    assert [path.name for path in paths] == ["comparison.png", "histories.png"]
    (tmp_path / "curve").mkdir()
    facts = {"curve": curve.to_dict(), "target": vars(curve.photos_for(0.85))}
    (tmp_path / "curve" / "curve.json").write_text(json.dumps(facts))
    paths = write_figures(tmp_path / "curve", tmp_path / "two")
    assert [path.name for path in paths] == ["learning_curve.png"]


@pytest.mark.slow
def test_the_command_names_the_files(tmp_path: Path) -> None:
    run = put_run(tmp_path / "run", ["a", "b"])
    result = CliRunner().invoke(app, ["figures", str(run)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == f"Figure: {tmp_path / 'run-figures' / 'classes.png'}"
    result = CliRunner().invoke(app, ["figures", str(run), "-o", str(tmp_path / "x"), "--json"])
    assert [Path(name).name for name in json.loads(result.stdout)["figures"]] == [
        "classes.png",
        "confidence.png",
        "confusion.png",
        "reliability.png",
    ]


def test_what_is_no_run_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no run\.json, comparison\.json, curve\.json; give"):
        write_figures(tmp_path, tmp_path / "out")
    run = put_run(tmp_path / "run", ["a", "b"], learning_curve={"points": []})
    with pytest.raises(DataError, match=r"run\.json cannot be drawn .*; make the folder again"):
        write_figures(run, tmp_path / "out")
    (run / "predictions.csv").unlink()
    with pytest.raises(DataError, match=r"predictions\.csv"):
        write_figures(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'handful\[figures\]'"):
        write_figures(put_run(tmp_path / "run", ["a", "b"]), tmp_path / "out")


def test_a_figure_has_the_marks_of_its_charts() -> None:
    curve = draw_evaluation(200, ["a", "b"]).reliability
    axes = plot([reliability_chart(curve)]).axes[0]
    bars = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(bars, curve.accuracy[curve.counts > 0])
    both = plot(history_charts({"$x^{": rising(9, 1.0, 0.22)}))
    left, right = both.axes
    assert len(left.lines) == len(right.lines) == 2
    np.testing.assert_allclose(left.lines[0].get_xdata(), np.linspace(0, 1, 9))
    assert left.lines[0].is_dashed() and not left.lines[1].is_dashed()
    assert {"Accuracy", "Loss", "+22", "epoch", "$x^{", "training", "validation"} <= {*texts(both)}


def test_the_matrix_shows_every_count_and_name() -> None:
    evaluation = draw_evaluation(200, ["cats", "dogs", "owls"])
    figure = plot_confusion(evaluation.confusion, evaluation.class_names)
    assert {str(count) for count in evaluation.confusion.flat} <= set(texts(figure))
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        assert [label.get_text() for label in labels] == list(evaluation.class_names)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array().sum(axis=1), 1)
    blank = plot_confusion(np.array([[3, 1], [0, 0]]), ["a", "b"])
    np.testing.assert_allclose(blank.axes[0].images[0].get_array(), [[0.75, 0.25], [0, 0]])
    names = [f"class {number}" for number in range(60)]
    assert not set(names) & set(texts(plot_confusion(np.eye(60, dtype=np.int64), names)))


@pytest.mark.slow
def test_the_users_latex_and_log_settings_are_left_alone(tmp_path: Path) -> None:
    import matplotlib

    logger, level = logging.getLogger("matplotlib"), logging.getLogger("matplotlib").level
    filters = list(warnings.filters)
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30}):
        write_figures(put_run(tmp_path / "run", ["a_b", "50 %"]), tmp_path / "out")
        assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["font.size"] == 30
    assert logger.level == level and list(warnings.filters) == filters


@pytest.mark.slow
def test_figures_open_no_window_and_matplotlib_loads_late() -> None:
    code = (
        "import sys, numpy as np, handful.reports.figures as plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.plot_confusion(np.eye(2, dtype=int), ['a', 'b'])\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
        "print('checked')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "checked\n"


@pytest.mark.slow
def test_a_run_is_drawn_by_its_name(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_run, tmp_path / "runs" / "cells")
    monkeypatch.chdir(tmp_path)
    for name in ("latest", "cel"):
        result = CliRunner().invoke(app, ["figures", name, "-o", name])
        assert result.exit_code == 0 and list((tmp_path / name).glob("*.png"))
