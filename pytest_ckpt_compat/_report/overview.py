"""The report on all registered checkpoints: what fails, what failed before, and how much was compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.rules import BY_KIND
from pytest_ckpt_compat._report import alike
from pytest_ckpt_compat._report.summary import Entry, Run, State

#: How the lines of a report begin on what records a definition, which a section of such has once.
_RECORD, _ADVICE = "  record: ", f"  {BY_KIND['definition-changed'].id}: "
#: How a checkpoint can stand.
STATES: tuple[State, ...] = get_args(State)


def render(run: Run, remarks: Sequence[str] = (), full: bool = False) -> str:
    """The overview as text.

    Args:
        run: what was found.
        remarks: remarks on the whole, a line each.
        full: whether what only warns, or is ignored, is printed whole, not as its headline.
    """
    return "\n".join(
        [
            *_sections(run, full),
            *map(visible, remarks),
            *run.migrations.lines,
            *run.settings,
            *run.left_out,
            run.compared,
        ]
    )


def remarks(entries: Iterable[Entry], full: bool = False) -> Iterator[str]:
    """Lines on what does not fail: earlier breaks in full, a headline for each warning, and notes.

    With ``full``, warnings and what is ignored are in full, too.
    """
    entries = tuple(entries)
    yield from alike.blocks((each for each in entries if each.state == "before"), full)
    for each in entries:
        if each.state not in ("warning", "ok"):
            continue
        if full and each.data["changes"]:
            yield each.text
            continue
        if each.data["changes"]:
            yield each.headline
            yield from (f"  {hint}" for hint in each.hints)
        yield from (f"{each.id}: {visible(note)}" for note in each.notes)


def compared(counts: tuple[int, int], label: str) -> str:
    """``compared  3 checkpoints, 130 tensors, with origin/main (merge base 1a2b3c4d)``."""
    checkpoints, tensors = counts
    where = f", with {label}" if label else ""
    if not checkpoints:
        return f"could not check: no checkpoint was compared{where}"
    return f"compared  {count(checkpoints, 'checkpoint')}, {count(tensors, 'tensor')}{where}"


def _to_record(entries: Sequence[Entry]) -> Iterator[str]:
    """What loads and is to be recorded, with the command that records all of it, once."""
    yield f"nothing breaks, to be recorded: {len(entries)}\n"
    commands: dict[str, None] = {}
    for each in entries:
        lines = each.text.splitlines()
        commands |= dict.fromkeys(line for line in lines if line.startswith(_RECORD))
        yield "\n".join(line for line in lines if not line.startswith((_RECORD, _ADVICE))).strip() + "\n"
    yield "\n".join(f"{line}, and commit what it writes" for line in commands) + "\n"


def _sections(run: Run, full: bool) -> Iterator[str]:
    where = run.label.partition(" (")[0]
    titles: dict[State, str] = {
        "broken": "breaks introduced here" if where else "breaks",
        "unknown": "could not be checked",
        "before": f"breaks already on {where}",
    }
    unrecorded = [each for each in run.of("broken", "unknown") if each.unrecorded]
    for state, title in titles.items():
        entries = [each for each in run.of(state) if each not in unrecorded]
        if entries:
            yield f"{title}: {len(entries)}\n"
            yield from (block + "\n" for block in alike.blocks(entries, full))
        own = [each for each in unrecorded if each.state == state]
        if own and state == "broken":
            yield from _to_record(own)
        elif own:
            yield f"nothing breaks, not recorded yet: {len(own)}\n"
            yield from (block + "\n" for block in alike.blocks(own, full))
    rest = run.of("warning", "ok", "skipped")
    if not full:
        yield from alike.lines(rest)
    for each in rest if full else ():
        yield from [each.text + "\n"] if each.data["changes"] else alike.lines([each])
