"""What a classifier says of any number of photos, as Parquet."""

import json
from pathlib import Path

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

import handful
from handful.cli.commands import app
from handful.errors import OutputError, UsageError

QUIET = handful.Reporter()


@pytest.fixture(scope="module")
def photos(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 drawn photos and a file that is none."""
    root = tmp_path_factory.mktemp("all")
    (root / "photos").symlink_to(photo_folder)
    (root / "notes.txt").write_text("no photo")
    return root


@pytest.fixture(scope="module")
def classifier(tiny_run: Path) -> handful.Classifier:
    return handful.Classifier.load(tiny_run)


def test_rows_are_what_predict_says(
    classifier: handful.Classifier, photos: Path, tmp_path: Path
) -> None:
    asked = {"error_rate": 0.3, "coverage": 0.9}
    found = handful.predict(classifier, photos, output=tmp_path / "answers", **asked)
    table = parquet.read_table(tmp_path / "answers")
    rows = table.to_pylist()
    assert table.column_names == [
        *("path", "digest", "label", "probability", "probabilities", "is_out_of_distribution"),
        *("is_confident", "prediction_set", "reason"),
    ]
    (bad,) = [row for row in rows if row["reason"]]
    assert Path(bad["path"]).name == "notes.txt"
    assert {name for name in bad if bad[name] is not None} == {"path", "digest", "reason"}
    expected = handful.predict(classifier, photos / "photos", **asked)
    told = [
        {name: row[name] for name in row if name not in ("digest", "reason")}
        for row in rows
        if not row["reason"]
    ]
    assert told == [answer.to_dict() for answer in expected]
    counts = {name: sum(one.label == name for one in expected) for name in ("round", "square")}
    assert found.labels == counts and (found.num_photos, found.num_refused) == (49, 1)
    assert "1 cannot be used" in repr(found)


def test_answers_of_another_classifier_are_not_mixed_in(
    classifier: handful.Classifier, photos: Path, tmp_path: Path
) -> None:
    handful.predict(classifier, photos, output=tmp_path / "answers")
    again = handful.predict(classifier, photos, output=tmp_path / "answers")
    assert again.num_photos == 49
    with pytest.raises(OutputError, match="`coverage` was not given and is 0"):
        handful.predict(classifier, photos, output=tmp_path / "answers", coverage=0.5)
    other = classifier.with_answers(None, None)
    with pytest.raises(OutputError, match="`classifier` was"):
        handful.predict(other, photos, output=tmp_path / "answers")
    assert "is_confident" not in parquet.read_table(tmp_path / "answers").column_names


def test_wrong_asks_are_named(classifier: handful.Classifier, photos: Path, tmp_path: Path) -> None:
    image = photos / "photos" / "round" / "000.jpg"
    with pytest.raises(UsageError, match="`sort_into` is given beside `output`"):
        handful.predict(classifier, image, output=tmp_path / "a", sort_into=tmp_path / "b")  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="a photo was given without one; give paths"):
        handful.predict(classifier, image.read_bytes(), output=tmp_path / "a")
    with pytest.raises(UsageError, match="error"):
        handful.predict(classifier, image, output=tmp_path / "a", error_rate=2.0)
    assert not any(tmp_path.iterdir())


def test_the_command_says_what_it_wrote(tiny_run: Path, photos: Path, tmp_path: Path) -> None:
    command = ["predict", str(tiny_run), str(photos), "--output", str(tmp_path / "answers")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output  # a bad photo is a row
    assert "Files that cannot be used, with reasons: 1" in done.stdout
    told = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert told["labels"].keys() == {"round", "square"} and sum(told["labels"].values()) == 48
    assert CliRunner().invoke(app, [*command, "--csv"]).exit_code == 2
