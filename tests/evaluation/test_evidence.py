"""Model card, data card and checklists: every figure stands where it is said to stand, and nothing else is claimed."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from fibrokd.errors import ArtifactError
from fibrokd.evaluation.document import FORMAT
from fibrokd.evaluation.evidence.artefacts import Artefacts, at, read_artefacts
from fibrokd.evaluation.evidence.banner import SIMULATED
from fibrokd.evaluation.evidence.documents import CHECKLISTS, documents
from fibrokd.evaluation.evidence.items import Answer, Source, Status, say
from fibrokd.evaluation.evidence.markdown import _text
from fibrokd.evaluation.metrics import METRICS
from fibrokd.files import read_json, write_json
from tests.evaluation.made_up_run import write_run

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
ANSWERED = (Status.FILLED, Status.PARTLY)
VOID = {"meta", "link", "br", "hr", "img", "input"}
KINDS = {
    "phantom": {"synthetic": True},
    "patients": {"synthetic": False, "verdict": "caution"},
    "nothing_known": {"synthetic": False, "verdict": "unfit", "card": False, "book": False, "bundle": False},
    "tiny": {"patients": {"train": 10, "val": 5, "calibration": 5, "test": 5}},
}


@pytest.fixture(scope="module", params=KINDS)
def run_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("evidence") / request.param, **KINDS[request.param])


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Artefacts:
    return read_artefacts(run_folder)


@pytest.fixture(scope="module")
def texts(run: Artefacts) -> dict[str, str]:
    return documents(run, "../")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    return read_artefacts(write_run(tmp_path_factory.mktemp("evidence") / "phantom"))


def answers_of(run: Artefacts) -> Iterator[tuple[str, Answer]]:
    for checklist in CHECKLISTS:
        for item in checklist.items:
            yield f"{checklist.id} {item.number}", item.answer(run)


# ---------------------------------------------------------------------- numbering
@pytest.mark.parametrize(
    ("place", "main", "parts"), [(0, 44, 44), (1, 27, 52), (2, 40, 48)], ids=["claim", "tripod", "stard"]
)
def test_every_item_of_a_checklist_is_there_once_and_in_order(place: int, main: int, parts: int) -> None:
    numbers = [item.number for item in CHECKLISTS[place].items]
    assert len(numbers) == len(set(numbers)) == parts
    split = [re.fullmatch(r"(\d+)([a-z]?)", number) for number in numbers]
    keys = [(int(match[1]), match[2]) for match in split if match]
    assert keys == sorted(keys)
    assert {number for number, _ in keys} == set(range(1, main + 1))


@pytest.mark.parametrize(("place", "lettered"), [
    (1, {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}),
    (2, {15: 4, 16: 3, 17: 2, 26: 2, 40: 2}),
])  # fmt: skip
def test_items_have_their_parts(place: int, lettered: dict[int, int]) -> None:
    numbers = [item.number for item in CHECKLISTS[place].items if not item.number.isdigit()]
    assert Counter(int(number[:-1]) for number in numbers) == lettered


def test_every_document_says_that_numbering_is_to_be_checked() -> None:
    assert all("publication" in checklist.note for checklist in CHECKLISTS)


# ---------------------------------------------------------------------- every figure stands where it is said to stand
def _pointed(data: Any, pointer: str) -> Any:
    """An own reader of JSON pointers: the one under test must not vouch for itself."""
    for key in pointer.split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        data = data[int(key)] if isinstance(data, list) else data[key]
    return data


def _counted(folder: Path, pointer: str) -> int:
    wanted = dict(pair.split("=", 1) for pair in pointer.removeprefix("?").split("&"))
    with (folder / "prepared/manifest.csv").open() as one, (folder / "prepared/splits.csv").open() as two:
        splits = {row["image_id"]: row for row in csv.DictReader(two)}
        rows = [row | splits[row["image_id"]] for row in csv.DictReader(one)]
    return sum(all(row[column] == value for column, value in wanted.items()) for row in rows)


def _read_again(folder: Path, source: dict[str, Any]) -> Any:
    if source["read_as"] == "rows":
        return _counted(folder, source["pointer"])
    found = _pointed(json.loads((folder / source["file"]).read_text()), source["pointer"])
    by_hand = {"sum": lambda data: sum(data.values()), "count": len, "keys": list}
    return by_hand.get(source["read_as"], lambda data: data)(found)


def _all_sources(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for checklist in data["checklists"].values():
        for item in checklist["items"].values():
            yield from item["sources"]
    for card in data["cards"].values():
        for section in card["sections"].values():
            yield from section["sources"]


def test_every_source_leads_to_the_value_that_is_shown(run_folder: Path, texts: dict[str, str]) -> None:
    sources = list(_all_sources(json.loads(texts["evidence.json"])))
    assert len(sources) > 300
    for source in sources:
        assert _read_again(run_folder, source) == source["value"], source
        shown, value = source["shown"], source["value"]
        if isinstance(value, str):
            assert shown == value
        elif isinstance(value, int) and not isinstance(value, bool) and source["read_as"] not in ("percent",):
            assert int(shown.replace(",", "")) == value
        elif source["read_as"] == "percent":
            assert float(shown.removesuffix(" %")) == pytest.approx(100 * value, abs=0.051)
        elif source["read_as"] == "interval" and value["value"] is not None:
            assert float(shown.split()[0].replace("−", "-")) == pytest.approx(value["value"], abs=5.1e-4)
            assert ("no interval" in shown) == (value["low"] is None)


def test_a_filled_or_partly_filled_item_has_a_source(run: Artefacts) -> None:
    bare = [name for name, answer in answers_of(run) if answer.status in ANSWERED and not answer.sources]
    assert not bare


def test_every_number_of_a_text_is_that_of_a_source(run: Artefacts) -> None:
    for name, answer in answers_of(run):
        text, known = answer.text, set()
        for metric in METRICS.values():
            text = text.replace(metric.title, "")
        for source in answer.sources:
            known |= set(NUMBER.findall(source.shown))
            for key in re.split(r"[/?&=]", source.pointer):  # names of stages, scanners and networks hold digits too
                text = text.replace(key, "") if NUMBER.search(key) and not key.isdigit() else text
        assert set(NUMBER.findall(text)) <= known, name


def test_sentences_say_what_their_figures_mean(phantom: Artefacts) -> None:
    """A pointer that resolves may still be the wrong one: made-up figures differ, so that sentences tell them apart."""
    found = {name: answer.text for name, answer in answers_of(phantom)}
    metrics = phantom.get("assess/metrics.json")["networks"]["student_kd"]["test"]
    accuracy, auroc = metrics["accuracy"], metrics["auroc"]["≥F3"]
    bounds = f"{accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f})"
    for name, sentence in (
        ("claim_2024 8", "Of 263 files, 3 could not be used (reasons: truncated 2, not_an_image 1); 260 images were."),
        ("claim_2024 12", "1 rows of the label table had no file"),
        ("claim_2024 9", "below a confidence of 0.9 the whole frame is kept, as in 4 images"),
        ("claim_2024 10", "learned from 100 images"),
        ("claim_2024 19", "Val: 60 images (F0 12, F1 12, F2 12, F3 12, F4 12)."),
        ("claim_2024 19", "seed 7"),
        ("claim_2024 20", "the patient is known for 97.5 % of all images"),
        ("claim_2024 22", "student_kd: tiny, 373,173 parameters"),
        ("claim_2024 25", "600 forward passes of the teacher"),
        ("claim_2024 26", "best epoch (5 of 6)"),
        ("claim_2024 29", "Bounds of 95.0 %"),
        ("claim_2024 37", f"student_kd: Accuracy {bounds}"),
        ("claim_2024 30", f"reaches accuracy 0.310 (0.200 to 0.400) on this split; student_kd reaches {bounds}"),
        ("claim_2024 38", f"≥F3: area under the ROC curve {auroc['value']:.3f}"),
        ("claim_2024 43", "within 1.05e-09 on 60 images (accepted: 0.0001)"),
        ("tripod_ai 16", "differ by at most 1.2 %"),
        ("tripod_ai 21", "Trained on: 100 images."),
        ("stard_ai 16c", "≥F2, ≥F3, ≥F4 (places 2, 3, 4 of the scale"),
        ("stard_ai 30", f"True F4, stated as F0, F1, F2, F3, F4: {', '.join(map(str, metrics['confusion'][4]))}."),
    ):
        assert sentence in found[name], (name, found[name])


def test_what_is_left_to_the_authors_is_said_and_what_does_not_apply_has_a_reason(run: Artefacts) -> None:
    for name, answer in answers_of(run):
        assert bool(answer.todo) == (answer.status in (Status.PARTLY, Status.AUTHORS)), name
        assert answer.said or answer.status is Status.AUTHORS, name


def test_figures_without_bounds_do_not_fill_an_item_about_precision(tmp_path: Path, phantom: Artefacts) -> None:
    few = read_artefacts(write_run(tmp_path / "few", patients={"train": 10, "val": 5, "calibration": 5, "test": 5}))
    wanted = ("claim_2024 37", "claim_2024 38", "tripod_ai 23a", "stard_ai 31")
    assert {dict(answers_of(few))[name].status for name in wanted} == {Status.PARTLY}
    assert {dict(answers_of(phantom))[name].status for name in wanted} == {Status.FILLED}


def test_clusters_are_reported_where_scanners_are_known_and_left_to_the_authors_elsewhere(
    tmp_path: Path, phantom: Artefacts
) -> None:
    found = dict(answers_of(phantom))
    assert found["tripod_ai 23b"].status is found["tripod_ai 12d"].status is Status.FILLED
    text = " ".join(part for words in found["tripod_ai 23b"].said for part in words if isinstance(part, str))
    assert "scanner" in text
    assert len(found["tripod_ai 23b"].said) == 2
    folder = write_run(tmp_path / "run")
    metrics = read_json(folder / "assess/metrics.json")
    for network in metrics["networks"].values():
        network["test"].pop("subgroups")
    write_json(folder / "assess/metrics.json", metrics)
    unknown = dict(answers_of(read_artefacts(folder)))
    assert unknown["tripod_ai 23b"].status is Status.AUTHORS
    assert unknown["tripod_ai 12d"].status is Status.PARTLY


def test_of_patients_only_the_authors_know_most(tmp_path: Path) -> None:
    found = dict(answers_of(read_artefacts(write_run(tmp_path / "patients", synthetic=False))))
    for name in ("stard_ai 8", "stard_ai 27", "tripod_ai 5b", "tripod_ai 8b", "claim_2024 16", "claim_2024 18"):
        assert found[name].status is Status.AUTHORS, name
    for name in ("stard_ai 6", "claim_2024 7", "claim_2024 8", "claim_2024 14", "claim_2024 36"):
        assert found[name].status is Status.PARTLY, name


def test_an_unknown_patient_leaves_disjointness_open_and_a_leaky_split_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "leaky")
    assert dict(answers_of(read_artefacts(folder)))["claim_2024 20"].status is Status.PARTLY
    for name in ("prepared/integrity.json", "assess/metrics.json"):
        data = read_json(folder / name)
        data |= {"known_patients": 1.0, "grouping": "stem"} if "integrity" in name else {}
        data["stamp"] = data.get("stamp", {}) | {"grouping": "stem"}
        write_json(folder / name, data)
    assert "does not keep patients apart" in dict(answers_of(read_artefacts(folder)))["claim_2024 20"].todo


def test_an_answer_of_unknown_is_no_answer(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "unknown", synthetic=False)
    integrity = read_json(folder / "prepared/integrity.json")
    integrity["card"]["ethics"] = "Unknown."
    write_json(folder / "prepared/integrity.json", integrity)
    assert dict(answers_of(read_artefacts(folder)))["stard_ai 6"].status is Status.AUTHORS


# ---------------------------------------------------------------------- documents
class _Page(HTMLParser):
    """Checks that tags nest, and collects them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _pages(texts: dict[str, str]) -> dict[str, _Page]:
    return {name: _Page(text) for name, text in texts.items() if name.endswith(".html")}


