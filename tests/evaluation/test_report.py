from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from fibrokd.errors import ArtifactError
from fibrokd.evaluation import figures
from fibrokd.evaluation.atlas.image_arrays import ImageArrays
from fibrokd.evaluation.document import cluster_words, metrics_document
from fibrokd.evaluation.external import external_document
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.report import SECTIONS, TEMPLATES, ReportInputs, render_report, write_report
from fibrokd.evaluation.robustness.disturbances import SCANNER
from fibrokd.evaluation.robustness.document import robustness_document
from fibrokd.evaluation.rounds import APART, rounds_document
from fibrokd.evaluation.sections import calibration as calibration_section
from fibrokd.evaluation.sections import end_points as end_point_section
from fibrokd.evaluation.sections.errors import NEIGHBOURS_SHOWN, PICTURES_PER_NETWORK
from fibrokd.evaluation.severity import severity, worst_rows
from fibrokd.stages import StageScale
from tests.evaluation.made_up import made_up_collected, made_up_facts, made_up_predictions

FEW = BootstrapConfig(resamples=200)
SKILLS = {"teacher": 2.0, "student_plain": 0.8, "student_kd": 1.3}
FIT = {"verdict": "fit", "grouping": "all", "reasons": [], "accepted_unfit": False, "synthetic": True}
UNFIT = {
    "verdict": "unfit",
    "grouping": "stem",
    "reasons": ["95.5 % of the test images have a twin in train <b>."],
    "accepted_unfit": True,
    "synthetic": False,
}

TREE = {
    "paths": [[0, 0], [0, 0], [0, 1], [1, 2], [1, 3]],
    "sharing": [
        [1.0, 1.0, 0.5, 0.0, 0.0],
        [1.0, 1.0, 0.5, 0.0, 0.0],
        [0.5, 0.5, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 1.0, 0.5],
        [0.0, 0.0, 0.0, 0.5, 1.0],
    ],
    "sharing_of_adjacent_stages": 0.5,
    "sharing_of_distant_stages": 1 / 12,
    "gate_entropy": [0.31, 0.72],
    "experts_left": 6,
    "weights_by_bits": {"2": 1_400_000, "8": 90_000},
}


