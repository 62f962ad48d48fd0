"""A history and a break as text, and as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._history.commits import Commit
from pytest_ckpt_compat._history.walk import Step
from pytest_ckpt_compat._report.difference import in_words
from pytest_ckpt_compat._report.json import as_data as verdict_data

#: Version of the data; it grows when a program that reads them would have to change.
SCHEMA = 1
_HEAD = ("commit", "date", "loads before", "change", "subject")
#: Characters of the subject of a commit; columns line up unless a change takes more than the second.
_SUBJECT, _WIDEST = 60, 72
#: States of a step of which it matters whether it loads what came before.
_UNKNOWN = ("unbuildable", "changed")


def table(steps: Sequence[Step]) -> list[str]:
    """The history as a table, a line each."""
    rows = [_HEAD, *_rows(steps)]
    widths = [max((len(row[n]) for row in rows if len(row[n]) <= _WIDEST), default=0) for n in range(4)]
    return ["  ".join([*map(str.ljust, row[:4], widths), row[4]]).rstrip() for row in rows]


def _rows(steps: Sequence[Step]) -> Iterator[tuple[str, ...]]:
    for _, group in groupby(steps, key=lambda step: (step.state, step.problem if step.problem else id(step))):
        same = list(group)
        first = same[0]
        loads = {True: "yes", False: "no", None: "unknown" if first.state in _UNKNOWN else "-"}
        yield _cells(first.commit, loads[first.loads], change_of(first, [each.commit for each in same[1:]]))


def _cells(commit: Commit, loads: str, change: str) -> tuple[str, ...]:
    subject = visible(commit.subject)
    subject = subject if len(subject) <= _SUBJECT else f"{subject[: _SUBJECT - 3]}..."
    return commit.short, commit.date, loads, change, subject


def change_of(step: Step, more: Sequence[Commit] = ()) -> str:
    """What a step tells, in a few words; ``more`` are the commits after it of which the same is told."""
    if step.state == "unbuildable":
        up_to = f", nor can {len(more):,} more, up to {more[-1].short}" if more else ""
        return f"cannot be built{up_to}: {visible(step.problem)}"
    if step.state == "absent":
        said = f"not there any more: {visible(step.problem)}"
    elif step.structure is None:
        said = step.state
    elif step.state == "first":
        said = f"there for the first time: {count(len(step.structure.tensors), 'tensor')}"
    elif step.state == "begin":
        said = f"it begins here: {count(len(step.structure.tensors), 'tensor')}"
    elif step.state == "back":
        said = "there again, as it was"
    else:
        words = list(in_words(step.verdict)) if step.verdict is not None else []
        known = [] if words and step.loads is not None else [step.difference]
        said = ", ".join([*known, *words])
    if step.unsure:
        others = f" and {len(step.unsure) - 1:,} more" if len(step.unsure) > 1 else ""
        said += f" (or in {step.unsure[0].short}{others} before it, which cannot be built)"
    return said


def summary(steps: Sequence[Step], commits: Sequence[Commit]) -> str:
    """How many changes there are, and how many break."""
    changed = [step for step in steps if step.state == "changed"]
    breaks = sum(step.loads is False for step in changed)
    unbuilt = sum(step.state == "unbuildable" for step in steps)
    said = f"{count(len(changed), 'change')} in {count(len(commits), 'commit')} that touched the code"
    if changed:
        said += f", {breaks:,} of which {'does' if breaks == 1 else 'do'} not load what came before"
    return said + (f"; {count(unbuilt, 'commit')} could not be built" if unbuilt else "")


def data_of(step: Step) -> dict[str, Any]:
    """A step as plain data."""
    found: dict[str, Any] = {
        **commit_data(step.commit),
        "state": step.state,
        "loads_before": step.loads,
        "change": change_of(step),
        "tensors": None if step.structure is None else len(step.structure.tensors),
    }
    if step.verdict is not None:
        verdict = verdict_data(step.verdict)
        found |= {name: verdict[name] for name in ("counts", "changes", "rules")}
    if step.problem:
        found["problem"] = step.problem
    if step.unsure:
        found["unsure"] = [each.id for each in step.unsure]
    return found


def commit_data(commit: Commit) -> dict[str, Any]:
    """A commit as plain data."""
    found = asdict(commit)
    return {"commit": found.pop("id"), **found}
