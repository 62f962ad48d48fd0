"""A checkpoint against a git reference: what this branch breaks, and what was broken before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_ckpt_compat._check.check import check_structure, resumed
from pytest_ckpt_compat._core.changes import Change, Policy, Severity, Verdict
from pytest_ckpt_compat._core.errors import BuildError, SnapshotError
from pytest_ckpt_compat._core.rules import BY_KIND, judge
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._premerge.merge_base_code import Answer, Earlier, Question
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots import accepted, fingerprint
from pytest_ckpt_compat._snapshots import folder as snapshots


@dataclass(frozen=True)
class Subject:
    """What is compared with the reference.

    Attributes:
        registration: the checkpoint.
        definition: its definition as the code has it now.
        folder: the snapshot folder.
        name: name of the definition's snapshot.
        structure: the checkpoint as the file or its snapshot has it, no prefix stripped.
    """

    registration: Registration
    definition: Definition
    folder: Path
    name: str
    structure: Structure

    @property
    def identifier(self) -> str:
        """The definition's id, as its snapshot is named."""
        return snapshots.identifier(self.name)

    @property
    def from_file(self) -> bool:
        """Whether the structure was read from the checkpoint on this disk."""
        return self.structure.source.format != fingerprint.SOURCE and self.registration.path.exists()


@dataclass(frozen=True)
class _Asked:
    """A verdict, and what the earlier code can be asked about it."""

    verdict: Verdict
    question: Question | None = None


def compare(subject: Subject, verdicts: tuple[Verdict, ...], earlier: Earlier) -> tuple[Verdict, ...]:
    """The verdicts of a plain check, those that the baseline adds, and in each what is not new.

    Raises:
        SnapshotError: a snapshot in the work tree cannot be used.
        UsageError: git cannot read the commit.
    """
    base = earlier.base
    main, *others = verdicts
    own = str(subject.registration.path.absolute()) if subject.from_file else ""
    frozen, said = _frozen(subject, main, base)
    recorded, why = _stored(base, subject.folder, subject.name)
    notes = [each for each in (said, why) if each]
    asked = [
        _Asked(main, Question(subject.structure, registered=True, file=own)),
        *(_Asked(each, Question(each.old) if each.old else None) for each in others),
        *frozen,
    ]
    forward = {}
    if subject.registration.level in ("forward", "full") and main.new is not None:
        forward = {"new": Question(main.new)}
    if recorded is None or forward:
        try:
            answer = _ask(subject, main, earlier, forward)
        except BuildError as error:
            main = _incomplete(main, str(error))
        else:
            recorded = recorded or answer.definition
            if forward and not answer.registered:
                notes.append(
                    f"it is not registered in {base.label}: its code was not asked to load what this saves"
                )
            if "new" in answer.changes:
                asked.append(_Asked(_forward(subject, main, answer.changes["new"], base)))
    latest = _latest(subject, recorded, main, base) if recorded is not None else None
    told = facts(main.of(Severity.ERROR, Severity.ACCEPTED))
    if latest is not None and facts(latest.of(Severity.ERROR)) <= told:
        notes += [] if latest.compatible else [f"{latest.old_label}, breaks in the same way"]
    elif latest is not None and recorded is not None:
        asked.append(_Asked(latest, Question(recorded)))
    main = unrecorded(subject, replace(main, notes=(*main.notes, *notes)), earlier)
    asked[0] = replace(asked[0], verdict=main)
    return _without_old(subject, asked, earlier)


def unrecorded(subject: Subject, main: Verdict, earlier: Earlier) -> Verdict:
    """The verdict; a definition that changed here must be recorded here, one that changed before was not."""

    def told(change: Change) -> bool:
        return change.kind == "definition-changed" and change.severity is Severity.WARNING

    if not any(map(told, main.changes)) or main.new is None:
        return main
    try:
        before = _ask(subject, main, earlier, {}).definition
    except BuildError:
        before = None
    if before is not None and fingerprint.digest(before) == fingerprint.digest(main.new):
        return main.regraded(told, Severity.EXISTING, earlier.base.ref)
    return main.regraded(told, Severity.ERROR)


