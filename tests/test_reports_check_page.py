import base64
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.checks.findings import Finding, Severity
from handful.data.fixes import Fix
from handful.reports.check_page import (
    MAX_GROUPS,
    MAX_SUSPECTS,
    CheckData,
    Suspect,
    describe_check,
    render_check,
    rows_to_show,
    write_check,
)
from test_reports_run_page import EVIL, Page, check_self_contained, jpeg, luminance

NUM = 200
PATHS = [f"train/{'cats' if row < 100 else 'dogs'}/{row:03d}.jpg" for row in range(NUM)]
LABELS = ["cats"] * 100 + ["dogs"] * 100
RIGHT_TO_LEFT = "חתולים"


def finding(severity: Severity, kind: str, **changes: Any) -> Finding:
    plain = Finding(kind, severity, f"Title of {kind}", f"Advice on {kind}", f"handful mend {kind}")
    return replace(plain, **changes)


LEAK = finding(
    "error",
    "leak",
    groups=((3, 103), (4, 104)),
    lines=("correlation 0.99", "the same file"),
    fixes=(Fix(PATHS[3], "remove", "", "a leak"), Fix(PATHS[4], "relabel", "dogs", "a mistake")),
)
BLACK = finding("warning", "near-black", groups=((7,), (8,)), lines=("dark", "darker"), command="")
FORMATS = finding("note", "formats", lines=("JPEG: 199", "PNG: 1"))


def suspect(row: int) -> Suspect:
    given = LABELS[row]
    return Suspect(row, given, "dogs" if given == "cats" else "cats", 0.9, 0.875)


def gather(
    findings: Sequence[Finding] = (), suspects: Sequence[Suspect] = (), **changes: Any
) -> CheckData:
    data = CheckData(
        title="my photos",
        num_images=NUM,
        class_names=["cats", "dogs"],
        counts={"train": {"cats": 90, "dogs": 80}, "validation": {"cats": 10, "dogs": 20}},
        sizes={"width": {"least": 60, "median": 1447.4}, "height": {"least": 38, "median": 374}},
        formats={"JPEG": 199, "PNG": 1},
        findings=findings,
        paths=PATHS,
        labels=LABELS,
        thumbnails={row: jpeg(row) for row in rows_to_show(findings, suspects)},
        suspects=suspects,
        train_error="",
        fix_list="fixes.csv" if findings else "",
        seconds=3.24,
        splits=["train"] * 100 + ["validation"] * 100,
        photos="my photos",
    )
    return replace(data, **changes)


@pytest.fixture(scope="module")
def data() -> CheckData:
    return gather([FORMATS, BLACK, LEAK], [suspect(150), suspect(20)])


@pytest.fixture(scope="module")
def html(data: CheckData) -> str:
    return render_check(data)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_what_is_odd_about_the_whole_is_said_under_the_counts() -> None:
    remarks = ['The folder <b> has no files in it, so "<b>" is no class']
    text = Page(render_check(gather(remarks=remarks))).text
    assert text.index("Pixels") < text.index(f"{remarks[0]}.")


def test_the_verdict_is_one_look(page: Page) -> None:
    # Rows 3, 4, 103, 104, 7, 8 and the two suspects.
    assert (
        "1 thing to fix, 1 worth a look, 1 to know and 2 labels to check. The other "
        "192 of 200 photos look fine." in page.text
    )


@pytest.mark.parametrize(
    ("findings", "suspects", "changes", "text"),
    [
        ([], [], {}, "No problems found in 200 photos: ready to train on."),
        (
            [],
            [],
            {"train_error": "One class."},
            "No classifier can be made of these photos yet. Nothing else was found in 200 photos.",
        ),
        (
            [FORMATS],
            [],
            {"train_error": "One class."},
            "No classifier can be made of these photos yet. 1 thing to know. Each of "
            "the 200 photos by itself looks fine.",
        ),
        (
            [FORMATS, FORMATS],
            [],
            {},
            "2 things to know. Each of the 200 photos by itself looks fine.",
        ),
        (
            [],
            [suspect(0)],
            {"num_images": 1},
            "1 label to check.",
        ),
        (
            [LEAK, BLACK],
            [suspect(3)],
            {"num_images": 12345},
            "1 thing to fix, 1 worth a look and 1 label to check. The other "
            "12,339 of 12,345 photos look fine.",
        ),
    ],
)
def test_verdicts(
    findings: list[Finding], suspects: list[Suspect], changes: dict[str, Any], text: str
) -> None:
    assert describe_check(gather(findings, suspects, **changes)) == text


