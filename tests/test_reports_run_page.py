import base64
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import draw_photo
from handful.evaluation.evaluation import Evaluation, score
from handful.reports.run_page import (
    ReportData,
    ReportImage,
    format_percent,
    render_report,
    write_report,
)
from handful.wording import format_share

VOID = {"meta", "img", "wbr"}
EVIL = '<script>alert("1")</script>'


class Page(HTMLParser):
    """A parsed page: its elements, its text, and whether every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).replace("\u202f", " ").split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def check_self_contained(html: str, page: Page) -> None:
    """Assert that a page loads nothing, runs nothing, and is forbidden to."""
    code = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", html)
    assert len(code) < len(html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|javascript:", code)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "srcset"]
        assert (attributes.get("src") or "data:image/jpeg;base64,").startswith("data:image/jpeg")
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(m for m in page.all("meta") if "http-equiv" in m)
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def jpeg(seed: int) -> bytes:
    return cv2.imencode(".jpg", draw_photo("round", seed, (80, 100)))[1].tobytes()


def evaluate(right: int, wrong: int, names: Sequence[str]) -> Evaluation:
    """`right` photos classified correctly and `wrong` ones wrong, of all classes in turn."""
    size, num = len(names), right + wrong
    labels = np.arange(num) % size
    predicted = np.where(np.arange(num) < right, labels, (labels + 1) % size)
    confidence = np.linspace(0.999, 1.01 / size, num)
    probabilities = np.repeat((1 - confidence)[:, None] / (size - 1), size, axis=1)
    probabilities[np.arange(num), predicted] = confidence
    return score(probabilities, labels, names, [f"some folder/{row}.jpg" for row in range(num)])


def gather(
    evaluation: Evaluation, problems: Mapping[str, Sequence[str]] | None = None
) -> ReportData:
    names = evaluation.class_names

    def judged(row: int) -> ReportImage:
        named = int(evaluation.predicted[row])
        label = names[evaluation.labels[row]]
        sure = float(evaluation.confidence[row])
        return ReportImage(evaluation.paths[row], jpeg(row), label, names[named], sure)

    counts = {row.name: row.support for row in evaluation.per_class}
    return ReportData(
        title="my photos",
        evaluation=evaluation,
        evaluated_on="validation photos, not used for fitting",
        counts={"train": {name: 7 for name in names}, "validation": counts},
        examples={
            name: [ReportImage(f"train/{number}.jpg", jpeg(number), name, None, None)]
            for number, name in enumerate(names)
        },
        mistakes=[judged(row) for row in evaluation.mistakes(3)],
        least_certain=[judged(row) for row in evaluation.least_certain(2)],
        problems=problems or {},
        settings={"Backbone": "efficientnet-lite0"},
        seconds={"index": 0.25, "embed": 9.4, "decode": 30.0, "total": 9.9, "mystery": 1.0},
    )


@pytest.fixture(scope="module")
def data() -> ReportData:
    return gather(evaluate(986, 14, ["cats", "dogs"]))


@pytest.fixture(scope="module")
def html(data: ReportData) -> str:
    return render_report(data)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_headline_says_it_in_plain_words(page: Page) -> None:
    assert "my photos Expect 976 to 992 of 1,000 new photos to be right. 986 of" in page.text
    assert (
        "986 of 1,000 validation photos classified correctly: 98.6 %. With 95 % confidence the "
        "true rate lies between 97.7 % and 99.2 %." in page.text
    )
    first, _, rest = page.text.partition("Details Other measures of the same answers.")
    assert "Log loss" in rest and "Calibration error" in rest
    assert "Log loss" not in first and "Calibration error" not in first
    assert "All scores are from 1,000 validation photos, not used for fitting." in page.text
    assert "14 photos were classified wrong; here are the 3 that the classifier was" in page.text


def test_every_figure_is_the_evaluations(page: Page, data: ReportData) -> None:
    evaluation = data.evaluation
    assert evaluation.roc_auc is not None
    for value in (
        format_percent(evaluation.balanced_accuracy),
        f"{evaluation.roc_auc:.4f}",
        f"{evaluation.log_loss:.3f}",
        format_percent(evaluation.expected_calibration_error),
        *(str(count) for count in evaluation.confusion.flat),
        *(format_percent(row.recall) for row in evaluation.per_class),
        *(format_percent(row.precision) for row in evaluation.per_class),
    ):
        assert value.replace("\u202f", " ") in page.text
    assert "Equal guessing: 0.69" in page.text
    assert "Always answering with the most frequent one would be right for 50.0 %" in page.text
    assert "0.25 s" in page.text and "running the network" in page.text and "9.90 s" in page.text
    assert "Backbone" in page.text and "efficientnet-lite0" in page.text
    # The last row of the table of counts: 2 x 7 in train, 1,000 in validation.
    assert "all141,000" in page.text


def test_the_page_loads_nothing_and_runs_nothing(html: str, page: Page) -> None:
    check_self_contained(html, page)


def test_the_pictures_are_inside_and_described(page: Page, data: ReportData) -> None:
    shown = [
        *data.mistakes,
        *data.least_certain,
        *(p for row in data.examples.values() for p in row),
    ]
    images = page.all("img")
    assert len(images) == len(shown) == 7
    for image, picture in zip(images, shown, strict=True):
        embedded = base64.b64decode((image["src"] or "").partition("base64,")[2])
        assert embedded == picture.thumbnail
        assert picture.path in (image["alt"] or "") and picture.label in (image["alt"] or "")


def test_the_page_is_accessible(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    assert all(drawing.get("aria-label") for drawing in page.all("svg"))
    assert "width=device-width" in str(page.all("meta"))
    targets = {attributes.get("id") for _, attributes in page.elements}
    assert {(link["href"] or "")[1:] for link in page.all("a")} <= targets


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(digit * 2 for digit in colour)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_texts_stand_out_in_light_and_dark(html: str) -> None:
    themes = [
        dict(re.findall(r"--([a-z-]+):#([0-9a-f]+)", rules))
        for rules in re.findall(r":root\{([^}]*)\}", html)
    ]
    assert len(themes) == 2 and "prefers-color-scheme:dark" in html
    pairs = [
        (ink, ground)
        for ink in ("ink", "faint", "right", "wrong")
        for ground in ("bg", "surface", "soft")
    ]
    pairs += [("good", "good-bg"), ("ink", "warn-bg"), ("right", "warn-bg")]
    for theme in themes:
        for ink, ground in pairs:
            low, high = sorted((luminance(theme[ink]), luminance(theme[ground])))
            # The contrast that WCAG 2 asks of normal text.
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def named_page(names: list[str], text: str) -> Page:
    """A page whose every free text is `text`."""
    plain = gather(evaluate(20, 10, names))
    named = replace(
        plain,
        title=text,
        evaluated_on=f"{text}, {text}",
        mistakes=[replace(picture, path=f"{text}/x.jpg") for picture in plain.mistakes],
        problems={text: [text] * 9},
        settings={text: text},
        seconds={text: 1.0},
        counts={text: {text: 3}},
    )
    return Page(render_report(named))


def test_names_are_text_and_never_markup() -> None:
    names = [EVIL, 'a" onload="x', "<b>&amp;", "{{ 7*7 }}", "x_<img src=y>"]
    evil, tame = named_page(names, EVIL), named_page(["tame", *"bcde"], "tame")
    # The same elements with the same attributes: nothing got in, nothing got out.
    shapes = [
        [(tag, sorted(attributes)) for tag, attributes in page.elements if tag != "wbr"]
        for page in (evil, tame)
    ]
    assert shapes[0] == shapes[1]
    assert all(name in evil.text for name in names)
    assert evil.text.count(EVIL) > 20


def test_no_mistakes_and_no_problems_reassure() -> None:
    page = Page(render_report(gather(evaluate(200, 0, ["cats", "dogs"]))))
    assert "No photo was classified wrong." in page.text
    assert "No two classes were mixed up." in page.text
    assert "Nothing wrong was found: no file was rejected" in page.text
    assert "200 of 200 validation photos classified correctly: 100 %." in page.text


def test_one_photo_is_shown_with_caution() -> None:
    evaluation = score(np.array([[0.2, 0.8]]), np.array([1]), ["a", "b"], ["x.jpg"])
    page = Page(render_report(gather(evaluation)))
    assert "1 of 1 validation photos classified correctly" in page.text
    assert "true rate lies between 20.7 % and 100 %" in page.text
    assert "but 1 photo says little about the next thousand" in page.text
    assert "Undefined: it needs photos of every class." in page.text
    assert "nan" not in page.text.lower() and "None" not in page.text


def test_everything_wrong_can_be_shown() -> None:
    page = Page(render_report(gather(evaluate(0, 4, ["a", "b"]))))
    assert "No better than guessing: the network has not learned. 0 of 4 validation" in page.text
    assert "4 photos were classified wrong; here are the 3" in page.text


@pytest.mark.slow
def test_few_classes_get_a_matrix_and_many_the_worst_pairs() -> None:
    few = render_report(gather(evaluate(50, 10, [f"c{number}" for number in range(20)])))
    assert '<table class="matrix upright">' in few and "folded below" not in few
    names = [f"breed_{number:03d}" for number in range(120)]
    page = Page(many := render_report(gather(evaluate(900, 60, names))))
    assert '<table class="matrix' not in many
    assert "The pairs of classes that were mixed up most often." in page.text
    assert "The 12 weakest of 120 classes by F1; the others are folded below." in page.text
    assert "The other 108 classes" in page.text
    table = many[many.index('<table class="classes">') :]
    weakest = min(evaluate(900, 60, names).per_class, key=lambda row: (row.f1 or 0, row.name))
    assert table.index(weakest.name.replace("_", "_<wbr>")) < table.index(
        '<td class="number plain">'
    )
    assert "Examples of 108 more classes" in page.text
    assert "840 in train, 960 in validation, of 120 classes." in page.text


def test_long_lists_of_problems_fold_and_end() -> None:
    lines = [f"photo {number} is empty" for number in range(1234)]
    problems = {"Files that could not be used": lines, "Leaks": ["a = b"], "Nothing": []}
    page = Page(render_report(gather(evaluate(10, 0, ["a", "b"]), problems)))
    assert "Files that could not be used 1,234" in page.text and "Leaks 1 a = b" in page.text
    assert "194 more" in page.text and "photo 199 is empty" in page.text
    assert "photo 200 is empty" not in page.text
    assert "and 1,034 more, not listed on this page" in page.text
    assert "Nothing" not in page.text


def test_a_missing_thumbnail_and_examples_are_no_hole(data: ReportData) -> None:
    blank = [replace(picture, thumbnail=b"") for picture in data.mistakes]
    page = Page(render_report(replace(data, mistakes=blank, least_certain=[], examples={})))
    assert page.text.count("no preview") == 3
    assert page.all("img") == [] and "Examples" not in page.text


def test_the_file_is_self_contained_and_small(tmp_path: Path, data: ReportData, html: str) -> None:
    path = write_report(data, tmp_path)
    assert path == tmp_path / "report.html" and [*tmp_path.iterdir()] == [path]
    assert path.read_text(encoding="utf-8") == html
    assert path.stat().st_size < 100_000 + sum(2 * len(jpeg(row)) for row in range(7))


def test_a_file_name_that_is_no_text_is_shown(tmp_path: Path, data: ReportData) -> None:
    odd = [replace(picture, path="bad\udce9.jpg") for picture in data.mistakes]
    text = write_report(replace(data, mistakes=odd), tmp_path).read_text(encoding="utf-8")
    assert "bad\\udce9.jpg" in text


def test_an_absent_folder_is_an_os_error(tmp_path: Path, data: ReportData) -> None:
    with pytest.raises(FileNotFoundError):
        write_report(data, tmp_path / "absent")


def test_the_same_data_give_the_same_page(data: ReportData, html: str) -> None:
    assert render_report(data) == html


@pytest.mark.slow
def test_the_page_is_made_without_matplotlib_and_late_jinja2() -> None:
    code = (
        "import sys, handful.reports.run_page\n"
        "assert not {'matplotlib', 'jinja2', 'keras'} & set(sys.modules)\n"
        "print('checked')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "checked\n"


@pytest.mark.parametrize(
    ("fraction", "digits", "text"),
    [
        (None, 1, "–"),
        (1.0, 1, "100 %"),
        (0.0, 1, "0 %"),
        (0.986, 1, "98.6 %"),
        (0.9997, 1, "99.97 %"),
        (0.0002, 1, "0.02 %"),
        (0.996, 0, "99.6 %"),
        (0.97, 0, "97 %"),
        (1 - 1e-12, 1, "99.999 %"),
        (0.999996, 1, "99.999 %"),
        (1e-12, 1, "0.001 %"),
    ],
)
def test_percentages(fraction: float | None, digits: int, text: str) -> None:
    assert format_percent(fraction, digits).replace("\u202f", " ") == text


@given(st.floats(0, 1), st.integers(0, 2))
def test_a_percentage_is_near_and_100_only_when_it_is(fraction: float, digits: int) -> None:
    text = format_percent(fraction, digits)
    value = float(text.strip(" %\u202f")) / 100
    assert text == format_share(fraction, digits).replace(" ", "\u202f")
    assert value == pytest.approx(fraction, abs=0.51 * 10.0 ** -(digits + 2))
    assert (text == "100\u202f%") == (fraction == 1)
    assert (text == "0\u202f%") == (fraction == 0)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_the_interval_is_drawn_on_its_axis(case: tuple[int, int]) -> None:
    from handful.reports.run_page import _interval_scale
    from handful.statistics.intervals import wilson_interval

    low, high = wilson_interval(case[1], case[0])
    drawn = _interval_scale(case[1] / case[0], low, high)
    assert 0 <= drawn["low"] <= drawn["accuracy"] <= drawn["low"] + drawn["width"] + 0.02 <= 100.03
