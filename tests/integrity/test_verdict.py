"""A clean cohort is fit; with one hazard switched on, that hazard is named and the verdict is worse."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from fibrokd.integrity.controls import ControlsConfig
from fibrokd.integrity.findings import Collection, leak_of, survey
from fibrokd.integrity.groups import group_images
from fibrokd.integrity.identity import StemRules
from fibrokd.integrity.page import render_page
from fibrokd.integrity.splitting import SplitConfig, Splits, split_images
from fibrokd.integrity.verdict import PUBLISHED_PROTOCOL, judge
from fibrokd.stages import METAVIR
from tests.integrity.builders import content, manifest

PATIENTS, FRAMES = 150, 2
CONTROLS = ControlsConfig(seeds=(0,), replicates=100)


def cohort(change=None):
    """Build a clean cohort: 150 patients of two frames, balanced stages, names that say nothing."""
    order = np.random.default_rng(5).permutation(PATIENTS)
    rows = []
    for patient in range(PATIENTS):
        for frame in range(FRAMES):
            stage = METAVIR.names[patient % 5]
            row = {"stage": stage, "patient": f"P{patient}", "path": f"{stage}/q{order[patient]:03d}x{frame}.png"}
            rows.append(row | (change(patient, frame, row) if change else {}))
    return manifest(rows)


def findings_of(table, grouping="all", thumbnails=None, controls=CONTROLS, refused=None, files=None):
    if thumbnails is None:
        thumbnails = np.random.default_rng(0).integers(0, 256, (len(table), 48, 48), dtype=np.uint8)
    groups = group_images(table, grouping)
    splits = split_images(table, groups, METAVIR, SplitConfig())
    collection = Collection(table, METAVIR, files or len(table), refused or {}, 0, grouping, StemRules(), True)
    return survey(collection, lambda rows: thumbnails[rows], groups, splits, controls)


def codes(verdict):
    return {reason.code for reason in verdict.reasons}


def test_a_clean_cohort_is_fit():
    verdict = judge(findings_of(cohort()))
    assert verdict.reasons == ()
    assert verdict.name == "fit"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda p, f, row: {"pixel_digest": content(p)}, "copies"),
        (lambda p, f, row: {"patient": ""}, "unknown_patients"),
        (lambda p, f, row: {"stage": METAVIR.names[(p + (f if p < 3 else 0)) % 5]}, "mixed_stage_groups"),
        (lambda p, f, row: {"format": "PNG" if p % 5 < 2 else "JPEG"}, "metadata"),
        (lambda p, f, row: {"extension_ok": "0" if p < 10 else "1"}, "wrong_extension"),
        (lambda p, f, row: {"path": f"{row['stage']}/n{30 * (p % 5) + p // 5:03d}x{f}.png"}, "label_order"),
        (lambda p, f, row: {"cropped": "0" if p < 10 else "1"}, "uncropped"),
        (lambda p, f, row: {"patient": "ANON" if p < 10 else f"P{p}"}, "distrusted_keys"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_hazard_alone_is_named_and_costs_the_verdict(change, code):
    verdict = judge(findings_of(cohort(change)))
    assert code in codes(verdict)
    assert verdict.name != "fit"


def test_pictures_that_carry_their_stage_everywhere_make_a_collection_unfit():
    table = cohort()
    stages = np.array([METAVIR.parse(s) for s in table["stage"]])
    thumbnails = np.zeros((len(table), 48, 48), dtype=np.uint8)
    thumbnails[:, 0, :10] = 40 * stages[:, None]
    verdict = judge(findings_of(table, thumbnails=thumbnails))
    assert verdict.name == "unfit"
    assert codes(verdict) == {"thumbnail_1nn"}
    assert verdict.reasons[0].number == 1.0


def test_one_picture_under_two_stages_is_unfit():
    table = cohort()
    table.loc[[0, 2], "pixel_digest"] = "e" * 64  # patients 0 and 1: F0 and F1
    assert "picture_with_two_stages" in codes(judge(findings_of(table)))


def test_the_published_protocol_is_stamped_and_its_leak_measured():
    table = cohort(lambda p, f, row: {"pixel_digest": content(p), "path": f"{row['stage']}/r{p * 7919 + f}.png"})
    findings = findings_of(table, grouping="stem")
    verdict = judge(findings)
    assert verdict.name == "unfit"
    assert findings.leak.twins > 0.3
    stamp = verdict.stamp("stem", synthetic=False, accepted_unfit=True)
    assert PUBLISHED_PROTOCOL in stamp["reasons"]
    assert (stamp["verdict"], stamp["grouping"], stamp["accepted_unfit"]) == ("unfit", "stem", True)
    assert findings_of(table).leak.twins == 0


def test_whole_frames_are_counted_and_no_reproach_where_no_fan_was_asked_for():
    few = findings_of(cohort(lambda p, f, row: {"cropped": "0" if p < 5 else "1"}))
    assert few.as_json()["uncropped"] == 10
    assert codes(judge(few)) == set()
    full = replace(few, collection=replace(few.collection, table=few.collection.table.assign(cropped="0"), crop="full"))
    assert full.as_json()["uncropped"] == 300
    assert codes(judge(full)) == set()


def test_what_crosses_between_any_two_splits_is_measured():
    table = cohort()
    findings = findings_of(table)
    assert set(findings.leak.others) == {"val→train", "calibration→train", "calibration→val", "test→val",
                                         "test→calibration"}  # fmt: skip
    assert set(findings.leak.others.values()) == {0.0}
    parts = findings.splits.splits
    part = parts.part.copy()
    names = np.array(parts.names)[part]
    moved = [row for row in np.flatnonzero(names == "val") if table["patient"][row].endswith("1") and row % 2]
    part[moved] = parts.names.index("train")
    crossed = Splits(replace(parts, part=part), findings.splits.folds)
    leak = leak_of(table, findings.evidence_groups.names, crossed)
    assert (leak.twins, leak.relatives) == (0, 0)
    assert leak.others["val→train"] == pytest.approx(len(moved) / (np.sum(names == "val") - len(moved)), abs=1e-4)
    reasons = {reason.code: reason for reason in judge(replace(findings, leak=leak)).reasons}
    assert set(reasons) == {"relatives_between_splits"}
    assert "val→train" in reasons["relatives_between_splits"].text


def test_the_look_up_on_this_very_split_is_told_beside_the_levels():
    findings = findings_of(cohort())
    told = findings.as_json()["controls"]["thumbnail_1nn_split"]
    counts = {name: sum(row) for name, row in zip(("train", "val", "calibration", "test"),
                                                  findings.splits.splits.counts.tolist(), strict=True)}  # fmt: skip
    assert (told["train_images"], told["test_images"]) == (counts["train"], counts["test"])
    assert told["clusters"] == counts["test"] / FRAMES
    assert set(told["accuracy"]) == {"value", "low", "high"}
    assert findings_of(cohort(), controls=ControlsConfig(enabled=False)).as_json()["controls"] == {}


def test_the_inflation_table_says_what_a_loose_split_gains_in_points():
    order = np.random.default_rng(3).integers(0, 256, (PATIENTS, 48, 48), dtype=np.uint8)
    told = findings_of(cohort(), thumbnails=np.repeat(order, FRAMES, axis=0)).as_json()
    levels, points = told["controls"]["thumbnail_1nn"], told["inflation_points"]["thumbnail_1nn"]
    assert points["all"] == 0
    gap = levels["random"]["accuracy"]["value"] - levels["all"]["accuracy"]["value"]
    assert points["random"] == pytest.approx(100 * gap, abs=0.06)
    assert points["random"] > 40


def test_broken_files_and_missing_controls_are_named():
    broken = judge(findings_of(cohort(), refused={"truncated": 2, "no_label": 1}, files=303))
    assert codes(broken) == {"unreadable"}
    assert "2 of 303" in broken.reasons[0].text
    assert codes(judge(findings_of(cohort(), refused={"no_label": 20}, files=320))) == {"left_out"}
    assert codes(judge(findings_of(cohort(), controls=ControlsConfig(enabled=False)))) == {"no_controls"}


def test_few_patients_and_absent_stages_are_named():
    table = cohort()
    table = table[(table["stage"] != "F4") & (table.index < 200)].reset_index(drop=True)
    assert {"absent_stages"} <= codes(judge(findings_of(table)))
    assert {"few_groups"} <= codes(judge(findings_of(table[table.index < 100].reset_index(drop=True))))


class Outline(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_page_says_the_verdict_first_and_can_be_read_aloud(enabled):
    table = cohort(lambda p, f, row: {"pixel_digest": content(p), "path": f"{row['stage']}/<i>{p}-{f}.png"})
    findings = findings_of(table, controls=CONTROLS if enabled else ControlsConfig(enabled=False))
    verdict = judge(findings)
    told = {"verdict": verdict.name, "reasons": [vars(r) for r in verdict.reasons], **findings.as_json()}
    page = render_page(json.loads(json.dumps(told)))
    outline = Outline()
    outline.feed(page)
    text = " ".join("".join(outline.text).split())
    assert ("html", {"lang": "en"}) in outline.tags
    assert text.index("Caution: results on this collection") < text.index("What was found")
    assert all("scope" in attrs for tag, attrs in outline.tags if tag == "th")
    assert not any("src" in attrs or "href" in attrs for _, attrs in outline.tags)
    assert not any(image in page for image in table["image_id"])
    assert "<i>" not in page
    for reason in verdict.reasons:
        assert reason.text in text
    assert "Pictures kept as whole frames (no fan found with confidence)" in text
    assert "val→train 0.0 %" in text
    assert ("On this very split" in text) == enabled
