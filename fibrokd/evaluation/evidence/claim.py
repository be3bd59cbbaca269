"""CLAIM 2024: 44 items for studies of artificial intelligence in medical imaging.

Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300, DOI 10.1148/ryai.240300. Its own table was not at
hand: numbers are those of a public summary, which fits what the edition of 2020 and the changes say. Topics are ours.
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

CLAIM = Checklist(
    id="claim_2024",
    title="CLAIM 2024",
    reference="Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300, DOI 10.1148/ryai.240300",
    note=(
        "Topics are in our own words. The numbering is that of a public summary of the update: check it against the "
        "publication before you submit."
    ),
    groups={
        "Title and abstract": (
            Item("1", "Title names the technique", on_study.title),
            Item("2", "Structured abstract", left("Write it; take figures from these documents, with their bounds.")),
        ),
        "Introduction": (
            Item("3", "Background and intended use", on_study.intended_use),
            Item("4", "Aims and hypotheses", on_study.objectives),
        ),
        "Methods: design": (
            Item("5", "Prospective or retrospective", on_study.design),
            Item("6", "Goal of the study", on_study.goal),
        ),
        "Methods: data": (
            Item("7", "Origin of the data", on_data.data_sources),
            Item("8", "Inclusion and exclusion", on_data.eligibility),
            Item("9", "Preprocessing", on_images.preprocessing),
            Item("10", "Parts of the data that were used", on_data.subsets),
            Item("11", "De-identification", on_images.identifiers),
            Item("12", "Missing data", on_data.missing),
            Item("13", "Acquisition of the images", on_images.acquisition),
        ),
        "Methods: reference standard": (
            Item("14", "Definition", on_reference.definition),
            Item("15", "Why this one", on_reference.rationale),
            Item("16", "Who annotated", on_reference.annotators),
            Item("17", "Annotation of the test set", on_reference.test_annotation),
            Item("18", "Agreement of annotators", on_reference.variability),
        ),
        "Methods: partitions and size": (
            Item("19", "Assignment to partitions", on_split.assignment),
            Item("20", "Level at which partitions are disjoint", on_split.disjointness),
            Item("21", "Intended size of the test set", on_split.sample_size),
        ),
        "Methods: model": (
            Item("22", "The model in detail", on_model.architecture),
            Item("23", "Software and versions", on_model.software),
            Item("24", "Initial weights", on_training.initialisation),
        ),
        "Methods: training": (
            Item("25", "Training", on_training.training),
            Item("26", "Choice of the final model", on_training.selection),
            Item("27", "Ensembles", on_training.ensembling),
        ),
        "Methods: evaluation": (
            Item("28", "Measures of performance", on_results.measures),
            Item("29", "Uncertainty and significance", on_results.uncertainty),
            Item("30", "Robustness", on_results.robustness),
            Item("31", "Explanations", on_model.explainability),
            Item("32", "Testing on internal data", on_results.internal),
            Item("33", "Testing on external data", on_split.external),
            Item("34", "Registration of the trial", left("Give register and number, or say that none was needed.")),
        ),
        "Results: data": (
            Item("35", "Numbers included and left out", on_split.flow),
            Item("36", "Who and what is in each partition", on_split.characteristics),
        ),
        "Results: model": (
            Item("37", "Performance with uncertainty", on_results.performance),
            Item("38", "Diagnostic accuracy with precision", on_results.end_points),
            Item("39", "Analysis of failures", on_errors.failures),
        ),
        "Discussion": (
            Item("40", "Limitations", on_errors.limitations),
            Item("41", "Meaning for practice", on_study.implications),
        ),
        "Other": (
            Item("42", "Protocol", on_study.protocol),
            Item("43", "Where software, model and data are", on_model.availability),
            Item("44", "Funding", left("Name funders and their part in the study.")),
        ),
    },
)
