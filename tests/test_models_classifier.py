import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import draw_photo
from handful.data.decoding import decode_whole
from handful.data.index import load_index, load_unlabeled
from handful.errors import DataError, ModelFileError, OutputError
from handful.features.conversion import FrozenNetwork
from handful.models.classifier import Classifier
from handful.workflows.train import train


@pytest.fixture
def classifier(photo_folder: Path, tiny_backbone: FrozenNetwork) -> Classifier:
    return train(photo_folder, output=False).classifier


def test_it_learned_something(classifier: Classifier, photo_folder: Path) -> None:
    index = load_index(photo_folder)
    result = classifier.predict_index(index)
    assert (result.probabilities.argmax(axis=1) == index.labels).mean() > 0.9


@pytest.mark.parametrize("mirror", [False, True])
def test_saving_keeps_probabilities_to_the_bit(
    classifier: Classifier, photo_folder: Path, tmp_path: Path, mirror: bool
) -> None:
    classifier.test_time_mirror = mirror
    index = load_index(photo_folder)
    before = classifier.predict_index(index).probabilities
    assert classifier.save(tmp_path / "saved") == tmp_path / "saved"
    loaded = Classifier.load(tmp_path / "saved")
    assert np.array_equal(loaded.predict_index(index).probabilities, before)
    assert loaded.class_names == ("round", "square")
    assert loaded.provenance == classifier.provenance
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == [
        "classifier.json",
        "confidence.safetensors",
        "head.safetensors",
        "network.bin",
        "network.xml",
    ]


