"""Walks the commits that touched the code, and tells at which a definition changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pytest_ckpt_compat._check.update import difference
from pytest_ckpt_compat._core.errors import COULD_NOT_CHECK
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._history.commits import Commit
from pytest_ckpt_compat._history.questions import Answer, Load
from pytest_ckpt_compat._snapshots import fingerprint

#: Answers what a commit makes of the definition, and what a load into it finds.
Ask = Callable[[Commit, Load | None], Answer]

State = Literal["begin", "first", "changed", "back", "absent", "unbuildable"]


@dataclass(frozen=True)
class Step:
    """A commit at which something is to be told.

    Attributes:
        commit: the commit.
        state: the definition is there where a part of the history begins; is there for the first time;
            changed; is there again, unchanged; is not there any more; or cannot be built.
        structure: the definition, where it was built.
        verdict: loading what came before into it, where it changed.
        problem: why it is not there, or cannot be built.
        unsure: the commits right before it that cannot be built, of which one may have made the change.
    """

    commit: Commit
    state: State
    structure: Structure | None = None
    verdict: Verdict | None = None
    problem: str = ""
    unsure: tuple[Commit, ...] = ()

    @property
    def loads(self) -> bool | None:
        """Whether it loads what came before; None where that is no question, or cannot be told."""
        return None if self.verdict is None else {0: True, 1: False}.get(self.verdict.exit_code)

    @property
    def difference(self) -> str:
        """How the tensors differ from those before, in numbers; "" where nothing came before."""
        if self.verdict is None or self.verdict.old is None or self.structure is None:
            return ""
        return difference(self.verdict.old, self.structure)


def walk(commits: Iterable[Commit], ask: Ask) -> Iterator[Step]:
    """The steps of a history, the oldest first.

    A definition that is not there at first gives no step; one that cannot be built gives one for each commit.

    Args:
        commits: the oldest first.
        ask: gives each commit's answer.

    Raises: as ``ask`` does.
    """
    before: Structure | None = None
    there = False
    unsure: list[Commit] = []
    for commit in commits:
        found = ask(commit, None if before is None else Load(before, unlike=True))
        if found.problem:
            unsure.append(commit)
            yield Step(commit, "unbuildable", problem=found.problem)
            continue
        gap, unsure = tuple(unsure), []
        if found.definition is None:
            if there:
                yield Step(commit, "absent", problem=found.absent, unsure=gap)
            there = False
            continue
        changed = found.verdict is not None and _is_told(found.verdict, found.definition)
        if before is None or changed:
            state: State = "first" if before is None else "changed"
            yield Step(commit, state, found.definition, found.verdict, unsure=gap)
        elif not there:
            yield Step(commit, "back", found.definition, unsure=gap)
        before, there = found.definition, True


def begun(step: Step, oldest: Commit) -> Step:
    """The first step of a part of the history: what was there before its oldest commit is not known."""
    return replace(step, state="begin") if (step.commit, step.state) == (oldest, "first") else step


def _is_told(verdict: Verdict, definition: Structure) -> bool:
    """Whether tensors, or what is computed with them, changed: not only the names of classes."""
    if verdict.changes and verdict.exit_code != COULD_NOT_CHECK:
        return True
    return verdict.old is not None and fingerprint.digest(verdict.old) != fingerprint.digest(definition)