def _ask(subject: Subject, main: Verdict, earlier: Earlier, questions: Mapping[str, Question]) -> Answer:
    values = main.old.values if main.old else {}
    ids = _ids(subject, earlier.base)
    return earlier.ask(ids, subject.registration, subject.definition, values, questions)


def _ids(subject: Subject, base: git.Base) -> list[str]:
    """The checkpoint's id, or that of a snapshot of the base which is gone here and was of the same file."""
    identifier, folder = subject.registration.id, subject.folder
    before = [name for name in git.files(base, folder) if name.endswith(".json")]
    if snapshots.checkpoint_name(identifier) in before:
        return [identifier]
    digest = fingerprint.digest(subject.structure)
    gone = [n for n in before if not snapshots.is_definition(n) and not (folder / n).exists()]
    stored = {name: _stored(base, folder, name)[0] for name in gone}
    same = [name for name, each in stored.items() if each is not None and fingerprint.digest(each) == digest]
    return [identifier, *map(snapshots.identifier, same)]


def _frozen(subject: Subject, main: Verdict, base: git.Base) -> tuple[list[_Asked], str]:
    """The checkpoint as it was recorded at the base, where it was another; or why it cannot be told."""
    stored, why = _stored(base, subject.folder, snapshots.checkpoint_name(subject.registration.id))
    resume = subject.registration.level == "resume" and stored is not None and bool(stored.optimizers)
    known = subject.structure
    if stored is None or fingerprint.digest(stored, resume) == fingerprint.digest(known, resume):
        return [], why
    label = f"{subject.registration.shown} as {base.label} has it"
    verdict = _loaded(subject, stored, main, label, subject.registration.id)
    return [_Asked(verdict, Question(stored, registered=True))], why


def _latest(subject: Subject, recorded: Structure, main: Verdict, base: git.Base) -> Verdict | None:
    """The definition as it was at the base, unless it, or its snapshot, still is so."""
    ours = snapshots.load(subject.folder, subject.name)
    known = [fingerprint.digest(each) for each in (main.new, ours) if each is not None]
    if main.new is None or fingerprint.digest(recorded) in known:
        return None
    label = f"{subject.definition.name} as {base.label} has it"
    return _loaded(subject, recorded, main, label, subject.identifier)