def test_saving_keeps_what_promises_rest_on(
    classifier: Classifier, photo_folder: Path, tmp_path: Path
) -> None:
    loaded = Classifier.load(classifier.save(tmp_path / "saved"))
    before, after = classifier.calibration, loaded.calibration
    assert before is not None and after is not None
    for name in ("confidence", "correct", "true_probability"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
    assert (before.temperature, before.source) == (after.temperature, after.source)
    assert before.source == "out-of-fold" and len(before) == 38  # the training photos
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    pictures = [draw_photo("round", 5), stripes]
    first, second = (
        one.predict(pictures, error_rate=0.2, coverage=0.9) for one in (classifier, loaded)
    )
    assert first == second
    assert [prediction.is_out_of_distribution for prediction in first] == [False, True]
    assert first[1].is_confident is False  # however probable the class


def to_version_2(description: dict[str, Any]) -> None:
    """Rename what has another name since."""
    description["format_version"] = 2
    description["about"] = provenance = description.pop("provenance")
    provenance["licence"] = provenance.pop("license")
    description["head"]["strength"] = description["head"].pop("C")
    if reference := description.get("reference"):
        reference["num_neighbours"] = reference.pop("num_neighbors")


def test_a_classifier_of_the_second_version_is_read(classifier: Classifier, tmp_path: Path) -> None:
    from handful.models.classifier import _digest

    classifier.provenance["license"] = "MIT"
    folder = classifier.save(tmp_path / "saved")
    description = json.loads((folder / "classifier.json").read_text())
    del description["digest"]
    to_version_2(description)
    description["digest"] = _digest(description)
    (folder / "classifier.json").write_text(json.dumps(description))
    loaded = Classifier.load(folder)
    photo = [draw_photo("round", 5)]
    assert loaded.predict(photo, error_rate=0.2) == classifier.predict(photo, error_rate=0.2)
    assert loaded.head.C == classifier.head.C
    assert loaded.provenance == classifier.provenance


def test_a_classifier_of_the_first_version_is_read_without_promises(
    classifier: Classifier, tmp_path: Path
) -> None:
    from handful.models.classifier import _digest

    folder = classifier.save(tmp_path / "saved")
    description = json.loads((folder / "classifier.json").read_text())
    for name in ("calibration", "reference", "digest"):
        del description[name]
    del description["files"]["confidence.safetensors"]
    to_version_2(description)
    description["format_version"] = 1
    description["digest"] = _digest(description)
    (folder / "classifier.json").write_text(json.dumps(description))
    loaded = Classifier.load(folder)
    photo = [draw_photo("round", 5)]
    assert np.array_equal(loaded.predict_proba(photo), classifier.predict_proba(photo))
    assert loaded.predict(photo)[0].is_out_of_distribution is None
    # Nothing is known of how often it errs: it is sure of none, and any class may be right.
    (answer,) = loaded.predict(photo, error_rate=0.1, coverage=0.9)
    assert answer.is_confident is False and set(answer.prediction_set or ()) == set(
        loaded.class_names
    )
    rule = loaded.abstain_at(0.1)
    assert rule.threshold is None and rule.num_photos == 0 and not rule.is_as_asked


def test_answers_say_whether_they_are_sure_and_what_else_it_may_be(
    classifier: Classifier, photo_folder: Path
) -> None:
    plain = classifier.predict([photo_folder])
    assert {p.is_confident for p in plain} == {None} and {p.prediction_set for p in plain} == {None}
    rule = classifier.abstain_at(0.2)
    for prediction in classifier.predict([photo_folder], error_rate=0.2, coverage=0.95):
        high = np.float32(prediction.probability) >= rule.threshold
        assert prediction.is_confident == (high and not prediction.is_out_of_distribution)
        assert (
            prediction.prediction_set is not None
            and prediction.prediction_set[0] == prediction.label
        )
        chances = [prediction.probabilities[name] for name in prediction.prediction_set]
        assert chances == sorted(chances, reverse=True)
    facts = classifier.predict([draw_photo("round", 5)], coverage=0.95)[0].to_dict()
    assert "is_confident" not in facts and facts["prediction_set"][0] == facts["label"]


def test_too_few_photos_hold_none_out(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    for name in ("round", "square"):
        for number in range(2):
            place = tmp_path / "few" / name / f"{number}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo_folder / name / f"{number:03d}.jpg", place)
    classifier = train(tmp_path / "few", output=False).classifier
    assert classifier.calibration is None and classifier.reference is None
    loaded = Classifier.load(classifier.save(tmp_path / "saved"))
    assert loaded.calibration is None and loaded.reference is None
    assert loaded.predict([photo_folder])[0].is_out_of_distribution is None


def test_a_mirrored_picture_gets_the_same_answer_with_the_mirror_averaged(
    classifier: Classifier,
) -> None:
    classifier.test_time_mirror = True
    image = draw_photo("round", 77)
    flipped = np.ascontiguousarray(image[:, ::-1])
    first, second = classifier.predict_proba([image, flipped])
    np.testing.assert_allclose(first, second, atol=0.02)


def test_paths_folders_and_arrays_agree(classifier: Classifier, photo_folder: Path) -> None:
    paths = [photo_folder / "round" / "000.jpg", photo_folder / "square" / "000.jpg"]
    by_path = classifier.predict(paths)
    assert [prediction.path for prediction in by_path] == [str(path) for path in paths]
    arrays = [decode_whole(path.read_bytes()) for path in paths]
    for prediction, other in zip(by_path, classifier.predict(arrays), strict=True):
        assert prediction.label == other.label
        assert sum(prediction.probabilities.values()) == pytest.approx(1.0)
        assert prediction.probability == max(prediction.probabilities.values())
    assert len(classifier.predict([photo_folder / "round"])) == 24
    assert classifier.predict(arrays)[1].path == "image 1"
    np.testing.assert_array_equal(
        classifier.predict_proba(paths),
        [list(prediction.probabilities.values()) for prediction in by_path],
    )


def test_bad_photos_are_all_named_or_passed_over(
    classifier: Classifier, photo_folder: Path, tmp_path: Path
) -> None:
    good = photo_folder / "round" / "000.jpg"
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:900])
    sources = [tmp_path / "text.jpg", good, tmp_path / "cut.jpg", tmp_path / "absent.jpg"]
    with pytest.raises(DataError, match=r"3 images cannot be read: .*text\.jpg"):
        classifier.predict(sources)
    result = classifier.predict_index(load_unlabeled(sources))
    assert result.index.paths == (str(good),)
    assert result.probabilities.shape == (1, 2)
    assert len(result.index.rejected) == 3


