"""What values show of themselves: a line of text, and HTML for notebooks."""

import pickle
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest
from numpy.typing import NDArray

import handful
from conftest import REPOSITORY, draw_photo, install_network, write_photo
from handful.data.index import load_unlabeled
from handful.evaluation.evaluation import Evaluation, score
from handful.exporting.parity import Parity
from handful.features.conversion import FrozenNetwork
from handful.reports.sheets import example_sheet
from handful.training.summaries import BodySummary, LayerSummary
from handful.workflows.curve import curve
from test_checks_findings import evidence_of
from test_evaluation_comparison import compare, first_right
from test_evaluation_comparison import run as training
from test_evaluation_learning_curve import make_curve
from test_reports_run_page import EVIL, Page

NAMES = (EVIL, "tame\u202e & \x1b[2J")
KINDS = (
    "index split run evaluation prediction predictions check comparison learning_curve curve_run "
    "preview classifier explanation summary image_folder figures export runs"
).split()
Values = dict[str, Any]


@pytest.fixture(scope="module")
def values(tiny_network: FrozenNetwork, tmp_path_factory: pytest.TempPathFactory) -> Values:
    """One of each, made of photos whose names and classes are markup."""
    root = tmp_path_factory.mktemp("values")
    rows = ["path,label"]
    for number in range(32):
        kind = ("round", "square")[number % 2]
        name = f"{number:02d} <img src=x onerror='alert(1)'>.jpg"
        # The last two are copies.
        write_photo(root / name, draw_photo(kind, 31 if number == 29 else number))
        quoted = NAMES[number % 2].replace('"', '""')
        rows.append(f'"{name}","{quoted}"')
    (root / "photos.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDFUL_CACHE", str(root / "cache"))
        install_network(tiny_network, root / "site-packages", patch)
        return make(root / "photos.csv", root)


def make(photos: Path, root: Path) -> Values:
    run = handful.train(photos, output=root / "<i>run")
    images = sorted(photos.parent.glob("*.jpg"))
    predictions = run.classifier.predict(images, error_rate=0.01, coverage=0.9)
    return {
        "index": run.split.index,
        "split": run.split,
        "run": run,
        "evaluation": run.evaluation,
        "prediction": predictions[0],
        "predictions": predictions,
        "check": handful.check(photos, output=root / "check"),
        "comparison": compare(
            training(f"{EVIL} one", first_right(140), path=root / "<i>run"),
            training(f"{EVIL} two", first_right(196), seconds=1.5, epochs=0),
        ),
        "learning_curve": make_curve(np.full(50, 0.1), 0.1, 0.5),
        "curve_run": curve(photos, target=0.95, output=False),
        "preview": handful.preview(images[0]),
        "classifier": run.classifier,
        "explanation": make_explanation(draw_photo("round", 3), str(images[0])),
        "summary": make_summary(),
        "image_folder": make_image_folder(root, images),
        "figures": handful.figures(run),
        "export": make_export(root),
        "runs": handful.runs(root),
    }


def make_explanation(image: NDArray[np.uint8], path: str) -> handful.Explanation:
    values = np.linspace(-2, 3, 49, dtype=np.float32).reshape(7, 7)
    return handful.Explanation(path, *NAMES, 0.93, values, image, (0.1, 0.0, 0.9, 1.0))


def make_summary() -> handful.NetworkSummary:
    """Of a network as deep as a pretrained one."""
    layers = [
        LayerSummary(f"<b>conv_{number}", "Conv2D", (14, None, 24), 1234) for number in range(150)
    ]
    body = BodySummary("xception", 20_861_480, 20_806_952, 54_528)
    shapes = (150, 150, 3), (2,)
    counts = 20_865_578, 4_098, 20_861_480
    return handful.NetworkSummary(f"{EVIL}.py:build", *shapes, *counts, tuple(layers), body)


def make_image_folder(root: Path, images: list[Path]) -> handful.ImageFolder:
    pictures = [draw_photo("round", number, (200, 200)) for number in range(16)]
    example_sheet(pictures, list(NAMES) * 8, "mnist").save(root / "examples.png")
    counts = {part: {name: 700 for name in "0123456789"} for part in ("train", "test")}
    return handful.ImageFolder(
        "mnist", root / "<b>", True, None, counts, root / "examples.png", f"By {EVIL}."
    )


