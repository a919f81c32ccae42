import json
from pathlib import Path

import numpy as np
import pytest

from conftest import REPOSITORY, draw_photo, install_network, write_photo
from handful.config import TrainConfig
from handful.data.fixes import Fix, write_fixes
from handful.errors import DataError, OutputError
from handful.features.conversion import FrozenNetwork
from handful.workflows.curve import CURVE_JSON, CurveRun, curve
from reporters import Recorder, Stopper


@pytest.fixture(scope="module")
def made(
    photo_folder: Path, tiny_network: FrozenNetwork, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CurveRun, Recorder]:
    """A curve with all that can be asked of one, and what it said; read, never changed."""
    root, recorder = tmp_path_factory.mktemp("made"), Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDFUL_CACHE", str(root / "cache"))
        install_network(tiny_network, root / "site-packages", patch)
        run = curve(
            photo_folder, target=0.99, at=(50, 100), output=root / "curve", reporter=recorder
        )
    return run, recorder


@pytest.mark.slow
def test_photos_give_a_curve_a_page_and_answers(made: tuple[CurveRun, Recorder]) -> None:
    run, recorder = made
    assert run.path is not None and run.path.name == "curve"
    assert {path.name for path in run.path.iterdir()} == {"curve.html", CURVE_JSON}
    facts = json.loads((run.path / CURVE_JSON).read_text())
    assert facts == run.to_dict()
    assert facts["class_names"] == ["round", "square"] and facts["curve"]["num_photos"] == 48
    assert [row["photos_a_class"] for row in facts["at"]] == [50, 100]
    assert facts["target"]["accuracy"] == 0.99
    assert run.sentences[0].startswith("Expected accuracy with 24 photos per class: ")
    assert [line.split()[3] for line in run.sentences[1:3]] == ["50", "100"]
    assert run.needed is not None and run.sentences[-1] == run.needed.sentence
    assert {"index", "embed", "fit", "report"} <= set(recorder.of("begin"))


@pytest.mark.slow
def test_every_name_in_the_file_is_documented(made: tuple[CurveRun, Recorder]) -> None:
    facts = made[0].to_dict()
    documented = (REPOSITORY / "docs" / "file-formats.md").read_text()
    section = documented.partition("### `handful curve --json`")[2].partition("\n### ")[0]
    parts = (facts["curve"], facts["target"], facts["at"][0], facts["curve"]["points"][0])
    names = [*facts, *(name for part in parts for name in part), *facts["curve"]["power_law"]]
    assert [name for name in names if f"`{name}`" not in section] == []


@pytest.mark.slow
def test_a_target_or_a_size_is_not_needed(photo_folder: Path, tiny_backbone: FrozenNetwork) -> None:
    run = curve(photo_folder, output=False)
    assert run.needed is None and run.path is None and run.to_dict()["target"] is None
    assert [line.split()[3] for line in run.sentences] == ["24", "48", "96", "192"]


@pytest.mark.slow
def test_a_test_part_is_left_alone_and_the_others_are_taken_together(
    tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    for part, first, count in (("train", 0, 12), ("validation", 100, 4), ("test", 200, 6)):
        for number, kind in enumerate(("round", "square")):
            for seed in range(first + 1000 * number, first + 1000 * number + count):
                write_photo(tmp_path / "p" / part / kind / f"{seed}.png", draw_photo(kind, seed))
    assert curve(tmp_path / "p", output=False).curve.num_photos == 32


@pytest.mark.slow
def test_copies_count_once_and_fixes_are_applied(
    tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for number, kind in enumerate(("round", "square")):
        for seed in range(10):
            image = draw_photo(kind, 1000 * number + seed)
            write_photo(photos / kind / f"{seed}.png", image)
    for copy in range(3):
        write_photo(photos / "round" / f"copy-{copy}.png", draw_photo("round", 0))
    (photos / "round" / "broken.jpg").write_bytes(b"\xff\xd8\xffno photo")
    run = curve(photos, output=False)
    assert run.curve.num_photos == 23
    assert run.warnings[-1] == "1 file could not be used; see `handful check`."
    fixes = tmp_path / "fixes.csv"
    write_fixes([Fix(f"round/{seed}.png", "remove", "", "") for seed in range(4)], fixes)
    config = TrainConfig(fixes=str(fixes))
    assert curve(photos, config, output=False).curve.num_photos == 19
    write_fixes([Fix(f"round/{s}.png", "remove", "", "") for s in range(8)], tmp_path / "more.csv")
    with pytest.raises(DataError, match='Class "round" has 3 different photos'):
        curve(photos, TrainConfig(fixes=str(tmp_path / "more.csv")), output=False)


def test_what_cannot_be_answered_leaves_nothing(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    output = tmp_path / "curve"
    with pytest.raises(DataError, match=r"1,000 photos per class are 41\.7 times the 24 there"):
        curve(photo_folder, at=(1000,), output=output)
    with pytest.raises(ValueError, match="`target` is 95; expected a number between 0 and 1"):
        curve(photo_folder, target=95, output=output)
    with pytest.raises(DataError, match="-5 photos per class are asked about; expected 1 to 192"):
        curve(photo_folder, at=(30, -5), output=output)
    recorder = Recorder()
    with pytest.raises(DataError, match=r"1 photo per class is fewer than the 4 that the curve"):
        curve(photo_folder, at=(1,), output=output, reporter=recorder)
    assert recorder.phases == [] and "fit" in recorder.of("begin")
    assert not any(phase == "fit" for phase, _, _ in recorder.of("progress"))
    assert list(tmp_path.glob("*curve*")) == []
    output.mkdir()
    with pytest.raises(OutputError, match="exists already; choose another `output`"):
        curve(photo_folder, output=output)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["embed", "fit"])
def test_a_curve_that_is_cancelled_leaves_nothing(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path, phase: str
) -> None:
    (tmp_path / "runs").mkdir()
    stopper = Stopper(lambda name, *_: name == phase, "cancel")
    with pytest.raises(KeyboardInterrupt):
        curve(photo_folder, output=tmp_path / "runs" / "curve", reporter=stopper)
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.slow
def test_the_seed_decides(
    made: tuple[CurveRun, Recorder], photo_folder: Path, tiny_backbone: FrozenNetwork
) -> None:
    again, other = (curve(photo_folder, TrainConfig(seed=seed), output=False) for seed in (0, 1))
    errors = [run.curve.errors for run in (made[0], again, other)]
    assert np.array_equal(errors[0], errors[1]) and not np.array_equal(errors[0], errors[2])


@pytest.mark.real
def test_real_photos_need_few(shared_folder: Path, tmp_path: Path) -> None:
    archive = next((shared_folder / "data").rglob("cats_and_dogs_filtered.zip"), None)
    if archive is None:
        pytest.skip("needs cats_and_dogs_filtered.zip")
    run = curve(archive, at=(1500,), target=0.9, output=tmp_path / "curve")
    accuracy, low, high = run.curve.predict(1500)
    assert 0.98 < low < accuracy < high
    assert run.needed is not None and run.needed.more_a_class == 0