def _estimate(value: float, half: float = 0.01) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half}


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Remember what a pure function answered; forty reports of nearly the same numbers are made here."""
    known: dict[str, Any] = {}

    def answer(*arguments: Any) -> Any:
        key = repr(arguments)
        if key not in known:
            known[key] = function(*arguments)
        return known[key]

    return answer


@pytest.fixture(autouse=True, scope="module")
def charts_drawn_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for section, name in (
            (end_point_section, "roc_uri"),
            (end_point_section, "benefit_uri"),
            (calibration_section, "reliability_uri"),
        ):
            patch.setattr(section, name, once(getattr(figures, name)))
        yield


def _elsewhere(part: Predictions, split: str) -> Predictions:
    """The same answers, to other images of other patients."""
    ids = tuple(f"{split[0]}{image_id}" for image_id in part.image_ids)  # "v" and "c": of pictures only tests ask
    return replace(part, split=split, image_ids=ids, groups=tuple(split + group for group in part.groups))


@once
def _answers(scale: StageScale | None) -> list[Predictions]:
    sizes = {"scale": scale} if scale else {}
    return [
        part if split == "test" else _elsewhere(part, split)
        for name, skill in SKILLS.items()
        for split, seed in (("val", 4), ("calibration", 5), ("test", 3))
        for part in [made_up_predictions(name, 50, 2, skill, seed=seed, **sizes)]
    ]


@once
def _numbers(scale: StageScale | None, tied: Any) -> dict[str, Any]:
    """metrics.json without its stamp; with facts of the images where nothing is said of inflation."""
    costs = {name: {"parameters": 1_522_981} for name in SKILLS}
    parts = _answers(scale)
    own = [part for part in parts if part.network == "teacher"]
    scanner = ["sonova" if int(group[-3:]) % 4 else "handix" for part in own for group in part.groups]
    facts = made_up_facts(own, scanner=scanner) if tied is None else None
    return metrics_document(parts, costs, {}, FEW, tied=tied, facts=facts)


def _document(scale: StageScale | None, stamp: dict[str, Any], tied: Any) -> dict[str, Any]:
    return {**_numbers(scale, tied), "stamp": stamp}


@once
def _robustness(scale: StageScale | None) -> dict[str, Any]:
    parts = [part for part in _answers(scale) if part.split == "test"]
    ways = ("haze", "rendered", f"{SCANNER}handix")
    return robustness_document(parts, [replace(part, split=way) for way in ways for part in parts], FEW)


def _inputs(stamp: dict[str, Any] = FIT, lookup: float = 0.3, **options: Any) -> ReportInputs:
    scale = options.pop("scale", None)
    level = {"accuracy": _estimate(lookup), "balanced_accuracy": _estimate(0.123), "twin_in_train": 0.25}
    defaults: dict[str, Any] = {
        "title": "A made-up cohort",
        "document": _document(scale, stamp, options.pop("tied", None)),
        "predictions": _answers(scale),
        "robustness": _robustness(scale),
        "collected": made_up_collected([part for part in _answers(scale) if part.split == "test"]),
        "picture": lambda image_id: np.full((64, 64), int(image_id, 16) % 256, dtype=np.uint8),
        "integrity": {
            "files": 1234,
            "controls": {"thumbnail_1nn": {stamp.get("grouping", "all"): level, "random": level}},
        },
        "curves": {"teacher": [{"epoch": e, "train_loss": 2 / e, "val_macro_f1": 0.1 * e} for e in range(1, 6)]},
        "provenance": {"prepared": "ab" * 32},
        "rounds": {
            "by": "fold",
            "left_out": {"0": 3},
            "networks": rounds_document({"0": _document(scale, stamp, None)}),
            "agreement": {"teacher": {"note": APART, "pairs": []}},
        },
        "cards": {
            "teacher": {"backbone": "resnet50", "training": {"epochs": 5}},
            "student_kd": {"stages": ["F0", "F1", "F2", "F3", "F4"], "method_facts": TREE},
        },
    }
    return ReportInputs(**(defaults | options))


class _Page(HTMLParser):
    """Collects what accessibility and self-containedness are judged by."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.hidden = 0
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.hidden += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.words.append(data)

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture(scope="module")
def html() -> str:
    return render_report(_inputs())


def _abroad() -> str:
    """The report of networks that were trained on another collection."""
    parts = [part for part in _answers(None) if part.split == "test"]
    return render_report(_inputs(external=external_document(parts, parts, {"content": 3, "relative": 1}, FEW)))


def test_a_report_from_abroad_says_what_was_left_out_and_where_networks_come_from() -> None:
    text = _Page(_abroad()).text
    assert "Left out, as seen before: 3 (the very same picture); 1 (belonging with one of these)." in text
    assert "Networks were trained on another collection" in text
    assert "Nothing about scanners, sites or populations beyond those of this collection." in text
    assert "kept together" not in text[: text.index("What must not be concluded")]


def test_intervals_of_few_clusters_come_with_what_they_keep_of_their_promise() -> None:
    text = _Page(render_report(_inputs())).text
    assert (
        "Intervals rest on 50 clusters. In simulated cohorts of 50, those of nominal 95 % held the truth in 94.4 %"
        in text
    )
    assert "92.4 % at worst (Macro-F1). Read them as too narrow." in text


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.id)
def test_every_section_has_its_template_and_appears_under_its_heading(section, html: str) -> None:
    assert (TEMPLATES / f"{section.id}.html").is_file()
    shown = _abroad() if section.id == "external" else html
    assert f'<h2 id="{section.id}-title">{section.title}</h2>' in shown
    ids = [section.id for section in SECTIONS]
    assert len(set(ids)) == len(ids)


