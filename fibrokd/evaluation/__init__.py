"""Numbers on stored predictions: metrics, intervals, the report. Never imports torch."""
