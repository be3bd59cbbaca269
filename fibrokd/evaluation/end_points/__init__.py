"""Yes-or-no questions of the clinic, "stage ≥ k": ranking, thresholds, and what decisions at them are worth."""