def test_a_tree_of_experts_is_told_by_stage_and_other_facts_in_words(html: str) -> None:
    text = _Page(html).text
    part = text[text.rindex("What the methods left behind") : text.rindex("Integrity of the data")]
    assert "Distilled student is a tree of experts" in part
    assert "Neighbouring stages share 50% of their experts, others 8%; entropy of the gates by level 0.31, 0.72" in part
    assert "F2 1 2 F3" in part
    assert "F2 50% 50% 100% 0% 0%" in part
    assert "F4 0% 0% 0% 50% 100%" in part
    assert "experts left 6" in part
    assert "weights by bits 2: 1,400,000, 8: 90,000" in part


def test_where_no_method_left_anything_there_is_no_such_section() -> None:
    plain = render_report(_inputs(cards={"teacher": {"backbone": "resnet50", "training": {"epochs": 5}}}))
    assert "What the methods left behind" not in plain
    assert 'href="#methods"' not in plain


def test_charts_of_equal_numbers_are_equal_and_of_others_are_not() -> None:
    line, other = ([0.0, 0.5, 1.0], [0.0, 0.8, 1.0]), ([0.0, 0.5, 1.0], [0.0, 0.7, 1.0])
    assert figures.roc_uri({"a": line}) == figures.roc_uri({"a": line}) != figures.roc_uri({"a": other})
    assert figures.benefit_uri({"a": line}, other) == figures.benefit_uri({"a": line}, other)
    dot, elsewhere = (0.5, 0.6, 0.4, 0.8), (0.5, 0.7, None, None)
    assert figures.reliability_uri([dot]) == figures.reliability_uri([dot]) != figures.reliability_uri([elsewhere])
    assert figures.benefit_uri({"a": line}, line) != figures.benefit_uri({"a": line}, other)


def test_equal_inputs_give_equal_bytes(tmp_path: Path, html: str) -> None:
    write_report(tmp_path / "report.html", _inputs())
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html


def test_the_report_loads_nothing_and_runs_nothing(html: str) -> None:
    page = _Page(html)
    links = [attributes.get(key) for _, attributes in page.tags for key in ("src", "href", "data", "srcset", "action")]
    assert all(link.startswith(("data:", "#")) for link in links if link is not None)
    assert not page.all("script", "iframe", "object", "embed")
    assert "http" not in re.sub(r"data:[^\"]+", "", html)
    assert "@import" not in html
    assert "url(" not in html


def test_the_report_can_be_read_without_eyes_colour_or_a_mouse(html: str) -> None:
    page = _Page(html)
    assert page.all("html")[0]["lang"] == "en"
    for landmark in ("main", "header", "footer", "nav"):
        assert len(page.all(landmark)) == 1
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(headings))
    assert all(attributes.get("scope") for attributes in page.all("th"))
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert len(page.all("table")) == len(page.all("caption"))
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    assert ("a", {"class": "skip", "href": "#overview"}) in page.tags
    assert {attributes["href"] for attributes in page.all("a")} <= {f"#{name}" for name in ids}


def test_text_keeps_a_contrast_of_at_least_four_and_a_half_to_one_also_on_the_darkest_shade() -> None:
    style = (TEMPLATES / "report.css").read_text()
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", style.split("}")[0]))
    for ink in ("ink", "muted", "link", "fit", "caution", "unfit", "unchecked"):
        for paper in ("#ffffff", colours["wash"]):
            assert _contrast(colours[ink], paper) >= 4.5, (ink, paper)
    assert _contrast(colours["ink"], "#7ab0de") >= 4.5


def _contrast(a: str, b: str) -> float:
    """WCAG 2.2 contrast ratio."""

    def luminance(colour: str) -> float:
        channels = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_headline_numbers_are_those_of_the_metrics_document(html: str) -> None:
    text = _Page(html).text
    for network in _inputs().networks.values():
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "quadratic_kappa"):
            found = network[name]
            assert f"{found['value']:.3f} {found['low']:.3f}–{found['high']:.3f}" in text


def test_a_phantom_report_says_that_it_is_no_clinical_accuracy(html: str) -> None:
    text = _Page(html).text
    assert "simulated test images" in text
    assert "Phantom accuracy is not clinical accuracy" in text
    assert "Unfit" not in text


