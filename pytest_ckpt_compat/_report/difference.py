"""What changed between two definitions, in a few words."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.rules import BY_KIND
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report.text import phrase_of

#: A key that only one side has is no failure here, but what was done.
_DONE: dict[Kind, str] = {"missing": "added", "unexpected": "removed"}
#: Characters of what is said of settings; where more would be needed, they are counted.
_LONGEST = 60


def in_words(verdict: Verdict) -> Iterator[str]:
    """``2 of 6 tensors renamed``, ``1 tensor added``: one for each kind of change, in report order."""
    kinds: dict[Kind, list[Change]] = {}
    for change in verdict.changes:
        kinds.setdefault(change.kind, []).append(change)
    for kind, changes in kinds.items():
        if kind in _DONE:
            yield f"{count(sum(len(each.old or each.new) for each in changes), 'tensor')} {_DONE[kind]}"
            continue
        said = phrase_of(BY_KIND[kind], changes, verdict)
        short = kind != "settings-changed" or len(said) <= _LONGEST
        yield said if short else f"{count(len(changes), 'change')} of settings"
