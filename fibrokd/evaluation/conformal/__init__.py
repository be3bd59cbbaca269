"""Sets of neighbouring stages that hold the true one for a wanted share of patients: split conformal prediction."""
