"""The skip and xfail marks of the tests that register checkpoints, as a command respects them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_ckpt_compat._pytest_plugin.keys import REGISTRATIONS


@dataclass(frozen=True)
class Xfail:
    """A checkpoint that is expected to break.

    Attributes:
        reason: the mark's.
        strict: whether it fails if it does not break.
    """

    reason: str
    strict: bool


@dataclass(frozen=True)
class Marks:
    """What marks say about checkpoints; a checkpoint that any test registers without them is not among these.

    Attributes:
        skipped: id -> reason.
        xfailed: id -> what is expected.
    """

    skipped: Mapping[str, str] = field(default_factory=dict)
    xfailed: Mapping[str, Xfail] = field(default_factory=dict)


def read_marks(items: Iterable[pytest.Item]) -> Marks:
    """Evaluates the marks, conditions included, as pytest does before it runs a test."""
    from _pytest.skipping import evaluate_skip_marks, evaluate_xfail_marks

    skipped: dict[str, str] = {}
    xfailed: dict[str, Xfail] = {}
    free: set[str] = set()
    for item in items:
        ids = [each.id for each in item.stash.get(REGISTRATIONS, ())]
        skip = evaluate_skip_marks(item)
        xfail = None if item.config.option.runxfail else evaluate_xfail_marks(item)
        if skip is not None:
            skipped |= dict.fromkeys(ids, skip.reason)
        elif xfail is not None and not xfail.run:
            skipped |= dict.fromkeys(ids, f"xfail: {xfail.reason}")
        elif xfail is not None and _expects_failure(xfail.raises):
            xfailed |= dict.fromkeys(ids, Xfail(xfail.reason, xfail.strict))
        else:
            free |= set(ids)
    kept = {key: value for key, value in skipped.items() if key not in free and key not in xfailed}
    return Marks(kept, {key: value for key, value in xfailed.items() if key not in free})


def _expects_failure(raises: Any) -> bool:
    """Whether an xfail mark covers the exception with which the plugin fails a test."""
    if raises is None or not isinstance(raises, (type, tuple)):
        return raises is None
    return issubclass(pytest.fail.Exception, raises)
