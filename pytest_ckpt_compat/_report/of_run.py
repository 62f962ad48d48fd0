"""What the verdicts of a run, or of its shards together, add up to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._report.summary import Entry


def counts(entries: Iterable[Entry], registered: Collection[str]) -> tuple[int, int]:
    """How many checkpoints, and how many of their tensors, were loaded into their definitions."""
    sides = ((each.id, each.data["old"], each.data["new"]) for each in entries if each.id in registered)
    loaded = {
        (identifier, old["digest"], new["digest"]): old["tensors"]
        for identifier, old, new in sides
        if old["digest"] and new["digest"]
    }
    return len(loaded), sum(loaded.values())


def once(entries: Sequence[Entry], registered: Collection[str]) -> Iterator[Entry]:
    """Checkpoint verdicts, then definition verdicts with errors that no checkpoint shows."""
    own = [each for each in entries if each.id in registered]
    shown: defaultdict[str, list[set[str]]] = defaultdict(list)
    for each in own:
        shown[_definition(each)].append(_errors(each))
    yield from own
    for each in entries:
        if each.id in registered:
            continue
        errors = _errors(each)
        if not errors or not any(errors <= found for found in shown[_definition(each)]):
            yield each


def _definition(entry: Entry) -> str:
    return str(entry.data["new"]["source"])


def _errors(entry: Entry) -> set[str]:
    """The errors of a verdict, to compare: rule, keys and specs, and the words of one without keys."""
    errors = (each for each in entry.data["changes"] if each["severity"] == Severity.ERROR.value)
    facts = ("rule", "old", "new", "old_specs", "new_specs")
    return {
        json.dumps(
            [*(each[name] for name in facts), "" if each["old"] or each["new"] else each.get("detail", "")]
        )
        for each in errors
    }