def test_unfit_data_are_called_unfit_first_and_reasons_are_escaped() -> None:
    html = render_report(_inputs(UNFIT))
    text = _Page(html).text
    assert text.index("cannot support any claim") < text.index("Balanced accuracy")
    assert "Nothing about liver fibrosis: the data were found unfit" in text
    assert "this was accepted explicitly" in text
    assert "does not keep patients apart" in text
    assert "twin in train &lt;b&gt;." in html
    assert "Phantom" not in text


def test_the_card_of_the_collection_is_printed_or_said_to_be_missing() -> None:
    told = _Page(render_report(_inputs(integrity={"card": {"reference_standard": "biopsy <read> twice"}}))).text
    assert "Reference standard biopsy <read> twice" in told
    assert "has no card" in _Page(render_report(_inputs())).text


def test_data_without_a_verdict_are_not_called_fit() -> None:
    assert "No integrity verdict came with these numbers" in render_report(_inputs({}))


def test_networks_that_do_not_beat_the_lookup_are_named_in_the_first_line() -> None:
    accuracy = {name: metrics["accuracy"] for name, metrics in _inputs().networks.items()}
    between = accuracy["student_plain"]["value"] + 0.001
    text = _Page(render_report(_inputs(lookup=between))).text
    line = "Student without teacher (control) does not beat a lookup table that learns nothing"
    assert text.index(line) < text.index("Clusters:")
    below = accuracy["student_plain"]["low"] + 0.001
    text = _Page(render_report(_inputs(lookup=below))).text
    assert "Student without teacher (control) is not shown to beat a lookup table" in text
    text = _Page(render_report(_inputs(lookup=0.1))).text
    assert "Every network beats a lookup table" in text
    assert "nothing learned – 0.100 0.090–0.110 0.123 0.113–0.133 – –" in text


def test_a_lookup_measured_at_another_level_is_not_compared_with() -> None:
    stamp = FIT | {"grouping": "subject"}
    inputs = _inputs(stamp)
    other = {"controls": {"thumbnail_1nn": {"random": {"accuracy": _estimate(0.9)}}}}
    text = _Page(render_report(replace(inputs, integrity=other))).text
    assert "was not measured for this kind of split" in text
    assert "beats the lookup" not in text
    assert "0.900" in text
    nothing = {"controls": {"thumbnail_1nn": {"subject": {"accuracy": {"value": None, "low": None, "high": None}}}}}
    assert "beats the lookup" not in _Page(render_report(replace(inputs, integrity=nothing))).text


def test_networks_are_compared_first_with_the_lookup_on_their_own_split() -> None:
    inputs = _inputs(lookup=0.1)
    own = {"accuracy": _estimate(0.99), "balanced_accuracy": _estimate(0.987), "twin_in_train": 0.5}
    controls = {"thumbnail_1nn_split": own, **inputs.integrity["controls"]}
    text = _Page(render_report(replace(inputs, integrity={"controls": controls}))).text
    assert "do not beat a lookup table that learns nothing (accuracy 0.990)" in text
    assert "Every network beats" not in text
    assert "nothing learned – 0.990 0.980–1.000 0.987" in text
    assert text.index("as in this very split") < text.index("all evidence 25.0 %")
    assert text.count("networks are compared with this") == 1


def test_what_the_clusters_are_is_said_where_the_numbers_are() -> None:
    alone = made_up_predictions("teacher", patients=60, frames=1)
    document = metrics_document([alone], {"teacher": {"parameters": 1}}, FIT, known_patients=0.0)
    assert document["bootstrap"]["clusters"] == "images (no patient is known)"
    text = _Page(render_report(replace(_inputs(), predictions=[alone], document=document))).text
    assert "60 simulated test images in 60 clusters" in text
    assert text.lower().count("clusters: images (no patient is known)") == 3
    assert cluster_words([alone], 1.0) == "images (each is alone in its cluster)"
    tied = made_up_predictions(patients=10)
    assert cluster_words([tied], 1.0) == "images tied by any evidence (patient, study, file name, content, likeness)"
    assert cluster_words([tied], 0.25).endswith("the patient is known for 25.0 % of the images only")


