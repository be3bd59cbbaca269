"""The page says the verdict first, shows masked pictures only, needs no network, and can be read aloud."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fibrokd.integrity.card import phantom_card
from fibrokd.integrity.controls import CONTROLS as TABLE
from fibrokd.integrity.links import Link
from fibrokd.integrity.page import NO_PICTURE, WITHHELD, render_page
from fibrokd.integrity.page_words import HEADLINES, points
from fibrokd.integrity.verdict import judge
from tests.integrity.builders import content
from tests.integrity.cohorts import CONTROLS, OFF, cohort, findings_of


class Outline(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def integrity_of(findings, **changes):
    verdict = judge(findings)
    told = {"verdict": verdict.name, "reasons": [vars(r) for r in verdict.reasons], **findings.as_json(), **changes}
    return json.loads(json.dumps(told))


ROLES = {
    "table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell",
}  # fmt: skip


def straddling(change=None):
    """Build a cohort of which ten patients are filed under two stages."""

    def both(patient, frame, row):
        moved = {"stage": "F4" if frame else "F0"} if patient < 10 else {}
        return moved | (change(patient, frame, row | moved) if change else {})

    return cohort(both)


def picture(image_id):
    return np.full((64, 64), int(image_id[:2], 16), dtype=np.uint8)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_page_says_the_verdict_first_and_can_be_read_aloud(enabled):
    table = cohort(lambda p, f, row: {"pixel_digest": content(p), "path": f"{row['stage']}/<i>{p}-{f}.png"})
    findings = findings_of(table, controls=CONTROLS if enabled else OFF)
    page = render_page(integrity_of(findings), picture)
    outline = Outline(page)
    assert {"lang": "en"} in outline.all("html")
    assert outline.text.index("Caution: results on this collection") < outline.text.index("What was found")
    assert all("scope" in attributes for attributes in outline.all("th"))
    assert len(outline.all("h1")) == 1
    assert "<i>" not in page
    assert "&lt;i&gt;" not in page  # no path at all
    for reason in judge(findings).reasons:
        assert reason.text in outline.text
        assert reason.todo in outline.text
    assert "Pictures kept as whole frames no fan found with confidence" in outline.text
    assert "No evidence ties a picture of one split to a picture of another." in outline.text
    assert ("On this very split" in outline.text) == enabled


def test_nothing_is_fetched_from_anywhere():
    table = cohort(lambda p, f, row: {"pixel_digest": content(p)})
    page = render_page(integrity_of(findings_of(table)), picture)
    outline = Outline(page)
    for _, attributes in outline.tags:
        assert attributes.get("src", "data:").startswith("data:image/png;base64,") or "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    assert not outline.all("link")
    assert not outline.all("script")
    assert "@import" not in page
    assert "url(" not in page
    targets = {attributes["id"] for _, attributes in outline.tags if "id" in attributes}
    assert {attributes["href"][1:] for attributes in outline.all("a")} <= targets


def test_every_table_has_a_caption_and_every_cell_that_is_stacked_on_a_phone_says_what_it_is():
    outline = Outline(render_page(integrity_of(findings_of(straddling(), refused={"empty": 2}))))
    assert len(outline.all("caption")) == len(outline.all("table")) > 8
    inside, stacked = "", 0
    for tag, attributes in outline.tags:
        inside = attributes.get("class", "") if tag == "table" else inside
        if inside in ("stack", "cells"):
            assert attributes.get("role") == ROLES.get(tag, attributes.get("role")), tag
            if tag == "td":
                assert attributes["data-label"]
                stacked += 1
    assert stacked > 50


def test_every_link_leads_somewhere_and_no_place_is_there_twice():
    table = straddling(lambda p, f, row: {"pixel_digest": content(p // 3)} if p < 60 else {})
    findings = findings_of(table, near=[Link(0, 122, "near", "0.93")], refused={"empty": 2})
    outline = Outline(render_page(integrity_of(findings), picture))
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"].removeprefix("#") for attributes in outline.all("a")}
    assert links <= set(ids)
    assert {"mixed", "example-copies_across_stages", "example-near_across_stages", "set-aside", "reason-1"} <= links
    labels = [a["aria-labelledby"] for a in outline.all("section")]
    assert len(labels) > 4
    assert set(labels) <= set(ids)


def test_the_short_list_names_the_same_reasons_in_the_same_order_with_their_numbers():
    findings = findings_of(straddling(), grouping="stem", refused={"empty": 2})
    reasons = integrity_of(findings)["reasons"]
    text = Outline(render_page(integrity_of(findings))).text
    short, full = text[: text.index("Do first:")], text[text.index("Reasons, and what to do") :]
    assert len(reasons) > 3
    for listed, of_reason in ((short, lambda r: HEADLINES[r["code"]][0]), (full, lambda r: r["text"])):
        places = [listed.index(" ".join(of_reason(reason).split())) for reason in reasons]
        assert places == sorted(places)
    assert f"Do first: {reasons[0]['todo']}" in text
    unfit = sum(reason["severity"] == "unfit" for reason in reasons)
    assert (f"Makes it unfit ({unfit})" in short) == (unfit > 0)
    assert f"Calls for caution ({len(reasons) - unfit})" in short


def test_the_points_that_come_from_the_split_alone_are_told_beside_what_must_be_kept_together():
    table = cohort(lambda p, f, row: {"pixel_digest": content(p)})
    thumbnails = np.repeat(np.random.default_rng(0).integers(0, 256, (150, 48, 48), dtype=np.uint8), 2, axis=0)
    integrity = integrity_of(findings_of(table, thumbnails=thumbnails))
    scores, text = integrity["controls"]["thumbnail_1nn"], Outline(render_page(integrity)).text
    loose, strict = scores["random"]["accuracy"], scores["all"]["accuracy"]
    assert loose["value"] > strict["value"] + 0.3
    told = text[text.index("How much that matters here") :]
    assert f"{100 * loose['value']:.1f} % ({100 * loose['low']:.1f}–{100 * loose['high']:.1f} %)" in told
    assert f"{100 * strict['value']:.1f} % (" in told
    assert f"{integrity['inflation_points']['thumbnail_1nn']['random']:+.1f} points" in told


def test_training_that_was_allowed_on_unfit_data_is_said_at_the_top():
    findings = findings_of(straddling(lambda p, f, row: {"pixel_digest": content(p // 3)}), controls=OFF)
    told = {accepted: Outline(render_page(integrity_of(findings, accepted_unfit=accepted))).text for accepted in (0, 1)}
    assert "Accepted all the same" in told[1][: told[1].index("In short")]
    assert "Accepted all the same" not in told[0]


def test_equal_contents_give_equal_bytes():
    integrity = integrity_of(findings_of(cohort(), near=[Link(0, 2, "near", "0.93")]))
    assert render_page(integrity, picture) == render_page(json.loads(json.dumps(integrity)), picture)


def test_examples_show_the_masked_frames_that_were_asked_for_with_words_for_each():
    links = [Link(0, 2, "near", "0.93"), Link(4, 6, "near", "0.88 mirrored")]
    integrity = integrity_of(findings_of(cohort(), near=links, controls=OFF))
    asked = []
    outline = Outline(render_page(integrity, lambda image_id: asked.append(image_id) or picture(image_id)))
    images = outline.all("img")
    assert len(images) == len(asked) > 3
    for image, image_id in zip(images, asked, strict=True):
        assert image_id in image["alt"]
        assert "stage F" in image["alt"]
        pixels = Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
        assert np.asarray(pixels)[0, 0] == int(image_id[:2], 16)
    assert "Nearly the same picture filed under different stages" in outline.text
    assert "Correlation 0.88 inside the fan, one of them mirrored" in outline.text


def test_a_frame_kept_whole_is_never_asked_for():
    table = cohort(lambda p, f, row: {"cropped": "0"})
    integrity = integrity_of(findings_of(table, near=[Link(0, 2, "near", "0.93")], controls=OFF))
    asked = []
    outline = Outline(render_page(integrity, asked.append))
    assert asked == []
    assert not outline.all("img")
    assert WITHHELD in outline.text
    nothing = Outline(render_page(integrity_of(findings_of(cohort(), near=[Link(0, 2, "near", "0.93")], controls=OFF))))
    assert NO_PICTURE in nothing.text


def test_the_inflation_table_holds_every_control_that_was_run():
    table = cohort(lambda p, f, row: {"scanner": f"s{p % 3}"})
    margins = np.random.default_rng(0).random((len(table), 64)).astype(np.float32)
    integrity = integrity_of(findings_of(table, margins=margins))
    text = Outline(render_page(integrity)).text
    assert set(integrity["inflation_points"]) == set(TABLE)
    for name, control in TABLE.items():
        assert control.title in text
        assert points(integrity["inflation_points"][name]["random"]) in text


def test_the_card_is_printed_with_its_questions_or_its_absence_is():
    findings = findings_of(cohort(), controls=OFF)
    without = Outline(render_page(integrity_of(findings))).text
    assert "There is none: nobody has said" in without
    card = phantom_card(150, 300)
    text = Outline(render_page(integrity_of(findings, card=card.as_json()))).text
    for answer in card.as_json().values():
        assert answer in text
    assert "Reference standard" in text


def test_files_that_gave_pictures_and_files_set_aside_add_up_and_what_was_not_run_is_said():
    integrity = integrity_of(findings_of(cohort()))
    integrity |= {"files": 69, "images": 64, "quarantined": 6, "levels_too_coarse": {"stem": 2}}
    few = {"value": 0.1, "low": None, "high": None, "note": "no interval from 5 clusters (at least 10 needed)"}
    integrity["controls"]["thumbnail_1nn_split"] |= {"accuracy": few, "clusters": 5}
    page = render_page(integrity)
    assert "63 of 69 files gave 64 pictures" in page
    assert "that makes 2 groups only, at least 10 are needed. Names say nothing here." in page
    assert "accuracy of 10.0\u00a0% (no interval)" in page
    assert "of fewer than 10 clusters none is given" in page
