"""Exported pages in a real browser: Chromium, without its window and without a network."""

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import handful
from conftest import draw_photo
from handful.data.decoding import resize
from handful.errors import DataError
from handful.exporting import export_jobs, export_runtime
from handful.exporting.export_jobs import Export, export
from handful.exporting.web_browser import find_chromium, text_of
from handful.exporting.web_page import make_page
from handful.exporting.web_runtime import WebRuntime, web_runtime
from handful.models.classifier import Classifier
from test_exporting_web_page import METADATA

# Where every check must run, a missing browser or network is a failure and no reason to skip.
MUST_RUN = bool(os.environ.get("HANDFUL_BROWSER_TESTS"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_chromium() is None and not MUST_RUN,
        reason="needs Chromium (Debian: apt install chromium)",
    ),
]
SIZES = [(96, 120), (64, 64), (20, 30), (375, 500), (333, 40), (31, 700), (32, 32), (1500, 2000)]
_SQUARE = """async ([width, height, text]) => {
  const rgb = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const found = await classify({ array: { width, height, rgb }, wantsSquare: true });
  return [...found.square];
}"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> WebRuntime:
    """ONNX Runtime Web itself, from the registry or from where HANDFUL_ONNXRUNTIME_WEB says."""
    given = os.environ.get("HANDFUL_ONNXRUNTIME_WEB")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDFUL_CACHE", str(tmp_path_factory.mktemp("runtime")))
        try:
            return web_runtime(Path(given) if given else None)
        except DataError as error:
            if MUST_RUN:
                raise
            pytest.skip(str(error))


@pytest.fixture(scope="module")
def made(tiny_run: Path, runtime: WebRuntime, tmp_path_factory: pytest.TempPathFactory) -> Export:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_jobs, "web_runtime", lambda *given: runtime)
        return export(tiny_run, "web", output=tmp_path_factory.mktemp("made") / "out")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    arguments = [
        "--no-sandbox",  # tests may run as root
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
        yield found
        found.close()


def opened(browser: Any, path: Path, **options: Any) -> Any:
    """The page, ready, in a browser without a network; what must not happen is in `faults`."""
    page = browser.new_context(offline=True, **options).new_page()
    page.set_default_timeout(120_000)
    page.faults = []

    def note_request(request: Any) -> None:
        if request.url != path.as_uri() and not request.url.startswith("blob:null/"):
            page.faults.append(f"request to {request.url}")

    page.on("request", note_request)
    page.on("console", lambda message: page.faults.append(message.text))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-state=ready]")
    return page


@pytest.fixture
def page(browser: Any, made: Export) -> Iterator[Any]:
    found = opened(browser, made.file, viewport={"width": 1200, "height": 900})
    yield found
    assert found.faults == []
    found.context.close()


def give(page: Any, files: list[dict[str, Any]] | list[Path]) -> list[str]:
    """Choose files; what their cards say, the first file's first."""
    page.set_input_files("#choose", files)
    page.wait_for_function(
        r"() => /^\d+ files? done[^…]*$/.test(document.getElementById('status').textContent)"
    )
    return [card.inner_text() for card in reversed(page.locator("#results > li").all())]


def png(image: np.ndarray, name: str = "photo.png") -> dict[str, Any]:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return {"name": name, "mimeType": "image/png", "buffer": data.tobytes()}


def test_an_export_is_compared_in_the_browser(made: Export) -> None:
    assert made.file.name == "classifier.html"
    parity = made.parity
    assert parity.runtime.startswith("Chromium ") and parity.runtime.endswith(", the whole page")
    assert parity.largest_difference <= 0.01 and parity.num_other_answers == 0
    assert made.tells_unusual and made.num_bytes < 15_000_000
    card = (made.path / "model_card.md").read_text()
    assert "Open `classifier.html` in a browser" in card and ", by Chromium 1" in card


def test_a_notebook_can_export_too(made: Export, tiny_run: Path, runtime: WebRuntime) -> None:
    """Playwright refuses to run beside an event loop, which a notebook has."""
    import asyncio

    async def work() -> tuple[Any, str]:
        settings = Classifier.load(tiny_run).settings
        with export_runtime.running_export(made.file, "web", settings) as (run, computed_by):
            return run(draw_photo("round", 1)), computed_by

    probabilities, computed_by = asyncio.run(work())
    assert probabilities.sum() == pytest.approx(1) and "whole page" in computed_by


