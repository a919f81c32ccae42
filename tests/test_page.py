"""The page in a real browser: Chromium, without its window."""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from handful.features.conversion import FrozenNetwork
from handful.projects.project import Project
from handful.reports.run_page import write_report
from handful.reports.training_charts import history_charts
from handful.workflows.check import check
from live_server import Live, behind_proxy, live
from test_reports_run_page import evaluate, gather

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
TOKEN = "a-token-that-is-long-enough"
# Where every check must run, a missing browser is a failure and no reason to skip.
MUST_RUN = bool(os.environ.get("HANDFUL_BROWSER_TESTS"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None and not MUST_RUN, reason="needs Chromium (Debian: apt install chromium)"
    ),
]
_DROP = """([names, bytes]) => {
  const transfer = new DataTransfer();
  names.forEach((name, place) => {
    transfer.items.add(new File([new Uint8Array(bytes[place])], name));
  });
  const target = document.getElementById("drop");
  for (const kind of ["dragenter", "dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true}));
  }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "HANDFUL_BROWSER_TESTS is set and there is no Chromium"
    arguments = [
        "--no-sandbox",  # tests may run as root
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


@pytest.fixture(scope="module")
def server(tiny_run: Path) -> Iterator[Live]:
    with live(tiny_run) as found:
        yield found


class Watch:
    """A page, and all that must not happen on it."""

    def __init__(self, page: Any, port: int) -> None:
        self.page = page
        self.faults: list[str] = []
        self.own = f"http://127.0.0.1:{port}/"
        page.on("request", self._on_request)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.own, f"blob:{self.own}")):
            self.faults.append(f"request to {request.url}")

    def _on_console(self, message: Any) -> None:
        # The browser itself notes every answer of 4xx and 5xx.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(f"{message.type}: {message.text}")


@pytest.fixture
def watch(browser: Any, server: Live) -> Iterator[Watch]:
    with browser.new_context(viewport={"width": 1200, "height": 900}) as context:
        found = Watch(context.new_page(), server.port)
        found.page.set_default_timeout(120_000)
        found.page.goto(found.own)
        found.page.locator("#work").wait_for()
        yield found
        assert found.faults == []


@pytest.fixture(scope="module")
def photos(photo_folder: Path) -> dict[str, bytes]:
    paths = [*sorted((photo_folder / "round").iterdir())[:2], photo_folder / "square" / "000.jpg"]
    return {f"{path.parent.name}-{path.name}": path.read_bytes() for path in paths}


def drop(page: Any, files: dict[str, bytes]) -> None:
    page.evaluate(_DROP, [list(files), [list(data) for data in files.values()]])


def wait_for_status(page: Any, text: str) -> None:
    page.locator("#status", has_text=text).wait_for()


def cards(page: Any) -> dict[str, str]:
    """What each card says, by its file's name; the first dropped comes first."""
    found = {}
    for card in reversed(page.locator("#results > li").all()):
        text = card.inner_text()
        (name,) = re.findall(r"[\w-]+\.\w{3}", text)[:1]
        found[name] = text
    return found


@pytest.mark.slow
def test_three_photos_and_a_text_give_three_answers_and_one_clear_error(
    watch: Watch, photos: dict[str, bytes]
) -> None:
    drop(watch.page, {**photos, "notes.txt": b"milk, bread, eggs"})
    wait_for_status(watch.page, "4 files done, 1 of them could not be read.")
    found = cards(watch.page)
    assert list(found) == [*photos, "notes.txt"]
    for name in photos:
        label = name.partition("-")[0]
        assert label in found[name].replace(name, "") and re.search(r"\d+\.\d+ %", found[name])
    assert "notes.txt is not a photo: it looks like text" in found["notes.txt"]
    assert watch.page.locator("#results > li.bad").count() == 1
    watch.page.wait_for_function(
        "() => [...document.querySelectorAll('#results img')].filter(i => !i.hidden).length === 3"
    )


@pytest.mark.slow
def test_the_page_says_what_the_classifier_knows_and_how_well(watch: Watch) -> None:
    about = watch.page.locator("#about").inner_text()
    assert re.fullmatch(
        r"Classes: round, square\. Correct on \d+ of 10 photos it had not seen in training\.", about
    )


@pytest.mark.slow
def test_bars_are_as_long_as_the_probabilities(watch: Watch, photos: dict[str, bytes]) -> None:
    drop(watch.page, dict(list(photos.items())[:1]))
    wait_for_status(watch.page, "1 file done.")
    for row in watch.page.locator(".bars li").all():
        share = float(row.locator(".share").inner_text().split()[0])
        whole = row.locator(".all").bounding_box()["width"]
        part = row.locator(".part").bounding_box()
        assert (part["width"] if part else 0) == pytest.approx(whole * share / 100, abs=1)