def test_findings_stand_by_severity_with_all_they_say(page: Page, html: str) -> None:
    places = [html.index(f'<section id="{name}"') for name in ("error", "warning", "note")]
    assert places == sorted(places)
    for one, (start, end) in zip(
        (LEAK, BLACK, FORMATS), zip(places, [*places[1:], len(html)], strict=True), strict=True
    ):
        for words in (one.title, one.advice, one.command, *one.lines):
            assert words in html[start:end], words
    assert html.count('<pre class="command">') == 2 + 2  # two findings, and the fix list's two
    assert "In the fix list : remove 1, relabel 1." in page.text.replace("list:", "list :")


def test_photos_are_shown_together_with_class_split_and_path(html: str, data: CheckData) -> None:
    leak = html[html.index("Title of leak") : html.index("Title of near-black")]
    sets = re.findall(r"<figure.*?</figure>", leak, re.S)
    assert len(sets) == 2 and sets[0].count("<img") == 2
    pair = Page(sets[0])
    assert pair.text.split() == [
        *("cats", "train", "train/cats/003.jpg", "dogs", "validation", "train/dogs/103.jpg"),
        *("correlation", "0.99"),
    ]
    embedded = base64.b64decode(str(pair.all("img")[0]["src"]).partition("base64,")[2])
    assert embedded == data.thumbnails[3]
    assert pair.all("img")[0]["alt"] == "train/cats/003.jpg, labeled cats"


def test_suspects_are_ranked_with_what_they_look_like(html: str) -> None:
    section = html[html.index('<section id="labels"') :]
    shown = Page(re.findall(r"<ol.*?</ol>", section, re.S)[0])
    assert shown.text == (
        "labeled dogs looks like cats 87.5 % train/dogs/150.jpg "
        "labeled cats looks like dogs 87.5 % train/cats/020.jpg"
    )


def test_photos_are_counted(page: Page) -> None:
    for words in ("cats 90 10 100", "dogs 80 20 100", "all 170 30 200", "width 60 1,447"):
        table = re.sub(r"\s+", " ", " ".join(page.words))
        assert words in table, words
    assert "199 JPEG" in page.text and "1 PNG" in page.text


def test_one_unnamed_split_is_a_column_of_photos() -> None:
    page = Page(render_check(gather(counts={"": {"cats": 3, "birds": 4}}, splits=())))
    table = re.sub(r"\s+", " ", " ".join(page.words))
    assert "Class photos cats 3 dogs 0 birds 4 all 7" in table


def test_the_fix_list_is_explained(page: Page) -> None:
    assert "handful train 'my photos' --fixes fixes.csv" in page.text
    for words in ("remove", "relabel", "keep", "No photo is deleted, moved or written to"):
        assert words in page.text
    assert "a mistake" in page.text and "proposals" not in page.text


def test_without_a_fix_list_none_is_mentioned(data: CheckData) -> None:
    page = Page(render_check(replace(data, fix_list="")))
    assert "fix list" not in page.text.lower() and "--fixes" not in page.text


def test_examples_of_fixes_are_of_every_action() -> None:
    fixes = tuple(Fix(PATHS[row], "remove", "", "dark") for row in range(30))
    many = finding("note", "x", fixes=(*fixes, Fix(PATHS[40], "keep", "", "odd but right")))
    page = Page(render_check(gather([many])))
    assert "odd but right" in page.text and "5 of 31 proposals." in page.text


def test_nothing_found_still_tells_what_was_looked_for() -> None:
    html = render_check(gather())
    page = Page(html)
    assert "✓ No problems found in 200 photos: ready to train on." in page.text
    assert "<details" not in html[html.index('id="looked"') :]
    for words in ("Leaks", "near-duplicates", "almost black", "Shortcuts", "Labels"):
        assert words in page.text
    assert "Fix these" not in page.text and "Labels to check" not in page.text


def test_an_obstacle_is_no_clean_bill() -> None:
    page = Page(render_check(gather(train_error="There is one class. Add another.")))
    assert "What stands in the way There is one class. Add another." in re.sub(
        r"\s+", " ", " ".join(page.words)
    )
    assert "✓" not in page.text and "ready to train" not in page.text