def test_without_a_browser_the_network_alone_is_compared(
    tiny_run: Path, runtime: WebRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_jobs, "web_runtime", lambda *given: runtime)
    monkeypatch.setattr(export_runtime, "find_chromium", lambda: None)
    made = export(tiny_run, "web", output=tmp_path / "out")
    assert made.parity.runtime.startswith("onnxruntime ")
    assert made.parity.runtime.endswith("on the page's network; not in a browser")
    assert made.parity.num_other_answers == 0


@pytest.mark.parametrize("how", ["halfway", "crop", "squash"])
def test_photos_are_resized_as_handful_does(
    how: str, browser: Any, tiny_run: Path, runtime: WebRuntime, tmp_path: Path
) -> None:
    own = Classifier.load(tiny_run)
    settings = replace(own.settings, resize=how)
    classifier = Classifier(own.class_names, own.extractor, own.head, settings)
    path = tmp_path / "page.html"
    path.write_bytes(make_page(classifier, "int16", METADATA, None, runtime).html)
    page = opened(browser, path)
    for number, size in enumerate(SIZES):
        image = draw_noise(size, number)
        arguments = [size[1], size[0], text_of(image)]
        found = np.array(page.evaluate(_SQUARE, arguments))
        expected = resize(image, settings).astype(int).ravel()
        off = np.abs(found - expected)
        # Where photos grow, some processors round the curve to 11 bits.
        grows = min(size) < settings.image_size
        assert off.max() <= 1 and (off > 0).mean() <= (1 / 20 if grows else 1 / 500), size
    page.context.close()