@pytest.mark.slow
def test_everything_can_be_done_with_the_keyboard(
    watch: Watch, photos: dict[str, bytes], tmp_path: Path
) -> None:
    page = watch.page
    paths = []
    for name, data in photos.items():
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    # Asked for only at the key press, a chooser may open before the browser hands it over.
    page.on("filechooser", lambda chooser: None)
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        focus = page.evaluate("() => document.activeElement.id || document.activeElement.tagName")
        outline = page.evaluate(
            """() => { const element = document.activeElement;
            const shown = element.classList.contains('unseen')
              ? document.querySelector(`label[for=${element.id}]`) : element;
            return getComputedStyle(shown).outlineStyle; }"""
        )
        assert outline == "solid" or focus == "BODY", f"{focus} does not show its focus"
        if focus == "choose" and focus not in seen:
            with page.expect_file_chooser() as chooser:
                page.keyboard.press("Enter")
            chooser.value.set_files(paths)
        seen.append(focus)
    assert {"choose", "camera", "error-rate", "clear"} <= set(seen)
    wait_for_status(page, "3 files done.")
    page.locator("#clear").focus()
    page.keyboard.press("Enter")
    assert page.locator("#results > li").count() == 0
    assert page.evaluate("() => document.activeElement.id") == "choose"


@pytest.mark.slow
def test_a_screen_reader_is_told(watch: Watch, photos: dict[str, bytes]) -> None:
    page = watch.page
    assert page.locator("#status").get_attribute("aria-live") == "polite"
    assert page.get_by_role("status").count() == 1
    assert page.get_by_label("Choose photos").count() == 1
    assert page.get_by_label("Say “not sure”").count() == 1
    assert page.get_by_role("button", name="Use the camera").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    drop(page, photos)
    wait_for_status(page, "3 files done.")
    assert page.get_by_role("listitem").count() >= 3
    assert page.locator("#results img:not([alt])").count() == 0


@pytest.mark.slow
def test_the_camera_s_picture_is_a_photo_like_any_other(watch: Watch) -> None:
    page = watch.page
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#viewfinder").wait_for()
    assert page.evaluate("() => document.activeElement.id") == "shoot"
    page.wait_for_function("() => document.getElementById('video').videoWidth > 0")
    page.keyboard.press("Enter")
    wait_for_status(page, "1 file done.")
    assert "camera 1.jpg" in page.locator("#results > li").inner_text()
    page.get_by_role("button", name="Close the camera").click()
    assert page.locator("#viewfinder").is_hidden()
    assert page.evaluate("() => document.getElementById('video').srcObject") is None


@pytest.mark.slow
def test_a_camera_that_shows_nothing_is_let_go(watch: Watch) -> None:
    page = watch.page
    page.evaluate(
        """() => { HTMLMediaElement.prototype.play = () => Promise.reject(new Error("no")); }"""
    )
    page.get_by_role("button", name="Use the camera").click()
    wait_for_status(page, "The camera cannot be used (Error). Choose a photo instead.")
    assert page.locator("#viewfinder").is_hidden()
    assert page.evaluate("() => document.getElementById('video').srcObject") is None
    assert page.locator("#camera").is_enabled()


@pytest.mark.slow
def test_one_camera_is_opened_at_a_time(watch: Watch) -> None:
    page = watch.page
    page.evaluate(
        """() => {
        window.opened = [];
        const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wish) => {
          const stream = await open(wish);
          window.opened.push(stream);
          return stream;
        };
        const button = document.getElementById("camera");
        button.click();
        button.click();
        }"""
    )
    page.locator("#viewfinder").wait_for()
    page.get_by_role("button", name="Close the camera").click()
    live = "() => window.opened.flatMap(s => s.getTracks()).map(t => t.readyState)"
    assert page.evaluate(live) == ["ended"]
    assert page.locator("#camera").is_enabled()