def test_every_document_is_there(texts: dict[str, str]) -> None:
    names = ["model_card", "data_card", "claim_2024", "tripod_ai", "stard_ai"]
    both = {f"{name}.{ending}" for name in names for ending in ("md", "html")}
    assert set(texts) == both | {"README.md", "index.html", "evidence.json"}


def test_equal_artefacts_give_equal_texts(run_folder: Path, texts: dict[str, str]) -> None:
    assert documents(read_artefacts(run_folder), "../") == texts


def test_texts_do_not_depend_on_times_and_memory(tmp_path: Path, phantom: Artefacts) -> None:
    again = write_run(tmp_path / "again")
    for record in again.glob("*/record.json"):
        data = read_json(record)
        data["facts"] |= {"wall_seconds": 12345.678, "peak_memory_mb": 98765, "resumed": True, "processor": "another"}
        write_json(record, data)
    assert documents(read_artefacts(again), "../") == documents(phantom, "../")


def test_pages_are_well_formed_and_load_nothing(texts: dict[str, str]) -> None:
    for name, page in _pages(texts).items():
        assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed", "img")], name
        assert "@import" not in texts[name]
        assert not re.search(r"url\(\s*['\"]?(?!data:)", texts[name])
        for tag, attributes in page.tags:
            for key in ("href", "src"):
                target = attributes.get(key) or ""
                assert "://" not in target, (name, target)
                assert not target.startswith(("//", "/", "file:")), (name, target)
                assert tag != "link" or target in ("", "data:,"), (name, target)


