"""The page in a browser: a headless Chromium, where there is one."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inception_rcnn.detector import Detector

uvicorn = pytest.importorskip("uvicorn", reason="no uvicorn here (pip install -e '.[dev]')")


class Page:
    """The page of a server, and what went wrong on it.

    Attributes:
        errors: Lines of the console that are errors, and exceptions.
        requests: Addresses that were asked for.
    """

    def __init__(self, browser: Any, address: str) -> None:
        self.address, self._browser = address, browser
        self.errors: list[str] = []
        self.requests: list[str] = []

    def open(self, *, width: int = 1280, dark: bool = False) -> Any:
        """Opens the page, waits for its first photograph, and returns it."""
        self.errors.clear()
        self.requests.clear()
        context = self._browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        page = context.new_page()
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(self.address)
        page.wait_for_selector("#views canvas", timeout=60_000)
        return page


@pytest.fixture(scope="module")
def page(chromium: Any, model: Detector, jpeg: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of a server in a thread of this process."""
    from inception_rcnn.detector.server.app import create_app

    sample = tmp_path_factory.mktemp("samples") / "cat.jpg"
    sample.write_bytes(jpeg)
    models: dict[str, Callable[[], Detector]] = {
        "usual": lambda: model,
        "strict": lambda: model.with_settings(score_threshold=1.0, iou_threshold=0.3, max_proposals=20),
    }
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(models, {"cat.jpg": sample}), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield Page(chromium, f"http://127.0.0.1:{listener.getsockname()[1]}/")
    server.should_exit = True
    thread.join(30)


def slide(page: Any, name: str, value: float) -> float:
    """Moves a slider, and returns the milliseconds that the page took."""
    script = """([name, value]) => {
        const slider = document.getElementById(name), before = performance.now();
        slider.value = value;
        slider.dispatchEvent(new Event("input"));
        return performance.now() - before;
    }"""
    return float(page.evaluate(script, [name, value]))


def found(page: Any) -> list[str]:
    """The classes that the first table names."""
    cells = page.query_selector_all("#lists table:first-child tbody td:first-child")
    return [cell.inner_text().strip() for cell in cells]


def check(page: Page) -> None:
    """Nothing went wrong, and nothing but this server was asked."""
    assert page.errors == []
    own = (page.address, "data:", "blob:")
    assert [one for one in page.requests if not one.startswith(own)] == []


def test_the_first_photograph_is_there_by_itself_and_the_sliders_need_no_server(
    page: Page, model: Detector, jpeg: bytes
) -> None:
    opened = page.open()
    assert found(opened) == model(jpeg).names() != []
    before = len(page.requests)
    # The least of several: other processes may have the processors.
    assert min(slide(opened, "score", value) for value in (0.02, 0.1, 0.5, 0.9, 1)) < 50
    assert found(opened) == [] and "0 objects" in opened.inner_text("figcaption")
    slide(opened, "score", 0.05)
    many = len(found(opened))
    slide(opened, "iou", 0)
    assert 0 < len(found(opened)) <= many
    assert len(page.requests) == before
    check(page)


@pytest.mark.parametrize(("score", "iou"), [(0.27, 0.4), (0.02, 0.3), (0.05, 0.9), (0.02, 0.0)])
def test_the_page_suppresses_as_the_detector_does(
    page: Page, model: Detector, jpeg: bytes, score: float, iou: float
) -> None:
    opened = page.open()
    script = """async ([score, iou]) => {
        const { suppress } = await import("/suppression.js");
        const walk = window.inceptionRcnn.state.walks[0];
        const settings = { ...walk.settings, score_threshold: score, iou_threshold: iou };
        return suppress(walk, settings).kept.map((one) => [walk.classes[one.label], one.score, one.box]);
    }"""
    ours = model.with_settings(score_threshold=score, iou_threshold=iou)(jpeg).to_records()
    assert opened.evaluate(script, [score, iou]) == [[one["label"], one["score"], one["box"]] for one in ours]


def test_stages_are_walked_through_by_keyboard(page: Page) -> None:
    opened = page.open()
    opened.focus("#tab-result")
    seen = []
    for _ in range(6):
        opened.keyboard.press("ArrowRight")
        seen.append(opened.evaluate("document.activeElement.id"))
        assert opened.get_attribute(f"#{seen[-1]}", "aria-selected") == "true"
        assert opened.get_attribute("#views canvas", "aria-label")
        assert len(opened.inner_text("#about")) > 20
    assert seen == [
        f"tab-{name}" for name in ("superpixels", "proposals", "regions", "scores", "suppression", "result")
    ]
    opened.click("#tab-proposals")
    assert "drawn of" in opened.inner_text("figcaption")
    drawn = "Number(document.querySelector('figcaption').textContent.split(' ')[0])"
    before = opened.evaluate(drawn)
    slide(opened, "count", 5)
    assert opened.evaluate(drawn) <= 5 < before
    opened.click("#tab-scores")
    first = opened.inner_text("figcaption")
    opened.focus("#views canvas")
    opened.keyboard.press("ArrowRight")
    assert opened.inner_text("figcaption") != first and "Region 2 of" in opened.inner_text("figcaption")
    opened.click("#views canvas", position={"x": 100, "y": 60})
    assert "background" in opened.inner_text("#views table")
    check(page)


