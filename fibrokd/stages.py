"""The stage scale: names of the ordered fibrosis stages, their clinical cut-offs, and how labels are parsed.

Owns the only place where a stage becomes an integer. Everything else carries stage indices (0-based, ordered)
together with the scale they belong to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fibrokd.errors import LabelError


@dataclass(frozen=True)
class StageScale:
    """An ordered scale of fibrosis stages.

    Args:
        names: Stage names from least to most severe, for example ``("F0", …, "F4")``.
        cutoffs: Indices k of the clinical end points "stage ≥ k".

    Example:
        >>> METAVIR.parse("f3"), METAVIR.names[3], METAVIR.cutoff_names
        (3, 'F3', ('≥F2', '≥F3', '≥F4'))
    """

    names: tuple[str, ...]
    cutoffs: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.names) < 2 or len({n.casefold() for n in self.names}) != len(self.names):
            raise LabelError(
                f"A stage scale needs at least two distinct names, found {self.names}.",
                "List the stages from least to most severe.",
            )
        if any(not 0 < k < len(self.names) for k in self.cutoffs):
            raise LabelError(
                f"Cut-offs must lie between 1 and {len(self.names) - 1}, found {self.cutoffs}.",
                "A cut-off k means 'stage ≥ k'.",
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def cutoff_names(self) -> tuple[str, ...]:
        """Names of the end points, such as ``≥F2``."""
        return tuple(f"≥{self.names[k]}" for k in self.cutoffs)

    def parse(self, label: str | int) -> int:
        """Return the index of ``label``: a stage name in any case, or its bare number (``"3"``, ``"3.0"``, 3).

        Raises:
            LabelError: The label is not on this scale.
        """
        text = str(label).strip()
        for index, name in enumerate(self.names):
            if text.casefold() == name.casefold():
                return index
        number = re.fullmatch(r"(\d+)(?:\.0+)?", text)
        if number:
            for index, name in enumerate(self.names):
                if re.fullmatch(rf"\D*0*{int(number.group(1))}", name):
                    return index
        raise LabelError(
            f"Expected a stage out of {', '.join(self.names)}, found {text!r}.",
            "Correct the label, or declare another stage scale in the configuration.",
        )

    def try_parse(self, label: str | int) -> int | None:
        """Like :meth:`parse`, but ``None`` where the label is not on the scale."""
        try:
            return self.parse(label)
        except LabelError:
            return None


METAVIR = StageScale(names=("F0", "F1", "F2", "F3", "F4"), cutoffs=(2, 3, 4))
"""METAVIR fibrosis stages; end points significant (≥F2), advanced (≥F3) fibrosis and cirrhosis (F4)."""
