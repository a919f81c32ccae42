"""How many answers a second the camera gets on the studio's page of use.

    python benchmarks/studio_camera.py PROJECT

PROJECT is a project with a run. Chromium must be installed; the camera is its own moving picture,
and browser and studio share the processor. Each way is measured in turns, three times.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from handful.exporting.web_browser import find_chromium

ROUNDS, SECONDS = 3, 6.0


def main() -> None:
    """Open the studio, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    given = parser.parse_args()
    command = [sys.executable, "-m", "handful", "studio", str(given.project), "--port", "0"]
    with subprocess.Popen([*command, "--no-browser"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        (address,) = re.findall(r"http://\S+", process.stdout.readline())
        try:
            rates = measure(address)
        finally:
            process.send_signal(signal.SIGINT)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}")
    for name, found in rates.items():
        print(f"{name}: {', '.join(f'{rate:.1f}' for rate in found)} answers a second")


def measure(address: str) -> dict[str, list[float]]:
    """Answers a second, with the map at every third and without."""
    from playwright.sync_api import sync_playwright

    arguments = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    rates: dict[str, list[float]] = {"with the map": [], "without it": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=[*arguments, "--no-sandbox"]
        )
        page = browser.new_page()
        answered = [0]

        def count(response: Any) -> None:
            answered[0] += "/data/classify" in response.url and response.ok

        page.on("response", count)
        page.goto(address)
        page.goto(address.partition("?")[0] + "use")
        page.get_by_role("button", name="Use the camera").click()
        page.locator(".rate", has_text="answers").wait_for()
        for _ in range(ROUNDS):
            for name, found in rates.items():
                page.get_by_label("Show where it looks").set_checked(name == "with the map")
                before, start = answered[0], time.perf_counter()
                page.wait_for_timeout(1000 * SECONDS)
                found.append((answered[0] - before) / (time.perf_counter() - start))
        browser.close()
    return rates


if __name__ == "__main__":
    main()
