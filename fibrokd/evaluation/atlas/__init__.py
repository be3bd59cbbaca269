"""The error atlas: what is kept of every answer beside its probabilities, and what errors look like in it.

``image_arrays`` owns the files, ``neighbours`` finds the training patients that are most alike, ``maps`` draws where
a picture speaks for a stage, ``doubt`` ranks labels that network and neighbours contradict, ``collected`` brings them
together for a report.
"""
