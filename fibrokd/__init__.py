"""fibrokd: liver fibrosis staging (METAVIR F0–F4) from B-mode ultrasound, with numbers that can be believed.

The package is two halves that meet only on disk. The torch-free half reads images, judges the data, computes
numbers and serves the bedside; the torch half holds networks, methods and the one training loop.
See ``docs/architecture.md``.
"""

__version__ = "0.1.0"