def draw_noise(size: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_photos_get_the_answers_of_predict(page: Any, tiny_run: Path, photo_folder: Path) -> None:
    photos = [*sorted((photo_folder / "round").iterdir())[:3], photo_folder / "square" / "003.jpg"]
    texts = give(page, photos)
    for path, text in zip(photos, texts, strict=True):
        (expected,) = handful.predict(tiny_run, path)
        lines = [line for line in text.splitlines() if line]
        assert lines[0] == path.name and lines[1].removeprefix("Not sure – perhaps ") == (
            expected.label
        )
        share = float(lines[lines.index(expected.label, 2) + 1].split()[0]) / 100
        assert share == pytest.approx(expected.probability, abs=0.03)


def test_it_tells_what_is_unlike_the_training_photos(
    page: Any, tiny_run: Path, made: Export
) -> None:
    reference = Classifier.load(tiny_run).reference
    assert reference is not None
    image = draw_noise((90, 90), 3)
    (text,) = give(page, [png(image)])
    (expected,) = handful.predict(tiny_run, image)
    says = "Looks unlike the training photos" in text
    assert says == expected.is_out_of_distribution
    answer = page.evaluate("() => [...answers.values()][0]")
    assert (answer["distance"] > reference.threshold) == says


def test_doubt_follows_the_choice(page: Any) -> None:
    give(page, [png(draw_noise((90, 90), 3))])
    choices = page.locator("#error-rate option").all_inner_texts()
    assert choices[-1] == "off, always answer" and choices[0].startswith("1 in ")
    page.select_option("#error-rate", label="off, always answer")
    assert "Not sure" not in page.inner_text("#results > li")
    page.evaluate("() => { $('error-rate').options[0].value = '1.1'; }")
    page.select_option("#error-rate", index=0)
    assert "Not sure – perhaps" in page.inner_text("#results > li")


def test_photos_are_turned_as_exif_says(page: Any, photo_folder: Path) -> None:
    upright = Image.open(photo_folder / "round" / "000.jpg").convert("RGB").crop((0, 0, 120, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    files = []
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    for image, options in ((upright, {}), (turned, {"exif": exif})):
        data = io.BytesIO()
        image.save(data, "JPEG", quality=100, subsampling=0, **options)
        files.append({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": data.getvalue()})
    give(page, files)
    first, second = page.evaluate("() => [...answers.values()].map((a) => a.probabilities)")
    assert first == pytest.approx(second, abs=0.02)


def test_what_is_transparent_is_white(page: Any) -> None:
    image = draw_photo("round", 5)
    alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
    alpha[:, :60] = 0
    white = image.copy()
    white[:, :60] = 255
    data = io.BytesIO()
    Image.fromarray(np.concatenate([image, alpha], axis=2)).save(data, "PNG")
    clear = {"name": "clear.png", "mimeType": "image/png", "buffer": data.getvalue()}
    give(page, [clear, png(white)])
    first, second = page.evaluate("() => [...answers.values()].map((a) => a.probabilities)")
    assert first == second


def test_files_that_are_no_photos_say_so(page: Any, photo_folder: Path) -> None:
    name = "<img src=x onerror=alert(1)>.txt"
    files = [
        {"name": name, "mimeType": "text/plain", "buffer": b"words"},
        {"name": "a.HEIC", "mimeType": "image/heic", "buffer": b"words"},
        png(draw_photo("round", 1), "fine.png"),
    ]
    texts = give(page, files)
    assert page.inner_text("#status") == "3 files done, 2 of them could not be read."
    assert f"{name} is no photo that this browser can open" in texts[0]
    assert "a.HEIC looks like a HEIC photo" in texts[1] and "fine.png" in texts[2]
    page.get_by_role("button", name="Remove all results").click()
    assert page.locator("#results > li").count() == 0
    assert page.evaluate("() => document.activeElement.id") == "choose"


def test_photos_can_be_dropped_and_pasted(page: Any) -> None:
    data = list(png(draw_photo("square", 2))["buffer"])
    page.evaluate(
        """(data) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(data)], "one.png", {type: "image/png"}));
        document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer}));
        document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer}));
      }""",
        data,
    )
    page.locator("#status", has_text="2 files done.").wait_for()


def test_the_camera_is_answered_live(page: Any) -> None:
    page.get_by_role("button", name="Use the camera").click()
    page.wait_for_function("() => frames >= 5")
    assert page.evaluate("() => document.activeElement.id") == "shoot"
    assert "%" in page.inner_text("#live") and page.locator("#drop").is_hidden()
    page.keyboard.press("Enter")
    page.locator("#status", has_text="1 file done.").wait_for()
    assert "camera 1.png" in page.inner_text("#results > li")
    page.get_by_role("button", name="Close the camera").click()
    assert page.locator("#viewfinder").is_hidden() and page.locator("#drop").is_visible()
    assert page.evaluate("() => $('video').srcObject") is None
    count = page.evaluate("() => frames")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => done()))")
    assert page.evaluate("() => frames") <= count + 1


def test_a_screen_reader_and_a_keyboard_find_everything(page: Any) -> None:
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_label("Choose photos").count() == 1
    assert page.get_by_label("Say “not sure”").count() == 1
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
        seen.append(focus)
    assert {"choose", "camera", "error-rate", "SUMMARY"} <= set(seen)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [2560, 1200, 390])
def test_it_fits_every_screen_by_day_and_by_night(
    width: int, scheme: str, browser: Any, made: Export
) -> None:
    page = opened(browser, made.file, viewport={"width": width, "height": 844}, color_scheme=scheme)
    long_name = "a-very-long-name-" + "x" * 180 + ".txt"
    words = {"name": long_name, "mimeType": "text/plain", "buffer": b"words"}
    give(page, [png(draw_photo("round", 1)), words])
    page.locator("summary").click()
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    back = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(246, 246, 243)" if scheme == "light" else "rgb(18, 20, 23)")
    for button in page.locator("button:visible, .button:visible, select:visible").all():
        assert button.bounding_box()["height"] >= 44
    assert page.faults == []
    page.context.close()


def test_the_policy_stops_what_is_not_the_page_s_own(browser: Any, made: Export) -> None:
    page = opened(browser, made.file)
    title = page.title()
    page.evaluate(
        """() => { const script = document.createElement("script");
        script.textContent = "document.title = 'owned'"; document.body.append(script);
        return fetch("http://127.0.0.2:9/").catch(() => 0); }"""
    )
    assert page.title() == title
    assert len([fault for fault in page.faults if "Content Security Policy" in fault]) >= 2
    page.context.close()


def test_a_browser_that_cannot_run_it_says_so(browser: Any, made: Export) -> None:
    page = browser.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(made.file.as_uri())
    page.wait_for_selector("body[data-state=failed]")
    assert "This browser cannot run the classifier" in page.inner_text("#hint")
    page.close()
