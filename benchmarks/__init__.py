"""One script per performance claim. Each prints one JSON object as its last line, with the ratio first.

Ratios are taken in one run from interleaved repetitions, so that a machine that slows down slows both sides.
"""
