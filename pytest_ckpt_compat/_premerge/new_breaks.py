"""Which breaks are new: what this branch breaks, and what the merge base's own code breaks too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pytest_ckpt_compat._check.breaks import facts, is_break
from pytest_ckpt_compat._check.context import Subject
from pytest_ckpt_compat._check.definition_snapshot import RECORD_IT, recorded_definitions
from pytest_ckpt_compat._core.adapters import config_of
from pytest_ckpt_compat._core.changes import Change, Policy, Severity
from pytest_ckpt_compat._core.errors import BuildError, CkptCompatError
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._core.severities import graded, raised
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._premerge import earlier, git, migrations, outputs, settings
from pytest_ckpt_compat._premerge.merge_base_code import Answer, MergeBaseCode, Question
from pytest_ckpt_compat._premerge.migrations import CHECKPOINT
from pytest_ckpt_compat._premerge.missing import stored_at
from pytest_ckpt_compat._snapshots import accepted, fingerprint, store


@dataclass(frozen=True)
class _Case:
    """A verdict, and the question whose answer shows whether its breaks are new."""

    verdict: Verdict
    question: Question | None = None


def compare(
    subject: Subject, verdicts: tuple[Verdict, ...], code: MergeBaseCode, update: bool = False
) -> tuple[Verdict, ...]:
    """Marks as existing the breaks that the merge base has too, and adds what only it shows.

    Args:
        subject: the checkpoint and its definition.
        verdicts: those of a plain check, the checkpoint's own first.
        code: the merge base's.
        update: whether the definition's snapshot is written over, so that no verdict is about it.

    Raises:
        SnapshotError: a snapshot in the work tree cannot be used.
        UsageError: git cannot read the commit.
    """
    base = code.base
    main, *others = verdicts
    before, checkpoint_note = earlier.of_checkpoint(subject, main, base)
    # The base that an adapter is for is not what saved it.
    adapter = config_of(subject.structure) is not None
    recorded, definition_note = (None, "") if adapter else stored_at(base, subject.folder, subject.name)
    as_named = subject.identifier
    notes = [each for each in (checkpoint_note, definition_note) if each]
    cases = [
        _Case(main, _own(subject)),
        *(_Case(each, Question(each.old) if each.old else None) for each in others),
        *(_Case(verdict, Question(stored, registered=True)) for verdict, stored in before),
    ]
    forward = {}
    if subject.registration.level.loads_in_merge_base and adapter:
        why = "what an adapter saves depends on its configuration"
        notes.append(f"not checked whether {base.label} loads what today's code saves: {why}")
    elif subject.registration.level.loads_in_merge_base and main.new is not None:
        forward = {"new": Question(main.new)}
    if not adapter and (recorded is None or forward):
        try:
            answer = _ask(subject, main, code, forward)
        except BuildError as error:
            main = _incomplete(main, str(error))
        else:
            if recorded is None:
                recorded, as_named = answer.definition, answer.identifier
            if forward and not answer.registered:
                why = f"it is not registered in {base.label}"
                notes.append(f"{why}: not checked whether its code loads what today's code saves")
            if "new" in answer.changes:
                cases.append(_Case(_forward(subject, main, answer.changes["new"], base)))
    if recorded is not None:
        main, found = earlier.with_definition(subject, recorded, main, base, as_named, update)
        cases += [_Case(each, Question(recorded)) for each in found]
    main = require_recorded(subject, replace(main, notes=(*main.notes, *notes)), code)
    known = (*recorded_definitions(subject, None), *([recorded] if recorded is not None else []))
    own = replace(_own(subject), recorded=known)
    cases[0] = _Case(_with_what_it_does(subject, main, recorded, code, own), own)
    severities = subject.registration.policy.severities
    told = [graded(each.verdict, severities) for each in cases]
    told = [earlier.with_arguments(verdict, as_named, subject.identifier) for verdict in told]
    cases = [replace(each, verdict=verdict) for each, verdict in zip(cases, told, strict=True)]
    return _without_existing(subject, cases, code)


def _with_what_it_does(
    subject: Subject, main: Verdict, recorded: Structure | None, code: MergeBaseCode, own: Question
) -> Verdict:
    """The checkpoint's verdict, with what its tensors do not show: settings, outputs, and migrations."""
    ref, policy = code.base.ref, subject.registration.policy
    found = settings.compare(main, recorded, policy, lambda: _ask(subject, main, code, {}), ref)
    found = outputs.compare(
        subject, found, recorded, lambda inputs: _ask(subject, main, code, {}, inputs), ref
    )
    return _with_migrations(subject, found, code, own)


def _with_migrations(subject: Subject, main: Verdict, code: MergeBaseCode, own: Question) -> Verdict:
    """The checkpoint's verdict, with the migrations that the branch brings, and those main lacks as well."""

    def ask(snapshot: str = "") -> Answer:
        return _ask(subject, main, code, {CHECKPOINT: replace(own, snapshot=snapshot)})

    brought = migrations.compare(subject, main, code.base, ask)
    return migrations.lost_before(subject, brought, code.base, ask)


