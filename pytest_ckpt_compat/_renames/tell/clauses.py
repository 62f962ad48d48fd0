"""Why a match is believed, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pytest_ckpt_compat._renames.match.alignment import Alignment
from pytest_ckpt_compat._renames.units.units import Unit, shape_class

#: Kind of evidence -> from what measure on it is worth a clause, and the clause.
_CLAUSES: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "name": (0.75, "alike in name"),
        "modules": (0.75, "the modules around them correspond"),
        "endings": (0.75, "renamed alike elsewhere"),
        "neighbours": (1.0, "between the same neighbours"),
        "numbers": (0.75, "numbered by the same rule"),
    }
)


def evidence(found: Alignment, old: Sequence[Unit]) -> dict[int, tuple[str, ...]]:
    """For each matched old unit what speaks for the match, the strongest first."""
    kinds = Counter((shape_class(unit.main), unit.copies) for unit in old)
    rows = found.pairs.rows[found.chosen].tolist()
    clauses: dict[int, tuple[str, ...]] = {}
    for place, row in enumerate(rows):
        unit = old[row]
        said = ["the only ones of this shape"] if kinds[shape_class(unit.main), unit.copies] == 1 else []
        said += [text for name, (least, text) in _CLAUSES.items() if found.measures[name][place] >= least]
        if unit.copies:
            said.append(f"in all {unit.copies[-1]} blocks alike")
        clauses[row] = tuple(said) or ("the best of all assignments by name, order and shape",)
    return clauses