def assert_as_the_detector(written: dict[str, Any], detector: Detector, jpeg: bytes) -> None:
    """What the page shows before a slider is touched is the detector's answer, by its own thresholds."""
    assert written["detections"] == detector(jpeg).to_records()
    for name in ("score_threshold", "iou_threshold"):
        assert written["settings"][name] == getattr(detector.settings, name)


def test_a_photograph_is_uploaded_compared_and_downloaded(
    page: Page, model: Detector, jpeg: bytes, tmp_path: Path
) -> None:
    opened = page.open()
    (tmp_path / "mine.jpg").write_bytes(jpeg)
    opened.set_input_files("#file", str(tmp_path / "mine.jpg"))
    opened.wait_for_selector("#status:has-text('mine.jpg: 225')")
    opened.select_option("#other", "strict")
    opened.wait_for_selector("#views figure:nth-child(2) canvas")
    assert opened.inner_text("#lists caption >> nth=1").startswith("strict:")
    with opened.expect_download() as waiting:
        opened.click("#save-json")
    written = json.loads(Path(waiting.value.path()).read_text())
    assert waiting.value.suggested_filename == "mine-result.json"
    assert [one["model"] for one in written] == ["usual", "strict"]
    assert [one["label"] for one in written[0]["detections"]] == found(opened)
    assert_as_the_detector(written[0], model, jpeg)
    assert_as_the_detector(written[1], model.with_settings(score_threshold=1.0, iou_threshold=0.3), jpeg)
    assert opened.inner_text("#score-value") == f"{model.settings.score_threshold:.4g}, 1"
    with opened.expect_download() as waiting:
        opened.click("#save-picture")
    assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")
    check(page)


def test_a_slider_is_for_both_models_and_a_region_is_shown_beside_the_one_most_like_it(page: Page) -> None:
    opened = page.open()
    opened.select_option("#other", "strict")
    opened.wait_for_selector("#views figure:nth-child(2) canvas")
    slide(opened, "score", 0.5)
    assert opened.inner_text("#score-value") == "0.5"
    assert [len(one.query_selector_all("tbody tr")) for one in opened.query_selector_all("#lists table")] == [1, 1]
    opened.click("#tab-scores")
    opened.focus("#views figure:nth-child(1) canvas")
    for _ in range(25):
        opened.keyboard.press("ArrowRight")
    captions = [one.inner_text() for one in opened.query_selector_all("figcaption")]
    assert "Region 26 of 40" in captions[0] and "of 20" in captions[1]
    opened.focus("#views figure:nth-child(2) canvas")
    opened.keyboard.press("ArrowLeft")
    assert opened.evaluate("document.querySelectorAll('#views canvas')[1] === document.activeElement")
    check(page)


def test_while_the_next_photograph_is_looked_at_the_last_ones_boxes_are_gone(
    page: Page, tmp_path: Path, jpeg: bytes
) -> None:
    opened = page.open()
    assert opened.is_enabled("#save-json") and opened.is_enabled("#save-picture")
    held: list[Any] = []
    opened.route("**/walk*", lambda route: held.append(route))
    (tmp_path / "next.jpg").write_bytes(jpeg)
    opened.set_input_files("#file", str(tmp_path / "next.jpg"))
    opened.wait_for_selector("#views img")
    for name in ("proposals", "regions", "result"):
        opened.click(f"#tab-{name}")
        assert opened.query_selector("#views canvas, #lists table, #times table, #count") is None
    assert opened.is_disabled("#save-json") and opened.is_disabled("#save-picture")
    held[0].continue_()
    opened.wait_for_selector("#status:has-text('next.jpg: 225')")
    assert opened.is_enabled("#save-json") and found(opened) != []
    check(page)


def test_what_is_no_picture_is_said_and_the_page_goes_on(page: Page, tmp_path: Path, jpeg: bytes) -> None:
    opened = page.open()
    (tmp_path / "<img src=x onerror=alert(1)>.jpg").write_text("no picture")
    opened.set_input_files("#file", str(tmp_path / "<img src=x onerror=alert(1)>.jpg"))
    opened.wait_for_selector("#error:not([hidden])")
    assert "is none of JPEG" in opened.inner_text("#error")
    assert opened.is_disabled("#save-json") and opened.query_selector("#views canvas, #lists table") is None
    assert all("422" in error for error in page.errors), "the browser's own line of the refused request"
    page.errors.clear()
    (tmp_path / "good.jpg").write_bytes(jpeg)
    opened.set_input_files("#file", str(tmp_path / "good.jpg"))
    opened.wait_for_selector("#status:has-text('good.jpg: 225')")
    assert opened.is_hidden("#error")
    check(page)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_a_phone_and_both_themes(page: Page, width: int, dark: bool) -> None:
    opened = page.open(width=width, dark=dark)
    for name in ("superpixels", "regions", "scores", "result"):
        opened.click(f"#tab-{name}")
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in background[4:-1].split(",")) < 300) == dark
    small = """[...document.querySelectorAll('button, select, .button')].filter(one => one.offsetParent
        && one.getBoundingClientRect().height < 43).map(one => one.textContent)"""
    assert opened.evaluate(small) == [], "all can be touched"
    unnamed = """[...document.querySelectorAll('input, select, button, canvas')].filter(one =>
        !(one.labels && one.labels.length) && !one.getAttribute('aria-label') && !one.textContent.trim()
        && !one.querySelector('img[alt]')).map(one => one.outerHTML)"""
    assert opened.evaluate(unnamed) == [], "all have a name for a screen reader"
    check(page)
