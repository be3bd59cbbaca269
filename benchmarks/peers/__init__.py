"""Vanilla distillation beside torchdistill: ``python -m benchmarks.peers --help``; ``command`` says what is measured.

``there``, ``torchdistill_side``, ``common`` and this file run in the peer's environment too and import no fibrokd.
"""