def test_a_five_stage_accuracy_too_good_to_be_true_raises_an_alarm() -> None:
    inputs = _inputs()
    document = copy.deepcopy(inputs.document)
    document["networks"]["teacher"]["test"]["accuracy"]["value"] = 0.982
    text = _Page(render_report(replace(inputs, document=document))).text
    assert "Teacher stages 98.2 % of the images right" in text
    assert "look for leakage" in text


def test_the_share_of_copied_test_images_is_shown_or_said_to_be_unmeasured() -> None:
    assert "95.5 % of the test images have an exact copy" in _Page(render_report(_inputs(copies_in_train=0.955))).text
    assert "not measured on this very split" in _Page(render_report(_inputs())).text


def _ids(first: int, last: int) -> frozenset[str]:
    return frozenset(f"{number:016x}" for number in range(first, last))


def _tied(**levels: frozenset[str]) -> dict[str, dict[str, frozenset[str]]]:
    none: frozenset[str] = frozenset()
    return {"test": {"random": none, "stem": none, "content": none, "all": none, "subject": none} | levels}


def _section(html: str) -> str:
    text = _Page(html).text
    return text[text.rindex("Could a lookup table do this?") : text.rindex("Differences between networks")]


def test_the_gap_to_images_without_relatives_is_told_in_the_first_line_of_its_section() -> None:
    tied = _tied(content=_ids(0, 60), all=_ids(0, 96), subject=_ids(0, 90))
    inputs = _inputs(UNFIT, tied=tied)
    text = _section(render_report(inputs))
    content = inputs.networks["teacher"]["inflation"]["levels"]["content"]
    gap = content["gap_points"]["accuracy"]
    told = (
        "Could a lookup table do this? 96.0 % of the test images have a relative by all evidence among the training or "
        "validation images. Accuracy on the 40 without an identical image there: "
        f"Teacher {content['accuracy']['value']:.3f} instead of {inputs.networks['teacher']['accuracy']['value']:.3f}, "
        f"gap {gap['value']:+.1f} points ({gap['low']:+.1f} to {gap['high']:+.1f}); Student"
    )
    assert text.startswith(told.replace("-", "−"))
    assert "At stricter levels too few are left to say." in text
    assert "The same network at each split level" in text
    assert "file name how this split was made 100 in 50 clusters" in text
    assert "all evidence 4 in 2 clusters" in text
    assert "Not estimable: only 2 clusters hold an image that lacks a relative (at least 10 needed)." in text


@pytest.mark.parametrize(("low", "told"), [(1.5, False), (-1.5, True), (None, False)])
def test_a_gap_that_may_be_chance_is_not_called_one(low: float | None, told: bool) -> None:
    inputs = _inputs(UNFIT, tied=_tied(all=_ids(0, 60)))
    document = copy.deepcopy(dict(inputs.document))
    for network in document["networks"].values():
        gap = network["test"]["inflation"]["levels"]["all"]["gap_points"]["accuracy"]
        gap.update(value=9.0, low=low, high=None if low is None else 12.0)
    html = render_report(replace(inputs, document=document))
    assert ("No interval of a gap lies above zero." in html) is told
    assert (f'<p class="line {"unsure" if told else "fails"}">60.0 %' in html) is True


def test_an_honest_split_is_said_to_have_nothing_to_inflate() -> None:
    text = _section(render_report(_inputs(tied=_tied())))
    line = "No test image has a relative among the training or validation images at any level: nothing to inflate."
    assert text.startswith(f"Could a lookup table do this? {line} A lookup")
    assert text.count("all images: no gap") == 5 * 3
    assert "the images that do have a relative" not in text
    unknown = _tied()
    del unknown["test"]["subject"]
    text = _section(render_report(_inputs(tied=unknown)))
    assert "nothing to inflate. Too few patients are known to check that level." in text


def test_equal_file_names_in_different_folders_are_not_called_inflation() -> None:
    text = _section(render_report(_inputs(tied=_tied(stem=_ids(0, 7)))))
    assert "has a relative among the training or validation images by all evidence; 7 have nothing in common" in text


