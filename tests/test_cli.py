import csv
import errno
import inspect
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from conftest import REPOSITORY, draw_photo, write_photo
from handful.cli.commands import app
from handful.errors import DataError, HandfulError, UsageError
from handful.features.conversion import FrozenNetwork
from handful.files.tables import read_csv
from handful.run_store.store import RunStore, checkpoint_path
from handful.wording import printable
from handful.workflows import compare as compare_workflow
from handful.workflows import train as train_workflow

VERBS = (
    "train",
    "compare",
    "evaluate",
    "predict",
    "embed",
    "explain",
    "check",
    "curve",
    "figures",
    "studio",
    "cache",
    "demo",
    "preview",
    "summary",
    "backbones",
    "data",
    "serve",
    "export",
    "runs",
    "labels",
)


# A job in the background of a script is born deaf to SIGINT, one of `nohup` to SIGHUP, and so are
# their children.
_SIGNALS_COUNT = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def run_path(photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path) -> Path:
    path = tmp_path / "run"
    train_workflow.train(photo_folder, output=path)
    return path


def test_train_prints_a_summary_and_where_the_report_is(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    result = invoke("train", photo_folder, "-o", tmp_path / "run")
    assert result.exit_code == 0
    assert re.match(
        r"\d+ of 10 validation photos classified correctly: \d[\d.]* % \(95 %", result.stdout
    )
    assert re.search(
        r"\nExpect \d+ to \d+ of 100 new photos to be right. 10 test photos is few; about \d+ "
        r"more would halve the uncertainty.\nReport: ",
        result.stdout,
    )
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in result.stdout
    assert result.stderr == ""


def test_train_json_is_one_object_with_the_documented_names(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    result = invoke("train", photo_folder, "-o", tmp_path / "run", "--json")
    facts = json.loads(result.stdout)
    assert set(facts) == {
        "accuracy",
        "accuracy_interval",
        "advice",
        "ladder",
        "num_train",
        "num_validation",
        "class_names",
        "strategy",
        "recipe",
        "backbone",
        "provenance",
        "device",
        "training",
        "photos_per_second",
        "resampling",
        "limitations",
        "learning_curve",
        "guarantees",
        "num_unlike_training",
        "num_doubtful_labels",
        "seconds",
        "cache",
        "problems",
        "run_path",
    }
    assert set(facts["seconds"]) == {
        "total",
        "index",
        "convert",
        "decode",
        "embed",
        "fit",
        "evaluate",
        "report",
    }
    low, high = facts["accuracy_interval"]
    assert 0 <= low <= facts["accuracy"] <= high <= 1
    assert facts["run_path"] == str(tmp_path / "run")
    documented = (REPOSITORY / "docs" / "file-formats.md").read_text()
    for name in (*facts, *facts["seconds"], *facts["problems"]):
        assert f"`{name}`" in documented


@pytest.mark.slow
def test_runs_get_names_of_their_own(
    photo_folder: Path,
    tiny_backbone: FrozenNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for expected in ("", "-2"):
        facts = json.loads(invoke("train", photo_folder, "--json").stdout)
        assert facts["run_path"] == str(Path("runs") / (photo_folder.name + expected))


@pytest.mark.slow
def test_train_repeats_a_run(run_path: Path, tmp_path: Path) -> None:
    result = invoke("train", "--from", run_path / "run.json", "-o", tmp_path / "again", "--json")
    facts = json.loads((run_path / "run.json").read_text())
    assert json.loads(result.stdout)["accuracy"] == facts["result"]["accuracy"]
    for arguments in (("train",), ("train", "x", "--from", "y")):
        result = invoke(*arguments)
        assert result.exit_code == 2 and "give either PHOTOS or --from" in result.stderr


def test_every_train_option_reaches_the_job(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, object] = {}

    def remember(photos: object, config: object, **options: object) -> None:
        asked.update(photos=photos, config=config, **options)
        raise HandfulError("enough")

    monkeypatch.setattr(train_workflow, "train", remember)
    changes: dict[str, object] = {
        "backbone": "xception",
        "weights": "w.h5",
        "image_size": 150,
        "resize": "crop",
        "precision": "f32",
        "views": 3,
        "epochs": 7,
        "batch_size": 9,
        "learning_rate": 0.25,
        "patience": 4,
        "class_weight": "none",
        "validation_fraction": 0.3,
        "difference": 0.05,
        "seed": 7,
        "max_megapixels": 9.0,
    }
    options = [
        part for name, value in changes.items() for part in (f"--{name.replace('_', '-')}", value)
    ]
    result = invoke(
        "train", photo_folder, *options, "--tta", "--drop-leaks", "--no-cache", "--split", "s.csv",
        "--time-budget", 1.5, "--recipe", "keras-tutorial", "--resume", "-o", "run",
    )  # fmt: skip
    assert result.exit_code == 1
    changes |= {"recipe": "keras-tutorial", "time_budget": 1.5}
    expected = train_workflow.TrainConfig(**changes, tta=True, drop_leaks=True)  # type: ignore[arg-type]
    assert asked["config"] == expected
    assert asked["use_cache"] is False and asked["split"] == Path("s.csv")
    assert asked["resume"] is True and asked["output"] == Path("run")
    scratch = ("--strategy", "scratch", "--network", "mine.py:build")
    invoke("train", photo_folder, *scratch, "-o", "run")
    assert asked["config"] == train_workflow.TrainConfig(
        strategy="scratch", network="mine.py:build"
    )
    invoke("train", photo_folder, "--seeds", 4, "--folds", 3, "-o", "run")
    assert asked["config"] == train_workflow.TrainConfig(seeds=4, folds=3)


@pytest.mark.slow
def test_train_says_how_far_accuracy_spreads(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    result = invoke("train", photo_folder, "--folds", 3, "--seeds", 2, "-o", tmp_path / "run")
    lines = result.stdout.splitlines()
    assert lines[1].startswith("Over 2 times 3 folds: ")
    assert lines[2].startswith("(each a classifier trained again on about 32 photos and tested on")
    assert re.match(
        r"10 validation photos cannot show a difference of 2 points .*: about [\d,]+ would",
        lines[3],
    )
    result = invoke("train", "--from", tmp_path / "run", "-o", tmp_path / "again", "--json")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["result"]
    again = json.loads(result.stdout)
    assert (
        again["resampling"] == facts["resampling"] and again["limitations"] == facts["limitations"]
    )
    assert len(again["resampling"]["resamples"]) == 6 and "resample" in again["seconds"]
    documented = (REPOSITORY / "docs" / "file-formats.md").read_text()
    spread = again["resampling"]
    for name in (*spread, *spread["accuracy"], *spread["resamples"][0], "resample"):
        assert f"`{name}`" in documented
    result = invoke("train", photo_folder, "--folds", 25, "-o", tmp_path / "many")
    assert result.exit_code == 1
    assert 'Error: Class "round" has 24 training and validation photos in 24 g' in result.stderr


def test_predict_prints_a_table_json_or_csv(run_path: Path, photo_folder: Path) -> None:
    paths = [photo_folder / "round" / "000.jpg", photo_folder / "square"]
    table = invoke("predict", run_path, *paths)
    assert table.exit_code == 0
    lines = table.stdout.splitlines()
    assert len(lines) == 25
    assert re.fullmatch(r"\S+round/000\.jpg +round +\d+\.\d+ %", lines[0])
    facts = json.loads(invoke("predict", run_path, *paths, "--json").stdout)
    assert set(facts) == {"predictions", "errors"} and facts["errors"] == []
    first = facts["predictions"][0]
    assert set(first) == {"path", "label", "probability", "probabilities", "is_out_of_distribution"}
    assert first["probabilities"][first["label"]] == first["probability"]
    rows = list(csv.DictReader(io.StringIO(invoke("predict", run_path, *paths, "--csv").stdout)))
    assert [row["label"] for row in rows] == [p["label"] for p in facts["predictions"]]
    assert float(rows[0]["round"]) == first["probabilities"]["round"]
    both = invoke("predict", run_path, *paths, "--csv", "--json")
    assert both.exit_code == 2 and "exclude each other" in both.stderr


@pytest.mark.slow
def test_predict_says_not_sure_and_what_else_it_may_be(
    run_path: Path, photo_folder: Path, tmp_path: Path
) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    write_photo(tmp_path / "stripes.png", stripes)
    paths = [tmp_path / "stripes.png", photo_folder / "round"]
    options = ("--error-rate", "0.1", "--coverage", "0.95")
    table = invoke("predict", run_path, *paths, *options)
    assert table.exit_code == 0
    odd, *others, told = table.stdout.splitlines()
    assert re.search(
        r"not sure \(\w+\?\) +\d+\.\d %  \{\w+(, \w+)*\}  looks unlike the training", odd
    )
    assert all(re.search(r"round +\S.* %  \{round", line) for line in others[:3])
    assert re.match(r"2\d of 25 answered: those with \d\d\.\d % or more that look like", told)
    facts = json.loads(invoke("predict", run_path, *paths, *options, "--json").stdout)
    assert facts["abstaining"]["error_rate"] == 0.1
    assert facts["predictions"][0]["is_confident"] is False
    assert facts["predictions"][0]["is_out_of_distribution"] is True
    assert facts["predictions"][1]["prediction_set"][0] == "round"
    text = invoke("predict", run_path, *paths, *options, "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["is_confident"] == "no" and rows[0]["is_out_of_distribution"] == "yes"
    assert rows[1]["prediction_set"].split(" | ")[0] == "round"


@pytest.mark.slow
def test_predict_answers_at_the_smallest_rate_that_few_photos_show(
    run_path: Path, photo_folder: Path
) -> None:
    result = invoke("predict", run_path, photo_folder, "--abstain")  # 1 % of 38 photos
    assert result.exit_code == 0
    last = result.stdout.splitlines()[-1]
    found = re.search(r"at most (\S+) % of such answers are wrong; 1 % cannot be shown on 38", last)
    assert found is not None and 5 < float(found[1]) < 50
    facts = json.loads(invoke("predict", run_path, photo_folder, "--abstain", "--json").stdout)
    rule = facts["abstaining"]
    assert rule["error_rate"] == 0.01 and rule["confidence"] == 0.95
    assert 100 * rule["shown_error_rate"] == pytest.approx(float(found[1]))
    sure = [answer["is_confident"] for answer in facts["predictions"]]
    assert any(sure) and last.startswith(f"{sum(sure)} of {len(sure)} answered")
    for share in ("1e-12", "0.999999999999"):
        result = invoke(
            "predict", run_path, photo_folder, "--coverage", share, "--error-rate", share
        )
        assert result.exit_code == 0


def test_predict_refuses_what_is_no_share_before_the_work(
    run_path: Path, photo_folder: Path
) -> None:
    result = invoke("predict", run_path, photo_folder, "--coverage", "95")
    assert (
        result.exit_code == 2
        and "--coverage is 95.0; expected a number between 0 and 1" in result.stderr
    )


def test_predict_goes_on_past_a_bad_photo_and_exits_with_1(
    run_path: Path, photo_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    good = photo_folder / "round" / "000.jpg"
    for options in ((), ("--csv",), ("--json",)):
        result = invoke("predict", run_path, tmp_path / "text.jpg", good, *options)
        assert result.exit_code == 1
        assert "000.jpg" in result.stdout
    facts = json.loads(result.stdout)
    assert facts["errors"][0]["path"] == str(tmp_path / "text.jpg")
    assert len(facts["predictions"]) == 1
    result = invoke("predict", run_path, tmp_path / "text.jpg", good)
    assert f"Error: {tmp_path / 'text.jpg'} " in result.stderr


def test_evaluate_prints_scores(run_path: Path, photo_folder: Path) -> None:
    result = invoke("evaluate", run_path, photo_folder)
    assert re.match(r"\d+ of 48 photos classified correctly: \d[\d.]* % \(", result.stdout)
    assert re.match(r"Expect \d+ to \d+ of 100 new photos", result.stdout.splitlines()[-1])
    assert re.search(r"round +24 +\d\.\d{3} +\d\.\d{3} +\d\.\d{3}", result.stdout)
    facts = json.loads(invoke("evaluate", run_path, photo_folder, "--json").stdout)
    assert {"accuracy", "accuracy_interval", "num_images", "per_class", "confusion"} <= set(facts)
    assert np.sum(facts["confusion"]) == facts["num_images"] == 48


def test_evaluate_says_what_is_odd_about_the_photos(run_path: Path, tmp_path: Path) -> None:
    for kind in ("round", "square"):
        write_photo(tmp_path / "new" / kind / "1.png", draw_photo("round", 4321))
    said = "Warning: The same photo is labeled round and square: round/1.png, square/1.png"
    assert said in invoke("evaluate", run_path, tmp_path / "new").stdout.splitlines()
    facts = json.loads(invoke("evaluate", run_path, tmp_path / "new", "--json").stdout)
    assert [f"Warning: {line}" for line in facts["warnings"]] == [said]


@pytest.mark.slow
def test_check_prints_findings_and_where_the_page_is(
    photo_folder: Path,
    tiny_backbone: FrozenNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "messy"
    for number in range(12):
        for kind in ("round", "square"):
            write_photo(folder / kind / f"{number}.png", draw_photo(kind, number))
    write_photo(folder / "round" / "copy.png", draw_photo("round", 0))
    (folder / "round" / "text.jpg").write_text("no photo")
    result = invoke("check", folder)
    assert result.exit_code == 0
    assert "25 readable photos: 25 PNG" in result.stdout
    assert "Warning: 1 photo is an exact copy of another" in result.stdout
    assert "round/0.png = round/copy.png" in result.stdout
    assert "Warning: 1 file cannot be used" in result.stdout
    assert result.stdout.count(f"$ handful check {folder} --fix-list fixes.csv") == 1
    assert "Page: runs/messy-check/check.html" in result.stdout
    assert (tmp_path / "runs" / "messy-check" / "check.html").is_file()
    facts = json.loads(invoke("check", folder, "--json").stdout)
    assert facts["num_images"] == 25 and facts["page"] == "runs/messy-check/check.html"


def test_check_says_when_all_is_well(
    tiny_backbone: FrozenNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        for kind in ("round", "square"):
            for copy in range(2):
                image = draw_photo(kind, 100 * copy + number, (96, 96))
                write_photo(tmp_path / "photos" / kind / f"{number}-{copy}.bmp", image)
    result = invoke("check", tmp_path / "photos", "-o", tmp_path / "out")
    assert "No problems found" in result.stdout
    assert "Note: " not in result.stdout and "Warning: " not in result.stdout


@pytest.mark.slow
def test_a_fix_list_goes_from_check_to_train(
    tiny_backbone: FrozenNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        for kind in ("round", "square"):
            write_photo(Path("photos") / kind / f"{number}.png", draw_photo(kind, number))
    write_photo(Path("photos/round/copy.png"), draw_photo("round", 0))
    result = invoke("check", "photos", "--fix-list", "fixes.csv")
    assert re.search(r"Fix list: fixes\.csv, \d+ to go through", result.stdout)
    assert "$ handful train photos --fixes fixes.csv" in result.stdout
    assert Path("fixes.csv").read_text().startswith("path,action,label,reason\n")
    again = invoke("check", "photos", "--fix-list", "fixes.csv")
    assert again.exit_code == 1
    assert "fixes.csv exists already, and may hold decisions of yours" in again.stderr
    fixed = invoke("train", "photos", "--fixes", "fixes.csv", "-o", "run")
    assert fixed.exit_code == 0 and "fixes.csv: 1 photos left out" in fixed.stdout
    facts = json.loads(invoke("evaluate", "run", "photos", "--fixes", "fixes.csv", "--json").stdout)
    assert facts["num_images"] == 24
    missing = invoke("train", "photos", "--fixes", "none.csv", "-o", "other")
    assert missing.exit_code == 1 and not Path("other").exists()
    assert "none.csv cannot be read (No such file or directory)" in missing.stderr


def test_cache_info_and_clear(run_path: Path, own_cache: Path) -> None:
    result = invoke("cache", "--info")
    assert "48 embeddings of 48 decoded photos" in result.stdout
    assert json.loads(invoke("cache", "--info", "--json").stdout)["embeddings"] == 48
    assert f"Cleared: {own_cache}" in invoke("cache", "--clear").stdout
    assert json.loads(invoke("cache", "--info", "--json").stdout)["embeddings"] == 0
    assert "give --info or --clear" in invoke("cache").stderr


def test_errors_are_one_line_and_exit_with_1(tmp_path: Path) -> None:
    result = invoke("train", tmp_path / "absent")
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: .*absent.*\n", result.stderr)
    assert result.stdout == ""
    result = invoke("predict", tmp_path / "absent", "x.jpg")
    assert result.exit_code == 1 and "is not a run or a classifier" in result.stderr


def test_wrong_usage_exits_with_2(photo_folder: Path) -> None:
    for arguments, message in (
        (("train", photo_folder, "--resize", "stretch"), "--resize is 'stretch'; expected one of"),
        (("train", photo_folder, "--validation-fraction", "2"), "--validation-fraction is 2.0"),
        (("train", photo_folder, "--backbone", "resnet-9000"), "resnet-9000"),
        (("train", photo_folder, "--views", "0"), "--views is 0; expected 1 to 64"),
        (
            ("train", photo_folder, "--recipe", "mnist", "--strategy", "augmented"),
            "The recipe 'mnist' has no strategy 'augmented'; expected scratch, or another recipe",
        ),
        (("train", photo_folder, "--epochs", "0"), "--epochs is 0; expected 1 to 100000"),
        (("train", photo_folder, "--network", "m.py:b"), "a network of one's own is trained by"),
        (("train", photo_folder, "--epochs", "7"), "does not use --epochs; leave it out"),
        (("train", photo_folder, "--time-budget", "7"), "does not use --time-budget; leave it out"),
        (("train", photo_folder, "--folds", "1"), "--folds is 1; expected 2 to 1000"),
        (
            ("train", photo_folder, "--difference", "2"),
            "--difference is 2.0; expected more than 0, at most 1",
        ),
        (
            ("train", photo_folder, "--strategy", "scratch", "--seeds", "3"),
            "does not use --seeds or --folds; leave them out",
        ),
        (("compare", photo_folder, "--strategy", "magic"), "--strategy is 'magic'; expected one"),
        (("compare", photo_folder, "--seeds", "0"), "--seeds is 0; expected 1 to 100"),
        (("predict",), "Missing argument"),
        (("fly",), "No such command"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2, arguments
        assert message in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("`seed` is -1; expected 0 or more."), 2, "--seed is -1; expected 0 or more."),
        (DataError("photos/\x1b[2J\n.jpg is bad"), 1, r"photos/\x1b[2J\n.jpg is bad"),
        (ValueError("operands could not\nbe broadcast"), 1, "(ValueError: operands could not)"),
        (RecursionError(), 1, "(RecursionError)"),
        (KeyError("x"), 1, "(KeyError: 'x')"),
        (MemoryError(), 1, "out of memory; close other programs"),
        (
            FileNotFoundError(2, "No such file or directory", "a/\x07b"),
            1,
            r"a/\x07b cannot be used",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full; make room"),
        (
            OSError(errno.EIO, "x", "photos/1.jpg"),
            1,
            "photos/1.jpg cannot be used: the disk or net",
        ),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "(BrokenPipeError: [Errno 32]"),
        (KeyboardInterrupt(), 130, "interrupted; nothing half-written is left"),
    ],
)
def test_whatever_happens_is_one_line_and_what_nobody_foresaw_is_kept(
    error: BaseException,
    code: int,
    words: str,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("HANDFUL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(train_workflow, "train", fail)
    result = invoke("train", photo_folder, "-o", tmp_path / "run")
    assert result.exit_code == code
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert words in result.stderr
    kept = re.search(r"The details are in (\S+\.log)\.\n", result.stderr)
    assert ("not foreseen" in result.stderr) == bool(kept)
    if kept:
        text = Path(kept[1]).read_text(encoding="utf-8")
        assert "in fail\n" in text and type(error).__name__ in text


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_said(tiny_run: Path, photo_folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which this system lacks")
    for option in ("--json", "--csv"):
        command = f"{sys.executable} -m handful predict {tiny_run} {photo_folder} {option}"
        result = subprocess.run(
            ["bash", "-c", f"{command} > /dev/full"], capture_output=True, text=True, check=False
        )
        assert result.returncode == 1
        assert result.stderr == "Error: the output cannot be written: the disk is full\n"


@pytest.mark.slow
def test_an_empty_argument_is_not_the_current_folder(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "handful", "train", "", "-o", "run"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 2 and list(tmp_path.iterdir()) == []
    assert result.stderr.startswith("Error: an argument is empty, perhaps a variable without a ")


@pytest.mark.slow
def test_names_cannot_act_on_a_terminal(tiny_backbone: FrozenNetwork, tmp_path: Path) -> None:
    """Class and file names with escapes, line ends and formulas, from training to prediction."""
    hostile = ("\x1b[31mred\x1b]0;t\x07\u202e\nline2", '=HYPERLINK("x";"y")', "[bold]$x_{1$")
    for number in range(8):
        for kind, name in zip(("round", "square", "round"), hostile, strict=True):
            photo = tmp_path / "photos" / name / f"\x1b[2J\n\u202e-{number}.png"
            write_photo(photo, draw_photo(kind, hostile.index(name) * 100 + number))
    (tmp_path / "photos" / hostile[0] / "bad\x9b1m.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 300)
    photos, run = tmp_path / "photos", tmp_path / "run"
    fixes = tmp_path / "fixes.csv"
    commands = [
        ("train", photos, "-o", run),
        ("check", photos, "--fix-list", fixes, "-o", tmp_path / "check"),
        ("evaluate", run, photos),
        ("predict", run, photos),
        ("explain", run, photos / hostile[0] / "\x1b[2J\n\u202e-1.png", "-o", tmp_path / "seen"),
        ("train", photos, "--fixes", tmp_path / "no\x1bne.csv", "-o", tmp_path / "other"),
    ]
    for command in commands:
        result = invoke(*command)
        for line in (result.stdout + result.stderr).split("\n"):
            assert printable(line) == line, command
    shown = invoke("predict", run, photos)
    assert shown.exit_code == 1 and len(shown.stdout.splitlines()) == 24
    assert r"\x1b[2J\n\u202e-1.png" in shown.stdout and r"bad\x9b1m.jpg" in shown.stderr
    exact = json.loads(invoke("predict", run, photos, "--json").stdout)
    assert set(exact["predictions"][0]["probabilities"]) == set(hostile)
    table = tmp_path / "predictions.csv"
    table.write_text(invoke("predict", run, photos, "--csv").stdout, encoding="utf-8", newline="")
    header, *rows = read_csv(table)
    assert set(hostile) < set(header)
    assert {row[0] for row in rows} == {each["path"] for each in exact["predictions"]}
    with table.open(encoding="utf-8", newline="") as file:
        seen = [cell for row in csv.reader(file) for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in seen)
    for page in (run / "report.html", tmp_path / "check" / "check.html"):
        assert not set("\u202e\x1b\x07\x9b") & set(page.read_text(encoding="utf-8"))
    again = invoke("train", photos, "--fixes", fixes, "-o", tmp_path / "again")
    assert again.exit_code == 0, again.stderr


@pytest.mark.slow
def test_class_folders_whose_names_are_no_text_can_be_used(
    tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    names = (os.fsdecode(b"caf\xe9"), "$\\frac{")
    for number in range(8):
        for kind, name in zip(("round", "square"), names, strict=True):
            photo = tmp_path / "photos" / name / f"{number}{os.fsdecode(bytes([255]))}.png"
            write_photo(tmp_path / "drawn.png", draw_photo(kind, number))
            photo.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "drawn.png").rename(photo)
    photos, run = tmp_path / "photos", tmp_path / "run"
    for command in (
        ("train", photos, "-o", run),
        ("evaluate", run, photos),
        ("check", photos, "-o", tmp_path / "check"),
        ("train", photos, "--split", run / "split.csv", "-o", tmp_path / "again"),
        ("export", run, "--format", "openvino", "-o", tmp_path / "export"),
    ):
        result = invoke(*command)
        assert result.exit_code == 0, result.stderr
    facts = json.loads(invoke("predict", run, photos, "--json").stdout)
    assert {each["label"] for each in facts["predictions"]} <= set(names)


def test_an_interrupt_is_one_line_too(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_workflow, "train", interrupt)
    result = invoke("train", photo_folder, "-o", tmp_path / "run")
    assert result.exit_code == 130
    assert result.stderr.startswith("Error: interrupted")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signalled_process_leaves_nothing_half_written(
    photo_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The whole program, stopped while it indexes photos through a pipe that never ends."""
    (tmp_path / "photos.csv").write_text("path,label\n")
    script = (
        f"{_SIGNALS_COUNT}import time; from handful.cli import commands\n"
        "from handful.workflows import train\n"
        "def wait(*_, **__):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "train.load_fixed_index = wait\n"
        "commands.main()\n"
    )
    command = [sys.executable, "-c", script, "train", str(photo_folder), "-o", "runs/run"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        assert len(list((tmp_path / "runs").iterdir())) == 1
        os.kill(process.pid, number)
        errors = process.stderr.read()
    assert process.returncode == 130
    assert errors.startswith("Error: interrupted") and "Traceback" not in errors
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.slow
def test_people_watching_see_progress(run_path: Path, photo_folder: Path) -> None:
    """On a terminal a bar is drawn and wiped away; results on stdout stay clean."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "handful", "evaluate", run_path, photo_folder, "--no-cache"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, text=True) as process:
        os.close(end)
        shown = read_terminal(terminal)
        assert process.stdout is not None
        printed = process.stdout.read()
    assert process.returncode == 0, shown
    assert "48/48" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert "Traceback" not in shown
    assert "\x1b" not in printed and "48" in printed


def read_terminal(terminal: int) -> str:
    """All that is written to a terminal until its last writer is gone."""
    shown = b""
    try:
        while part := os.read(terminal, 65_536):
            shown += part
    except OSError:  # Linux's way of saying that nobody writes any more
        pass
    os.close(terminal)
    return shown.decode()


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(run_path: Path, photo_folder: Path) -> None:
    command = (
        f"{sys.executable} -m handful predict {run_path} {photo_folder} --json | head -n 1; "
        "exit ${PIPESTATUS[0]}"
    )
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in result.stderr and "Exception" not in result.stderr
    assert result.stdout == "{\n"


@pytest.mark.slow
def test_predicting_imports_no_tensorflow(run_path: Path, photo_folder: Path) -> None:
    script = (
        "import sys\n"
        "from handful.cli.commands import app\n"
        f"app(['predict', {str(run_path)!r}, {str(photo_folder / 'round' / '000.jpg')!r}], "
        "standalone_mode=False)\n"
        "heavy = {'tensorflow', 'keras', 'scipy', 'sklearn', 'matplotlib', 'jinja2', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    result = invoke(verb, "--help")
    assert result.exit_code == 0
    command = next(c for c in app.registered_commands if c.callback and c.callback.__name__ == verb)
    assert command.callback is not None and inspect.getdoc(command.callback)


def test_every_verb_is_tested_here() -> None:
    names = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert names == set(VERBS)


def test_every_option_says_what_it_does() -> None:
    for verb in VERBS:
        command = next(
            c for c in app.registered_commands if c.callback and c.callback.__name__ == verb
        )
        for name, parameter in inspect.signature(command.callback).parameters.items():  # type: ignore[arg-type]
            if parameter.annotation is typer.Context:
                continue
            (info,) = parameter.annotation.__metadata__
            assert info.help, f"{verb} {name}"


@pytest.mark.slow
def test_preview_makes_one_picture(photo_folder: Path, tmp_path: Path) -> None:
    photo, path = photo_folder / "round" / "003.jpg", tmp_path / "views.png"
    result = invoke("preview", photo, "-o", path)
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.splitlines()[0].split() == ["rotation_range", "−40°", "to", "40°"]
    assert result.stdout.splitlines()[-1] == f"Image: {path}" and path.exists()
    result = invoke("preview", photo, "-o", path)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "views.png exists already; choose another --output" in result.stderr


@pytest.mark.slow
def test_preview_json_has_the_documented_names(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo = photo_folder / "round" / "003.jpg"
    options = ("--recipe", "handful", "--image-size", 32, "--seed", 5, "--json")
    facts = json.loads(invoke("preview", photo, *options).stdout)
    assert facts["picture"] == "003-preview.png" and (tmp_path / "003-preview.png").exists()
    assert (facts["recipe"], facts["seed"], facts["height"]) == ("handful", 5, 32)
    documented = (REPOSITORY / "docs" / "file-formats.md").read_text()
    for name in (*facts, *facts["parameters"][0]):
        assert f"`{name}`" in documented


@pytest.mark.slow
def test_curve_says_what_more_photos_bring(
    photo_folder: Path,
    tiny_backbone: FrozenNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("curve", photo_folder, "--target", 0.99, "--at", 100)
    assert result.exit_code == 0 and result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["photos", "per", "class", "accuracy", "single", "trainings"]
    assert any(line.startswith("Expected accuracy with 24 photos per class: ") for line in lines)
    assert any(line.startswith("Expected accuracy with 100 photos per class: ") for line in lines)
    name = f"{photo_folder.name}-curve"
    assert lines[-1] == f"Report: runs/{name}/curve.html" and Path("runs", name).is_dir()
    result = invoke("curve", photo_folder, "--json")
    facts = json.loads(result.stdout)
    assert facts["path"] == f"runs/{name}-2" and facts["target"] is None and facts["at"] == []
    result = invoke("curve", photo_folder, "--at", 1000)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "past 8 times its photos nobody can say; ask for 192 or fewer" in result.stderr
    result = invoke("curve", photo_folder, "--target", 95)
    assert (
        result.exit_code == 2
        and "--target is 95.0; expected a number between 0 and 1, such as" in result.stderr
    )


@pytest.mark.parametrize("verb", ["preview", "summary", "data"])
def test_what_cannot_be_done_is_one_line(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_DATA", "no/such.zip")
    missing = {"preview": "none.jpg", "summary": "none.py:build", "data": "mnist"}[verb]
    result = invoke(verb, missing)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    options = {"preview": ("--recipe", "mine"), "summary": ("--num-classes", 1), "data": ()}[verb]
    result = invoke(verb, {"preview": "none.jpg", "summary": "small", "data": "x"}[verb], *options)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1


@pytest.mark.slow
def test_summary_prints_layers_and_parameters() -> None:
    result = invoke("summary", "small", "--num-classes", 3)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].split() == ["layer", "type", "output", "parameters"]
    assert re.search(r"Conv2D +128 x 128 x 24 +648$", lines[3])
    assert lines[-2:] == [
        "small: 128 x 128 x 3 in, 3 out",
        "821,259 parameters: 819,579 trainable, 1,680 not",
    ]


@pytest.mark.slow
def test_summary_tells_the_frozen_body_apart() -> None:
    result = invoke("summary", "xception")
    assert result.stdout.splitlines()[-2:] == [
        "20,863,529 parameters: 2,049 trainable, 20,861,480 not",
        "Frozen in it, xception alone: 20,861,480 parameters, 54,528 of them not trainable",
    ]


@pytest.mark.slow
def test_summary_json_has_the_documented_names() -> None:
    facts = json.loads(invoke("summary", "efficientnet-lite0", "--json").stdout)
    assert facts["input_shape"] == [224, 224, 3] and facts["trainable"] == 1281
    documented = (REPOSITORY / "docs" / "file-formats.md").read_text()
    for name in (*facts, *facts["layers"][0], *facts["body"]):
        assert f"`{name}`" in documented


@pytest.mark.real
def test_data_unpacks_and_says_when_it_is_there(
    shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_DATA", str(shared_folder / "data"))
    folder = tmp_path / "digits"
    result = invoke("data", "mnist", "-o", folder)
    assert result.exit_code == 0
    assert f"Taking {shared_folder / 'data' / 'mnist_10k.npz'}" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"{folder}: 20,000 photos."
    assert lines[1].startswith("  train: 0 (1,001), 1 (1,127)")
    assert lines[3] == f"Examples: {tmp_path / 'digits-examples.png'}"
    facts = json.loads(invoke("data", "mnist", "-o", folder, "--json", "--quiet").stdout)
    assert facts["is_new"] is False and facts["counts"]["test"]["9"] == 1009
    documented = (REPOSITORY / "docs" / "file-formats.md").read_text()
    assert all(f"`{name}`" in documented for name in facts)
    assert "It was there already, and is whole." in invoke("data", "mnist", "-o", folder).stdout


@pytest.mark.slow
def test_version() -> None:
    import handful

    assert invoke("--version").stdout == f"handful {handful.__version__}\n"
    result = subprocess.run(
        [sys.executable, "-m", "handful", "--version"], capture_output=True, text=True
    )
    assert result.stdout == f"handful {handful.__version__}\n"


NETWORK_FILE = """
import keras
from keras import layers

def build(input_shape, num_classes):
    return keras.Sequential([
        keras.Input(input_shape),
        layers.Conv2D(4, 3, strides=4, activation="relu"),
        layers.Dropout(0.3),
        layers.Flatten(),
        layers.Dense(1, activation="sigmoid"),
    ])
"""


@pytest.fixture(scope="module")
def training(
    photo_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[object], Path]:
    """The command of a short training of a network, and the run of one that was not stopped."""
    folder = tmp_path_factory.mktemp("network")
    (folder / "mine.py").write_text(NETWORK_FILE)
    command: list[object] = ["train", photo_folder, "--network", f"{folder / 'mine.py'}:build"]
    command += ["--strategy", "augmented", "--recipe", "keras-tutorial", "--image-size", 48]
    command += ["--batch-size", 12, "--no-cache", "--quiet"]
    result = invoke(*command, "--epochs", 20, "-o", folder / "run")
    assert result.exit_code == 0, result.stderr
    return command, folder / "run"


@pytest.mark.slow
def test_training_a_network_prints_a_summary(training: tuple[list[object], Path]) -> None:
    command, run = training
    result = invoke(*command, "--epochs", 1, "-o", run.with_name("short"))
    assert re.match(r"\d+ of 10 validation photos classified correctly: ", result.stdout)
    assert "38 training photos of 2 classes, sequential" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_training_goes_on_and_ends_the_same(
    training: tuple[list[object], Path], tmp_path: Path, number: signal.Signals
) -> None:
    """The whole program, stopped after its first epoch."""
    words, whole = training
    words = [*words, "--epochs", 20, "-o", tmp_path / "runs" / "run"]
    script = f"{_SIGNALS_COUNT}from handful.cli import commands\ncommands.main()"
    command = [sys.executable, "-c", script, *map(str, words)]
    checkpoint = tmp_path / "runs" / "run.checkpoint" / "checkpoint.npz"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.005)
        os.kill(process.pid, number)
        _, errors = process.communicate()
    run = tmp_path / "runs" / "run"
    if number == signal.SIGINT:
        assert process.returncode == 130, errors
        assert b"Traceback" not in errors
        assert re.search(
            rb"Stopped \(interrupted\) after epoch \d+ of 20; .* --resume goes", errors
        )
        facts = json.loads((run / "run.json").read_text())
        assert facts["result"]["training"]["stopped"] == "interrupted"
        assert invoke("predict", run, words[1]).exit_code == 0
    else:
        assert process.returncode == -signal.SIGKILL and not run.exists()
    assert checkpoint.exists()
    result = invoke(*words, "--resume", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["training"]["epochs"] == 20
    assert not checkpoint.parent.exists()
    for name in ("network.bin", "head.safetensors"):
        ours, theirs = (folder / "classifier" / name for folder in (run, whole))
        assert ours.read_bytes() == theirs.read_bytes()


def test_resume_finds_the_latest_unfinished_run(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("train", photo_folder, "--strategy", "scratch", "--resume")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "There is no unfinished training on" in result.stderr
    asked: list[tuple[Path, bool]] = []

    def remember(_: RunStore, path: Path, *, resume: bool = False) -> None:
        asked.append((path, resume))
        raise HandfulError("enough")

    monkeypatch.setattr(RunStore, "new", remember)
    place = Path("runs") / f"{photo_folder.name}-2"
    checkpoint_path(place).mkdir(parents=True)
    invoke("train", photo_folder, "--strategy", "scratch", "--resume")
    assert asked == [(place, True)]


@pytest.mark.slow
def test_divergence_is_one_line(training: tuple[list[object], Path], tmp_path: Path) -> None:
    command, _ = training
    options = ("--epochs", 3, "--learning-rate", "1e38", "-o", tmp_path / "runs" / "run")
    result = invoke(*command, *options)
    assert result.exit_code == 1
    message = r"Error: The loss is no number any more in epoch \d of 3: .* --learning-rate\.\n"
    assert re.fullmatch(message, result.stderr)
    assert not (tmp_path / "runs" / "run").exists()


@pytest.mark.slow
def test_a_time_budget_plans_fewer_epochs(
    training: tuple[list[object], Path], tmp_path: Path
) -> None:
    command, _ = training
    loud = [word for word in command if word != "--quiet"]
    options = ("--epochs", 5000, "--time-budget", 0.02, "--json", "-o", tmp_path / "run")
    result = invoke(*loud, *options)
    facts = json.loads(result.stdout)["training"]
    assert 1 <= facts["epochs"] <= facts["planned_epochs"] < 5000
    assert re.match(r"About \d+ s for [\d,]+ epochs of 4 steps\n", result.stderr)


@pytest.mark.slow
def test_compare_prints_a_table_or_json(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    words = ("compare", photo_folder, "--strategy", "transfer", "-o", tmp_path / "out")
    result = invoke(*words)
    assert result.exit_code == 0 and result.stderr == "Training transfer-0\n"
    lines = result.stdout.splitlines()
    assert re.split("  +", lines[0]) == [
        "strategy", "accuracy", "95 % interval", "gap", "seconds", "parameters", "photos/s"
    ]  # fmt: skip
    assert lines[1].startswith("transfer  ")
    assert lines[-1] == f"Report: {tmp_path / 'out' / 'comparison.html'}"
    result = invoke(*words)
    assert result.exit_code == 1 and "go on in it with --resume" in result.stderr
    facts = json.loads(invoke(*words, "--resume", "--json").stdout)
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert facts == written["result"]
    documented = (REPOSITORY / "docs" / "file-formats.md").read_text()
    (strategy,) = facts["strategies"]
    for name in (*facts, *strategy, *strategy["runs"][0]):
        assert f"`{name}`" in documented


def test_every_compare_option_reaches_the_job(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def remember(photos: object, config: object, **options: object) -> None:
        asked.update(photos=photos, config=config, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_workflow, "compare", remember)
    result = invoke(
        "compare", photo_folder, "--strategy", "transfer", "--strategy", "scratch", "--recipe",
        "keras-tutorial", "--seeds", 2, "--quick", "--resume", "--backbone", "xception",
        "--weights", "w.h5", "--network", "mine.py:build", "--epochs", 3,
        "--validation-fraction", 0.3, "--difference", 0.05, "--seed", 5, "--max-megapixels", 9.0,
    )  # fmt: skip
    assert result.exit_code == 130
    assert result.stderr.startswith(
        "Error: interrupted; what was trained is kept; the same command"
    )
    assert asked["config"] == compare_workflow.CompareConfig(
        strategy=("transfer", "scratch"),
        recipe="keras-tutorial",
        seeds=2,
        quick=True,
        backbone="xception",
        weights="w.h5",
        network="mine.py:build",
        epochs=3,
        validation_fraction=0.3,
        difference=0.05,
        seed=5,
        max_megapixels=9.0,
    )
    assert asked["output"] is None and asked["resume"] is True


def test_evaluate_warns_of_photos_learned_from(run_path: Path, photo_folder: Path) -> None:
    result = invoke("evaluate", run_path, photo_folder)
    assert (
        "Warning: 38 of these 48 photos are those the classifier learned from: the figure flatters "
        "it. Give photos that it has not seen."
    ) in result.stdout.splitlines()
    facts = json.loads(invoke("evaluate", run_path, photo_folder, "--json").stdout)
    assert facts["num_seen_in_training"] == 38
    documented = (REPOSITORY / "docs" / "file-formats.md").read_text()
    section = documented.partition("### `handful evaluate --json`")[2].partition("\n### ")[0]
    assert [name for name in facts if f"`{name}`" not in section] == []


@pytest.mark.slow
def test_evaluate_is_silent_about_photos_not_learned_from(run_path: Path, tmp_path: Path) -> None:
    for kind in ("round", "square"):
        write_photo(tmp_path / "new" / kind / "1.png", draw_photo(kind, 4321))
    for run in (run_path, run_path / "classifier"):
        assert "learned from" not in invoke("evaluate", run, tmp_path / "new").output
        facts = json.loads(invoke("evaluate", run, tmp_path / "new", "--json").stdout)
        assert facts["num_seen_in_training"] == 0
    shutil.copytree(run_path / "classifier", tmp_path / "alone")
    facts = json.loads(invoke("evaluate", tmp_path / "alone", tmp_path / "new", "--json").stdout)
    assert facts["num_seen_in_training"] is facts["seen_in_training"] is None


@pytest.mark.slow
def test_from_repeats_a_run_on_a_given_split(
    run_path: Path, photo_folder: Path, tmp_path: Path
) -> None:
    second, third = tmp_path / "second", tmp_path / "third"
    invoke("train", photo_folder, "--seed", 8, "--split", run_path / "split.csv", "-o", second)
    assert invoke("train", "--from", second, "-o", third).exit_code == 0
    texts = [(path / "split.csv").read_text() for path in (run_path, second, third)]
    assert texts[0] == texts[1] == texts[2]
    # Another split on request, though.
    train_workflow.freeze_split(
        photo_folder, train_workflow.TrainConfig(seed=5), tmp_path / "other.csv"
    )
    other = tmp_path / "fourth"
    invoke("train", "--from", second, "--split", tmp_path / "other.csv", "-o", other)
    assert (other / "split.csv").read_text() == (tmp_path / "other.csv").read_text() != texts[0]


@pytest.mark.slow
def test_options_that_from_would_ignore_are_refused(run_path: Path, tmp_path: Path) -> None:
    result = invoke("train", "--from", run_path, "--seed", 0, "--tta", "-o", tmp_path / "again")
    assert result.exit_code == 2 and not (tmp_path / "again").exists()
    assert "--from repeats a run as it was; leave out --seed, --tta, or give PHOTOS" in (
        result.stderr
    )
    beside = ("--no-cache", "--quiet", "--json", "--resume", "-o", tmp_path / "again")
    assert invoke("train", "--from", run_path, *beside).exit_code == 0


@pytest.mark.slow
def test_photos_that_changed_since_are_told(run_path: Path, tmp_path: Path) -> None:
    facts = json.loads((run_path / "run.json").read_text())
    result = invoke("train", "--from", run_path, "-o", tmp_path / "same")
    assert "have changed" not in result.stderr
    facts["data_digest"] = "0" * 32
    (run_path / "run.json").write_text(json.dumps(facts))
    result = invoke("train", "--from", run_path, "-o", tmp_path / "again")
    assert result.exit_code == 0
    assert f"Warning: {facts['photos']} has changed since {run_path} was made" in result.stdout


@pytest.mark.parametrize("verb", ["curve", "check", "compare"])
def test_default_folders_are_named_after_the_photos(
    verb: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[object] = []
    decide = RunStore.output

    def remember(*given: Any, **options: Any) -> None:
        asked.append(decide(*given, **options))
        raise HandfulError("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RunStore, "output", remember)
    for photos in ("photos.2024.jan", "/"):
        assert invoke(verb, photos).exit_code == 1
    assert asked == [Path(f"runs/photos.2024-{verb}"), Path(f"runs/photos-{verb}")]


@pytest.mark.slow
def test_names_that_are_no_valid_text_are_printed(
    photo_folder: Path, tiny_run: Path, tmp_path: Path
) -> None:
    """The whole program, for it decides how standard output is encoded."""
    shutil.copy(photo_folder / "round" / "000.jpg", tmp_path / os.fsdecode(b"x\xff.jpg"))
    script = """
import sys
from handful.cli.commands import main
for option in ("--quiet", "--csv", "--json"):
    sys.argv[3:] = [*sys.argv[3:5], option]
    print("==")
    try:
        main()
    except SystemExit as end:
        assert end.code == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", script, "predict", tiny_run, tmp_path],
        capture_output=True, text=True, env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, *printed = done.stdout.split("==\n")
    assert len(printed) == 3 and all("x\\udcff.jpg" in text for text in printed)
    (found,) = json.loads(printed[2])["predictions"]
    assert found["path"].endswith("x\udcff.jpg")