def test_pages_can_be_used_without_eyes(texts: dict[str, str]) -> None:
    for name, page in _pages(texts).items():
        tags = [tag for tag, _ in page.tags]
        assert page.tags[0] == ("html", {"lang": "en"}), name
        assert tags.count("main") == tags.count("h1") == tags.count("header") == tags.count("footer") == 1, name
        assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th"), name
        assert tags.count("caption") == tags.count("table"), name
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), name
        inner = [
            str(attributes["href"])[1:]
            for _, attributes in page.tags
            if str(attributes.get("href", "")).startswith("#")
        ]
        assert set(inner) <= set(ids), name


def test_every_link_to_an_artefact_or_a_document_leads_somewhere(run_folder: Path, texts: dict[str, str]) -> None:
    pages = {name: {a.get("id") for _, a in page.tags} for name, page in _pages(texts).items()}
    links = {str(a["href"]) for page in _pages(texts).values() for tag, a in page.tags if tag == "a"}
    links |= {link for name in texts if name.endswith(".md") for link in re.findall(r"\]\((\S+?)\)", texts[name])}
    for link in links:
        path, _, anchor = unquote(link).partition("#")
        if not path or path in texts:
            assert not path or not anchor or anchor in pages[path], link
            continue
        # cost.json and record.json of a network are there in every run, though not in a made-up one
        target = run_folder / path.removeprefix("../")
        assert target.is_file() or path.endswith(("cost.json", "groups.csv")), link
        assert not anchor or f'id="{anchor}"' in target.read_text(), link