def test_where_nothing_is_left_no_gap_is_invented() -> None:
    everything = _ids(0, 100)
    text = _section(render_report(_inputs(UNFIT, tied=_tied(content=everything, all=everything, subject=everything))))
    assert "Too few are left to say what the networks reach without them." in text
    assert "instead of" not in text
    assert "Not estimable: no image lacks a relative at this level." in text


def test_folders_prepared_without_levels_are_said_to_lack_the_measurement() -> None:
    text = _section(render_report(_inputs()))
    assert text.startswith("Could a lookup table do this? How much of these figures rests on relatives")
    assert "The same network at each split level" not in text


def test_a_report_with_levels_can_be_read_without_eyes_too() -> None:
    page = _Page(render_report(_inputs(UNFIT, tied=_tied(content=_ids(0, 60), all=_ids(0, 96)))))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(attributes.get("scope") for attributes in page.all("th"))


def _end_points(html: str) -> str:
    text = _Page(html).text
    return text[text.rindex("Clinical end points") : text.rindex("How sure, and how right")]


def test_end_points_are_told_with_areas_thresholds_and_what_decisions_are_worth(html: str) -> None:
    told, network = _end_points(html), _inputs().networks["student_kd"]
    area = network["auroc"]["≥F3"]
    assert f"≥F3 Distilled student 40 of 100 (40.0 %) {area['value']:.3f} {area['low']:.3f}–{area['high']:.3f}" in told
    point = network["end_points"]["≥F3"]["operating_points"]["sensitivity_95"]
    assert f"≥F3 Distilled student {point['threshold']:.3f} {point['sensitivity']['value']:.3f}" in told
    row = point["by_prevalence"][0]
    assert f"1 % {row['ppv']['value']:.3f}" in told
    benefit = network["end_points"]["≥F3"]["decision_curve"][9]["net_benefit"]
    assert f"{benefit['value']:.3f} ({benefit['low']:.3f} to {benefit['high']:.3f})" in told
    alts = [attributes["alt"] for attributes in _Page(html).all("img")]
    assert sum(alt.startswith("Receiver operating characteristic of") for alt in alts) == 3
    assert sum(alt.startswith("Decision curves of") for alt in alts) == 3


def test_sensitivities_that_are_listed_are_those_of_the_curve(html: str) -> None:
    part = next(part for part in _inputs().parts if part.network == "student_plain")
    positive, scores = part.truth >= 2, part.probabilities[:, 2:].sum(axis=1)
    alarms, reached, _ = roc_curve(positive, scores, drop_intermediate=False)
    listed = [f"{reached[alarms <= share + 1e-9].max():.3f}" for share in (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)]
    assert f"Student without teacher (control) {' '.join(listed)}" in _end_points(html)


def _calibration(html: str) -> str:
    text = _Page(html).text
    told = text[text.rindex("How sure, and how right") : text.rindex("Sets that hold the stage")]
    return told[: told.index("What these numbers mean")]


def test_whether_a_network_is_too_sure_is_said_in_words_with_its_temperature(html: str) -> None:
    told = _calibration(html)
    for title, name in (("Teacher", "teacher"), ("Student without teacher (control)", "student_plain")):
        after = _inputs().networks[name]["calibration"]["temperature"]
        value, chance = after["expected_calibration_error"]["value"], after["by_chance"]
        told_chance = " ".join(f"{each['mean']:.3f} (up to {each['at_most']:.3f})" for each in chance.values())
        assert f"{title} {after['value']:.3f} (100 images) {told_chance} {value:.3f}" in told
    assert "no temperature" not in told


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.2, "Teacher is too sure (+0.100, +0.010 to +0.200)."),
        (-0.2, -0.01, "Teacher is not sure enough (+0.100, −0.200 to −0.010)."),
        (-0.1, 0.2, "Teacher is on average as sure as it is right, as far as can be told"),
        (None, None, "Teacher: whether it is too sure cannot be said (+0.100; every resample was alike)."),
    ],
)
def test_the_words_about_being_sure_follow_the_bounds(low: float | None, high: float | None, words: str) -> None:
    inputs = _inputs()
    document = copy.deepcopy(dict(inputs.document))
    over = {"value": 0.1, "low": low, "high": high, "clusters": 50, "note": "every resample was alike"}
    document["networks"]["teacher"]["test"]["calibration"]["overconfidence"] = over
    assert words in _calibration(render_report(replace(inputs, document=document)))


