"""What a load refuses of what a migration has made, and what it loses of that."""

from __future__ import annotations

from collections.abc import Callable, Collection

from pytest_ckpt_compat._check.compare import fits
from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.verdict import Verdict


def refusals(
    verdict: Verdict, anew: Callable[[str], str], told: Collection[str] = ()
) -> tuple[dict[str, str], tuple[str, ...]]:
    """What a load still refuses: key -> why, and what is about no key.

    A verdict may say besides that names were exchanged: a key that is there and fits is not refused.

    Args:
        verdict: of that load.
        anew: gives the code that starts a tensor anew on purpose, and no other one with it.
        told: keys of which that has been said.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    old, new = (side.tensors if side else {} for side in (verdict.old, verdict.new))
    for change in verdict.of(Severity.ERROR, Severity.INCOMPLETE):
        if change.kind == "unopenable":
            continue
        why = f": {change.detail}" if change.detail else ""
        own = ""
        if change.kind == "missing" and change.new[0] not in told:
            own = f"; to start it anew, add {anew(change.new[0])}"
        text = f"the load refuses it ({change.rule} {change.kind}{why}){own}"
        if not (change.new or change.old):
            problems.append(f"{change.rule} {change.kind}{why}")
        moved = change.kind in ("renamed", "split", "fused", "transposed", "reparametrized", "prefixed")
        for key in change.new:
            there = key in old and key in new and fits(old[key], new[key])
            if not (moved and there):
                found[key] = text
        for key in change.old:
            if key not in new:
                found[key] = text
    return found, tuple(problems)


def overwritten(verdict: Verdict) -> dict[str, str]:
    """What a load loses without an error, as two tensors go into one: key -> that, in words."""
    tied = (each for each in verdict.changes if each.kind == "retied" and "loses" in each.detail)
    return {each.new[0]: each.detail for each in tied}
