"""From a folder to findings, a page and a fix list, and back to a clean folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import draw_photo, write_photo
from handful.config import TrainConfig
from handful.data.fixes import Fix, read_fixes, write_fixes
from handful.errors import DataError, OutputError
from handful.features import embed
from handful.run_store.store import RunStore
from handful.training import jobs
from handful.workflows import check as check_workflow
from handful.workflows import train as train_workflow
from handful.workflows.check import check
from reporters import Recorder, Stopper
from test_workflows_train import split_folder

pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.fixture
def messy_folder(tmp_path: Path) -> Path:
    """Most of what can be wrong, each once."""
    folder = split_folder(tmp_path / "photos", leak=True)
    train = folder / "train"
    good = (train / "round" / "5.png").read_bytes()
    (train / "round" / "cut.png").write_bytes(good[: len(good) // 2])
    (train / "round" / "text.jpg").write_text("no photo")
    (train / "square" / "empty.jpg").write_bytes(b"")
    write_photo(train / "round" / "black.png", np.zeros((90, 120, 3), np.uint8))
    shutil.copy(train / "round" / "7.png", train / "square" / "copied.png")
    shutil.copy(train / "round" / "9.png", train / "round" / "again.png")
    write_photo(train / "square" / "icon.png", draw_photo("square", 900)[:40, :40])
    return folder


def kinds(found: check_workflow.PhotoCheck) -> set[str]:
    return {finding.kind for finding in found.findings}


@pytest.mark.slow
def test_a_check_reports_its_phases_and_times_them(photo_folder: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    found = check(photo_folder, output=tmp_path / "out", reporter=recorder)
    phases = ["index", "convert", "embed", "examine", "report"]
    assert recorder.of("begin") == phases and set(found.seconds) == {*phases, "total"}
    assert recorder.of("progress")[-1] == ("embed", 48, 48)
    for name, seconds in recorder.of("end"):
        assert 0 <= seconds <= found.seconds[name] <= found.seconds["total"]


@pytest.mark.parametrize("phase", ["index", "embed", "examine"])
def test_a_check_that_is_cancelled_leaves_nothing(
    photo_folder: Path, tmp_path: Path, phase: str
) -> None:
    (tmp_path / "runs").mkdir()
    stopper = Stopper(lambda name, *_: name == phase, "cancel")
    with pytest.raises(KeyboardInterrupt):
        check(photo_folder, output=tmp_path / "runs" / "check", reporter=stopper)
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.slow
def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    folder = split_folder(tmp_path / "photos", leak=True)
    (folder / "train" / "round" / "text.jpg").write_text("no photo")
    image = draw_photo("square", 5000, (300, 400))
    write_photo(folder / "train" / "square" / "large.png", image)
    write_photo(folder / "train" / "square" / "large_again.jpg", image)
    facts = check(folder, output=False).to_dict()
    assert facts["num_images"] == 63
    assert facts["formats"] == {"JPEG": 1, "PNG": 62}
    assert facts["sizes"]["width"] == {"smallest": 120, "median": 120.0, "largest": 400}
    assert facts["counts"]["train"] == {"round": 16, "square": 18}
    assert [f["path"] for f in facts["problems"]["rejected"]] == ["train/round/text.jpg"]
    assert facts["problems"]["leaks"] == [["train/round/3.png", "validation/round/copied.png"]]
    pair = ["train/square/large.png", "train/square/large_again.jpg"]
    assert pair in facts["problems"]["near_duplicates"]
    assert facts["train_error"] == "" and facts["page"] is None and facts["fix_list"] is None
    json.dumps(facts)


@pytest.mark.slow
def test_every_kind_of_mess_is_called_by_its_name(messy_folder: Path) -> None:
    found = check(messy_folder, output=False)
    assert kinds(found) >= {
        "unreadable",
        "same-photo-two-labels",
        "leak",
        "duplicate",
        "near-black",
        "tiny",
    }
    assert [finding.severity for finding in found.findings] == sorted(
        (finding.severity for finding in found.findings),
        key=["error", "warning", "note"].index,
    )


def test_a_sound_folder_is_called_so(photo_folder: Path) -> None:
    found = check(photo_folder, output=False)
    assert {finding.severity for finding in found.findings} <= {"note"}
    assert found.fixes == () and found.train_error == ""


@pytest.mark.slow
def test_fixes_lead_to_a_sound_folder(messy_folder: Path, tmp_path: Path) -> None:
    """The suggestions settle what can be settled: nothing of it is found again."""
    before = {path: path.read_bytes() for path in messy_folder.rglob("*") if path.is_file()}
    found = check(messy_folder, fix_list=tmp_path / "fixes.csv", output=False)
    assert read_fixes(tmp_path / "fixes.csv") == found.fixes
    decided = [
        Fix(fix.path, "remove", "", fix.reason)
        if fix.action == "keep" and "photo as" in fix.reason and "square/copied" in fix.path
        else fix
        for fix in found.fixes
    ]
    write_fixes(decided, tmp_path / "decided.csv")
    again = check(messy_folder, TrainConfig(fixes=str(tmp_path / "decided.csv")), output=False)
    assert not kinds(again) & {
        "unreadable",
        "same-photo-two-labels",
        "leak",
        "duplicate",
        "near-black",
    }
    assert again.index.rejected == ()
    assert {path: path.read_bytes() for path in before} == before
    run = train_workflow.train(
        messy_folder, TrainConfig(fixes=str(tmp_path / "decided.csv")), output=False
    )
    assert run.split.index.digest() == again.index.digest()
    assert run.problems()["leaks"] == []


@pytest.mark.slow
def test_training_after_a_check_embeds_nothing(photo_folder: Path) -> None:
    check(photo_folder, output=False)
    assert train_workflow.train(photo_folder, output=False).cache == {"hits": 48, "misses": 0}


@pytest.mark.slow
def test_a_run_remembers_its_fixes(photo_folder: Path, tmp_path: Path) -> None:
    write_fixes([Fix("round/000.jpg", "remove", "", "")], tmp_path / "fixes.csv")
    config = TrainConfig(fixes=str(tmp_path / "fixes.csv"))
    run = train_workflow.train(photo_folder, config, output=tmp_path / "run")
    assert len(run.split.index) == 47
    assert run.problems()["warnings"] == ["fixes.csv: 1 photos left out, 0 relabeled"]
    again = RunStore().read(tmp_path / "run")
    assert again.config == config
    repeated = train_workflow.train(again.photos, again.config, output=False)
    assert repeated.split.index.digest() == run.split.index.digest()
    evaluation, _ = train_workflow.evaluate(
        run.classifier, photo_folder, fixes=tmp_path / "fixes.csv"
    )
    assert len(evaluation.labels) == 47
    with pytest.raises(ValueError, match="beside a split; expected an index that the fixes"):
        train_workflow.train(run.split, config, output=False)


@pytest.mark.slow
def test_a_page_and_its_json_are_written_and_replaced(messy_folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        found = check(messy_folder, output=tmp_path / "runs" / "photos-check")
        folder = tmp_path / "runs" / "photos-check"
        assert {path.name for path in folder.iterdir()} == {"check.html", "check.json"}
        facts = json.loads((folder / "check.json").read_text())
        assert facts["findings"] == json.loads(json.dumps(found.to_dict()["findings"]))
        page = (folder / "check.html").read_text()
        assert "train/square/copied.png" in page and found.page == folder / "check.html"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["photos-check"]


def test_a_folder_of_somebodys_is_not_replaced(photo_folder: Path, tmp_path: Path) -> None:
    for names in (("mine.txt",), ("check.html", "mine.txt")):
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        for name in names:
            (folder / name).write_text("mine")
        with pytest.raises(OutputError, match="exists already and is not the folder of a check"):
            check(photo_folder, output=folder)
        assert (folder / "mine.txt").read_text() == "mine"


def test_decisions_are_not_overwritten_and_that_is_found_first(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fixes.csv").write_text("mine")
    monkeypatch.setattr(
        check_workflow, "load_fixed_index", lambda *_, **__: pytest.fail("work began")
    )
    with pytest.raises(OutputError, match="may hold decisions of yours"):
        check(photo_folder, fix_list=tmp_path / "fixes.csv", output=False)
    assert (tmp_path / "fixes.csv").read_text() == "mine"


@pytest.mark.slow
def test_earlier_decisions_stay_in_the_next_list(messy_folder: Path, tmp_path: Path) -> None:
    mine = [
        Fix("train/square/icon.png", "remove", "", "mine"),
        Fix("train/round/9.png", "keep", "", ""),
    ]
    write_fixes(mine, tmp_path / "old.csv")
    check(
        messy_folder,
        TrainConfig(fixes=str(tmp_path / "old.csv")),
        fix_list=tmp_path / "new.csv",
        output=False,
    )
    new = read_fixes(tmp_path / "new.csv")
    assert list(new[:2]) == mine and len(new) > 5
    assert len({fix.path for fix in new}) == len(new)


def test_what_stands_in_the_way_is_said(tmp_path: Path) -> None:
    write_photo(tmp_path / "p" / "a" / "1.png", draw_photo("round", 1))
    for number in range(3):
        write_photo(tmp_path / "p" / "b" / f"{number}.png", draw_photo("square", number))
    found = check(tmp_path / "p", output=tmp_path / "out")
    assert 'Class "a"' in found.train_error and found.to_dict()["num_images"] == 4
    assert found.review is None and found.split is None
    assert "No classifier can be made" in (tmp_path / "out" / "check.html").read_text()


def test_one_class_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        write_photo(tmp_path / "p" / "only" / f"{number}.png", draw_photo("round", number))
    shutil.copy(tmp_path / "p" / "only" / "0.png", tmp_path / "p" / "only" / "copy.png")
    monkeypatch.setattr(jobs, "find_backbone", lambda *_: pytest.fail("nothing to embed for"))
    found = check(tmp_path / "p", output=False)
    assert 'one class, "only"; a classifier needs 2' in found.train_error
    assert kinds(found) == {"duplicate"}


def test_copies_of_one_photo_are_no_data_set(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        for number in range(12):
            write_photo(tmp_path / "p" / kind / f"{number}.png", draw_photo("round", 1))
    found = check(tmp_path / "p", output=False)
    assert "no photo left for train" in found.train_error
    assert found.review is None and "same-photo-two-labels" in kinds(found)


def test_photos_that_cannot_be_decoded_are_listed(photo_folder: Path, tmp_path: Path) -> None:
    data = (photo_folder / "round" / "000.jpg").read_bytes()[:900]
    for kind in ("a", "b"):
        (tmp_path / "p" / kind).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "p" / kind / f"{number}.jpg").write_bytes(data + bytes([number]))
    found = check(tmp_path / "p", output=tmp_path / "out")
    assert found.train_error.endswith("has no photo that can be decoded.")
    assert len(found.index) == 0 and found.to_dict()["sizes"] == {}
    assert {"unreadable", "few-photos"} == kinds(found)


def test_nothing_to_look_at_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no photos\. Expected a folder for each class"):
        check(tmp_path / "empty", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_class_of_one_group_does_not_keep_others_from_review(
    photo_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(photo_folder, tmp_path / "photos"))
    shutil.move(folder / "round" / "003.jpg", folder / "square" / "wrong.jpg")
    write_photo(folder / "odd" / "1.jpg", draw_photo("square", 77))
    found = check(folder, output=False)
    assert found.review is not None and len(found.reviewed) == 48
    assert found.suspects()[0].suggested == "round"
    assert found.index.paths[found.suspects()[0].row] == "square/wrong.jpg"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["size", "quality", "frame"])
def test_a_shortcut_is_found(photo_folder: Path, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "photos"
    for path in sorted(photo_folder.rglob("*.jpg")):
        image = cv2.imread(str(path))
        options: list[int] = []
        if path.parent.name == "square":
            if how == "size":
                image = cv2.resize(image, (400, 320))
            elif how == "quality":
                options = [cv2.IMWRITE_JPEG_QUALITY, 40]
            else:
                image = cv2.copyMakeBorder(image, 8, 8, 8, 8, cv2.BORDER_CONSTANT, value=(9, 9, 9))
        target = folder / path.relative_to(photo_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), image, options)
    told = {s.name: s for s in check(folder, output=False).shortcuts}
    name = {
        "size": "photo dimensions",
        "quality": "file format, encoder and camera",
        "frame": "border color",
    }[how]
    assert told[name].lift > 0.5
    honest = {s.name: s for s in check(photo_folder, output=False).shortcuts}
    assert name not in honest or honest[name].lift < 0.12


@pytest.mark.slow
def test_a_check_reads_each_file_once_when_all_is_cached(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(photo_folder, output=False)
    monkeypatch.setattr(embed, "decode", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(
        check_workflow.ImageIndex, "read", lambda *_: pytest.fail("read again"), raising=True
    )
    assert len(check(photo_folder, output=False).index) == 48


@pytest.mark.slow
def test_the_same_photos_give_the_same_findings(messy_folder: Path) -> None:
    first, second = (
        check(messy_folder, output=False),
        check(messy_folder, use_cache=False, output=False),
    )
    assert first.findings == second.findings and first.fixes == second.fixes


@pytest.mark.slow
def test_conflicts_are_findings_and_other_warnings_remarks(
    messy_folder: Path, tmp_path: Path
) -> None:
    write_fixes([Fix("train/round/black.png", "remove", "", "")], tmp_path / "fixes.csv")
    found = check(
        messy_folder, replace(TrainConfig(), fixes=str(tmp_path / "fixes.csv")), output=False
    )
    assert found.remarks == ("fixes.csv: 1 photos left out, 0 relabeled",)
    assert any("same photo" in line for line in found.to_dict()["problems"]["warnings"])


@pytest.mark.slow
def test_a_fix_list_may_lie_in_the_folder_of_the_check(messy_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "photos-check"
    found = check(messy_folder, output=folder, fix_list=folder / "fixes.csv")
    written = (folder / "fixes.csv").read_bytes()
    assert found.fix_list == folder / "fixes.csv" and len(read_fixes(folder / "fixes.csv")) > 5
    assert {path.name for path in folder.iterdir()} == {"check.html", "check.json", "fixes.csv"}
    assert "photos-check/fixes.csv" in (folder / "check.html").read_text()
    # Decisions stay when the check is done again.
    (folder / "fixes.csv").write_bytes(written + b"train/round/9.png,keep,,mine\r\n")
    with pytest.raises(OutputError, match="may hold decisions of yours"):
        check(messy_folder, output=folder, fix_list=folder / "fixes.csv")
    config = TrainConfig(fixes=str(folder / "fixes.csv"))
    check(messy_folder, config, output=folder, fix_list=folder / "more.csv")
    assert (folder / "fixes.csv").read_bytes() == written + b"train/round/9.png,keep,,mine\r\n"
    assert Fix("train/round/9.png", "keep", "", "mine") in read_fixes(folder / "more.csv")
    assert [path.name for path in folder.parent.iterdir()] == ["photos-check"]


@pytest.mark.parametrize("name", ["", "check.html", "check.json"])
def test_a_fix_list_is_not_written_over_the_check(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(
        check_workflow, "load_fixed_index", lambda *_, **__: pytest.fail("work began")
    )
    with pytest.raises(OutputError, match=r"The fix list .* the check's own; .* `fix_list`"):
        check(photo_folder, output=tmp_path / "out", fix_list=tmp_path / "out" / name)
    assert not (tmp_path / "out").exists()