def recorded(subject: Subject, code: MergeBaseCode) -> Structure | None:
    """The definition as the merge base recorded it, or as its code builds it; None if neither can be had."""
    if config_of(subject.structure) is not None:
        return None
    try:
        stored, _ = stored_at(code.base, subject.folder, subject.name)
        return stored or _ask(subject, Verdict((), old=subject.structure), code, {}).definition
    except CkptCompatError:  # the comparison itself tells it
        return None


def require_recorded(subject: Subject, main: Verdict, code: MergeBaseCode) -> Verdict:
    """Fails a definition that changed on this branch unrecorded; one that had changed before is existing."""

    def unrecorded(change: Change) -> bool:
        return change.kind == "definition-changed" and change.severity is Severity.WARNING

    if not any(map(unrecorded, main.changes)) or main.new is None:
        return main
    try:
        before = _ask(subject, main, code, {}).definition
    except BuildError:
        before = None
    if before is not None and fingerprint.digest(before) == fingerprint.digest(main.new):
        return main.with_severity(unrecorded, Severity.EXISTING, code.base.ref)
    # A line of its own has the command then.
    said = tuple(
        replace(each, detail=each.detail.replace(RECORD_IT, "")) if unrecorded(each) else each
        for each in main.changes
    )
    return replace(main, changes=said).with_severity(unrecorded, Severity.ERROR)


def _own(subject: Subject) -> Question:
    """The question about the registered checkpoint itself."""
    file = str(subject.registration.path.absolute()) if subject.from_file else ""
    return Question(subject.structure, registered=True, file=file)


def _ask(
    subject: Subject,
    main: Verdict,
    code: MergeBaseCode,
    questions: Mapping[str, Question],
    inputs: str = "",
) -> Answer:
    values = main.old.values if main.old else {}
    ids = _ids(subject, code.base)
    if subject.definition.loader is not None and not any(each.registered for each in questions.values()):
        # The module of a loader is that which it gives for the checkpoint.
        questions = {**questions, CHECKPOINT: _own(subject)}
    return code.ask(ids, subject.registration, subject.definition, values, questions, inputs)


def _ids(subject: Subject, base: git.Base) -> list[str]:
    """The ids that the checkpoint may have at the merge base.

    If the merge base has no snapshot of its id, they are also those of snapshots of the same structure
    that the work tree no longer has.
    """
    identifier, folder = subject.registration.id, subject.folder
    before = [name for name in git.files(base, folder) if name.endswith(".json")]
    if store.checkpoint_name(identifier) in before:
        return [identifier]
    digest = fingerprint.digest(subject.structure)
    removed = [n for n in before if not store.is_definition(n) and not store.exists(folder, n)]
    stored = {name: stored_at(base, folder, name)[0] for name in removed}
    same = [name for name, each in stored.items() if each is not None and fingerprint.digest(each) == digest]
    return [identifier, *map(store.identifier, same)]


def _forward(subject: Subject, main: Verdict, changes: tuple[Change, ...], base: git.Base) -> Verdict:
    """What the merge base's code found in a state_dict of today's definition."""
    return Verdict(
        judge(changes, subject.registration.policy),
        name=subject.identifier + accepted.FORWARD,
        old=main.new,
        new=main.new,
        old_label=f"{main.new_label}, saved now",
        new_label=f"{subject.definition.name} as {base.label} has it",
    )


def _without_existing(subject: Subject, cases: list[_Case], code: MergeBaseCode) -> tuple[Verdict, ...]:
    """Asks the merge base's code about the breaks: what breaks there as well is not new."""
    questions = {
        str(number): each.question
        for number, each in enumerate(cases)
        if each.question is not None and any(map(is_break, each.verdict.changes))
    }
    verdicts = [each.verdict for each in cases]
    if not questions:
        return tuple(verdicts)
    try:
        answer = _ask(subject, verdicts[0], code, questions)
    except BuildError as error:
        why = str(error)
        return tuple(_incomplete(v, why) if str(n) in questions else v for n, v in enumerate(verdicts))
    if not answer.registered:  # a checkpoint that is registered for the first time has to load
        note = f"it is not registered in {code.base.label}: all its breaks are new"
        return (replace(verdicts[0], notes=tuple(dict.fromkeys((*verdicts[0].notes, note)))), *verdicts[1:])
    also = raised(subject.registration.policy.severities)
    found = enumerate(verdicts)
    return tuple(_with_existing(v, answer.changes.get(str(n), ()), code.base, also) for n, v in found)


def _with_existing(verdict: Verdict, before: Iterable[Change], base: git.Base, raised: set[str]) -> Verdict:
    """Marks a break as existing if it was an error before; if it was only a warning, it is new.

    What is an error by today's settings alone existed before if it was there.
    """
    errors = facts(each for each in before if each.severity is Severity.ERROR or each.rule in raised)
    return verdict.with_severity(
        lambda change: is_break(change) and facts([change]) <= errors, Severity.EXISTING, base.ref
    )


def _incomplete(verdict: Verdict, why: str) -> Verdict:
    """The verdict when it is unknown whether its breaks are new."""
    found = judge([Change("unbuildable", detail=why)], Policy())
    unknown = verdict.with_severity(is_break, Severity.INCOMPLETE)
    return replace(unknown, changes=(*found, *unknown.changes))
