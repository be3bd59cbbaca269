"""Answers about figures: how they were computed, what they are, how sure they are, and what they do not show.

An item that asks for precision is filled only where there are bounds: a figure of few clusters has none.
"""

from __future__ import annotations

from collections.abc import Sequence

from fibrokd.evaluation.evidence.artefacts import ASSESS, INTEGRITY, METRICS, REPORT, Artefacts, at
from fibrokd.evaluation.evidence.items import Answer, Words, filled, for_authors, not_applicable, partly, say
from fibrokd.evaluation.evidence.on_model import thresholds
from fibrokd.evaluation.metrics import HEADLINE
from fibrokd.evaluation.metrics import METRICS as TITLES

MORE_CLUSTERS = "Figures without bounds rest on too few clusters: assess more patients before quoting them."
CARD_FIGURES = "model_card.html#figures"
PLACES = {"scanner", "site"}
"""Facts of the images that make clusters of them, as reporting guidelines mean it."""


def measures(run: Artefacts) -> Answer:
    """Measures of performance."""
    names = ", ".join(metric.title for metric in TITLES.values())
    return filled(
        say(
            "Computed per image on a scale of {stages}: {names}; per stage precision, recall, "
            "F-score and specificity; per end point "
            "areas, decisions at fixed thresholds, predictive values and net benefit; calibration "
            "errors; coverage of stage sets.",
            stages=run.value(METRICS, "/scale"),
            names=names,
        ),
        say("Networks {networks} are compared on the same images, in pairs.", networks=run.keys(METRICS, "/networks")),
        see=[f"{REPORT}#metrics", f"{REPORT}#differences"],
    )


def uncertainty(run: Artefacts) -> Answer:
    """Intervals and tests."""
    return filled(
        say(
            "Bounds of {level}: {method}, {n} resamples, seed {seed}; clusters: {clusters}; none "
            "from fewer than {least} clusters.",
            level=run.percent(METRICS, "/level"),
            method=run.value(METRICS, "/bootstrap/method"),
            n=run.value(METRICS, "/bootstrap/resamples"),
            seed=run.value(METRICS, "/bootstrap/seed"),
            clusters=run.value(METRICS, "/bootstrap/clusters"),
            least=run.value(METRICS, "/bootstrap/min_clusters"),
        ),
        say(
            "All networks share the resamples, so that differences are paired. Their p-values are corrected for the "
            "pairs of networks in a metric (Holm), not for the number of metrics."
        ),
        see=[f"{REPORT}#differences"],
    )


def robustness(run: Artefacts) -> Answer:
    """What happens to the figures when the conditions change."""
    said = [*looked_up(run)]
    said += related(run)
    todo = "Add what this run did not examine: other settings of the scanner, other scanners, disturbed images."
    return partly(*said, todo=todo, see=[f"{REPORT}#controls"]) if said else for_authors(todo)


def related(run: Artefacts) -> tuple[Words, ...]:
    """What is left of the accuracy where images have no relative among those learned from."""
    levels = run.tests("inflation", "levels")
    if not run.has(METRICS, levels):
        return ()
    all_images = run.get(METRICS, run.tests("images"))
    fewer = [level for level in run.get(METRICS, levels) if run.get(METRICS, levels + at(level, "images")) < all_images]
    if not fewer:
        none = "No test image has a relative among those learned from, at any level of kinship ({levels})."
        return (say(none, levels=run.keys(METRICS, levels)),)
    return tuple(
        say(
            "Without test images that have a relative among those learned from, level {level}: "
            "accuracy {accuracy} on {n} images.",
            level=level,
            accuracy=run.interval(METRICS, levels + at(level, "accuracy")),
            n=run.value(METRICS, levels + at(level, "images")),
        )
        for level in fewer
    )


def looked_up(run: Artefacts) -> tuple[Words, ...]:
    """What a lookup table reaches on the networks' own split; nothing where that was not measured."""
    place = at("controls", "thumbnail_1nn_split", "accuracy")
    if not run.has(INTEGRITY, place):
        return ()
    accuracy = run.interval(INTEGRITY, place)
    return (
        say(
            "A lookup of the nearest training thumbnail, which learns nothing, reaches accuracy "
            "{accuracy} on this split; "
            "{network} reaches {own}.",
            accuracy=accuracy,
            network=run.network,
            own=run.interval(METRICS, run.tests("accuracy")),
        ),
    )


