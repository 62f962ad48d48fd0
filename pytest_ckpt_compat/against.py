"""A checkpoint against a git reference: what this branch breaks, and what was broken before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_ckpt_compat import accepted, basecode, fingerprint, git, snapshots
from pytest_ckpt_compat.changes import Change, Policy, Severity, Verdict
from pytest_ckpt_compat.checking import check_structure
from pytest_ckpt_compat.config import Registration
from pytest_ckpt_compat.definition.find import Definition
from pytest_ckpt_compat.errors import BuildError
from pytest_ckpt_compat.rules import judge
from pytest_ckpt_compat.structure import Structure

#: What the file and its snapshot say to each other was not changed by the code of either side.
_OURS = ("stale-snapshot", "no-baseline", "definition-changed", "unreadable", "expired-acceptance")


@dataclass(frozen=True)
class Subject:
    """What is compared with the reference.

    Attributes:
        registration: the checkpoint.
        definition: its definition as the code has it now.
        folder: the snapshot folder.
        name: name of the definition's snapshot.
    """

    registration: Registration
    definition: Definition
    folder: Path
    name: str

    @property
    def identifier(self) -> str:
        """The definition's id, as its snapshot is named."""
        return snapshots.identifier(self.name.removeprefix(snapshots.MODELS + "/"))


def compare(subject: Subject, verdicts: tuple[Verdict, ...], base: git.Base) -> tuple[Verdict, ...]:
    """The verdicts of a plain check, those that the baseline adds, and in each what is not new.

    Raises:
        SnapshotError: a snapshot of the merge base cannot be used.
        UsageError: git cannot read the commit.
    """
    main, *others = (strict(verdict) for verdict in verdicts)
    added = [*_frozen(subject, main, base)]
    asked = subject.registration.level in ("forward", "full") and main.new is not None
    recorded = _stored(base, subject.folder, subject.name)
    if recorded is None or asked:
        new = {"new": main.new} if asked and main.new is not None else {}
        try:
            answer = basecode.ask(base, subject.registration, subject.definition, new)
        except BuildError as error:
            main, answer = _incomplete(main, str(error)), basecode.Answer()
        else:
            recorded = recorded or answer.definition
            if answer.definition is None:
                main = _noted(main, f"{subject.definition.name} is not in {base.label}: it is new here")
        if "new" in answer.changes:
            added.append(_forward(subject, main, answer.changes["new"], base))
    if recorded is not None:
        verdict = _latest(subject, recorded, main, base)
        if verdict is not None and _facts(verdict.of(Severity.ERROR)) <= _facts(main.of(Severity.ERROR)):
            main = (
                main if verdict.compatible else _noted(main, f"{verdict.old_label}, breaks in the same way")
            )
        elif verdict is not None:
            added.append(verdict)
    return _without_old(subject, (main, *others, *added), base)


def _frozen(subject: Subject, main: Verdict, base: git.Base) -> Iterator[Verdict]:
    """The checkpoint as it was recorded at the base, where it was another."""
    stored = _stored(base, subject.folder, snapshots.checkpoint_name(subject.registration.id))
    known = main.old
    if stored is None or known is None or fingerprint.digest(stored) == fingerprint.digest(known):
        return
    label = f"{subject.registration.shown} as {base.label} has it"
    yield _loaded(subject, stored, main, label, subject.registration.id)


def _latest(subject: Subject, recorded: Structure, main: Verdict, base: git.Base) -> Verdict | None:
    """The definition as it was at the base, unless it, or its snapshot, still is so."""
    ours = snapshots.load(subject.folder, subject.name)
    known = [fingerprint.digest(each) for each in (main.new, ours) if each is not None]
    if main.new is None or fingerprint.digest(recorded) in known:
        return None
    label = f"{subject.definition.name} as {base.label} has it"
    return _loaded(subject, recorded, main, label, subject.identifier)


def _noted(verdict: Verdict, note: str) -> Verdict:
    return replace(verdict, notes=(*verdict.notes, note))


