"""The report's page: what it says, that it says so to everybody, and that it works in a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_cases import EVIL, KEYS, NAMES, no_detections, small_report, with_detections
from report_pages import Page

from inception_rcnn.evaluation import analyse_errors, evaluate_coco
from inception_rcnn.evaluation.comparison import compare
from inception_rcnn.evaluation.protocols import PROTOCOLS
from inception_rcnn.evaluation.report.inputs import ReportInput
from inception_rcnn.evaluation.report.pages import write_comparison, write_report
from inception_rcnn.evaluation.report.text import figure_lines
from inception_rcnn.structures import InputError
from inception_rcnn.structures.detections import DetectionTable

SECTIONS = [
    "summary",
    "classes",
    "curves",
    "errors",
    "confusion",
    "sizes",
    "false",
    "missed",
    "scores",
    "proposals",
    "time",
    "settings",
]


@pytest.fixture(scope="module")
def report() -> ReportInput:
    return small_report()


@pytest.fixture(scope="module")
def path(report: ReportInput, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report") / "made" / "here", report)


@pytest.fixture(scope="module")
def comparison_path(report: ReportInput, tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    shaken = replace(report.detections, score=random.random(len(report.detections)))
    other = replace(with_detections(report, shaken), title="other <i>")
    return write_comparison(tmp_path_factory.mktemp("both"), compare(report, other), report, other)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_page_asks_for_nothing_and_runs_nothing_but_its_own_script(protocol: str, tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, small_report(protocol)))
    assert page.complaints() == []


def test_the_comparison_asks_for_nothing_and_runs_nothing_but_its_own_script(comparison_path: Path) -> None:
    page = Page(comparison_path)
    assert page.complaints() == []
    assert "<i>" in page.text
    assert "i" not in [tag for tag, _ in page.elements]


def test_names_from_outside_stay_text(path: Path) -> None:
    page = Page(path)
    for name in (*NAMES, "picture 0 <b>", "network <i>", "<u>weights</u>.safetensors", "<8>"):
        assert name in page.text
    assert not {"b", "i", "u"} & {tag for tag, _ in page.elements}
    assert page.source.count(EVIL) == 0
    assert page.data["names"] == list(NAMES)


def test_every_section_is_there_with_a_heading(path: Path) -> None:
    page = Page(path)
    assert [a["id"] for tag, a in page.elements if tag == "section"] == SECTIONS
    assert [a["href"] for tag, a in page.elements if tag == "a"][1:] == [f"#{name}" for name in SECTIONS]
    levels = [tag for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert levels[0] == "h1"
    assert levels.count("h1") == 1
    assert levels.count("h2") == len(SECTIONS)


def test_the_figures_are_those_of_the_result(path: Path, report: ReportInput) -> None:
    page = Page(path)
    assert f"{100 * report.result.map:.1f} %" in page.text
    assert f"{100 * report.result.median_ap:.1f} %" in page.text
    for key, ap in report.result.ap.items():
        assert key in page.text
        if ap is not None:
            assert f'data-value="{ap}"' in page.source
    assert "no objects" in page.text
    errors = analyse_errors(report.truths, report.detections)
    for kind, text in {"Cls": "Wrong class", "Miss": "Not found"}.items():
        assert f"{text} " in page.text
        assert f">{errors.counts[kind]:,}</td>" in page.source
    assert [row is None for row in page.data["models"][0]["precision"]] == [False] * 4 + [True]
    assert page.data["models"][0]["precision"][0][0] == round(1000 * report.result.curve("n1").precision.max())


def test_a_class_in_a_single_photograph_has_no_interval(path: Path) -> None:
    rows = Page(path).source.split("<tr data-name=")
    assert [row.count(' class="whisker"') for row in rows if "rare &amp; alone" in row[:60]] == [0]
    assert [row.count(' class="whisker"') for row in rows if row.startswith('"cat')] == [1]


def test_cocos_numbers_are_shown_by_its_rules_only(path: Path, tmp_path: Path) -> None:
    report = small_report("coco")
    page = Page(write_report(tmp_path, report))
    assert "AP50 AP75" in page.text
    assert "AP50" not in Page(path).text


def test_photographs_are_part_of_the_page_or_their_lack_is_said(
    path: Path, tmp_path: Path, report: ReportInput
) -> None:
    pictures = [a for tag, a in Page(path).elements if tag == "image"]
    assert len(pictures) > 5
    without = Page(write_report(tmp_path, replace(report, photographs=None)))
    assert "image" not in [tag for tag, _ in without.elements]
    assert without.text.count("No photographs are at hand") == 2
    assert "picture 0 <b> , box" in without.text or "picture 0 <b>, box" in without.text


def test_photographs_that_cannot_be_opened_are_counted_on_the_page(tmp_path: Path, report: ReportInput) -> None:
    def gone(position: int) -> np.ndarray:
        raise OSError("gone")

    page = Page(write_report(tmp_path, replace(report, photographs=gone)))
    assert "of the photographs could not be opened" in page.text


def test_what_is_unknown_is_said(tmp_path: Path, report: ReportInput) -> None:
    bare = replace(report, coverage=None, seconds={}, weights=(), settings={})
    page = Page(write_report(tmp_path, bare))
    assert page.complaints() == []
    for text in ("Nothing is known of the proposals", "No time was measured"):
        assert text in page.text


def test_without_any_detection_the_page_is_there_and_honest(tmp_path: Path, report: ReportInput) -> None:
    page = Page(write_report(tmp_path, with_detections(report, no_detections())))
    assert page.complaints() == []
    for text in ("0.0 %", "There are no detections.", "There is no false detection.", "No object was taken for"):
        assert text in page.text


def test_perfect_detections_leave_nothing_to_show(tmp_path: Path, report: ReportInput) -> None:
    truths = report.truths
    perfect = DetectionTable(truths.image, truths.label, np.linspace(0.5, 0.9, len(truths)), truths.box)
    page = Page(write_report(tmp_path, with_detections(report, perfect)))
    assert "100.0 %" in page.text
    assert "There is no false detection." in page.text
    assert "Every object was found" in page.text


def test_scores_beyond_one_are_no_probabilities(tmp_path: Path, report: ReportInput) -> None:
    found = replace(report.detections, score=report.detections.score * 100 - 5)
    page = Page(write_report(tmp_path, with_detections(report, found)))
    assert page.complaints() == []
    assert "cannot be read as probabilities" in page.text


def test_the_same_evaluation_gives_the_same_page(path: Path, tmp_path: Path, report: ReportInput) -> None:
    assert write_report(tmp_path, report).read_bytes() == path.read_bytes()


def test_what_cannot_be_shown_is_said_in_a_line(tmp_path: Path, report: ReportInput) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: it is a file; give the name of a folder"):
        write_report(tmp_path / "file", report)
    arbiter = evaluate_coco(report.truths, report.detections, engine="pycocotools")
    with pytest.raises(InputError, match="engine='native'"):
        write_report(tmp_path, replace(report, result=arbiter))


def test_terminal_and_page_name_the_same_threshold(tmp_path: Path) -> None:
    for protocol in PROTOCOLS:
        report = small_report(protocol)
        best = report.matches.best_f1()
        shown = f"{best.threshold:.3f}"
        assert f"best mean F1 {best.f1:.3f} at score {shown} " in "\n".join(figure_lines(report))
        page = Page(write_report(tmp_path, report))
        assert f"those at the score {shown}, which gives the best mean F1" in page.text
        assert f"Detections with a score of {shown} or more" in page.text
        other = with_detections(report, report.detections[::2])
        both = Page(write_comparison(tmp_path, compare(report, other, resamples=2), report, other))
        assert f"its best mean F1 ({shown} and {other.matches.best_f1().threshold:.3f})" in both.text


class Browser:
    """A page of a headless Chromium; what goes wrong on it is kept in `errors`, what it asks for in `requests`."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", self._note)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning", "assert"):
            self.errors.append(message.text)

    def open(self, path: Path, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Opens a file and waits until it is loaded."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(color_scheme="dark" if dark else "light")
        self.page.goto(path.resolve().as_uri())

    def run(self, script: str) -> Any:
        """Returns the value of an expression on the page."""
        return self.page.evaluate(script)

    def press(self, key: str) -> None:
        """Presses and releases a key such as "ArrowDown"."""
        self.page.keyboard.press(key)


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Browser:
    return Browser(chromium.new_page())


def check(browser: Browser) -> None:
    """No error was noted, no script of a name ran, and nothing but the file was asked for."""
    assert browser.errors == []
    assert browser.run("typeof window.broken") == "undefined"
    assert [request for request in browser.requests if not request.startswith(("file:", "data:", "about:"))] == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", ["report", "comparison"])
def test_the_page_opens_without_errors_and_fits(
    kind: str, width: int, dark: bool, browser: Browser, path: Path, comparison_path: Path
) -> None:
    browser.open(path if kind == "report" else comparison_path, width=width, height=800, dark=dark)
    assert browser.run("document.documentElement.className") == "scripted"
    assert browser.run("document.documentElement.scrollWidth") == width
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in background[4:-1].split(",")) < 300) == dark
    check(browser)