def test_wrong_arrays_are_named(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="image 1 is not uint8"):
        classifier.predict([draw_photo("round", 1), draw_photo("round", 1).astype(float)])
    with pytest.raises(ValueError, match=r"image 0 is \(96, 120, 2\); expected \(H, W, 3\)"):
        classifier.predict([draw_photo("round", 1)[..., :2]])
    with pytest.raises(ValueError, match=r"image 0 is \(4,\); expected \(H, W, 3\)"):
        classifier.predict(np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match=r"image 0 is \(0, 9, 3\)"):
        classifier.predict([np.zeros((0, 9, 3), np.uint8)])


def test_a_photo_can_be_given_alone_and_in_whatever_form_programs_have(
    classifier: Classifier, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo_folder / "round" / "003.jpg"
    expected = classifier.predict([path])[0]
    monkeypatch.chdir(path.parent)  # text taken letter by letter would find files here
    array = decode_whole(path.read_bytes())
    opened = Image.open(path)
    forms: list[tuple[Any, str]] = [
        ("003.jpg", "003.jpg"),
        (Path("003.jpg"), "003.jpg"),
        (path.read_bytes(), "image 0"),
        (bytearray(path.read_bytes()), "image 0"),
        (io.BytesIO(path.read_bytes()), "image 0"),
        (array, "image 0"),
        (opened, "image 0"),
    ]
    for form, name in forms:
        for given in (form, [form], (form,), iter([form])):
            if isinstance(form, io.BytesIO):
                form.seek(0)
            (found,) = classifier.predict(given)
            assert (found.path, found.label) == (name, expected.label)
            assert found.probability == pytest.approx(expected.probability, abs=0.02)
    assert classifier.predict(path.read_bytes())[0].probability == expected.probability
    found = classifier.predict([array, "003.jpg", opened, path.parent / "004.jpg"])
    assert [one.path for one in found] == [
        "image 0",
        "003.jpg",
        "image 2",
        str(path.parent / "004.jpg"),
    ]
    assert len(classifier.predict(".")) == len(classifier.predict(path.parent)) == 24
    assert len(classifier.predict(np.stack([array] * 3))) == 3
    assert classifier.predict_proba("003.jpg").shape == (1, 2)


def test_gray_arrays_and_any_mode_of_pillow_s_are_photos(classifier: Classifier) -> None:
    color = draw_photo("round", 5)
    gray = color[..., 1]
    same = [gray, gray[..., np.newaxis], np.repeat(gray[..., np.newaxis], 3, axis=2)]
    rows = classifier.predict_proba([*same, Image.fromarray(gray)])
    assert (rows == rows[0]).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter, clockwise
    buffer = io.BytesIO()
    Image.fromarray(np.rot90(color)).save(buffer, "PNG", exif=exif)
    modes = [Image.open(buffer), Image.fromarray(color).convert("RGBA"), Image.fromarray(color)]
    rows = classifier.predict_proba(modes)
    assert (rows == rows[2]).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("", "no photos were given"),
        ([], "no photos were given"),
        (iter([]), "no photos were given"),
        (["/"], "/ is the whole disk; name a folder of photos"),
        ("absent.jpg", r"1 images cannot be read: absent.jpg does not exist\.$"),
        (b"no photo", r"image 0 is not a photo of a known format"),
        ([b""], r"image 0 is empty"),
        (
            7,
            r"images is of type int; expected a path, a file's bytes, an \(H, W, 3\) uint8 array",
        ),
        ([None], r"image 0 is of type NoneType; expected a path"),
        ([["a.jpg"]], r"image 0 is of type list; expected a path"),
        ({"a.jpg": 1}, r"images is of type dict; expected a path"),
    ],
)
def test_what_is_no_photo_is_named(classifier: Classifier, images: Any, message: str) -> None:
    with pytest.raises((DataError, TypeError, ValueError), match=message):
        classifier.predict(images)