def test_suspects_are_told_once() -> None:
    label = finding("warning", "label-suspect", groups=((5,),), lines=("5.jpg",))
    data = gather([label, BLACK], [suspect(5)])
    assert rows_to_show([label], []) == [5]
    assert rows_to_show([replace(label, groups=((5,), (6,)))], [suspect(5)]) == [5]
    page = Page(render_check(data))
    assert "1 thing worth a look and 1 label to check." in page.text
    assert label.title not in page.text and label.command in page.text
    alone = Page(render_check(gather([label])))
    assert label.title in alone.text and "Labels to check" not in alone.text


def test_backticks_mark_code() -> None:
    for advice, shown in (
        ("Use `--x <y>` & `--z`.", "Use <code>--x &lt;y&gt;</code> &amp; <code>--z</code>."),
        ("One ` is <none>.", "One ` is &lt;none&gt;."),
    ):
        html = render_check(gather([finding("note", "x", advice=advice)]))
        assert f'<p class="advice">{shown}</p>' in html


def test_lines_say_no_path_or_class_again() -> None:
    blurred = finding("note", "blurred", groups=((7,),), lines=(f"{PATHS[7]} is blurred",))
    one, two = PATHS[3], PATHS[103]
    lines = (f"{one} = {two} and 1,204 more", f"{one} (cats) ~ {two} (dogs)", f"{one} fades")
    copies = finding("note", "copies", groups=((3, 103),) * 3, lines=lines)
    html = render_check(gather([blurred, copies]))
    captions = re.findall(r'<figcaption><bdi dir="ltr">(.*?)</bdi>', html)
    assert captions == [f"{one} fades"]
    assert '<p class="line"><bdi dir="ltr">is blurred</bdi></p>' in html


def test_long_lists_fold_and_end() -> None:
    lines = tuple(f"file {number} is empty" for number in range(1234))
    html = render_check(gather([finding("error", "rejected", lines=lines)]))
    page = Page(html)
    open_part = html[: html.index("<details")]
    assert "file 5 is empty" in open_part and "file 6 is empty" not in open_part
    assert "194 more" in page.text and "file 199 is empty" in page.text
    assert "file 200 is empty" not in page.text
    assert "and 1,034 more, not listed on this page" in page.text


def test_many_groups_fold_and_end() -> None:
    pairs = tuple((row, row + 100) for row in range(60))
    html = render_check(gather([finding("warning", "copies", groups=pairs)]))
    open_part = html[: html.index("<details")]
    assert open_part.count("<figure") == 6 and html.count("<figure") == MAX_GROUPS
    assert (
        "18 more" in Page(html).text and "And 36 more, not shown on this page." in Page(html).text
    )
    html = render_check(gather([finding("warning", "burst", groups=(tuple(range(40)),))]))
    assert html.count("<img") == 6 and "and 34 more photos like them" in Page(html).text


def test_more_suspects_than_are_shown_are_counted() -> None:
    html = render_check(gather([], [suspect(row) for row in range(100)]))
    page = Page(html)
    assert "100 photos look more like another class" in page.text
    assert f"here are the first {MAX_SUSPECTS}" in page.text
    assert html.count("<img") == MAX_SUSPECTS and 'start="25"' in html


@pytest.mark.slow
@settings(max_examples=25)
@given(
    st.lists(
        st.lists(st.lists(st.integers(0, 500), min_size=1, max_size=9), max_size=40), max_size=4
    ),
    st.lists(st.integers(0, 500), max_size=70),
)
def test_thumbnails_are_asked_for_where_they_are_shown(
    groups: list[list[list[int]]], doubtful: list[int]
) -> None:
    findings = [
        finding("note", "x", groups=tuple(tuple(group) for group in lists)) for lists in groups
    ]
    suspects = [Suspect(row, "a", "b", 0.5, 0.5) for row in doubtful]
    rows = rows_to_show(findings, suspects)
    assert rows == sorted(set(rows)) and len(rows) <= 48 * (len(findings) + 1)
    known = {row for lists in groups for group in lists for row in group} | set(doubtful)
    assert set(rows) <= known
    assert {row for lists in groups for row in (lists[0] if lists else [])[:6]} <= set(rows)
    data = gather(
        findings,
        suspects,
        paths=[f"{row}.jpg" for row in range(501)],
        labels=["a"] * 501,
        splits=(),
        thumbnails={row: b"%d" % row for row in range(501)},
    )
    shown = {str(image["src"]) for image in Page(render_check(data)).all("img")}
    encoded = (base64.b64encode(b"%d" % row).decode() for row in rows)
    assert shown == {f"data:image/jpeg;base64,{text}" for text in encoded}


