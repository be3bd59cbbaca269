"""Synthetic B-mode liver cohorts whose truth is known: the embedded default data. Never imports torch."""
