"""The data card of a run's collection, after the data cards of Pushkarna et al. and the datasheets of Gebru et al.

Pushkarna et al., FAccT 2022, DOI 10.1145/3531146.3533231; Gebru et al., CACM 2021, DOI 10.1145/3458723. Names no file
and no person.
"""

from __future__ import annotations

from fibrokd.evaluation.evidence import on_data, on_errors, on_images, on_reference, on_results, on_split
from fibrokd.evaluation.evidence.artefacts import INTEGRITY, INTEGRITY_PAGE, PHANTOM, PREPARE, Artefacts, at
from fibrokd.evaluation.evidence.cards import Card, Section, Table, facts
from fibrokd.evaluation.evidence.items import Words, say
from fibrokd.evaluation.wording import LEVELS

REFERENCE = (
    "Parts after Pushkarna et al., Data Cards, FAccT 2022, DOI 10.1145/3531146.3533231, and Gebru et "
    "al., Datasheets for Datasets, "
    "Communications of the ACM 2021, DOI 10.1145/3458723"
)
CARD = {
    "provenance": "Origin",
    "licence": "Licence",
    "ethics": "Ethics",
    "devices": "Devices",
    "reference_standard": "Reference standard",
    "inclusion": "Included and left out",
    "known_defects": "Known defects",
    "contact": "Contact",
}
NO_CARD = (
    "The collection came without a card: nobody told where it comes from, who may use it, or how its stages were found."
)
FILES = {
    "Files found": "/files",
    "Files that could not be used": "/quarantined",
    "… by reason": "/quarantine_reasons",
    "Pictures left out of files that were used, by reason": "/refused_pictures",
    "Rows of the label table without a file": "/unmatched_rows",
    "Files whose name claims another format": "/wrong_extension",
    "Images": "/images",
    "Distinct images": "/distinct_images",
    "Copies of the most copied image": "/most_copies",
    "Images filed under more than one stage": "/pictures_across_stages",
    "Images kept as whole frames": "/uncropped",
}
TIES = {
    "Clusters tied by any evidence": "/groups/clusters",
    "Groups that the split keeps together": "/groups/count",
    "Images in the largest group": "/groups/largest",
    "Near-duplicates: links": "/near/links",
    "… images with a link": "/near/images",
    "… altered copies in other files": "/near/copies",
    "… links between stages": "/near/across_stages",
    "… links between known patients": "/near/across_patients",
}


def data_card(run: Artefacts) -> Card:
    """Return the data card; equal artefacts give an equal card."""
    sections = [
        verdict(run),
        origin(run),
        flow(run),
        counts(run),
        devices(run),
        ties(run),
        controls(run),
        preparation(run),
        digests(run),
    ]
    return Card("data_card", f"Data card: {run.title}", REFERENCE, tuple(sections))


def verdict(run: Artefacts) -> Section:
    """The verdict with its reasons, and what to do."""
    rows = tuple(
        tuple((run.value(INTEGRITY, at("reasons", place, key)),) for key in ("severity", "text", "todo"))
        for place in range(len(run.get(INTEGRITY, "/reasons")))
    )
    tables = (Table("Reasons, worst first", ("Severity", "Reason", "What to do"), rows),) if rows else ()
    said = [say("Verdict: {verdict}.", verdict=run.value(INTEGRITY, "/verdict"))]
    said += [] if rows else [("No reason against the data was found.",)]
    if run.get(INTEGRITY, "/accepted_unfit"):
        said.append(
            say(
                "An unfit verdict was accepted in the configuration: {yes}.",
                yes=run.value(INTEGRITY, "/accepted_unfit"),
            )
        )
    said.append(run.listed(INTEGRITY, {"The most honest split": "/honest_split/text"}))
    return Section(
        "verdict", "May results on these images be believed?", tuple(said), tables, see=(f"{INTEGRITY_PAGE}#reasons",)
    )


def origin(run: Artefacts) -> Section:
    """What is known of where the images come from."""
    known = [
        (head, run.value(INTEGRITY, at("card", key)))
        for key, head in CARD.items()
        if run.has(INTEGRITY, at("card", key))
    ]
    said = (("What somebody wrote down; software cannot check it.",),) if known else ((NO_CARD,),)
    made = (on_data.simulated(run), on_data.simulation(run)) if run.synthetic and run.has(PHANTOM) else ()
    tables = (facts("The card of the collection", known),) if known else ()
    return Section("origin", "Origin and licence", (*said, *made), tables, see=(f"{INTEGRITY_PAGE}#card",))


def flow(run: Artefacts) -> Section:
    """From files to splits."""
    rows = [(head, run.value(INTEGRITY, pointer)) for head, pointer in FILES.items() if run.has(INTEGRITY, pointer)]
    rows += [(f"Images in {split}", run.total(INTEGRITY, at("splits", split))) for split in run.splits]
    return Section(
        "flow",
        "From files to splits",
        (on_split.assigned(run),),
        (facts("In this order", rows),),
        see=(f"{INTEGRITY_PAGE}#found",),
    )


