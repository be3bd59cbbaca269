"""May these numbers be believed? Evidence that images belong together, splits that do not leak, controls."""
