"""The page of `serve` in a browser: the first picture after loading it, and the answer to a slider that moves.

    python benchmarks/bench_page.py [--steps 40] [--loads 5]

`serve` is a process of its own on the loopback, with the shipped model on as many regions as it looks at by default.
A headless Chromium opens the page as wide as a laptop and as a phone. The first picture is there when the result of the
first photograph is drawn, which the server has looked at before, as it has for whoever opens the page. A slider is
answered when the next frame is painted; each is moved from end to end, the least score first, on each photograph of the
page, over the result and over suppression, which draws the most.

Without playwright and Chromium (pip install -e '.[browser]'; Debian: apt install chromium) it says so, and ends.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faults.serving import serving
from machine import machine_line

_WIDTHS = {"laptop, 1280 pixels": 1280, "phone, 390 pixels": 390}
_STAGES = ("result", "suppression")
_SLIDERS = ("score", "iou")
_WATCH = """new MutationObserver(() => {
    if (!window.shownAt && document.querySelector("#views canvas")) window.shownAt = performance.now();
}).observe(document, { childList: true, subtree: true });"""
_SLIDE = """async ([name, steps]) => {
    const slider = document.getElementById(name), low = Number(slider.min), high = Number(slider.max), taken = [];
    for (let step = 0; step < steps; step++) {
        const before = performance.now();
        slider.value = high - (high - low) * step / (steps - 1);
        slider.dispatchEvent(new Event("input"));
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        taken.push(performance.now() - before);
    }
    return taken;
}"""


def open_page(browser: Any, address: str, width: int) -> tuple[Any, float]:
    """Return the page, opened for the first time, and after how many milliseconds its first picture was there."""
    page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    page.add_init_script(_WATCH)
    page.goto(address)
    page.wait_for_selector("#views canvas", timeout=120_000)
    return page, float(page.evaluate("window.shownAt"))


def slides(page: Any, steps: int) -> list[float]:
    """Return the milliseconds of each step of both sliders, on each photograph."""
    taken: list[float] = []
    for button in page.query_selector_all("#samples button"):
        button.click()
        page.wait_for_selector("#save-json:not([disabled])", timeout=120_000)
        for stage in _STAGES:
            page.click(f"#tab-{stage}")
            for name in _SLIDERS:
                taken += page.evaluate(_SLIDE, [name, steps])
    return taken


def row(name: str, width: str, milliseconds: Sequence[float]) -> str:
    """Return a line of the table."""
    middle, worst = np.median(milliseconds), max(milliseconds)
    return f"| {name} | {width} | {len(milliseconds)} | {middle:.0f} ms | {worst:.0f} ms |"


def measure(browser: Any, address: str, given: argparse.Namespace) -> list[str]:
    """Return the lines of the table."""
    lines = []
    for name, width in _WIDTHS.items():
        opened = [open_page(browser, address, width) for _ in range(given.loads)]
        lines.append(row("first picture after loading", name, [after for _, after in opened]))
        lines.append(row("answer to a slider", name, slides(opened[-1][0], given.steps)))
        for page, _ in opened:
            page.context.close()
    return lines


def main() -> int:
    """Parse, serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40, help="of a slider, from end to end; at least 2")
    parser.add_argument("--loads", type=int, default=5, help="of the page, at each width")
    given = parser.parse_args()
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        print("not measured: it needs playwright (pip install -e '.[browser]') and Chromium", file=sys.stderr)
        return 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), ("--quiet",)) as served:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
            version, lines = browser.version, measure(browser, f"http://{served.host}/", given)
            browser.close()
        served.end()
    print(machine_line("inception-rcnn", "torch", "uvicorn"))
    print(f"Chromium {version}, headless; {time.perf_counter() - started:.0f} s in all\n")
    print("| what | width | times | median | worst |\n|---|---|---|---|---|")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