def test_what_cannot_be_fixed_without_other_splits_is_said_network_by_network() -> None:
    parts = _inputs().parts
    document = metrics_document(parts, {part.network: {"parameters": 1} for part in parts}, FIT, FEW)
    html = render_report(replace(_inputs(), predictions=parts, document=document))
    assert "Teacher: no temperature, because there are no answers on validation images" in _calibration(html)
    assert "Teacher: no sets, because there are no answers on calibration images." in _Page(html).text


def test_stage_sets_are_told_with_coverage_size_and_a_warning_where_they_fail(html: str) -> None:
    text = _Page(html).text
    told = text[text.rindex("Sets that hold the stage") : text.rindex("The worst errors")]
    for title, name in (("Teacher", "teacher"), ("Distilled student", "student_kd")):
        found = _inputs().networks[name]
        share, sets = found["coverage"], found["stage_sets"]
        line = f"{title}: sets hold the true stage of {100 * share['value']:.1f} % of the clusters"
        assert line in told
        assert f"and have {sets['size']['value']:.3f} stages on average" in told
        row = f"{title} {share['value']:.3f} {share['low']:.3f}–{share['high']:.3f} "
        assert row in told
    document = copy.deepcopy(dict(_inputs().document))
    teacher = document["networks"]["teacher"]["test"]
    teacher["stage_sets"]["by_stage"]["F4"]["coverage"].update(value=0.1, low=0.0, high=0.3)
    for bounds, words in (
        (
            [0.82, 0.96],
            "That is fewer than the chance of the calibration explains (82 % to 96 %): do not rely on them.",
        ),
        ([0.6, 0.99], "That is fewer than wanted, as a calibration on so few clusters may come out (60 % to 99 %)."),
    ):
        teacher["coverage"].update(value=0.7, low=0.6, high=0.8)
        teacher["stage_sets"]["by_calibration"] = bounds
        failing = _Page(render_report(replace(_inputs(), document=document))).text
        assert "Teacher: sets hold the true stage of 70.0 % of the clusters (wanted: 90 %)" in failing
        assert f"{words} Among patients of F4 (10 %) they hold it less often than of all." in failing


def test_where_no_threshold_could_be_fixed_the_reason_stands_in_its_place() -> None:
    inputs = _inputs()
    parts = inputs.parts
    document = metrics_document(parts, {part.network: {"parameters": 1} for part in parts}, FIT, FEW)
    told = _end_points(render_report(replace(inputs, predictions=parts, document=document)))
    line = (
        "No threshold, because there are no answers on validation images to fix one on: Teacher ≥F2, ≥F3 and ≥F4; Stu"
    )
    assert line in told
    assert "Predictive values by prevalence" not in told


def test_a_scale_without_end_points_has_no_such_section() -> None:
    html = render_report(_inputs(scale=StageScale(("mild", "severe"), ())))
    assert "Clinical end points" not in html
    assert 'href="#end_points"' not in html


def test_the_worst_errors_put_most_mass_farthest_away_one_per_patient_group() -> None:
    part = made_up_predictions(patients=40, frames=3, skill=0.5)
    rows = worst_rows(part, limit=10)
    assert len({part.groups[row] for row in rows}) == len(rows) == 10
    assert all(part.predicted[row] != part.truth[row] for row in rows)
    worst = severity(part)[rows]
    assert (np.diff(worst) <= 0).all()
    wrong = part.predicted != part.truth
    assert worst[0] == severity(part)[wrong].max()
    by_hand = sum(part.probabilities[7, k] * abs(k - part.truth[7]) for k in range(5))
    assert severity(part)[7] == pytest.approx(by_hand)


