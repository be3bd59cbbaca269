"""Pages as a real browser shows them: nothing fetched, nothing complained about, nothing cut off on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fibrokd.evaluation.report import write_report
from fibrokd.pipeline import compare
from tests.evaluation.made_up_assessed import answers, write_assessed
from tests.evaluation.made_up_report import UNFIT, report_inputs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

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


def test_axe_finds_no_serious_fault(tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    write_report(tmp_path / "report.html", report_inputs(UNFIT))
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto((tmp_path / "report.html").as_uri())
        found = axe.Axe().run(page).response
        browser.close()
    assert len(found["passes"]) > 20, "it looked at the page"
    faults = [
        (fault["id"], fault["impact"], node["target"], node["failureSummary"])
        for fault in found["violations"]
        for node in fault["nodes"]
    ]
    assert [fault for fault in faults if fault[1] in ("serious", "critical")] == []