def make_export(root: Path) -> handful.Export:
    parity = Parity(
        runtime="onnxruntime 1.27",
        pictures="validation photos",
        num_pictures=64,
        allowed=0.001,
        largest_difference=2.4e-5,
        num_above=0,
        largest_difference_resized=1e-6,
        largest_difference_from_run=0.01,
        num_other_answers=1,
        largest_difference_from_files=None,
        photos_per_second=61.2,
        run_photos_per_second=80.4,
    )
    path = root / "<i>run-onnx"
    return handful.Export(
        path, path / "model.onnx", "onnx", "f32", "int8", NAMES, 13_400_000, parity, 0.99
    )


def html_of(value: Any) -> str:
    html = value._repr_html_()  # as notebooks ask for it
    assert isinstance(html, str)
    return html


@pytest.mark.parametrize("kind", KINDS)
def test_the_line_is_short(values: Values, kind: str) -> None:
    line = repr(values[kind])
    assert line.startswith(f"<{type(values[kind]).__name__}: ") and line.endswith(">")
    assert len(line) < 300 and line.isprintable()


@pytest.mark.parametrize("kind", KINDS)
def test_the_html_is_whole_safe_and_small(values: Values, kind: str) -> None:
    html = html_of(values[kind])
    page = Page(html.replace("<br>", ""))
    code = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "data:", html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "b"}
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|javascript:", code)
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "img" or (attributes["src"] or "").startswith("data:image/webp;base64,")
    assert "\u202e" not in html and "\x1b" not in html
    # Styles reach nothing outside.
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    selectors = re.findall(r"^([^{\n]+)\{", style, re.MULTILINE)
    assert selectors and all(
        part.startswith(".handful") for line in selectors for part in line.split(",")
    )
    assert len(html) < 40_000


def test_all_of_them_together_are_small(values: Values) -> None:
    assert sum(len(html_of(value)) for value in values.values()) < 190_000


def page_of(value: Any) -> Page:
    return Page(html_of(value).replace("<br>", ""))


def test_an_index_shows_counts_and_eight_photos_of_all_classes(values: Values) -> None:
    page = page_of(values["index"])
    assert "32 photos of 2 classes" in page.text and page.text.count(EVIL) == 1 + 4
    assert len(page.all("img")) == 8
    assert "32 photos of 2 classes" in repr(values["index"])


def test_a_split_shows_its_parts_and_pairs(values: Values) -> None:
    page = page_of(values["split"])
    assert (
        "1 pair of near-duplicates" in page.text and "26 training, 6 validation photos" in page.text
    )
    assert len(page.all("img")) == 2
    assert "1 pair of near-duplicates" in repr(values["split"])