def test_the_verdict_stands_at_the_top_of_every_document(run: Artefacts, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        if name == "evidence.json":
            data = json.loads(text)
            assert (data["verdict"], data["simulated"]) == (run.stamp["verdict"], run.synthetic)
            continue
        top = re.split(r"\n\n(?!>)", text, maxsplit=1)[0] if name.endswith(".md") else text.partition('id="content"')[0]
        plain = top.replace("\\", "")
        assert (SIMULATED in plain) == run.synthetic, name
        assert f"Verdict on the data: {str(run.stamp['verdict']).capitalize()}." in plain, name
        assert all(reason in plain for reason in run.stamp["reasons"]), name
        assert ("accepted explicitly" in plain) == run.stamp["accepted_unfit"], name
        assert "not a medical device" in plain
        assert "claims clinical validity" in plain


def test_no_document_names_a_patient_or_a_folder_of_the_machine(run_folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        assert "SECRET" not in text, name
        assert str(run_folder.parent) not in text, name
        assert not re.search(r"(?<![\w.<])/(?:home|root|tmp|work|usr|var|mnt)/", text), name


def test_words_of_others_stay_words(texts: dict[str, str], run: Artefacts) -> None:
    if run.has("prepared/integrity.json", "/card/provenance"):
        assert "&lt;one&gt; clinic" in texts["data_card.html"]
        assert "\\<one\\> clinic \\| 2021 \\[sic\\]" in texts["data_card.md"]
    assert "{odd} scanner" in texts["data_card.html"]
    assert _text("a*b_c`d") == "a\\*b\\_c\\`d"


def test_tables_of_a_document_in_markdown_have_equal_rows(texts: dict[str, str]) -> None:
    for name in (name for name in texts if name.endswith(".md")):
        for block in re.findall(r"(?:^\|.*\n?)+", texts[name], flags=re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().split("\n")}
            assert len(widths) == 1, (name, block[:200])


def test_parts_that_a_run_does_without_are_said(tmp_path: Path) -> None:
    bare = documents(read_artefacts(write_run(tmp_path / "bare", book=False, bundle=False, card=False)), "../")
    assert "released no bundle" in bare["model_card.md"]
    assert "wrote no book" in bare["model_card.md"]
    assert "came without a card" in bare["data_card.md"]
    assert "Near-duplicates were not looked for" in bare["data_card.md"]
    assert "No control was run" in bare["data_card.md"]


def test_without_stage_cut_offs_there_are_no_end_points(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "coarse")
    metrics = read_json(folder / "assess/metrics.json")
    for network in metrics["networks"].values():
        for split in ("val", "calibration", "test"):
            network[split].pop("end_points")
            network[split].pop("auroc")
    write_json(folder / "assess/metrics.json", metrics)
    run = read_artefacts(folder)
    assert dict(answers_of(run))["claim_2024 38"].status is Status.NOT_APPLICABLE
    assert "Clinical end points" not in documents(run, "../")["model_card.md"]


# ---------------------------------------------------------------------- reading
@pytest.mark.parametrize(
    "missing", ["prepared/integrity.json", "prepared/record.json", "assess/metrics.json", "student_kd/card.json"]
)
def test_a_missing_part_is_named(tmp_path: Path, missing: str) -> None:
    folder = write_run(tmp_path / "run")
    (folder / missing).unlink()
    with pytest.raises(ArtifactError, match=missing) as error:
        read_artefacts(folder)
    assert "fibrokd run" in error.value.todo


def test_metrics_of_another_format_are_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    metrics = read_json(folder / "assess/metrics.json")
    write_json(folder / "assess/metrics.json", metrics | {"format": 1})
    with pytest.raises(ArtifactError, match=rf"format {FORMAT}, found 1"):
        read_artefacts(folder)


def test_figures_of_another_split_alone_are_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    metrics = read_json(folder / "assess/metrics.json")
    for network in metrics["networks"].values():
        del network["test"]
    write_json(folder / "assess/metrics.json", metrics)
    with pytest.raises(ArtifactError, match="split 'test'"):
        read_artefacts(folder)


def test_the_card_is_about_the_released_network_and_else_about_the_last(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    record = read_json(folder / "bundle/record.json")
    teacher = read_json(folder / "assess/record.json")["inputs"]["teacher"]
    write_json(folder / "bundle/record.json", record | {"inputs": record["inputs"] | {"student": teacher}})
    assert (read_artefacts(folder).network, read_artefacts(folder).released) == ("teacher", True)
    (folder / "bundle/record.json").unlink()
    assert (read_artefacts(folder).network, read_artefacts(folder).released) == ("student_kd", False)


def test_pointers_escape_as_they_must(phantom: Artefacts) -> None:
    assert at("a/b", "c~d", 3) == "/a~1b/c~0d/3"
    assert phantom.get("assess/metrics.json", at("scale", 4)) == "F4"
    for nowhere in ("/scale/9", "/scale/x", "/nothing", "/level/deeper"):
        assert not phantom.has("assess/metrics.json", nowhere)
        with pytest.raises(ArtifactError, match=r"metrics\.json"):
            phantom.value("assess/metrics.json", nowhere)
    assert not phantom.has("nowhere.json")


def test_a_name_with_braces_is_no_template() -> None:
    words = say("Scanner {name}: {n} images.", name="{n}", n=Source("a.json", "/n", "value", 1536))
    assert words[1] == "{n}"
    assert Answer(Status.FILLED, (words,)).text == "Scanner {n}: 1,536 images."
