"""STARD-AI: 40 items in 48 parts for studies of diagnostic accuracy whose index test is artificial intelligence.

Sounderajah et al., Nature Medicine 2025;31:3283–3289, DOI 10.1038/s41591-025-03953-8; it extends STARD 2015 (Bossuyt
et al., DOI 10.1136/bmj.h5527). The publication was not at hand: numbers are those of a public transcript of its table.
Topics are ours.
"""

from __future__ import annotations

from fibrokd.evaluation.evidence import (
    on_data,
    on_errors,
    on_images,
    on_model,
    on_reference,
    on_results,
    on_split,
    on_study,
    on_training,
)
from fibrokd.evaluation.evidence.items import Checklist, Item
from fibrokd.evaluation.evidence.on_study import left

STARD = Checklist(
    id="stard_ai",
    title="STARD-AI",
    reference="Sounderajah et al., Nature Medicine 2025;31:3283–3289, DOI 10.1038/s41591-025-03953-8",
    note=(
        "Topics are in our own words. STARD 2015 with the items for artificial intelligence as we understand them: the "
        "numbering is that of a transcript of the published table, not of the publication itself. Check it before you "
        "submit."
    ),
    groups={
        "Title, abstract, introduction": (
            Item("1", "Title names the test and a measure", on_study.title),
            Item("2", "Structured abstract", left("Write it; take figures from these documents, with their bounds.")),
            Item("3", "Background, intended use, place in the workflow", on_study.intended_use),
            Item("4", "Objectives and hypotheses", on_study.objectives),
        ),
        "Methods: design and ethics": (
            Item("5", "Prospective or retrospective", on_study.design),
            Item("6", "Ethical approval", on_study.ethics),
        ),
        "Methods: participants": (
            Item("7", "Eligibility of persons and of data", on_data.eligibility),
            Item("8", "How participants were found", on_data.identification),
            Item("9", "Setting, place, dates", on_data.setting_and_dates),
            Item("10", "Consecutive, random or convenience", on_data.series),
        ),
        "Methods: dataset": (
            Item("11", "Source of the data", on_data.data_sources),
            Item("12", "Annotation", on_reference.rationale_and_annotators),
            Item("13", "Devices and software", on_model.devices_and_software),
            Item("14", "Acquisition and preprocessing", on_images.acquisition_and_preprocessing),
        ),
        "Methods: tests": (
            Item("15a", "Index test", on_model.index_test),
            Item("15b", "Development of the index test", on_training.development),
            Item("15c", "Cut-offs of the index test", on_model.output),
            Item("15d", "Users and their expertise", left("Say who is to use the test, and what they must know.")),
            Item("16a", "Reference standard", on_reference.definition),
            Item("16b", "Why this reference standard", on_reference.rationale),
            Item("16c", "Cut-offs of the reference standard", on_reference.cut_offs),
            Item("17a", "What the index test knew", on_reference.blinded_index_test),
            Item("17b", "What readers of the reference standard knew", on_reference.blinded_outcome),
        ),
        "Methods: analysis": (
            Item("18", "Estimation and comparison", on_results.uncertainty),
            Item("19", "Indeterminate results", on_errors.indeterminate),
            Item("20", "Missing data", on_data.missing),
            Item("21", "Variability of accuracy", on_results.robustness),
            Item("22", "Sample size", on_split.sample_size),
            Item("23", "Errors, bias and fairness", on_errors.errors_and_fairness),
        ),
        "Results: participants and dataset": (
            Item("24", "Flow of participants", on_split.flow),
            Item("25", "Characteristics of each set", on_split.characteristics),
            Item("26a", "Severity of disease", on_reference.severity),
            Item("26b", "Other diagnoses", on_reference.alternatives),
            Item("27", "Time between tests", on_reference.time_interval),
            Item("28", "How the test set stands for its population", on_split.representative),
            Item("29", "How an external set differs", on_split.no_external),
        ),
        "Results: tests": (
            Item("30", "Cross-tabulation", on_errors.confusion),
            Item("31", "Accuracy with precision", on_results.accuracy_estimates),
            Item("32", "Adverse events", on_errors.adverse_events),
        ),
        "Discussion": (
            Item("33", "Limitations", on_errors.limitations),
            Item("34", "Meaning for practice", on_study.implications),
            Item("35", "Ethics of use and fairness", left("Discuss the ethics of using such a test, and fairness.")),
        ),
        "Other": (
            Item("36", "Registration", left("Give register and number, or say that the study was not registered.")),
            Item("37", "Protocol", on_study.protocol),
            Item("38", "Funding", left("Name funders and their part in the study.")),
            Item(
                "39", "Commercial interests", left("Declare commercial interests in the test, or that there are none.")
            ),
            Item("40a", "Where data and code are", on_model.availability),
            Item("40b", "Whether outputs are kept and can be audited", on_model.audit),
        ),
    },
)