@pytest.mark.slow
def test_what_got_no_answer_is_not_called_unreadable(
    watch: Watch, photos: dict[str, bytes]
) -> None:
    page = watch.page
    page.route("**/predict*", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    drop(page, dict(list(photos.items())[:1]))
    wait_for_status(page, "1 file done, 1 of them got no answer.")
    assert "got no answer: status 502" in page.locator("#results > li").inner_text()
    assert "No answer" in page.locator("#results > li").inner_text()


@pytest.mark.slow
def test_not_sure_and_unlike_are_said(
    watch: Watch, server: Live, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = watch.page
    choices = page.locator("#error-rate option").all_inner_texts()
    assert choices[-1] == "off, always answer" and "1 in 10" in choices
    sentence = page.locator("#options").inner_text().split()
    assert sentence[-4:] == ["answers", "would", "be", "wrong"]
    reference = server.service.batcher.classifier.reference
    monkeypatch.setattr(type(reference), "unlike", lambda self, distances: distances > -1)
    drop(page, dict(list(photos.items())[:1]))
    wait_for_status(page, "1 file done.")
    text = page.locator("#results > li").inner_text()
    assert "Not sure – perhaps round" in text and "Looks unlike the training photos" in text
    page.select_option("#error-rate", "")
    assert page.get_by_text("answers would be wrong").is_hidden()
    page.get_by_role("button", name="Remove all results").click()
    drop(page, dict(list(photos.items())[:1]))
    wait_for_status(page, "1 file done.")
    text = page.locator("#results > li").inner_text()
    assert "Not sure" not in text and "Looks unlike the training photos" in text


@pytest.mark.slow
def test_a_wrong_answer_is_corrected(
    watch: Watch, server: Live, photos: dict[str, bytes], tmp_path: Path
) -> None:
    page, name = watch.page, "round-000.jpg"
    drop(page, {name: photos[name]})
    wait_for_status(page, "1 file done.")
    assert page.get_by_label("Wrong?").count() == 0
    server.service.project = project = Project.create(tmp_path / "work")
    page.reload()
    page.get_by_text("it keeps those that you correct").wait_for()
    drop(page, {name: photos[name]})
    page.get_by_label(f"Wrong? What {name} is").select_option("square")
    page.get_by_text("Thank you. It is noted as square").wait_for()
    (found,) = project.inbox.waiting
    assert (found.class_name, found.predicted) == ("square", "round")
    server.service.project = None
    drop(page, {name: photos[name]})
    page.locator("#results > li").first.get_by_label("Wrong?").select_option("square")
    page.get_by_text("Not noted: this server takes no corrections").wait_for()


@pytest.mark.slow
def test_hostile_names_and_classes_are_shown_as_text(
    watch: Watch, photos: dict[str, bytes]
) -> None:
    name = "<img src=x onerror=document.title='owned'>.txt"
    drop(watch.page, {name: b"words"})
    wait_for_status(watch.page, "1 file done, 1 of them could not be read.")
    assert name in watch.page.locator("#results > li").inner_text()
    assert watch.page.locator("#results img[src=x]").count() == 0
    assert watch.page.title() == "What does the photo show?"


@pytest.mark.slow
def test_a_busy_server_is_asked_again(
    watch: Watch, server: Live, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.service, "is_ready", False)
    threading.Timer(0.5, lambda: setattr(server.service, "is_ready", True)).start()
    drop(watch.page, photos)
    wait_for_status(watch.page, "3 files done.")
    assert watch.page.locator("#results > li.bad").count() == 0


@pytest.mark.slow
def test_too_large_a_photo_is_not_even_sent(watch: Watch) -> None:
    page = watch.page
    page.evaluate(
        """() => { const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(21e6)], "large.jpg"));
        document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer})); }"""
    )
    wait_for_status(page, "1 file done, 1 of them could not be read.")
    text = page.locator("#results > li").inner_text()
    assert "large.jpg is larger than the limit of 20 MB" in text


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_it_fits_a_phone_and_a_desk_by_day_and_by_night(
    watch: Watch, photos: dict[str, bytes], width: int, scheme: str
) -> None:
    page = watch.page
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    drop(page, {**photos, "a-very-long-name-" + "x" * 180 + ".txt": b"words"})
    wait_for_status(page, "4 files done")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    back = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(246, 246, 243)") == (scheme == "light")
    for button in page.locator("button:visible, .button:visible, select:visible").all():
        assert button.bounding_box()["height"] >= 44


@pytest.mark.slow
def test_the_page_asks_for_the_token_and_keeps_it_for_the_visit(
    browser: Any, tiny_run: Path, photos: dict[str, bytes]
) -> None:
    with live(tiny_run, token=TOKEN) as server, browser.new_context() as context:
        watch = Watch(context.new_page(), server.port)
        page = watch.page
        page.set_default_timeout(120_000)
        page.goto(watch.own)
        page.get_by_label("This server asks for a token").fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_role("alert").get_by_text("This is not the server's token.").wait_for()
        assert page.locator("#work").is_hidden()
        page.get_by_label("This server asks for a token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.locator("#work").wait_for()
        drop(page, photos)
        wait_for_status(page, "3 files done.")
        assert TOKEN not in page.url
        page.reload()
        page.locator("#work").wait_for()
        assert watch.faults == []


@pytest.mark.slow
def test_a_token_behind_the_address_s_end_opens_the_page_and_is_not_left_there(
    browser: Any, tiny_run: Path
) -> None:
    with live(tiny_run, token=TOKEN) as server, browser.new_context() as context:
        watch = Watch(context.new_page(), server.port)
        watch.page.set_default_timeout(120_000)
        watch.page.goto(f"{watch.own}#token={TOKEN}")
        watch.page.locator("#work").wait_for()
        assert TOKEN not in watch.page.url and watch.faults == []
        watch.page.reload()
        watch.page.locator("#work").wait_for()


@pytest.mark.slow
def test_the_page_works_below_a_path_of_a_proxy_that_hides_the_name(
    browser: Any, server: Live, photos: dict[str, bytes]
) -> None:
    with behind_proxy(server.port) as port, browser.new_context() as context:
        watch = Watch(context.new_page(), port)
        watch.page.set_default_timeout(120_000)
        watch.page.goto(f"{watch.own}handful/")
        watch.page.locator("#work").wait_for()
        drop(watch.page, photos)
        wait_for_status(watch.page, "3 files done.")
        watch.page.get_by_role("link", name="API").click()
        watch.page.get_by_role("link", name="Back to the photo page").click()
        watch.page.locator("#work").wait_for()
        assert watch.faults == []


@pytest.mark.slow
def test_the_policy_stops_what_is_not_the_page_s_own(browser: Any, server: Live) -> None:
    with browser.new_context() as context:
        watch = Watch(context.new_page(), server.port)
        watch.page.goto(watch.own)
        watch.page.locator("#work").wait_for()
        # The watch does see what the other tests say does not happen.
        watch.page.evaluate(
            """() => { const script = document.createElement("script");
            script.textContent = "document.title = 'owned'"; document.body.append(script);
            return fetch("http://127.0.0.2:9/").catch(() => 0); }"""
        )
        assert watch.page.title() == "What does the photo show?"
        assert len([fault for fault in watch.faults if "Content Security Policy" in fault]) >= 2


@pytest.mark.slow
def test_the_page_for_programs_opens_at_a_problem(browser: Any, server: Live) -> None:
    with browser.new_context() as context:
        watch = Watch(context.new_page(), server.port)
        watch.page.goto(f"{watch.own}docs#queue-full")
        assert watch.page.locator("dt:target").inner_text() == "503 queue-full"
        watch.page.get_by_role("link", name="/openapi.json").click()
        assert '"openapi"' in watch.page.content()
        assert watch.faults == []


@pytest.mark.slow
def test_the_fix_list_on_the_page_of_a_check_has_no_holes_on_a_phone(
    browser: Any, photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(photo_folder, photos)
    name = "the same photo again, under a name that is as long as people make them"
    for number in range(4):
        copy = photos / "square" / f"{name} {number}.jpg"
        shutil.copyfile(photos / "round" / f"{number:03d}.jpg", copy)
    check(photos, output=tmp_path / "check", fix_list=tmp_path / "fixes.csv", use_cache=False)
    for width in (390, 1280):
        with browser.new_context(viewport={"width": width, "height": 900}) as context:
            page = context.new_page()
            page.goto((tmp_path / "check" / "check.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == width
            rows = page.locator(".sample tbody tr").all()
            assert len(rows) >= 4
            for row in rows:
                assert row.bounding_box()["height"] < 150
                reason = row.locator("td").last.bounding_box()
                assert reason["x"] >= 0 and reason["x"] + reason["width"] <= width
            assert page.get_by_role("cell", name="the same photo as").count() >= 4


@pytest.mark.slow
def test_charts_follow_the_theme_and_fit_a_phone(browser: Any, tmp_path: Path) -> None:
    history = {"accuracy": [0.5, 0.9], "val_accuracy": [0.5, 0.8], "loss": [1.0, 0.2]}
    charts = history_charts({"scratch": history})
    page_path = write_report(
        replace(gather(evaluate(9, 1, ["cats", "dogs"])), curves=charts), tmp_path
    )
    brightness = {}
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme) as context:
            page = context.new_page()
            page.set_viewport_size({"width": 390, "height": 800})
            page.goto(page_path.as_uri())
            drawing = page.locator("#curves svg").first
            box = drawing.bounding_box()
            assert box["x"] > 0 and box["x"] + box["width"] < 390 and box["height"] > 150
            shot = np.frombuffer(drawing.screenshot(), np.uint8)
            brightness[scheme] = float(cv2.imdecode(shot, cv2.IMREAD_COLOR).mean())
    assert brightness["light"] > 230 and brightness["dark"] < 60
