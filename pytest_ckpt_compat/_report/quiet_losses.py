"""Phrases of a headline for what a load that raises nothing loses: a report of warnings has no rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.patterns import fold
from pytest_ckpt_compat._core.verdict import Verdict

#: Patterns that a headline names for one loss, and losses that it tells apart.
_NAMED = 3


def phrases_of_losses(changes: Sequence[Change], verdict: Verdict) -> Iterator[str]:
    """``w complex64 -> float32 discards the imaginary part``: one for each pair of dtypes, and each detail.

    Args:
        changes: casts that lose something, or loads that leave something.
        verdict: what they are of.
    """
    groups: dict[str, list[str]] = {}
    for each in changes:
        casts = f"{each.old_specs[0].dtype} -> {each.new_specs[0].dtype} " if each.kind == "retyped" else ""
        groups.setdefault(casts + each.detail, []).extend(each.new)
    for words, keys in groups.items():
        yield visible(f"{patterns(keys, verdict)} {words}")


def patterns(keys: Sequence[str], verdict: Verdict) -> str:
    """The keys of the definition as few patterns, and how many tensors where that is not plain."""
    universe: Iterable[str] = verdict.new.tensors if verdict.new else keys
    found = fold(list(keys), tuple(universe))
    if [each.pattern for each in found] == ["*"] and len(keys) > 1:
        return f"all {count(len(keys), 'tensor')}"
    named = ", ".join(each.pattern for each in found[:_NAMED])
    more = f" and {count(len(found) - _NAMED, 'more')}" if len(found) > _NAMED else ""
    return f"{named}{more}" + (f" ({count(len(keys), 'tensor')})" if len(keys) > len(found) else "")
