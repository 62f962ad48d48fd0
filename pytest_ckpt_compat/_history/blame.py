"""Which commit broke a checkpoint: the search, and its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import COULD_NOT_CHECK, UsageError
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._history.bisect import State, first_bad
from pytest_ckpt_compat._history.commits import Commit
from pytest_ckpt_compat._history.lines import SCHEMA, commit_data
from pytest_ckpt_compat._history.questions import Answer, Load
from pytest_ckpt_compat._history.walk import Ask
from pytest_ckpt_compat._report import text
from pytest_ckpt_compat._report.json import as_data as verdict_data


@dataclass(frozen=True)
class Blame:
    """What a search found.

    Attributes:
        last: the last commit.
        commit: the commit that broke the checkpoint, or the last of several that may have; None if none did.
        good: the last commit before it that loads the checkpoint.
        unsure: the commits between the two, of which it cannot be told whether they load it.
        verdict: loading the checkpoint at ``commit``, or at the last commit where none is to blame.
        known: whether a commit is known that loads it.
    """

    last: Commit
    commit: Commit | None = None
    good: Commit | None = None
    unsure: tuple[Commit, ...] = ()
    verdict: Verdict | None = None
    known: bool = True

    @property
    def exit_code(self) -> int:
        """0 if the last commit loads it, 1 if a commit broke it, 2 if none is known that loads it."""
        return 1 if self.commit is not None else 0 if self.known else COULD_NOT_CHECK


def blame(commits: Sequence[Commit], load: Load, ask: Ask) -> Blame:
    """Finds the commit that broke a checkpoint.

    Args:
        commits: the oldest first.
        load: the checkpoint.
        ask: gives each commit's answer.

    Raises:
        UsageError: at the last commit, the definition is not there or cannot be built.
    """
    if not commits:
        raise UsageError("history", "no commit touched the code", "check --since, and the folder")
    answers: dict[int, Answer] = {}

    def probe(place: int) -> State:
        if place not in answers:
            answers[place] = ask(commits[place], load)
        verdict = answers[place].verdict
        known: dict[int, State] = {0: "good", 1: "bad"}
        return "unknown" if verdict is None else known.get(verdict.exit_code, "unknown")

    last = len(commits) - 1
    state = probe(last)
    if state == "unknown":
        verdict = answers[last].verdict
        problem = (
            answers[last].problem or answers[last].absent or (verdict.changes[0].detail if verdict else "")
        )
        subject = f"the last commit that touched the code, {commits[last].short}"
        raise UsageError(subject, problem, "name a definition that can be built there")
    if state == "good":
        return Blame(commits[last], verdict=answers[last].verdict)
    found = first_bad(len(commits), probe)
    if found is None:
        return Blame(commits[last], verdict=answers[last].verdict, known=False)
    return Blame(
        commits[last],
        commits[found.bad],
        commits[found.good],
        tuple(commits[place] for place in found.unknown),
        answers[found.bad].verdict,
    )


def report(found: Blame, name: str, model: str) -> str:
    """The report for people."""
    shown = visible(name)
    if found.commit is None and found.known:
        return f"nothing broke {shown}: {found.last.short}, the last commit that touched the code, loads it"
    where = found.commit or found.last
    lines = []
    if found.commit is None or found.good is None:
        lines.append(f"no commit is known that loads {shown}; at the last one, {found.last.short}:")
    elif found.unsure:
        lines.append(f"one of {len(found.unsure) + 1:,} commits broke {shown}:")
        lines += [f"  {_commit(each)}   cannot be told" for each in found.unsure]
        lines.append(f"  {_commit(found.commit)}   does not load it")
    else:
        lines.append(f"{_commit(found.commit)} broke {shown}")
    if found.good is not None:
        lines.append(f"the last commit that loads it is {_commit(found.good)}")
    return "\n".join([*lines, "", text.render(_labelled(found, name, model, where))])


def _commit(commit: Commit) -> str:
    return visible(f"{commit.short} ({commit.date}, {commit.author}: {commit.subject})")


def _labelled(found: Blame, name: str, model: str, where: Commit) -> Verdict:
    verdict = found.verdict or Verdict()
    label = f"{model.replace(':', '.')} ({verdict.where}) at {where.short}"
    return replace(verdict, name=name, old_label=name, new_label=label, repairs=())


def report_data(found: Blame, name: str, model: str) -> dict[str, Any]:
    """The report as plain data."""
    verdict = None
    if found.verdict is not None:
        verdict = verdict_data(_labelled(found, name, model, found.commit or found.last))
    return {
        "schema": SCHEMA,
        "checkpoint": name,
        "commit": found.commit and commit_data(found.commit),
        "good": found.good and commit_data(found.good),
        "unsure": [commit_data(each) for each in found.unsure],
        "last": commit_data(found.last),
        "verdict": verdict,
    }