def test_a_run_shows_verdict_mistakes_and_its_report(
    values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = values["run"]
    monkeypatch.chdir(run.path.parent)
    turned = 1 - run.evaluation.probabilities
    names, paths = run.evaluation.class_names, run.evaluation.paths
    wrong = replace(run, evaluation=score(turned, run.evaluation.labels, names, paths))
    page = page_of(wrong)
    assert "No better than guessing" in page.text and len(page.all("img")) > 3
    assert f"predicted {EVIL}" in page.text and f"actual {EVIL}" in page.text
    assert page.all("a") == [{"href": "./%3Ci%3Erun/report.html", "target": "_blank"}]
    assert page_of(replace(run, path=None)).all("a") == []


def test_an_evaluation_shows_its_classes(values: Values) -> None:
    page = page_of(values["evaluation"])
    assert "Expect" in page.text and EVIL in page.text and "precision" in page.text
    assert "photos classified correctly" in repr(values["evaluation"])


def test_predictions_show_photo_and_bars(values: Values) -> None:
    one, several = page_of(values["prediction"]), page_of(values["predictions"])
    assert len(one.all("img")) == 1 and len(several.all("img")) == 6
    bars = [one for one in one.all("i") if "width" in (one["style"] or "")]
    assert len(bars) == 2 and "and 26 more" in several.text
    assert isinstance(values["predictions"], list)


def test_photos_in_a_zip_are_shown_and_arrays_have_none(values: Values, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", draw_photo("round", 1))
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(tmp_path / "a.jpg", "in/a.jpg")
    zipped = values["classifier"].predict(tmp_path / "some.zip")[0]
    array = values["classifier"].predict(draw_photo("round", 1))[0]
    assert len(page_of(zipped).all("img")) == 1
    assert page_of(array).all("img") == [] and "no photo to show" in page_of(array).text


def test_a_check_shows_findings(values: Values) -> None:
    page = page_of(values["check"])
    assert "32 readable photos" in page.text and "exact copy" in page.text
    assert page.all("img") and len(page.all("a")) == 1


def test_charts_have_a_title_and_a_caption(values: Values) -> None:
    for kind in ("comparison", "learning_curve", "curve_run"):
        page = page_of(values[kind])
        assert len(page.all("svg")) == len(page.all("figcaption")) == 1


def test_a_preview_shows_views_and_each_parameter(values: Values) -> None:
    preview = values["preview"]
    page = page_of(preview)
    assert len(page.all("img")) == 9 + len(preview.strips)
    assert all(strip.name in page.text for strip in preview.strips)


def test_photos_that_are_gone_leave_a_gap() -> None:
    index = evidence_of([0, 1] * 6).index
    page = page_of(index)
    assert page.all("img") == [] and page.text.count("no photo to show") == 8


def test_many_classes_and_photos_stay_small() -> None:
    names = tuple(f"{'class' * 40} {number:03d}" for number in range(300))
    index = evidence_of([row % 300 for row in range(3000)], class_names=names).index
    assert len(repr(index)) < 300 and len(html_of(index)) < 40_000
    assert "and 290 more" in page_of(index).text
    probabilities = np.eye(300)[index.labels]
    evaluation = score(probabilities, index.labels, names, index.paths)
    assert len(repr(evaluation)) < 300 and len(html_of(evaluation)) < 40_000


def test_photos_without_labels_are_shown(tmp_path: Path) -> None:
    for number in range(3):
        write_photo(tmp_path / f"{number}.jpg", draw_photo("round", number))
    index = load_unlabeled(tmp_path)
    page = page_of(index)
    assert len(page.all("img")) == 3 and page.all("table") == []
    assert repr(index).startswith("<ImageIndex: 3 photos, from ")


def test_a_value_that_is_broken_does_not_raise() -> None:
    broken = Evaluation.__new__(Evaluation)
    assert repr(broken) == "<Evaluation: ...>" and broken._repr_html_() is None


CELLS = """
import pickle, sys
from pathlib import Path
import pytest
sys.path.insert(0, {tests!r})
from conftest import install_network
from test_notebook_values import make
network = pickle.loads(Path({network!r}).read_bytes())
install_network(network, Path({root!r}) / "site-packages", pytest.MonkeyPatch())
import handful
%%
values = make(Path({photos!r}), Path({root!r}))
"""


@pytest.fixture
def executed(
    values: Values, tiny_network: FrozenNetwork, tmp_path: Path
) -> Iterator[nbformat.NotebookNode]:
    """A notebook that makes one of each and ends a cell with each, run by a kernel."""
    (tmp_path / "network").write_bytes(pickle.dumps(tiny_network))
    photos = values["run"].photos
    given = {"tests": REPOSITORY / "tests", "network": tmp_path / "network", "root": tmp_path}
    text = CELLS.format(**{name: str(path) for name, path in given.items()}, photos=str(photos))
    cells = [*text.split("%%\n"), *(f"values[{kind!r}]" for kind in KINDS)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    yield notebook


@pytest.mark.slow
def test_a_notebook_with_all_of_them(executed: nbformat.NotebookNode) -> None:
    progress, *shown = [cell.outputs for cell in executed.cells[1:]]
    # Each job has shown how far it was, in an output of its own that was drawn over and over.
    assert 3 <= len(progress) <= 4
    assert all("report" in output.data["text/html"] for output in progress[:2])
    for kind, outputs in zip(KINDS, shown, strict=True):
        (output,) = outputs
        assert output.output_type == "execute_result", kind
        assert output.data["text/html"].startswith('<div class="handful">')
        assert len(output.data["text/plain"]) < 300
    assert len(nbformat.writes(executed)) < 200_000
