"""Train for students, in a real browser: chosen, refused, watched, killed, gone on with."""

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from browsers import NEEDS_BROWSER, chromium, open_page, studio
from conftest import draw_photo, write_photo
from handful.projects.project import Project
from handful.run_store.store import RunStore
from handful.studio.jobs import JobFolder

pytestmark = NEEDS_BROWSER
_PATIENCE = 900_000  # Keras is started four times
_EPOCHS = 12  # of some 0.1 s: enough to be killed among them


def test_a_network_is_trained_watched_killed_and_gone_on_with(
    tmp_path: Path,
) -> None:
    for kind in ("round", "square"):
        for number in range(6):
            write_photo(tmp_path / "heap" / kind / f"{number}.png", draw_photo(kind, number))
    with studio(tmp_path, "heap") as address, chromium() as browser:
        page, faults = open_page(browser, address)
        page.get_by_role("option").nth(11).wait_for()
        page.get_by_role("link", name="Train", exact=True).click()
        page.get_by_text("For students").click()
        page.get_by_label("Strategy").select_option("augmented")
        _move_a_slider(page)
        page.get_by_label("Strategy").select_option("scratch")
        page.locator(".views").wait_for(state="detached")
        _refuse(page)
        _number(page, "Epochs", _EPOCHS)
        _number(page, "Image side, pixels", 32)
        _show_layers(page)
        train = page.get_by_role("button", name="Train this")
        train.click()
        _kill_after_an_epoch(JobFolder(tmp_path / "heap.handful", "train"))
        page.get_by_text(re.compile(r"ended unexpectedly after \d+ epoch.*It goes on")).wait_for()
        page.get_by_role("button", name="Go on").click()
        page.get_by_text("Training (scratch) is done.").wait_for(timeout=_PATIENCE)
        assert page.locator(".curves svg").count() == 2
        page.get_by_role("button", name="Train this").click()
        page.get_by_text("Training (scratch): ").wait_for()
        page.get_by_text("Training (scratch) is done.").wait_for(timeout=_PATIENCE)
        assert faults == []
    store = RunStore(Project(tmp_path / "heap.handful").runs)
    killed, straight = (store.read(store.folder / name) for name in ("heap", "heap-2"))
    assert killed.result["training"]["epochs"] == _EPOCHS
    networks = [run.path / "classifier" / "network.bin" for run in (killed, straight)]
    assert networks[0].read_bytes() == networks[1].read_bytes()


def _kill_after_an_epoch(job: JobFolder) -> None:
    deadline = time.monotonic() + _PATIENCE / 1000
    while not job.epochs():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    state = job.read()
    assert state is not None and state.status == "running"
    os.kill(state.pid, signal.SIGKILL)


def _move_a_slider(page: Any) -> None:
    strip = page.locator(".view-row img").first
    page.get_by_text("−20° to 20°").wait_for()
    before = strip.get_attribute("src")
    page.get_by_label("Rotation, degrees").fill("60")
    page.get_by_text("−60° to 60°").wait_for()
    assert strip.get_attribute("src") != before
    page.get_by_role("button", name="As in the recipe").click()
    page.get_by_text("−20° to 20°").wait_for()


def _refuse(page: Any) -> None:
    _number(page, "Epochs", 0)
    page.get_by_role("alert").get_by_text("`epochs` is 0; expected 1 to 100000").wait_for()
    assert page.get_by_role("button", name="Train this").is_disabled()


def _number(page: Any, label: str, value: int) -> None:
    field = page.get_by_label(label)
    field.fill(str(value))
    field.press("Tab")
    deadline = time.monotonic() + _PATIENCE / 1000
    # The server has taken it when it has made the field anew.
    while page.get_by_label(label).get_attribute("value") != str(value):
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


def _show_layers(page: Any) -> None:
    page.get_by_role("button", name="Show its layers").click()
    table = page.get_by_role("region", name="Layers of small")
    table.wait_for(timeout=_PATIENCE)
    assert table.get_by_text("InputLayer").count() == 1
    assert page.get_by_text(re.compile(r"^small: \d+ layers, ")).count() == 1