def test_the_browser_does_notice_errors(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<script>undefinedFunction()</script><img src='http://127.0.0.1:9/x.png'>")
    browser.open(tmp_path / "bad.html")
    assert any("undefinedFunction" in error for error in browser.errors)
    assert any(request.startswith("http:") for request in browser.requests)
    browser.errors.clear()
    browser.requests.clear()


def test_headings_sort_the_classes(browser: Browser, path: Path) -> None:
    browser.open(path)
    names = "[...document.querySelectorAll('#class-table tbody tr')].map(row => row.dataset.name)"
    by_ap = browser.run(names)
    browser.run("document.querySelector('#class-table .sort').click()")
    by_name = browser.run(names)
    assert by_name == sorted(by_ap, key=str.lower)
    assert browser.run("document.querySelector('#class-table th').getAttribute('aria-sort')") == "ascending"
    browser.run("document.querySelectorAll('#class-table .sort')[1].click()")
    assert browser.run(names)[:4] == by_ap[:4]
    browser.run("document.querySelectorAll('#class-table .sort')[1].click()")
    assert browser.run(names) == [*by_ap[3::-1], by_ap[4]]  # the class without objects stays last
    check(browser)


def test_classes_are_found_by_name(browser: Browser, path: Path) -> None:
    browser.open(path)
    browser.run(
        "{ const box = document.querySelector('[data-filter]'); box.value = 'RARE';"
        " box.dispatchEvent(new Event('input')); }"
    )
    assert browser.run("document.querySelectorAll('#class-table tbody tr:not([hidden])').length") == 1
    assert browser.run("document.querySelector('[data-filter-count]').textContent") == "1 of 5"
    check(browser)


def test_a_class_chosen_shows_its_curve_and_its_confusions(browser: Browser, path: Path, report: ReportInput) -> None:
    browser.open(path)
    assert browser.run("document.querySelectorAll('.of-class').length") == 0
    browser.run("document.querySelector('[data-class=\"1\"]').click()")
    assert browser.run("document.querySelectorAll('.of-class').length") == 1
    assert browser.run("document.getElementById('curve-class').value") == "1"
    assert EVIL in browser.run("document.getElementById('confusion-of-class').textContent")
    browser.run(
        "{ const bar = document.getElementById('curve-recall'); bar.value = 0; bar.dispatchEvent(new Event('input')); }"
    )
    best = 100 * report.result.curve("n2").precision.max()
    assert f"precision {best:.1f} % at recall 0 %" in browser.run(
        "document.getElementById('curve-readout').textContent"
    )
    check(browser)


def test_a_class_without_objects_can_be_chosen(browser: Browser, path: Path) -> None:
    browser.open(path)
    browser.run(f"document.querySelector('[data-class=\"{KEYS.index('n5')}\"]').click()")
    assert "has no objects" in browser.run("document.getElementById('curve-readout').textContent")
    check(browser)


def test_arrow_keys_walk_over_the_confusion_matrix(browser: Browser, path: Path, report: ReportInput) -> None:
    browser.open(path)
    browser.run("document.getElementById('matrix').focus()")
    readout = "document.getElementById('matrix-readout').textContent"
    browser.press("ArrowUp")
    assert f" of {report.result.kept_matches().objects[0]} objects cat" in browser.run(readout)
    assert "were found" in browser.run(readout)
    browser.press("ArrowRight")
    assert f"were called {EVIL}" in browser.run(readout)
    for _ in range(5):
        browser.press("ArrowRight")
    assert "were not found" in browser.run(readout)
    check(browser)


def test_the_comparison_draws_both_curves_of_a_class(browser: Browser, comparison_path: Path) -> None:
    browser.open(comparison_path)
    browser.run("document.querySelector('[data-class=\"0\"]').click()")
    assert browser.run("document.querySelectorAll('.of-class').length") == 2
    assert "other <i>: precision" in browser.run("document.getElementById('curve-readout').textContent")
    check(browser)
