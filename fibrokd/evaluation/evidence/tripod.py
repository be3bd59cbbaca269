"""TRIPOD+AI: 27 items in 52 parts for studies of prediction models.

Collins et al., BMJ 2024;385:e078378, DOI 10.1136/bmj-2023-078378. A run both makes and tests models, so every part
applies. Numbers were checked against a public transcript, not against the publication. Topics are ours.
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
from fibrokd.evaluation.evidence.on_study import about_patients, left

TRIPOD = Checklist(
    id="tripod_ai",
    title="TRIPOD+AI",
    reference="Collins et al., BMJ 2024;385:e078378, DOI 10.1136/bmj-2023-078378",
    note=(
        "Topics are in our own words. The numbering was checked against a transcript of the published checklist, not "
        "against the publication itself. A run makes models and tests them, so parts for either kind of study are "
        "answered."
    ),
    groups={
        "Title, abstract, introduction": (
            Item("1", "Title", on_study.title),
            Item("2", "Abstract", left("Write it; take figures from these documents, with their bounds.")),
            Item("3a", "Context and existing models", left("Describe the clinical question and models that exist.")),
            Item("3b", "Target population and purpose", on_study.intended_use),
            Item("3c", "Known inequalities", about_patients("Describe known inequalities of health between groups.")),
            Item("4", "Objectives", on_study.objectives),
        ),
        "Methods: data and participants": (
            Item("5a", "Sources of the data", on_data.data_sources),
            Item("5b", "Dates", on_data.dates),
            Item("6a", "Setting and centres", on_data.setting),
            Item("6b", "Eligibility", on_data.eligibility),
            Item("6c", "Treatments", on_data.treatments),
            Item("7", "Preparation and checks of data", on_images.preparation),
        ),
        "Methods: outcome and predictors": (
            Item("8a", "Definition of the outcome", on_reference.definition),
            Item("8b", "Who assessed the outcome", on_reference.annotators),
            Item("8c", "Blinding of the outcome", on_reference.blinded_outcome),
            Item("9a", "Choice of predictors", on_images.predictors),
            Item("9b", "Definition of predictors", on_images.predictor_definition),
            Item("9c", "Who assessed predictors", on_images.predictor_assessors),
        ),
        "Methods: size, missing data, analysis": (
            Item("10", "Sample size", on_split.sample_size),
            Item("11", "Missing data", on_data.missing),
            Item("12a", "Use of the data, partitions", on_split.assignment),
            Item("12b", "Handling of predictors", on_model.pixel_handling),
            Item("12c", "Kind of model and its making", on_training.building),
            Item("12d", "Differences between clusters", on_errors.heterogeneity),
            Item("12e", "Measures and plots", on_results.measures),
            Item("12f", "Updating of the model", on_training.updating),
            Item("12g", "How predictions were calculated", on_model.calculated),
            Item("13", "Classes of different size", on_training.imbalance),
            Item("14", "Fairness", on_study.fairness),
            Item("15", "Output and thresholds", on_model.output),
            Item("16", "Development against evaluation data", on_split.comparison),
            Item("17", "Ethical approval", on_study.ethics),
        ),
        "Open science": (
            Item("18a", "Funding", left("Name funders and their part in the study.")),
            Item("18b", "Conflicts of interest", left("Declare conflicts of interest of all authors.")),
            Item("18c", "Protocol", on_study.protocol),
            Item("18d", "Registration", left("Give register and number, or say that the study was not registered.")),
            Item("18e", "Sharing of data", on_study.data_sharing),
            Item("18f", "Sharing of code", on_model.code),
        ),
        "Patients and the public": (
            Item("19", "Involvement", left("Say how patients and the public took part, or that they did not.")),
        ),
        "Results": (
            Item("20a", "Flow of participants", on_split.flow),
            Item("20b", "Characteristics", on_split.characteristics),
            Item("20c", "Comparison with development data", on_split.comparison),
            Item("21", "Numbers in each analysis", on_split.analysed),
            Item("22", "The full model", on_model.specification),
            Item("23a", "Performance with bounds", on_results.accuracy_estimates),
            Item("23b", "Performance by cluster", on_results.by_subgroup),
            Item("24", "Result of updating", on_training.updating),
        ),
        "Discussion": (
            Item(
                "25",
                "Interpretation",
                left("Interpret the results in the light of aims, fairness and earlier studies."),
            ),
            Item("26", "Limitations", on_errors.limitations),
            Item("27a", "Poor or missing input", on_images.poor_input),
            Item("27b", "Part and expertise of users", left("Say what users must do and know.")),
            Item("27c", "Next steps", left("Say what research must come next before the model is used anywhere.")),
        ),
    },
)
