"""A clean cohort is fit; with one hazard switched on, that hazard is named and the verdict is worse."""

from dataclasses import replace

import numpy as np
import pytest

from fibrokd.data.margins import COUNT, OUTSIDE
from fibrokd.integrity.card import CollectionCard, phantom_card
from fibrokd.integrity.groups import group_images
from fibrokd.integrity.leak import leak_of
from fibrokd.integrity.links import Link
from fibrokd.integrity.splitting import Splits
from fibrokd.integrity.verdict import PUBLISHED_PROTOCOL, judge
from fibrokd.stages import METAVIR
from tests.integrity.builders import content, manifest
from tests.integrity.cohorts import FRAMES, OFF, PATIENTS, cohort, findings_of


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
        (lambda p, f, row: {"scanner": f"s{p % 5 // 2}"}, "scanner_stage"),
        (lambda p, f, row: {"path": f"{row['stage']}/a{(f * 977 + p * 7919) % 9973:04d}.png"}, "random_names"),
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
    assert findings_of(cohort(), controls=OFF).as_json()["controls"] == {}


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
    assert codes(judge(findings_of(cohort(), controls=OFF))) == {"no_controls"}


def test_few_patients_and_absent_stages_are_named():
    table = cohort()
    table = table[(table["stage"] != "F4") & (table.index < 200)].reset_index(drop=True)
    assert {"absent_stages"} <= codes(judge(findings_of(table)))
    assert {"few_groups"} <= codes(judge(findings_of(table[table.index < 100].reset_index(drop=True))))


def margins_that_tell(table):
    margins = np.random.default_rng(1).random((len(table), COUNT)).astype(np.float32)
    margins[:, OUTSIDE.start] += np.array([METAVIR.parse(stage) for stage in table["stage"]])
    return margins


@pytest.mark.parametrize(("crop", "severity"), [("fan", "caution"), ("full", "unfit")])
def test_marks_outside_the_fan_weigh_less_where_no_network_sees_them(crop, severity):
    table = cohort()
    findings = findings_of(table, margins=margins_that_tell(table))
    findings = replace(findings, collection=replace(findings.collection, crop=crop))
    (reason,) = judge(findings).reasons
    assert (reason.code, reason.severity) == ("outside_fan", severity)
    assert ("Networks do not see it" in reason.text) == (crop == "fan")


def test_a_clean_cohort_with_scanners_margins_and_near_duplicates_is_fit():
    table = cohort(lambda p, f, row: {"scanner": f"s{(p * 7919) % 4}"})
    margins = np.random.default_rng(1).random((len(table), COUNT)).astype(np.float32)
    links = [Link(2 * p, 2 * p + 1, "near", "0.91") for p in range(PATIENTS)]
    assert judge(findings_of(table, margins=margins, near=links)).reasons == ()


@pytest.mark.parametrize(
    ("links", "code", "severity"),
    [
        ([Link(2 * p, 2 * p + 1, "near", "0.93") for p in range(40)], "near_copies", "caution"),
        ([Link(2 * p, 2 * p + 1, "near", "0.80 mirrored") for p in range(40)], "near_copies", "caution"),
        ([Link(0, 2, "near", "0.90")], "near_across_stages", "caution"),
        ([Link(10 * n, 10 * n + 2, "near", "0.90") for n in range(8)], "near_across_stages", "unfit"),
        ([Link(0, 10, "near", "0.90")], "near_across_patients", "caution"),
        ([Link(10 * n, 10 * n + 10, "near", "0.70") for n in range(25)], "near_chain", "caution"),
    ],
    ids=["copies", "mirrored", "one across stages", "many across stages", "across patients", "chain"],
)
def test_what_likeness_says_is_named_with_its_number(links, code, severity):
    again = {"format": "JPEG"}
    table = cohort(lambda p, f, row: again | {"path": row["path"].replace("x1.png", "x0_copy.jpg")} if f else {})
    verdict = judge(findings_of(table, near=links, controls=OFF))
    reasons = {reason.code: reason for reason in verdict.reasons}
    assert reasons[code].severity == severity
    assert reasons[code].number > 0


def test_clips_exported_in_two_formats_are_not_reproached_for_their_neighbouring_frames():
    table = cohort(lambda p, f, row: {"path": row["path"].replace(".png", ".jpg"), "format": "JPEG"} if f else {})
    links = [Link(2 * p, 2 * p + 1, "near", "0.97") for p in range(PATIENTS)]
    assert judge(findings_of(table, near=links, controls=OFF)).reasons[0].code == "no_controls"


def test_pictures_that_may_be_frames_of_a_clip_are_not_called_copies_to_be_removed():
    table = cohort(lambda p, f, row: {"path": row["path"].replace("x1.png", "x0_copy.png")} if f else {})
    links = [Link(2 * p, 2 * p + 1, "near", "0.99") for p in range(40)]
    (reason,) = (r for r in judge(findings_of(table, near=links, controls=OFF)).reasons if r.code == "near_copies")
    assert "or neighbouring frames of one clip" in reason.text
    assert "only what you know to be copies" in reason.todo


