"""Numbers, words and picture of a study, from the stored answers of its networks."""
