"""Model card, data card and reporting checklists from the artefacts of a run; every figure says where it stands."""
