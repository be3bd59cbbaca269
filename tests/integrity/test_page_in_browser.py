"""The page as a real browser shows it: on a phone, enlarged, in the dark, on paper, by keyboard and read aloud."""

import shutil

import numpy as np
import pytest

from fibrokd.integrity.card import phantom_card
from fibrokd.integrity.links import Link
from fibrokd.integrity.page import render_page
from tests.integrity.builders import content
from tests.integrity.cohorts import cohort, findings_of
from tests.integrity.test_page import integrity_of, picture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1100, "height": 900}
QUIET = ["--no-sandbox", "--disable-gpu"]
A4_TEXT_PX = 687  # 210 mm less two margins of 14 mm, at 96 pixels to the inch

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]

TOO_WIDE = """() => {
  const hidden = e => e.closest('.hidden, .skip') || getComputedStyle(e.closest('thead') || e).position === 'absolute';
  return [...document.body.querySelectorAll('*')].filter(e => !hidden(e)).filter(e =>
    e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1 ||
    (e.clientWidth && e.scrollWidth > e.clientWidth + 1)
  ).map(e => e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 40));
}"""
"""Elements that leave the screen or cut off what they hold."""

CONTRASTS = """() => {
  const read = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => {
    const [r, g, b] = read(colour).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (read(colour).length === 3 || read(colour)[3] === 1) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const texts = [...document.body.querySelectorAll('*')].filter(e =>
    [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.textContent.trim()));
  return texts.map(e => {
    const [one, other] = [light(getComputedStyle(e).color), light(behind(e))];
    return [(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), e.tagName + '.' + e.className];
  });
}"""
"""Contrast of every text with what lies behind it, by WCAG 2.2's relative luminance."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write the page of a cohort in which nearly everything is wrong, and that fills every section."""

    def wrong(patient, frame, row):
        stage = {"stage": "F4" if frame else "F0"} if patient < 10 else {}
        copied = {"pixel_digest": content(patient // 3)} if patient < 60 else {}
        return {"scanner": f"s{patient % 3}", "cropped": str(int(patient % 7 > 0)), **stage, **copied}

    refused = {"not_an_image": 4, "inflated_size_beyond_the_limit": 123456}
    margins = np.random.default_rng(0).random((300, 64)).astype(np.float32)
    near = [Link(0, 122, "near", "0.93"), Link(4, 130, "near", "0.88 mirrored"), Link(130, 140, "near", "0.70")]
    findings = findings_of(cohort(wrong), near=near, margins=margins, refused=refused, files=123760)
    card = phantom_card(150, 300).as_json() | {"contact": "https://example.org/" + 30 * "unbreakable"}
    integrity = integrity_of(findings, card=card, accepted_unfit=True)
    path = tmp_path_factory.mktemp("page") / "integrity.html"
    path.write_text(render_page(integrity, picture), encoding="utf-8")
    return path, integrity


@pytest.fixture(scope="module")
def playing():
    """Start what drives browsers."""
    with pytest.importorskip("playwright.sync_api").sync_playwright() as play:
        yield play


@pytest.fixture(scope="module")
def browser(playing):
    """Start chromium."""
    started = playing.chromium.launch(executable_path=CHROMIUM, args=QUIET)
    yield started
    started.close()


@pytest.fixture
def opened(browser, written):
    """Open the page in a window of a given size."""
    pages = []

    def opened(size, **options):
        page = browser.new_page(viewport=size, **options)
        pages.append(page)
        page.goto(written[0].as_uri())
        return page

    yield opened
    for page in pages:
        page.close()


@pytest.mark.parametrize("width", [320, 390, 550, 703, 704, 768, 1100, 1600])
def test_nothing_leaves_the_screen_scrolls_sideways_or_is_cut_off(opened, width):
    page = opened({"width": width, "height": 844})
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize("width", [390, 768, 1100])
def test_letters_of_twice_the_size_fit_too(playing, written, width):
    browser = playing.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--blink-settings=defaultFontSize=32"])
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(written[0].as_uri())
    letters = page.evaluate("getComputedStyle(document.body).fontSize")
    too_wide = page.evaluate(TOO_WIDE)
    page_width = page.evaluate("document.scrollingElement.scrollWidth")
    browser.close()
    assert letters == "32px"
    assert too_wide == []
    assert page_width <= width


def test_nothing_is_cut_off_on_paper_and_every_sheet_carries_the_verdict(opened, written):
    page = opened({"width": A4_TEXT_PX, "height": 971}, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= A4_TEXT_PX
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert f'@bottom-left {{ content: "Integrity check: {written[1]["verdict"]}"' in written[0].read_text()
    assert page.pdf(format="A4", prefer_css_page_size=True).startswith(b"%PDF")


def test_the_first_screen_of_a_phone_holds_the_verdict_its_reasons_and_what_to_do(opened):
    page = opened(PHONE)
    bottoms = page.evaluate(
        "['.verdict', '.short:last-of-type li:last-child', '.short ~ p'].map("
        "selector => document.querySelector(selector).getBoundingClientRect().bottom)"
    )
    assert bottoms == sorted(bottoms)
    assert bottoms[0] < PHONE["height"] / 3
    assert bottoms[-1] < 1.1 * PHONE["height"]  # this cohort has more wrong with it than most


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "wide"])
def test_every_text_can_be_told_from_its_background(opened, scheme, size):
    measured = opened(size, color_scheme=scheme).evaluate(CONTRASTS)
    assert len(measured) > 200
    assert [text for text in measured if text[0] < 4.5] == []


def _tables(page):
    """Roles and names of whatever stands in tables, as a screen reader is told them."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"table", "row", "cell", "gridcell", "rowheader", "columnheader", "caption", "LabelText"}
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node.get("role", {}).get("value") in roles
    ]
    return sorted(found)


def test_a_screen_reader_is_told_the_same_tables_on_a_phone_as_on_a_wide_screen(opened):
    phone, wide = _tables(opened(PHONE)), _tables(opened(WIDE))
    roles = [role for role, _ in phone]
    assert roles.count("table") > 12
    assert roles.count("columnheader") > 30
    assert roles.count("rowheader") > 60
    assert phone == wide


def test_nothing_is_fetched_nothing_complained_about_and_the_keyboard_reaches_the_reasons_first(browser, written):
    fetched, complaints = [], []
    page = browser.new_page(viewport=PHONE)
    page.on("request", lambda request: fetched.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(written[0].as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section').getAttribute('aria-labelledby')") == "reasons"
    page.close()
    assert [url for url in fetched if not url.startswith(("file:", "data:"))] == []
    assert complaints == []


def test_pictures_are_shown_and_have_words(opened):
    page = opened(PHONE)
    images = page.evaluate("[...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt])")
    assert len(images) > 3
    assert all(loaded and "filed under stage" in words for loaded, words in images)