def test_likeness_that_was_not_looked_for_is_told_apart_from_likeness_that_was_not_found():
    assert findings_of(cohort(), controls=OFF).as_json()["near"] is None
    assert findings_of(cohort(), near=[], controls=OFF).as_json()["near"]["links"] == 0


def test_a_real_collection_without_a_card_is_named_and_one_with_gaps_too():
    findings = findings_of(cohort())
    card = phantom_card(150, 300)
    gaps = CollectionCard(**(card.as_json() | {"reference_standard": "Unknown."}))

    def told(card, synthetic):
        collection = replace(findings.collection, card=card, synthetic=synthetic)
        return codes(judge(replace(findings, collection=collection)))

    assert told(None, synthetic=True) == set()
    assert told(None, synthetic=False) == {"no_card"}
    assert told(card, synthetic=False) == set()
    assert told(gaps, synthetic=False) == {"card_gaps"}


def test_every_reason_says_what_to_do():
    def wrong(p, f, row):
        return {"patient": "ANON" if p < 9 else "", "pixel_digest": content(p), "extension_ok": "0", "cropped": "0",
                "format": "PNG" if p % 5 < 2 else "JPEG"}  # fmt: skip

    findings = findings_of(cohort(wrong), refused={"truncated": 9, "no_label": 30}, files=339, grouping="stem")
    verdict = judge(findings)
    assert len(verdict.reasons) > 7
    for reason in verdict.reasons:
        assert reason.todo.endswith(".")
        assert len(reason.todo) > 15


def test_the_least_honest_split_is_told():
    known = findings_of(cohort()).as_json()["honest_split"]
    assert known["possible"] is True
    unknown = findings_of(cohort(lambda p, f, row: {"patient": "", "scanner": f"s{p % 3}"})).as_json()["honest_split"]
    assert unknown["possible"] is False
    assert "0 % of the pictures" in unknown["text"]
    assert "3 scanners" in unknown["text"]


def test_with_few_patients_luck_is_not_taken_for_a_shortcut():
    table = cohort(lambda p, f, row: {"stage": METAVIR.names[p % 2]})
    score = {"value": 0.75, "low": 0.62, "high": 0.9}  # controls at chance do reach it
    findings = replace(
        findings_of(table), controls={"border": {"all": {"accuracy": score, "balanced_accuracy": score}}}
    )
    few = table[table["patient"].isin([f"P{n}" for n in range(20)])].reset_index(drop=True)
    assert "border" in codes(judge(findings))
    few = replace(
        findings, collection=replace(findings.collection, table=few), evidence_groups=group_images(few, "all")
    )
    assert "border" not in codes(judge(few))
    sure = {"value": 1.0, "low": 1.0, "high": 1.0}
    found = replace(few, controls={"border": {"all": {"accuracy": sure, "balanced_accuracy": sure}}})
    assert "border" in codes(judge(found))


def test_the_spread_of_guessing_is_that_of_groups_found_as_a_whole():
    findings = findings_of(cohort())
    assert findings.chance_spread == pytest.approx((0.2 * 0.8 / 30 / 5) ** 0.5)
    sizes = np.array([1, 1, 1, 1, 6])  # one patient with most of the pictures counts for most of the stage
    rows = [{"stage": s, "patient": f"{s}{p}"} for s in ("F0", "F1") for p, n in enumerate(sizes) for _ in range(n)]
    uneven = replace(findings, collection=replace(findings.collection, table=manifest(rows)),
                     evidence_groups=group_images(manifest(rows), "subject"))  # fmt: skip
    random = np.random.default_rng(0).random((20_000, 2, 5)) < 0.5
    assert uneven.chance_spread == pytest.approx((random @ sizes / 10).mean(axis=1).std(), rel=0.02)


def test_one_row_without_a_file_is_one_row_and_codes_are_told_in_words():
    findings = findings_of(cohort(), controls=OFF, refused={"colour_flow": 4}, files=304)
    findings = replace(findings, collection=replace(findings.collection, unmatched_rows=1, files=50))
    texts = {reason.code: reason.text for reason in judge(findings).reasons}
    assert texts["unmatched_rows"].startswith("1 row of the label table has no file")
    assert "(colour flow: 4)" in texts["unreadable"]


def test_a_shortcut_over_too_few_clusters_for_an_interval_is_still_named():
    table = cohort().iloc[: 2 * 9].reset_index(drop=True)
    findings = findings_of(cohort())
    found = {"value": 1.0, "low": None, "high": None, "note": "no interval from 9 clusters (at least 10 needed)"}
    controls = {"thumbnail_1nn": {"all": {"accuracy": found, "balanced_accuracy": found}}}
    groups = replace(findings.evidence_groups, names=findings.evidence_groups.names[: 2 * 9])
    collection = replace(findings.collection, table=table)
    small = replace(findings, controls=controls, collection=collection, evidence_groups=groups)
    assert "thumbnail_1nn" in {reason.code for reason in judge(small).reasons}
    luck = {"thumbnail_1nn": {"all": {"accuracy": found, "balanced_accuracy": {**found, "value": 0.4}}}}
    assert "thumbnail_1nn" not in {reason.code for reason in judge(replace(small, controls=luck)).reasons}
