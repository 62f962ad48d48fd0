"""What the explanation of renames says of one case, with and without the classes of modules."""

from __future__ import annotations

from benchmarks.rename_classes.cases import Classed
from benchmarks.rename_quality.score import Score, compared
from pytest_ckpt_compat._renames import infer, owners_of

WAYS = ("keys", "keys, sorted", "classes")


def scored(each: Classed) -> list[Score]:
    """The score of a case in each of ``WAYS``."""
    case = each.case
    owners = (
        owners_of(case.old, each.old.modules, each.old.settings),
        owners_of(case.new, each.new.modules, each.new.settings),
    )
    found = (
        infer(case.old, case.new),
        infer(dict(sorted(case.old.items())), case.new),
        infer(case.old, case.new, owners),
    )
    return [compared(case, changes) for changes in found]