def lost(base: git.Base, folder: Path, used: Iterable[str]) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Snapshots of the merge base that nothing registered here stands for, and what was renamed.

    Args:
        base: the merge base.
        folder: the snapshot folder.
        used: names of all snapshots that registered checkpoints stand for.
    """
    used = set(used)
    before = [name for name in git.files(base, folder) if name.endswith(".json")]
    fresh: dict[tuple[bool, str], list[str]] = {}
    for name in sorted(used - set(before)):
        stored = snapshots.load(folder, name)
        if stored is not None:
            fresh.setdefault((snapshots.is_definition(name), fingerprint.digest(stored)), []).append(name)
    gone: list[Verdict] = []
    renamed = [] if before else [f"{base.label} has no snapshots in {folder.name}"]
    for name in before:
        if name in used:
            continue
        stored, _ = _stored(base, folder, name)
        digest = fingerprint.digest(stored) if stored is not None else ""
        twins = fresh.get((snapshots.is_definition(name), digest))
        if twins:
            twin = f"{folder.name}/{twins.pop(0)}"
            renamed.append(f"renamed   {folder.name}/{name} of {base.label} is {twin} here")
        else:
            gone.append(_gone(name, base))
    return tuple(gone), tuple(renamed)


def _gone(name: str, base: git.Base) -> Verdict:
    identifier = snapshots.identifier(name)
    detail = (
        f"{base.label} has a snapshot of {identifier}, and nothing registered here stands for it: "
        "register it again, or accept that it is gone"
    )
    changes = judge([Change("no-baseline", old=(identifier,), detail=detail)], Policy())
    return Verdict(changes, name=identifier)


def _stored(base: git.Base, folder: Path, name: str) -> tuple[Structure | None, str]:
    """What the commit has recorded, if it can be used; if not, why not."""
    text = git.read(base, folder / name)
    try:
        return (None if text is None else fingerprint.loads(text, f"{folder.name}/{name}")), ""
    except SnapshotError as error:
        return None, f"in {base.label}, {error.subject} {error.problem}: not compared with it"


def _loaded(subject: Subject, old: Structure, main: Verdict, label: str, name: str) -> Verdict:
    values = old.values or (main.old.values if main.old else {})
    own = name == subject.registration.id
    policy = subject.registration.policy
    prefix = subject.registration.strip_prefix if own else None
    verdict = check_structure(replace(old, values=values), subject.definition, policy, prefix)
    if own and subject.registration.level == "resume" and old.optimizers:
        verdict = resumed(verdict, subject.definition, subject.registration.optimizer, policy)
    return at_level(replace(verdict, name=name, old_label=label), subject.registration.level)


def _forward(subject: Subject, main: Verdict, changes: tuple[Change, ...], base: git.Base) -> Verdict:
    """What the earlier code found in a state_dict of today's definition."""
    return Verdict(
        judge(changes, subject.registration.policy),
        name=subject.identifier + accepted.FORWARD,
        old=main.new,
        new=main.new,
        old_label=f"{main.new_label}, saved now",
        new_label=f"{subject.definition.name} as {base.label} has it",
    )


def at_level(verdict: Verdict, level: str) -> Verdict:
    """At level forward, what today's code cannot load is told and fails nothing."""
    if level != "forward":
        return verdict
    return verdict.regraded(_is_a_break, Severity.WARNING, "level forward")


def _without_old(subject: Subject, asked: list[_Asked], earlier: Earlier) -> tuple[Verdict, ...]:
    """Asks the earlier code about what fails: what failed there as well was not broken here."""
    questions = {
        str(number): each.question
        for number, each in enumerate(asked)
        if each.question is not None and any(map(_is_a_break, each.verdict.changes))
    }
    verdicts = [each.verdict for each in asked]
    if not questions:
        return tuple(verdicts)
    try:
        answer = _ask(subject, verdicts[0], earlier, questions)
    except BuildError as error:
        why = str(error)
        return tuple(_incomplete(v, why) if str(n) in questions else v for n, v in enumerate(verdicts))
    if not answer.registered:  # whoever registers a checkpoint says that it loads
        note = f"it is not registered in {earlier.base.label}: whatever it breaks is new"
        return (replace(verdicts[0], notes=tuple(dict.fromkeys((*verdicts[0].notes, note)))), *verdicts[1:])
    return tuple(_known(v, answer.changes.get(str(n), ()), earlier.base) for n, v in enumerate(verdicts))


def _known(verdict: Verdict, before: Iterable[Change], base: git.Base) -> Verdict:
    """The verdict; a break that was an error before counts as existing. What was only told there is new."""
    errors = facts(change for change in before if change.severity is Severity.ERROR)
    return verdict.regraded(lambda c: _is_a_break(c) and facts([c]) <= errors, Severity.EXISTING, base.ref)


def _incomplete(verdict: Verdict, why: str) -> Verdict:
    """Whether the breaks are new cannot be told."""
    found = judge([Change("unbuildable", detail=why)], Policy())
    told = verdict.regraded(_is_a_break, Severity.INCOMPLETE)
    return replace(told, changes=(*found, *told.changes))


def _is_a_break(change: Change) -> bool:
    return change.severity is Severity.ERROR and BY_KIND[change.kind].about == "load"


def facts(changes: Iterable[Change]) -> set[tuple[str, str]]:
    """What changes say, specs and all, for comparison."""
    return {(change.rule, accepted.fact(change)) for change in changes}
