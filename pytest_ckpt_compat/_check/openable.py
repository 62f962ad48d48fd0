"""Whether ``torch.load`` opens the file that a structure was read from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.changes import Change, Policy, Severity
from pytest_ckpt_compat._core.rules import judge

if TYPE_CHECKING:
    from pytest_ckpt_compat._core.pickled import Pickled
    from pytest_ckpt_compat._definition.opening import Opening

_SHOWN = 3
#: Entries of ``add_safe_globals`` that a report writes out.
_ENTRIES = 40
_UNSAFE = "torch.load(path, weights_only=False), if you trust the file"

#: The change, and what to do about it: a label and a line.
Found = tuple[tuple[Change, ...], tuple[tuple[str, str], ...]]


def unopenable(pickled: Pickled | None, policy: Policy) -> Found:
    """The judged change of a file that ``torch.load`` does not open by default; nothing for any other."""
    if pickled is None:
        return (), ()
    from pytest_ckpt_compat._definition.opening import Opening, opening

    found = opening(pickled)
    if found == Opening():
        return (), ()
    lost = bool(pickled.module and found.absent)  # then no value of weights_only opens it
    (change,) = judge([Change("unopenable", detail=_detail(found, lost))], policy)
    if lost and change.severity is Severity.WARNING:
        change = replace(change, severity=Severity.ERROR)
    moved = [(name, home) for name, home in found.absent.items() if home]
    told = [f"{name}: {home} has a class of this name" for name, home in moved[:_SHOWN]]
    return (change,), (*(("moved?", line) for line in told), ("open", _repair(found)))


def _detail(found: Opening, lost: bool) -> str:
    if found.harmful:
        return f"its pickle names {_listed(found.harmful)}, for which no checkpoint has a use"
    absent = f"{_listed(found.absent)} cannot be imported here" if found.absent else ""
    if lost or not found.refused:
        return f"torch.load cannot open it: {absent}"
    if absent and not found.entries:
        return f"torch.load cannot open it, whatever its weights_only: {absent}"
    refused = f"torch.load by default (weights_only=True) refuses it because of {_listed(found.refused)}"
    return f"{refused}; {absent}" if absent else refused


def _repair(found: Opening) -> str:
    if found.harmful:
        return "do not open it with torch.load; get the file from its author again"
    if found.entries and len(found.entries) <= _ENTRIES:
        safe = f"torch.serialization.add_safe_globals([{', '.join(found.entries)}])"
        return safe if found.absent else f"{safe}, or {_UNSAFE}"
    if found.absent:
        first = next(iter(found.absent))
        there = "open the file there with weights_only=False"
        return f"make {first} importable again, {there}, and save model.state_dict() alone"
    return _UNSAFE


def _listed(names: Collection[str]) -> str:
    shown = ", ".join([*names][:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