def performance(run: Artefacts) -> Answer:
    """Figures of every network with bounds."""
    said = [
        say(
            "{network}: " + ", ".join(f"{TITLES[name].title} {{{name}}}" for name in HEADLINE) + ".",
            network=network,
            **{name: run.interval(METRICS, at("networks", network, "test", name)) for name in HEADLINE},
        )
        for network in run.networks
    ]
    return _with_bounds(
        run, [*said, *looked_up(run)], [run.tests(name) for name in HEADLINE], [CARD_FIGURES, f"{REPORT}#overview"]
    )


def internal(run: Artefacts) -> Answer:
    """Figures on every split of the collection that was assessed."""
    places = [at("networks", run.network, split) for split in run.get(ASSESS, "/config/splits")]
    places = [place for place in places if run.has(METRICS, place)]
    said = [
        say(
            "{network} on {split}: accuracy {accuracy} over {n} images in {k} clusters.",
            network=run.network,
            split=place.rpartition("/")[2],
            accuracy=run.interval(METRICS, place + "/accuracy"),
            n=run.value(METRICS, place + "/images"),
            k=run.value(METRICS, place + "/clusters"),
        )
        for place in places
    ]
    return _with_bounds(run, said, [place + "/accuracy" for place in places], [CARD_FIGURES])


def end_points(run: Artefacts) -> Answer:
    """Figures of end points with bounds."""
    place = run.tests("end_points")
    if not run.has(METRICS, place):
        return not_applicable(say("This scale has no cut-offs: {stages}.", stages=run.value(METRICS, "/scale")))
    said, needed = [], []
    for end in run.get(METRICS, place):
        needed += [run.tests("auroc", end), place + at(end, "average_precision")]
        said.append(
            say(
                "{end}: area under the ROC curve {auroc}, average precision {precision}.",
                end=end,
                auroc=run.interval(METRICS, needed[-2]),
                precision=run.interval(METRICS, needed[-1]),
            )
        )
        said += _decisions(run, end)
    return _with_bounds(run, [*said, *thresholds(run)], needed, ["model_card.html#end_points", f"{REPORT}#end_points"])


def _decisions(run: Artefacts, end: str) -> list[Words]:
    rules = run.tests("end_points", end, "operating_points")
    return [
        say(
            "{end}, rule {rule}: sensitivity {sensitivity}, specificity {specificity}.",
            end=end,
            rule=rule,
            sensitivity=run.interval(METRICS, rules + at(rule, "sensitivity")),
            specificity=run.interval(METRICS, rules + at(rule, "specificity")),
        )
        for rule in run.get(METRICS, rules)
    ]


def by_subgroup(run: Artefacts) -> Answer:
    """Figures of every scanner and site, and of what else is known of the images."""
    todo = "Figures of single sites or scanners were not computed, or have no bounds: report them, or say why not."
    said, parted, bare = [], set(), False
    known = run.get(METRICS, run.tests("subgroups")) if run.has(METRICS, run.tests("subgroups")) else {}
    for fact, entry in known.items():
        for group in entry.get("groups", {}):
            place = run.tests("subgroups", fact, "groups", group)
            parted.add(fact)
            bare |= fact in PLACES and run.get(METRICS, place + "/balanced_accuracy")["low"] is None
            said.append(
                say(
                    "{network}, {fact} {group}: balanced accuracy {figure} over {n} images; minus the others {gap}.",
                    network=run.network,
                    fact=fact.replace("_", " "),
                    group=group,
                    figure=run.interval(METRICS, place + "/balanced_accuracy"),
                    n=run.value(METRICS, place + "/images"),
                    gap=run.interval(METRICS, place + "/gap/balanced_accuracy"),
                )
            )
    if not said:
        return for_authors(todo)
    see = [f"{REPORT}#subgroups"]
    return filled(*said, see=see) if parted & PLACES and not bare else partly(*said, todo=todo, see=see)


def accuracy_estimates(run: Artefacts) -> Answer:
    """All estimates of accuracy: stages and end points."""
    parts = [performance(run), end_points(run)]
    worst = parts[0] if parts[0].todo else parts[1]
    said = tuple(words for part in parts for words in part.said)
    see = tuple(place for part in parts for place in part.see)
    return partly(*said, todo=worst.todo, see=see) if worst.todo else filled(*said, see=see)


def _with_bounds(run: Artefacts, said: Sequence[Words], needed: Sequence[str], see: Sequence[str]) -> Answer:
    """Filled where every needed figure has bounds, else a part."""
    bare = [place for place in needed if run.get(METRICS, place)["low"] is None]
    return partly(*said, todo=MORE_CLUSTERS, see=see) if bare else filled(*said, see=see)
