"""Pages as a real browser shows them: nothing fetched, nothing complained about, nothing cut off on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fibrokd.evaluation.report import write_report
from fibrokd.pipeline import compare
from tests.evaluation.made_up_assessed import answers, write_assessed
from tests.evaluation.made_up_report import UNFIT, report_inputs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

A4_TEXT_PX = 680
"""Width of the text on A4 paper with margins of 15 mm, at 96 dots per inch."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]


def _report(folder: Path) -> Path:
    write_report(folder / "report.html", report_inputs(UNFIT))
    return folder / "report.html"


def _compared(folder: Path) -> Path:
    runs = [write_assessed(folder / f"seed_{k}", answers(k), seed=k) for k in range(3)]
    compare.run(runs, folder / "out", compare.CompareConfig(resamples=100))
    return folder / "out" / "compare.html"


@pytest.mark.parametrize("made", [_report, _compared])
@pytest.mark.parametrize("width", [400, 1200])
def test_a_page_opens_without_requests_or_complaints_and_fits_the_screen(
    tmp_path: Path, made: Callable[[Path], Path], width: int
) -> None:
    api = pytest.importorskip("playwright.sync_api")
    path = made(tmp_path)
    fetched: list[str] = []
    complaints: list[str] = []
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: fetched.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.className")
        page_width = page.evaluate("document.documentElement.scrollWidth")
        cut = page.evaluate(
            "[...document.querySelectorAll('.wrap')].filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 1)"
            ".map(e => e.getAttribute('aria-label')).filter(name => !/^(Learning|Layer of)/.test(name))"
        )
        browser.close()
    assert [url for url in fetched if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    assert focused == "skip"
    assert page_width == width
    assert cut == []


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open what a function wrote, with everything that can be unfolded unfolded."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])

        def show(made: Callable[[Path], Path], width: int) -> Any:
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.goto(made(tmp_path).as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
            return page

        yield show
        browser.close()


@pytest.mark.parametrize("made", [_report, _compared])
@pytest.mark.parametrize("width", [400, 1200])
def test_axe_finds_no_serious_fault(opened: Callable[..., Any], made: Callable[[Path], Path], width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(opened(made, width)).response
    assert len(found["passes"]) > 15, "it looked at the page"
    faults = [
        (fault["id"], fault["impact"], node["target"], node["failureSummary"])
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert faults == []


@pytest.mark.parametrize("made", [_report, _compared])
def test_nothing_is_cut_off_on_paper(opened: Callable[..., Any], made: Callable[[Path], Path]) -> None:
    page = opened(made, A4_TEXT_PX)
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_TEXT_PX
    cut = page.evaluate(
        "[...document.querySelectorAll('.wrap')].filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 1)"
        ".map(e => e.getAttribute('aria-label')).filter(name => !/^(Learning|Layer of)/.test(name))"
    )
    assert cut == []
    assert page.pdf(format="A4", prefer_css_page_size=True).startswith(b"%PDF")


def test_every_control_is_reached_with_the_tabulator_in_the_order_of_the_page(opened: Callable[..., Any]) -> None:
    page = opened(_report, 1200)
    # Regions that scroll, what unfolds, links, and the switch of the layers; each is given the number of its place.
    count = page.evaluate(
        "[...document.querySelectorAll('a[href], summary, input, [tabindex=\"0\"]')].filter(e => e.offsetParent)"
        ".map((e, k) => { e.dataset.place = k; return k; }).length"
    )
    reached = []
    for _ in range(count):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.place"))
    assert [int(place) for place in reached if place is not None] == list(range(count))
