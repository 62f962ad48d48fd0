"""The report for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_ckpt_compat._core.changes import Change, Kind, Severity
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.rules import BY_ID
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report.rows import Row, rows

#: Rows of a folded report: with its frame it stays under one screen.
SCREEN = 30
#: Columns after which the notes of a long row start on their own.
_WIDEST = 64

_PAST: dict[Kind, str] = {
    "missing": "missing",
    "unexpected": "unexpected",
    "renamed": "renamed",
    "split": "split",
    "fused": "fused",
    "reparametrized": "reparametrized",
    "resized": "resized",
    "retyped": "of another dtype",
    "transposed": "transposed",
    "partial-load": "left as initialised",
}


def render(verdict: Verdict, full: bool = False) -> str:
    """The whole report; ``full`` prints every key instead of folding."""
    lines = [headline(verdict)]
    if verdict.changes and (verdict.old_label or verdict.new_label):
        lines += ["", f"  {visible(verdict.old_label)} -> {visible(verdict.new_label)}"]
    told = len(verdict.changes) == 1 and not (verdict.changes[0].old or verdict.changes[0].new)
    shown = [] if told else table(verdict, full)
    lines += ["", *shown] if shown else []
    lines += [f"  note: {visible(note)}" for note in verdict.notes]
    advice = list(_advice(verdict))
    lines += ["", *advice] if advice else []
    return "\n".join(lines)


def table(verdict: Verdict, full: bool = False) -> list[str]:
    """The changes alone, a line a row."""
    return _layout(rows(verdict, full), None if full else SCREEN)


def headline(verdict: Verdict) -> str:
    """One line that stands alone: the worst rule, the checkpoint, and what happened to it."""
    name = visible(verdict.name or verdict.old_label)
    worst = next(_worst_first(verdict), None)
    if worst is None:
        return f"OK {name}: {_size(verdict)}"
    said = list(_told(verdict, worst))
    if worst.severity is Severity.WARNING:
        loads = "loads but for what is accepted" if any(verdict.of(Severity.ACCEPTED)) else "loads"
        said.insert(0, f"does not load, which {visible(worst.reason)} allows" if worst.reason else loads)
    if worst.severity is Severity.ACCEPTED:
        said = ["accepted", *said[:-1], f"{said[-1]} ({visible(worst.reason)})"]
    if worst.severity is Severity.EXISTING:
        said.insert(0, f"already on {visible(worst.reason)}")
    return f"{worst.rule} {name}: {', '.join(said)}" if name else f"{worst.rule} {', '.join(said)}"


def _worst_first(verdict: Verdict) -> Iterator[Change]:
    order = (Severity.ERROR, Severity.INCOMPLETE, Severity.EXISTING, Severity.WARNING, Severity.ACCEPTED)
    for severity in order:
        yield from verdict.of(severity)


def _size(verdict: Verdict) -> str:
    return f"{count(len(verdict.old.tensors), 'tensor')} load" if verdict.old else "nothing to load"


def _told(verdict: Verdict, worst: Change) -> Iterator[str]:
    """``312 of 320 tensors renamed``, ``head resized``: the kinds as grave as the worst change."""
    numbers: dict[Kind, int] = {}
    for change in verdict.changes:
        if change.severity is worst.severity:
            numbers[change.kind] = numbers.get(change.kind, 0) + _tensors(change)
    for kind, number in numbers.items():
        if kind in _PAST:
            yield f"{_share(verdict, kind, number)} {_PAST[kind]}"
        else:
            yield _phrase(kind, next(c for c in verdict.changes if c.kind == kind))


def _share(verdict: Verdict, kind: Kind, number: int) -> str:
    """``312 of 320 tensors``, the total being that of the side that has them."""
    side = verdict.new if kind in ("missing", "partial-load") else verdict.old
    total = len(side.tensors) if side else number
    return f"{number:,} of {total:,} tensors" if number < total else count(number, "tensor")


def _tensors(change: Change) -> int:
    """Of the side that a total is given of."""
    return len(change.old or change.new)


def _phrase(kind: Kind, change: Change) -> str:
    if kind == "prefixed":
        return visible(change.detail)
    if kind == "head-resized":
        return "head resized"
    if kind == "extra-state":
        return f"extra state {change.detail}"
    if kind == "retied":
        return f"weights {change.detail.partition(':')[0]}"
    if kind == "optimizer-mismatch" and (change.old or change.new):
        return "the optimizer's state does not fit"
    if kind in ("expired-acceptance", "unused-acceptance"):
        return visible(change.detail.rpartition(";")[0])
    if kind == "definition-changed":
        return "the definition differs from its snapshot"
    return visible(change.detail.partition("\n")[0])


def _layout(table: Sequence[Row], limit: int | None) -> list[str]:
    shown, hidden = (table, ()) if limit is None else (table[:limit], table[limit:])
    width = max((len(row.subject) for row in shown if len(row.subject) <= _WIDEST), default=0)
    lines = [f"  {row.sign} {row.subject:<{width}}   {row.note}".rstrip() for row in shown]
    if hidden:
        tensors = count(sum(row.tensors for row in hidden), "tensor")
        lines.append(f"  ... {count(len(hidden), 'more row')} ({tensors}); -vv prints every key")
    return lines


def _advice(verdict: Verdict) -> Iterator[str]:
    """What to do next, once for each rule that failed."""
    failed = dict.fromkeys(change.rule for change in verdict.of(Severity.ERROR))
    for rule in failed:
        if BY_ID[rule].advice != "see the message":
            yield f"  {rule}: {BY_ID[rule].advice}"
    for label, command in verdict.repairs:
        yield f"  {label + ':':<8}{visible(command)}"