def test_a_missing_thumbnail_is_no_hole(data: CheckData) -> None:
    html = render_check(replace(data, thumbnails={}))
    assert "<img" not in html and html.count('<span class="faint">no preview</span>') == 8


def named_page(text: str) -> Page:
    """A page whose every free text is `text`."""
    findings = [
        replace(
            finding(severity, text),
            groups=groups,
            lines=(text, text),
            fixes=(Fix(text, "relabel", text, text),),
        )
        for severity, groups in (("error", ((0, 1),)), ("warning", ((2,),)), ("note", ()))
    ]
    return Page(
        render_check(
            gather(
                findings,
                [Suspect(5, text, text, 0.5, 0.5)],
                title=text,
                class_names=[text],
                counts={text: {text: 3}},
                sizes={text: {text: 3}},
                formats={text: 3},
                paths=[f"{text}/{text}"] * NUM,
                labels=[text] * NUM,
                splits=[text] * NUM,
                train_error=text,
                fix_list=text,
                photos=text,
            )
        )
    )


@pytest.mark.parametrize(
    "name",
    [EVIL, 'a" onload="x', "<b>&amp;", "{{ 7*7 }}", "x'>_<img src=y>", RIGHT_TO_LEFT, "\u202e"],
)
def test_names_are_text_and_never_markup(name: str) -> None:
    odd, tame = named_page(name), named_page("tame")
    shapes = [
        [(tag, sorted(attributes)) for tag, attributes in page.elements if tag != "wbr"]
        for page in (odd, tame)
    ]
    assert shapes[0] == shapes[1]
    assert odd.text.count(name) > 20


def test_names_of_either_direction_are_kept_apart() -> None:
    html = render_check(gather([LEAK], labels=[RIGHT_TO_LEFT] * NUM))
    assert html.count(f"<bdi>{RIGHT_TO_LEFT}</bdi>") == 4


def test_long_paths_keep_their_end(data: CheckData) -> None:
    long = "folder/" * 80 + "the photo.jpg"
    html = render_check(replace(data, paths=[long] * NUM))
    shown = [re.sub("<wbr>", "", text) for text in re.findall(r'<bdi dir="ltr">(.*?)</bdi>', html)]
    cut = [text for text in shown if "…" in text]
    assert cut and all(text.endswith("the photo.jpg") and len(text) == 72 for text in cut)
    assert all(text in long for text in cut[0].split("…")) and f'title="{long}"' in html


def test_the_page_loads_nothing_and_runs_nothing(html: str, page: Page) -> None:
    check_self_contained(html, page)


def test_the_page_is_accessible(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}] and len(page.all("h1")) == 1
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    assert all(image.get("alt") for image in page.all("img"))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert {str(link["href"])[1:] for link in page.all("a")} <= set(names)
    scrolled = [one for one in page.all("div") if one.get("class", "").startswith("scroll")]
    assert len(scrolled) == 3 and all(one["tabindex"] == "0" for one in scrolled)
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(headings))


def test_marks_stand_out_in_light_and_dark(html: str) -> None:
    grounds = re.findall(r":root\{[^}]*--surface:#([0-9a-f]+)", html)
    ambers = re.findall(r":root body\{--amber:#([0-9a-f]+)\}", html)
    assert len(grounds) == len(ambers) == 2
    for ground, amber in zip(grounds, ambers, strict=True):
        low, high = sorted((luminance(ground), luminance(amber)))
        # A mark beside words that say the same.
        assert (high + 0.05) / (low + 0.05) >= 2


def test_the_page_is_written(tmp_path: Path, data: CheckData, html: str) -> None:
    path = write_check(data, tmp_path)
    assert path == tmp_path / "check.html" and [*tmp_path.iterdir()] == [path]
    assert path.read_text(encoding="utf-8") == html
    odd = replace(data, paths=["bad\udce9.jpg"] * NUM)
    assert "bad\\udce9.jpg" in write_check(odd, tmp_path).read_text(encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        write_check(data, tmp_path / "absent")


@pytest.mark.slow
def test_jinja2_is_loaded_late() -> None:
    code = (
        "import sys, handful.reports.check_page\n"
        "assert not {'jinja2', 'matplotlib', 'openvino'} & set(sys.modules)\nprint('checked')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "checked\n"