def test_a_pillow_image_that_cannot_be_loaded_is_named(
    classifier: Classifier, photo_folder: Path
) -> None:
    whole = (photo_folder / "round" / "000.jpg").read_bytes()
    cut = Image.open(io.BytesIO(whole[:1500]))
    with pytest.raises(DataError, match=r"1 images cannot be read: image 1 is truncated"):
        classifier.predict([whole, cut])


def test_saving_over_something_is_refused(classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        classifier.save(tmp_path)


@pytest.mark.parametrize("name", ["network.bin", "network.xml", "head.safetensors"])
def test_a_changed_or_missing_file_is_refused(
    classifier: Classifier, tmp_path: Path, name: str
) -> None:
    path = classifier.save(tmp_path / "saved") / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=f"{name} was changed after it was saved"):
        Classifier.load(tmp_path / "saved")
    path.unlink()
    with pytest.raises(ModelFileError, match=f"{name} cannot be read"):
        Classifier.load(tmp_path / "saved")


def _rewrite(path: Path, change: Callable[[dict], object]) -> None:
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(class_names=["square", "round"]), "was changed after it was saved"),
        (lambda d: d.update(format_version=4), "has format version 4; this handful reads up to 3"),
        (lambda d: d.update(format="other"), "it is something else"),
        (lambda d: d.pop("digest"), "was changed after it was saved"),
    ],
)
def test_a_changed_description_is_refused(
    classifier: Classifier, tmp_path: Path, change: Callable[[dict], object], message: str
) -> None:
    folder = classifier.save(tmp_path / "saved")
    _rewrite(folder / "classifier.json", change)
    with pytest.raises(ModelFileError, match=message):
        Classifier.load(folder)


def test_another_classifiers_files_are_refused_even_with_right_digests(
    classifier: Classifier, tmp_path: Path
) -> None:
    from handful.models.classifier import _digest

    folder = classifier.save(tmp_path / "saved")

    def forge(description: dict, **changes: object) -> None:
        description.pop("digest", None)
        description.update(changes)
        description["digest"] = _digest(description)

    path = folder / "classifier.json"
    _rewrite(path, lambda d: forge(d, class_names=["a", "b", "c"]))
    with pytest.raises(ModelFileError, match=r"weights is \(48, 2\), not \(48, 3\)"):
        Classifier.load(folder)
    _rewrite(path, lambda d: forge(d, files={**d["files"], "../../evil.pkl": {}}))
    with pytest.raises(ModelFileError, match="lists other files than a classifier has"):
        Classifier.load(folder)


