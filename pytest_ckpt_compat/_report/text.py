"""The report for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change, Kind, Severity
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.dtypes import widens
from pytest_ckpt_compat._core.garbage import garbage_collection_paused
from pytest_ckpt_compat._core.rule import Rule
from pytest_ckpt_compat._core.rules import BY_KIND, advice_of
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._registry.names import UPDATE
from pytest_ckpt_compat._report import bare
from pytest_ckpt_compat._report.brief import brief
from pytest_ckpt_compat._report.quiet_losses import phrases_of_losses
from pytest_ckpt_compat._report.refusals import in_brief
from pytest_ckpt_compat._report.rows import Row, rows
from pytest_ckpt_compat._report.settings_rows import settings_phrase

#: Rows of a folded report: with the lines around them it fits on one screen.
SCREEN = 30
#: What stands behind a text that was cut.
_CUT = "(-vv prints all)"
#: Notes line up in a column unless a subject is wider than this.
_WIDEST = 64


def render(verdict: Verdict, full: bool = False, folded: Sequence[Row] | None = None) -> str:
    """The whole report.

    Args:
        verdict: what a check found.
        full: whether it prints every key instead of patterns.
        folded: the verdict's rows, folded, where they are known.
    """
    try:
        with garbage_collection_paused():
            return _whole(verdict, full, folded)
    except Exception as error:
        return bare.report(verdict, error)


def _whole(verdict: Verdict, full: bool, folded: Sequence[Row] | None) -> str:
    lines = [headline(verdict)]
    if verdict.changes and (verdict.old_label or verdict.new_label):
        lines += ["", f"  {visible(verdict.old_label)} -> {visible(verdict.new_label)}"]
    headline_has_all = len(verdict.changes) == 1 and not (verdict.changes[0].old or verdict.changes[0].new)
    headline_has_all &= not (full and _CUT in lines[0])
    shown = [] if headline_has_all else table(verdict, full, folded)
    lines += ["", *shown] if shown else []
    lines += [f"  note: {visible(note)}" for note in (*verdict.by_settings, *verdict.notes)]
    advice = list(_advice(verdict))
    lines += ["", *advice] if advice else []
    return "\n".join(lines)


def table(verdict: Verdict, full: bool = False, folded: Sequence[Row] | None = None) -> list[str]:
    """The rows of the report, a line each; arguments as of ``render``."""
    if full:
        return _layout(rows(verdict, True), None)
    known = rows(verdict) if folded is None else folded
    return _layout([each for each in known if each.severity is not Severity.IGNORED], SCREEN)


def headline(verdict: Verdict) -> str:
    """One line that stands alone: the worst rule, the checkpoint, and what happened to it."""
    try:
        return _headline(verdict)
    except Exception:
        return bare.headline(verdict)


def _headline(verdict: Verdict) -> str:
    name = visible(verdict.name or verdict.old_label)
    worst = _worst(verdict)
    if worst is None:
        return f"OK {name}: {_size(verdict)}"
    if is_quiet(verdict):
        return (
            f"OK {name}: {_size(verdict)}, cast from {worst.old_specs[0].dtype} to {worst.new_specs[0].dtype}"
        )
    phrases = list(_phrases(verdict, worst.severity))
    if worst.severity is Severity.WARNING:
        accepted = any(verdict.of(Severity.ACCEPTED))
        loads = "loads, apart from accepted breaks" if accepted else f"loads{_part(verdict)}"
        phrases.insert(0, f"does not load, which {visible(worst.reason)} allows" if worst.reason else loads)
    if is_unrecorded(verdict):
        phrases.insert(0, f"loads{_part(verdict)}")
    if worst.severity is Severity.ACCEPTED:
        phrases = ["accepted", *_with_reasons(verdict)]
    if worst.severity is Severity.EXISTING:
        phrases.insert(0, f"already on {visible(worst.reason)}")
    return f"{worst.rule} {name}: {', '.join(phrases)}" if name else f"{worst.rule} {', '.join(phrases)}"


def _with_reasons(verdict: Verdict) -> Iterator[str]:
    """``head resized (six classes)``: what is accepted, each reason behind all that it was given for."""
    reasons = dict.fromkeys(each.reason for each in verdict.of(Severity.ACCEPTED))
    for reason in reasons:
        same = tuple(each for each in verdict.of(Severity.ACCEPTED) if each.reason == reason)
        *first, last = _phrases(replace(verdict, changes=same), Severity.ACCEPTED)
        yield from (*first, f"{last} ({visible(reason)})")


def is_quiet(verdict: Verdict) -> bool:
    """Whether a load succeeds and all there is to say is that torch widens one dtype to another."""
    warned = list(verdict.of(Severity.WARNING))
    if len(warned) < len(verdict.changes) or {each.kind for each in warned} != {"retyped"}:
        return False
    casts = {(each.old_specs[0].dtype, each.new_specs[0].dtype, each.detail) for each in warned}
    (_, _, detail), first = next(iter(casts)), warned[0]
    return len(casts) == 1 and not detail and widens(first.old_specs[0], first.new_specs[0])


def is_unrecorded(verdict: Verdict) -> bool:
    """Whether the checkpoint loads, and all there is to do is to record it, or its definition."""
    failing = [*verdict.of(Severity.ERROR, Severity.EXISTING, Severity.INCOMPLETE, Severity.ACCEPTED)]
    told = failing and all(each.kind == "no-baseline" and each.detail.endswith(UPDATE) for each in failing)
    return bool(told) and verdict.old is not None and verdict.new is not None


def _worst(verdict: Verdict) -> Change | None:
    """The first of the worst changes, an error that an update mends after all others."""
    order = (Severity.ERROR, Severity.INCOMPLETE, Severity.EXISTING, Severity.WARNING, Severity.ACCEPTED)
    for severity in order:
        first = next(verdict.of(severity), None)
        if first is not None:
            return next((each for each in verdict.of(severity) if not _is_mended_by_update(each)), first)
    return None


def _is_mended_by_update(change: Change) -> bool:
    return change.kind == "definition-changed" and change.severity is Severity.ERROR


#: Kinds of changes whose keys in the checkpoint a load that succeeds throws away.
_THROWN_AWAY: frozenset[Kind] = frozenset(
    {
        *("unexpected", "renamed", "split", "fused", "reparametrized", "prefixed", "unmerged"),
        *("transposed", "resized", "head-resized"),
    }
)
#: Kinds of changes that such a load throws away only if the key is another.
_MOVED_TOO: frozenset[Kind] = frozenset({"resized", "head-resized", "transposed"})


def _part(verdict: Verdict) -> str:
    """`` 40 of 44 tensors``, or "" if all are loaded."""
    thrown = {
        key
        for change in verdict.changes
        if change.kind in _THROWN_AWAY or (change.kind in _MOVED_TOO and change.new != change.old)
        for key in change.old
    }
    total = len(verdict.old.tensors) if verdict.old else 0
    return f" {total - len(thrown):,} of {total:,} tensors" if thrown and total else ""


def _size(verdict: Verdict) -> str:
    if verdict.old is None:
        return "nothing to load"
    number = len(verdict.old.tensors)
    if not verdict.loaded:
        return f"{count(number, 'tensor')} fit{'s' if number == 1 else ''} by keys and shapes"
    return f"{count(number, 'tensor')} load{'s' if number == 1 else ''}"


def _phrases(verdict: Verdict, severity: Severity | None) -> Iterator[str]:
    """``312 of 320 tensors renamed``, ``head resized``: one for each kind among changes of a severity."""
    kinds: dict[Kind, list[Change]] = {}
    found = (change for change in verdict.changes if change.severity is severity)
    for change in sorted(found, key=_is_mended_by_update):  # a load that fails matters more
        kinds.setdefault(change.kind, []).append(change)
    # One headline has one total, the checkpoint's, where it tells of tensors that the checkpoint has.
    both = any(change.old for changes in kinds.values() for change in changes)
    for kind, changes in kinds.items():
        loses = kind in ("retyped", "partial-load")
        losing = [change for change in changes if loses and change.detail]
        rest = [change for change in changes if not (loses and change.detail)]
        yield from phrases_of_losses(losing, verdict)
        if rest:
            yield phrase_of(BY_KIND[kind], rest, verdict, total=bool(rest[0].old) or not both)


def phrase_of(rule: Rule, changes: Sequence[Change], verdict: Verdict, total: bool = True) -> str:
    """What happened, in a few words, by changes of one kind: ``312 of 320 tensors renamed``.

    It is ``possibly renamed`` where that is known of none of them.

    Args:
        rule: the kind's.
        changes: those of that kind.
        verdict: what they are of.
        total: whether it says of how many tensors.
    """
    first = changes[0]
    by_keys = first.old or first.new or not rule.keyless
    detail = in_brief(changes).partition("\n")[0]
    if rule.detail_ends and rule.detail_ends in detail:
        detail = detail.rpartition(rule.detail_ends)[0]
    if rule.kind == "load-raises" and (short := brief(detail)) != detail:
        detail = f"{short} {_CUT}"
    if rule.kind == "retied" and len(changes) > 1:
        detail += f" (and {len(changes) - 1:,} more)"
    phrase = rule.phrase if by_keys else "{detail}"
    if phrase == "{settings}":
        return settings_phrase(changes, verdict)
    tensors = _tensors(changes, verdict, total)
    if all(change.confidence == "ambiguous" for change in changes):
        tensors += " possibly"
    return phrase.format(tensors=tensors, detail=visible(detail))


def _tensors(changes: Sequence[Change], verdict: Verdict, total: bool) -> str:
    """``312 of 320 tensors``: the total is that of the old side, unless only the new side has them."""
    number = sum(len(change.old or change.new) for change in changes)
    side = verdict.old if changes[0].old else verdict.new
    whole = len(side.tensors) if side and total else number
    return f"{number:,} of {whole:,} tensors" if number < whole else count(number, "tensor")


def _layout(table: Sequence[Row], limit: int | None) -> list[str]:
    shown, hidden = (table, ()) if limit is None else (table[:limit], table[limit:])
    width = max((len(row.subject) for row in shown if len(row.subject) <= _WIDEST), default=0)
    lines = [f"  {row.sign} {row.subject:<{width}}   {row.note}".rstrip() for row in shown]
    if hidden:
        number = sum(row.tensors for row in hidden)
        tensors = f" ({count(number, 'tensor')})" if number else ""
        lines.append(f"  ... {count(len(hidden), 'more row')}{tensors}; -vv prints every key")
    return lines


def _advice(verdict: Verdict) -> Iterator[str]:
    """What to do next: once for each cause, or for each rule that failed; then the commands."""
    rules: dict[str, dict[str, None]] = {}
    for change in verdict.of(Severity.ERROR, Severity.INCOMPLETE):
        if change.severity is Severity.INCOMPLETE and not change.advice:
            continue  # its detail ends in what to do
        rules.setdefault(advice_of(change), {})[change.rule] = None
    yield from (f"  {', '.join(each)}: {visible(advice)}" for advice, each in rules.items() if advice)
    for label, command in verdict.repairs:
        yield f"  {label + ':':<8}{visible(command)}"
