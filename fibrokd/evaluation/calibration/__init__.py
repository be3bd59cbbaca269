"""Whether stated probabilities are what they say: calibration errors, reliability by bin, temperature scaling."""