def counts(run: Artefacts) -> Section:
    """Images per stage and split."""
    rows = [
        ((split,), *_cells(run, at("splits", split)), (run.total(INTEGRITY, at("splits", split)),))
        for split in run.splits
    ]
    rows.append((("All",), *_cells(run, "/stages"), (run.value(INTEGRITY, "/images"),)))
    rows.append(
        (("Independent groups",), *_cells(run, "/groups/per_stage"), (run.value(INTEGRITY, "/groups/clusters"),))
    )
    table = Table("Images by split and stage", ("Split", *run.scale, "All"), tuple(rows))
    return Section("counts", "How many", (on_reference.scale(run),), (table,), see=(f"{INTEGRITY_PAGE}#stages",))


def _cells(run: Artefacts, place: str) -> tuple[Words, ...]:
    found = run.get(INTEGRITY, place)
    return tuple((run.value(INTEGRITY, place + at(stage)),) if stage in found else ("–",) for stage in run.scale)


def devices(run: Artefacts) -> Section:
    """Images by scanner, site and format in every split."""
    tables: list[Table] = []
    said: list[Words] = []
    for column, title in (("scanner", "Scanner"), ("site", "Site"), ("format", "Format of the file")):
        kinds = run.kinds(column)
        if not kinds:
            said.append((f"{title}: not known for any image.",))
        elif len(kinds) > on_data.MOST_LISTED:
            said.append((f"{title}: too many different entries to be listed.",))
        else:
            rows = tuple(_by_split(run, column, kind) for kind in kinds)
            tables.append(Table(f"Images by {title.lower()} and split", (title, *run.splits), rows))
    said.append(("Counted in manifest.csv, joined with splits.csv by image_id.",))
    said += [words for words in on_errors.heterogeneity(run).said[1:] if words]
    return Section(
        "scanners",
        "Scanners, sites, formats",
        tuple(said),
        tuple(tables),
        see=("prepared/manifest.csv", "prepared/splits.csv"),
    )


def _by_split(run: Artefacts, column: str, kind: str) -> tuple[Words, ...]:
    return ((kind,), *((run.rows(**{column: kind, "split": split}),) for split in run.splits))


def ties(run: Artefacts) -> Section:
    """What ties images together, and what crosses the split."""
    rows = [(head, run.value(INTEGRITY, pointer)) for head, pointer in TIES.items() if run.has(INTEGRITY, pointer)]
    rows += [("Groups with more than one stage", run.count(INTEGRITY, "/groups/mixed_stage"))]
    rows += [("Images whose patient is known", run.percent(INTEGRITY, "/known_patients"))]
    said = [*on_split.disjointness(run).said]
    said += [] if run.has(INTEGRITY, "/near/links") else [("Near-duplicates were not looked for.",)]
    return Section(
        "ties",
        "What ties images together",
        tuple(said),
        (facts("Kinship of images", rows),),
        see=("prepared/groups.csv",),
    )


def controls(run: Artefacts) -> Section:
    """How far one gets without looking at the liver."""
    scored = [
        name for name, found in run.get(INTEGRITY, "/controls").items() if isinstance(found, dict) and _level(found)
    ]
    rows = []
    for name in scored:
        level = _level(run.get(INTEGRITY, at("controls", name)))
        place = at("controls", name, level)
        balanced = run.interval(INTEGRITY, place + "/balanced_accuracy")
        words = LEVELS.get(level, level)
        rows.append(((name.replace("_", " "),), (words,), (run.interval(INTEGRITY, place + "/accuracy"),), (balanced,)))
    if not rows:
        return Section("controls", "Controls", (("No control was run.",),))
    table = Table(
        "Controls that never look at the liver",
        ("Control", "Kept together", "Accuracy", "Balanced accuracy"),
        tuple(rows),
    )
    said = (("What a control finds, a network may find too.",), *on_results.looked_up(run), *on_results.related(run))
    return Section("controls", "Controls", said, (table,), see=(f"{INTEGRITY_PAGE}#controls",))


def _level(found: dict[str, object]) -> str:
    """The strictest level at which a control was run; empty for what is no control by level."""
    return next((level for level in ("subject", "all", "content", "stem", "random") if level in found), "")


def preparation(run: Artefacts) -> Section:
    """Preprocessing and identifiers."""
    return Section(
        "preparation",
        "Preparation and identifiers",
        (*on_images.preparation(run).said, *on_images.identifiers(run).said),
    )


def digests(run: Artefacts) -> Section:
    """Digests of the prepared folder."""
    rows = [(f"prepared/{name}", run.value(PREPARE, at("outputs", name))) for name in run.get(PREPARE, "/outputs")]
    rows += [(f"Input: {name}", run.value(PREPARE, at("inputs", name))) for name in run.get(PREPARE, "/inputs")]
    return Section("digests", "Digests (sha256)", tables=(facts("The prepared folder", rows),))