def lost(base: git.Base, folder: Path, used: Iterable[str]) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Snapshots of the merge base that nothing registered here stands for, and what was renamed.

    Args:
        base: the merge base.
        folder: the snapshot folder.
        used: names of all snapshots that registered checkpoints stand for.
    """
    used = set(used)
    before = [name for name in git.files(base, folder) if name.endswith(".json")]
    fresh = {}
    for name in used - set(before):
        stored = snapshots.load(folder, name)
        if stored is not None:
            fresh[fingerprint.digest(stored)] = name
    gone, renamed = [], []
    for name in before:
        stored = None if name in used else _stored(base, folder, name)
        if stored is None:
            continue
        twin = fresh.get(fingerprint.digest(stored))
        if twin is not None:
            renamed.append(f"renamed   {folder.name}/{name} of {base.label} is {folder.name}/{twin} here")
        else:
            gone.append(_gone(name, base))
    return tuple(gone), tuple(renamed)


def _gone(name: str, base: git.Base) -> Verdict:
    identifier = snapshots.identifier(name.removeprefix(snapshots.MODELS + "/"))
    detail = (
        f"{base.label} has a snapshot of {identifier}, and nothing registered here stands for it: "
        "register it again, or accept that it is gone"
    )
    changes = judge([Change("no-baseline", old=(identifier,), detail=detail)], Policy())
    return Verdict(changes, name=identifier)


def _stored(base: git.Base, folder: Path, name: str) -> Structure | None:
    text = git.read(base, folder / name)
    return None if text is None else fingerprint.loads(text, f"{base.commit[:8]}:{folder.name}/{name}")


def strict(verdict: Verdict) -> Verdict:
    """A definition that changed must be recorded in the same pull request."""
    changes = (
        replace(change, severity=Severity.ERROR)
        if change.kind == "definition-changed" and change.severity is Severity.WARNING
        else change
        for change in verdict.changes
    )
    return replace(verdict, changes=tuple(changes))


def _loaded(subject: Subject, old: Structure, main: Verdict, label: str, name: str) -> Verdict:
    values = old.values or (main.old.values if main.old else {})
    own = name == subject.registration.id
    policy = subject.registration.policy
    prefix = subject.registration.strip_prefix if own else None
    verdict = check_structure(replace(old, values=values), subject.definition, policy, prefix)
    return at_level(replace(verdict, name=name, old_label=label), subject.registration.level)


def _forward(subject: Subject, main: Verdict, changes: tuple[Change, ...], base: git.Base) -> Verdict:
    """What the earlier code found in a state_dict of today's definition."""
    return Verdict(
        judge(changes, subject.registration.policy),
        name=subject.identifier,
        old=main.new,
        new=main.new,
        old_label=f"{main.new_label}, saved now",
        new_label=f"{subject.definition.name} as {base.label} has it",
    )


def at_level(verdict: Verdict, level: str) -> Verdict:
    """At level forward, what today's code cannot load is told and fails nothing."""
    if level != "forward":
        return verdict
    changes = (
        replace(change, severity=Severity.WARNING)
        if change.severity is Severity.ERROR and change.kind not in _OURS
        else change
        for change in verdict.changes
    )
    return replace(verdict, changes=tuple(changes))


def _without_old(subject: Subject, verdicts: tuple[Verdict, ...], base: git.Base) -> tuple[Verdict, ...]:
    """Asks the earlier code about what fails: what failed there as well was not broken here."""
    asked: dict[str, Structure] = {}
    for number, verdict in enumerate(verdicts):
        forward = verdict.old is verdict.new
        if verdict.old is not None and not forward and any(map(_is_a_break, verdict.changes)):
            asked[str(number)] = verdict.old
    if not asked:
        return verdicts
    try:
        found: Mapping[str, tuple[Change, ...]] = basecode.ask(
            base, subject.registration, subject.definition, asked
        ).changes
    except BuildError as error:
        return tuple(
            _incomplete(verdict, str(error)) if str(number) in asked else verdict
            for number, verdict in enumerate(verdicts)
        )
    return tuple(
        _known(verdict, _facts(found.get(str(number), ())), base) for number, verdict in enumerate(verdicts)
    )


def _known(verdict: Verdict, before: set[tuple[str, str]], base: git.Base) -> Verdict:
    changes = (
        replace(change, severity=Severity.EXISTING, reason=base.ref)
        if _is_a_break(change) and _facts([change]) <= before
        else change
        for change in verdict.changes
    )
    return replace(verdict, changes=tuple(changes))


def _incomplete(verdict: Verdict, why: str) -> Verdict:
    """Whether the breaks are new cannot be told."""
    changes = [
        replace(change, severity=Severity.INCOMPLETE) if _is_a_break(change) else change
        for change in verdict.changes
    ]
    found = judge([Change("unbuildable", detail=why)], Policy())
    return replace(verdict, changes=(*found, *changes))


def _is_a_break(change: Change) -> bool:
    return change.severity is Severity.ERROR and change.kind not in _OURS


def _facts(changes: Iterable[Change]) -> set[tuple[str, str]]:
    keyed = ((change, change.old or change.new) for change in changes)
    return {(change.rule, accepted.fact(change) if keys else change.detail) for change, keys in keyed}