def test_other_files_in_the_folder_are_never_opened(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle or a Keras file with code beside the classifier stays what it is: a file."""
    folder = classifier.save(tmp_path / "saved")
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    (folder / "network.keras").write_bytes(b"lambda")
    monkeypatch.chdir(tmp_path)
    Classifier.load(folder).predict([draw_photo("round", 5)])
    assert not (tmp_path / "pwned").exists()


def test_what_is_no_classifier_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is not a run or a classifier: no such folder"):
        Classifier.load(tmp_path / "absent")
    with pytest.raises(ModelFileError, match=r"no classifier\.json in it"):
        Classifier.load(tmp_path)
    (tmp_path / "classifier.json").write_text("{")
    with pytest.raises(ModelFileError, match="cannot be read as JSON"):
        Classifier.load(tmp_path)


@pytest.mark.slow
def test_a_moved_run_still_works(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    run = train(photo_folder, output=tmp_path / "run")
    expected = run.classifier.predict_proba([photo_folder / "round"])
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    loaded = Classifier.load(tmp_path / "elsewhere")
    assert np.array_equal(loaded.predict_proba([photo_folder / "round"]), expected)


def test_whatever_is_forged_is_refused_in_one_line(classifier: Classifier, tmp_path: Path) -> None:
    """Digests guard against damage, not against somebody who makes all of them anew."""
    folder = classifier.save(tmp_path / "saved")
    path = folder / "classifier.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    whole.pop("digest")
    forged: tuple[tuple[str, object], ...] = (
        ("class_names", "ab"),
        ("class_names", ["a", "a"]),
        ("class_names", [1, 2]),
        ("backbone", {**whole["backbone"], "image_size": 2**40}),
        ("backbone", {**whole["backbone"], "embedding_dim": "48"}),
        ("backbone", []),
        ("decode", {**whole["decode"], "image_size": 31}),
        ("decode", {**whole["decode"], "resize": ["crop"]}),
        ("decode", {**whole["decode"], "more": 1}),
        ("precision", "int1"),
        ("test_time_mirror", "no"),
        ("provenance", ["backbone"]),
        ("head", None),
        ("calibration", {**whole["calibration"], "temperature": -1}),
        ("reference", {**whole["reference"], "num_neighbors": 10**9}),
        ("reference", {**whole["reference"], "threshold": "10" * 3000}),
        ("files", {name: None for name in whole["files"]}),
        ("files", 3),
    )
    for name, value in forged:
        description = {**whole, name: value}
        text = json.dumps(description, sort_keys=True, ensure_ascii=False)
        description["digest"] = hashlib.sha256(text.encode()).hexdigest()
        path.write_text(json.dumps(description), encoding="utf-8")
        with pytest.raises(ModelFileError) as caught:
            Classifier.load(folder)
        assert "\n" not in str(caught.value), name
    for text in ('{"a":' * 50_000, "[1]", '{"format": NaN}', "\x00", "1" * 5000):
        path.write_text(text)
        with pytest.raises(ModelFileError, match="restore it from a copy"):
            Classifier.load(folder)


def test_a_network_that_is_another_is_named_at_first_use(
    classifier: Classifier, tmp_path: Path
) -> None:
    folder = classifier.save(tmp_path / "saved")
    text = (folder / "network.xml").read_text().replace('type="ReLU"', 'type="Unheard"')
    (folder / "network.xml").write_text(text)
    _rewrite(folder / "classifier.json", lambda description: _seal(description, folder))
    with pytest.raises(ModelFileError, match=r"network\.xml cannot be (read|run) as a network"):
        Classifier.load(folder).predict([draw_photo("round", 5)])


def _seal(description: dict, folder: Path) -> None:
    description.pop("digest")
    for name, facts in description["files"].items():
        facts["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    text = json.dumps(description, sort_keys=True, ensure_ascii=False)
    description["digest"] = hashlib.sha256(text.encode()).hexdigest()


def test_a_class_whose_name_is_no_text_is_kept(classifier: Classifier, tmp_path: Path) -> None:
    classifier.class_names = ("caf\udce9", "\u202egpj")
    folder = classifier.save(tmp_path / "saved")
    assert Classifier.load(folder).class_names == classifier.class_names


@pytest.mark.slow
@pytest.mark.parametrize("file", ["head.safetensors", "confidence.safetensors", "classifier.json"])
def test_a_full_disk_while_saving_is_said(
    classifier: Classifier, tmp_path: Path, file: str
) -> None:
    """Every write ends on a disk with no room: a size that files may not pass stands for it."""
    folder = classifier.save(tmp_path / "place" / "a")
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    code = f"""
import resource, signal, sys
from handful import Classifier, OutputError
classifier = Classifier.load({str(folder)!r})
import handful.models.classifier as module
module.shutil.copyfile = lambda source, target: target.write_bytes(b"")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({sizes[file] - 1}, resource.RLIM_INFINITY))
try:
    classifier.save({str(folder.with_name("b"))!r})
except OutputError as error:
    print(error)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.startswith(f"{folder.with_name('b')} cannot be written: ")
    assert answer.stdout.count("\n") == 1, answer.stderr
    assert list(folder.parent.iterdir()) == [folder]
