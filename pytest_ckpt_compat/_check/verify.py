"""Whether the snapshots in the folder are what an update would write: after a merge, and in CI."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_ckpt_compat._check.checkpoint import Result
from pytest_ckpt_compat._check.context import Context
from pytest_ckpt_compat._check.contribution import Contribution
from pytest_ckpt_compat._check.run import unused_line
from pytest_ckpt_compat._check.update import difference
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._registry.names import UPDATE
from pytest_ckpt_compat._snapshots import accepted, fingerprint, store


@dataclass(frozen=True)
class Standing:
    """How the snapshots stand.

    Attributes:
        wrong: the snapshots that are not what an update would write, a line each.
        unknown: texts of checkpoints whose snapshots could not be made.
        remarks: what was not looked at, a line each.
        right: how many snapshots are what an update would write.
    """

    wrong: tuple[str, ...]
    unknown: tuple[str, ...]
    remarks: tuple[str, ...]
    right: int

    @property
    def exit_code(self) -> int:
        """1 if a snapshot is not what an update would write, 2 if it is not known of one, else 0."""
        return 1 if self.wrong else 2 if self.unknown else 0

    @property
    def lines(self) -> tuple[str, ...]:
        """The report."""
        found = (*self.unknown, *self.remarks, *self.wrong)
        agree = (
            f"{count(self.right, 'snapshot')} as an update would write {'it' if self.right == 1 else 'them'}"
        )
        return found if self.wrong or self.unknown else (*found, agree)


def standing(
    results: Sequence[Result], contributions: Sequence[Contribution], context: Context, complete: bool
) -> Standing:
    """Compares the snapshots in the folder with what checks of an update found; writes nothing.

    Args:
        results: of every registered checkpoint, checked for an update.
        contributions: what they add to the run.
        context: of the checks.
        complete: whether these are all the registered checkpoints of the project.
    """
    folder = context.folder
    unusable = dict([*_unusable(folder), *_accepted(folder)])
    wrong = dict(unusable)
    for each in contributions:
        for name, text in each.writes.items():
            if name not in wrong and (line := _differs(folder, name, text)):
                wrong[name] = line
    wrong |= {name: line for result in results for name, line in _stale(result) if name not in wrong}
    used = {name for each in contributions for name in each.used}
    gap = next((each.gap for each in contributions if each.gap), "")
    remarks: list[str] = []
    if complete and not gap:
        for name in store.unused(folder, used):
            wrong.setdefault(name, unused_line(folder, name))
    else:
        remarks.append(
            f"did not look for unused snapshots: {gap or 'the run did not cover the whole project'}"
        )
    skipped = {key: why for each in contributions for key, why in each.skipped.items()}
    remarks += [f"skipped   {key}: {why}" for key, why in skipped.items()]
    told = {store.identifier(name) for name in wrong}
    unknown = [
        entry.text
        for each in contributions
        for entry in each.entries
        if entry.state == "unknown" and entry.id not in told
    ]
    left = {*_from_snapshots(results, folder, remarks), *map(store.checkpoint_name, skipped)}
    seen = (name for name in store.names(folder) if name in used and name not in wrong and name not in left)
    return Standing(
        tuple(wrong[name] for name in sorted(wrong)), tuple(unknown), tuple(remarks), len([*seen])
    )


def _unusable(folder: Path) -> Iterator[tuple[str, str]]:
    """The snapshots that cannot be read, with a line about each."""
    for name in store.names(folder):
        problem = _problem(lambda name: store.load(folder, name), name)
        if problem:
            yield name, f"unusable  {problem}"


def _accepted(folder: Path) -> Iterator[tuple[str, str]]:
    """The files with accepted breaks that cannot be read, with a line about each."""
    if unlisted := _problem(lambda _: accepted.names(folder), accepted.FOLDER):
        yield accepted.FOLDER, f"unusable  {unlisted}"
        return
    for name in accepted.names(folder):
        problem = _problem(lambda name: accepted.entries_of(folder, name), name)
        if problem:
            yield name, f"unusable  {problem}"


def _problem(load: Callable[[str], object], name: str) -> str:
    try:
        load(name)
    except SnapshotError as error:
        return str(error)
    return ""


def _differs(folder: Path, name: str, text: str) -> str:
    """The line about a snapshot in place of which an update would write this text; "" if it is the same."""
    shown = store.shown(folder, name)
    old, new = store.load(folder, name), fingerprint.loads(text, shown)
    if old is None:
        return f"missing   {shown}: record it with {UPDATE}"
    if fingerprint.same(old, new, optimizers=True) and old.outputs == new.outputs:
        return ""
    return f"differs   {shown}: {difference(old, new)}; record it with {UPDATE}"


def _stale(result: Result) -> Iterator[tuple[str, str]]:
    """The snapshot of a checkpoint whose file is another one."""
    for verdict in result.verdicts:
        for change in verdict.changes:
            if change.kind == "stale-snapshot":
                command = f"{UPDATE} {shlex.quote(verdict.name)}"
                line = f"stale     {change.detail}; if the file was replaced on purpose: {command}"
                yield store.checkpoint_name(verdict.name), line


def _from_snapshots(results: Iterable[Result], folder: Path, remarks: list[str]) -> Iterator[str]:
    """The snapshots that stood in for their files, with which they could not be compared."""
    for result in results:
        old, name = result.verdicts[0].old, store.checkpoint_name(result.verdicts[0].name)
        if old is not None and old.source.format == fingerprint.SOURCE:
            if not old.source.recorded:  # of a commit or a release, which has no file
                remarks.append(
                    f"skipped   {store.shown(folder, name)}: {old.source.path} is not there to compare"
                )
            yield name
