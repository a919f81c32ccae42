import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handful.evaluation.comparison import Comparison, StrategyRun, build_comparison
from handful.reports.comparison_page import (
    format_size,
    render_comparison,
    write_comparison_report,
)
from handful.reports.drawing import NUM_COLORS
from test_evaluation_comparison import HISTORY, compare, first_right, run
from test_reports_run_page import EVIL, Page, luminance

COMMAND = "handful compare photos --seeds 3"
NOTES = ["The number of epochs was chosen on other photos.", "Nothing else was chosen."]


def long_history(epochs: int) -> dict[str, list[float]]:
    rise = np.linspace(0.5, 0.99, epochs)
    validated = np.where(np.arange(epochs) % 2, np.minimum(rise, 0.8), np.nan)
    losses = np.r_[0.7, 30.0, np.full(epochs - 2, 0.5)]
    columns = {"accuracy": rise, "val_accuracy": validated, "loss": 1 - rise, "val_loss": losses}
    return {name: column.tolist() for name, column in columns.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    scratch = [
        replace(run("scratch", first_right(right), seed, 312), path=folder / f"scratch-{seed}")
        for seed, right in enumerate((130, 138))
    ]
    return compare(
        *(replace(one, history=long_history(40), epochs=40) for one in scratch),
        run("transfer", first_right(196), seconds=1.5, epochs=0, path=folder / "runs" / "a: b#c"),
        replace(run("fine-tune", first_right(195)), note="stopped by time"),
    )


@pytest.fixture(scope="module")
def html(comparison: Comparison, folder: Path) -> str:
    return render_comparison(comparison, folder, COMMAND, NOTES)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_says_it_in_plain_words(page: Page, comparison: Comparison) -> None:
    assert comparison.verdict in page.text
    for difference in comparison.differences:
        assert difference.sentence in page.text
    for limitation in comparison.limitations:
        assert limitation in page.text
    assert COMMAND in page.text and all(note in page.text for note in NOTES)
    assert "trained on the same 800 photos and tested on the same 200 others" in page.text
    assert "stopped by time" in page.text


def test_the_table_has_every_figure(page: Page, comparison: Comparison) -> None:
    scratch = comparison.summaries[0]
    assert scratch.accuracy_deviation is not None
    for words in (
        "67.0 % ± 2.8",
        "98.0 %",
        "95.0 to 99.2 %",
        "+19.0",
        "5 min 12 s",
        "1.5 s",
        "4,000",
        "3,000",
        "16.0 kB",
        "500",
        "40",
    ):
        assert words in page.text, words
    assert "nan" not in page.text.lower() and "None" not in page.text


def test_links_lead_to_the_runs_beside_the_page(page: Page) -> None:
    links = [str(link["href"]) for link in page.all("a") if not str(link["href"]).startswith("#")]
    assert sorted(links) == [
        "./runs/a%3A%20b%23c/report.html",
        "./scratch-0/report.html",
        "./scratch-1/report.html",
    ]
    inner = {str(link["href"])[1:] for link in page.all("a")} - {link[1:] for link in links}
    assert inner <= {attributes.get("id") for _, attributes in page.elements}


def test_the_page_loads_nothing_and_runs_nothing(html: str, page: Page) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|javascript:", html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "img"}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
    policy = next(m for m in page.all("meta") if "http-equiv" in m)
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_page_is_accessible(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}] and len(page.all("h1")) == 1
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert all(one.get("aria-label") or one.get("aria-hidden") for one in page.all("svg"))


def test_colors_stand_out_in_light_and_dark(html: str) -> None:
    grounds = [
        dict(re.findall(r"--([a-z-]+):#([0-9a-f]+)", rules))
        for rules in re.findall(r":root\{([^}]*)\}", html)
    ]
    curves = [
        re.findall(r"--c\d:#([0-9a-f]+)", rules)
        for rules in re.findall(r":root body\{([^}]*)\}", html)
    ]
    assert len(curves) == 2 and all(len(theme) == NUM_COLORS for theme in curves)
    for ground, theme in zip(grounds, curves, strict=True):
        for colour in theme:
            low, high = sorted((luminance(colour), luminance(ground["surface"])))
            # The gaps are written in the curves' colors.
            assert (high + 0.05) / (low + 0.05) >= 4.5, colour


def test_curves_are_drawn_inside_their_frames(page: Page) -> None:
    drawn = [one for one in page.all("polyline") if "light" not in str(one["class"])]
    # Two strategies with epochs, training and validation, in two panels and once more alone.
    assert len(drawn) == 2 * 2 * 2 + 2 * 2
    for curve in drawn:
        points = [tuple(map(float, point.split(","))) for point in str(curve["points"]).split()]
        assert all(0 <= left <= 290 and top <= 190.1 for left, top in points)
    validated = [len(str(one["points"]).split()) for one in drawn if one["class"] == "c0"]
    assert validated[0] == 20 and "Loss (peaks cut off)" in page.text


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    pages = []
    for name in (EVIL, "tame"):
        runs = [
            replace(run(f"{name}{at}", first_right(150 + at)), note=name, path=tmp_path / "x")
            for at in range(2)
        ]
        found = build_comparison(runs, photos=name, recipe=name, num_train=3)
        pages.append(Page(render_comparison(found, tmp_path, name, [name])))
    shapes = [[(tag, sorted(names)) for tag, names in page.elements] for page in pages]
    assert shapes[0] == shapes[1]
    assert pages[0].text.count(EVIL) > 12


def one_epoch(strategy: str) -> StrategyRun:
    history = {name: column[:1] for name, column in HISTORY.items()}
    return replace(run(strategy, first_right(150)), history=history, epochs=1)


def test_odd_comparisons_are_pages_too(tmp_path: Path) -> None:
    lone = Page(render_comparison(compare(one_epoch("a")), tmp_path, COMMAND))
    assert (
        "nothing to compare it with" in lone.text
        and "Which differences are proven" not in lone.text
    )
    assert len(lone.all("circle")) == 1 + 4
    heads = compare(*(run(name, first_right(200), epochs=0) for name in "ab"))
    assert "Training, epoch by epoch" not in Page(render_comparison(heads, tmp_path, COMMAND)).text
    many = compare(*(run(f"way {at}", first_right(100 + at)) for at in range(9)))
    assert len(Page(render_comparison(many, tmp_path, COMMAND)).all("polyline")) == 9 * (1 + 6)
    hopeless = compare(run("a", first_right(0)), run("b", first_right(200)))
    assert "0 %" in Page(render_comparison(hopeless, tmp_path, COMMAND)).text
    empty = compare(replace(run("a", first_right(9)), history={"loss": [], "accuracy": []}))
    assert "nan" not in render_comparison(empty, tmp_path, COMMAND)


def test_the_page_is_written(tmp_path: Path, comparison: Comparison) -> None:
    path = write_comparison_report(comparison, tmp_path, "bad\udce9", NOTES)
    assert path == tmp_path / "comparison.html" and [*tmp_path.iterdir()] == [path]
    assert "bad\\udce9" in path.read_text(encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        write_comparison_report(comparison, tmp_path / "absent", COMMAND)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (16_000, "16.0 kB"), (820_000, "820 kB"), (2e9, "2.0 GB")]
)
def test_sizes(size: int, text: str) -> None:
    assert format_size(size).replace("\u202f", " ") == text