def test_pictures_are_asked_for_only_where_they_are_shown_and_may_be_missing() -> None:
    asked: list[str] = []
    inputs = _inputs()
    html = render_report(replace(inputs, picture=lambda image_id: asked.append(image_id)))
    shown = {part.image_ids[row] for part in inputs.parts for row in worst_rows(part, 12)}
    alike = {f"{7000 + rank:016x}" for rank in range(NEIGHBOURS_SHOWN)}
    assert set(asked) == shown | alike
    withheld = sum(image_id in shown for image_id in asked)
    assert html.count("No picture stored.") == withheld
    assert 'class="layer"' not in html, "a layer without its picture shows nothing"
    told = render_report(replace(inputs, picture=lambda image_id: None, no_picture="Picture withheld: <why>."))
    assert told.count("Picture withheld: &lt;why&gt;.") == withheld


def test_what_the_network_saw_and_whom_it_took_it_for_are_told_in_words_and_numbers(html: str) -> None:
    page = _Page(html)
    assert re.search(
        r"For F\d rather than F\d: (centre|(upper|middle|lower) (left|centre|right)) \(\d+ %\); at most \d", page.text
    )
    assert html.count('class="layer"') == html.count('class="cells"') == PICTURES_PER_NETWORK * 3
    assert html.count('class="neighbours"') == PICTURES_PER_NETWORK * 3
    assert "Labels worth checking: network and nearest training images both put these at least 1 stage" in page.text
    assert "a doubted label is one to look at, not one to change" in page.text


def test_where_no_picture_may_be_shown_nothing_speaks_of_layers_or_small_pictures() -> None:
    text = _Page(render_report(_inputs(picture=lambda image_id: None))).text
    assert "Show the layers" not in text
    assert "Coloured layers" not in text
    assert "Small pictures" not in text
    assert "The stages below an error are of the training images" in text


def test_a_map_of_nothing_is_not_drawn_and_a_network_that_knows_nothing_doubts_no_label() -> None:
    parts = [
        made_up_predictions(name, 50, 2, skill=0.0, seed=seed) for name, seed in (("teacher", 8), ("student_kd", 9))
    ]
    faint = {
        name: replace(known, evidence=ImageArrays(known.evidence.image_ids, known.evidence.values / 100))
        for name, known in made_up_collected(parts).items()
        if known.evidence is not None
    }
    document = metrics_document(parts, {part.network: {"parameters": 1} for part in parts}, FIT, FEW)
    html = render_report(
        replace(_inputs(robustness=None, rounds=None), predictions=parts, document=document, collected=faint)
    )
    text = _Page(html).text
    assert 'class="layer"' not in html
    assert "No square by itself changes the answer." in text
    assert text.count("this network is not shown to stage better than chance") == 2
    assert "Labels worth checking" not in text


def test_without_maps_and_neighbours_nothing_is_said_of_them() -> None:
    html = render_report(_inputs(collected={}, robustness=None))
    assert "How steady the answers are" not in html, "nor of pictures that nobody disturbed"
    for words in ("Show the layers", "Layer in numbers", "most alike", "Labels worth checking"):
        assert words not in _Page(html).text, words


def test_another_scale_and_missing_extras_still_make_a_whole_report() -> None:
    scale = StageScale(("none", "significant", "cirrhosis"), (1, 2))
    text = _Page(render_report(_inputs(scale=scale, curves={}, cards={}, provenance={}, integrity={}))).text
    assert "significant" in text
    assert "No learning curves were recorded" in text
    assert "holds no lookup baseline" in text


def test_few_patients_make_a_report_without_intervals_but_with_the_reason() -> None:
    parts = [made_up_predictions("teacher", patients=5, frames=2)]
    document = metrics_document(parts, {"teacher": {"parameters": 1}}, FIT)
    text = _Page(render_report(replace(_inputs(), predictions=parts, document=document))).text
    assert "No interval from 5 clusters (at least 10 needed)" in text
    assert "Only one network was assessed" in text


def test_metrics_of_other_networks_than_the_predictions_are_refused() -> None:
    inputs = _inputs()
    with pytest.raises(ArtifactError, match="found metrics of student_kd, student_plain, teacher and predictions of"):
        replace(inputs, predictions=inputs.predictions[:2])
