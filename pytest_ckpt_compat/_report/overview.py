"""The report on all registered checkpoints: what fails, what failed before, and how much was compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_ckpt_compat._core.changes import Severity, Verdict
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._report import text


def render(
    verdicts: Sequence[Verdict],
    counts: tuple[int, int],
    label: str = "",
    notes: Sequence[str] = (),
    full: bool = False,
) -> str:
    """The overview as text.

    Args:
        verdicts: those of the checkpoints, and of definitions.
        counts: how many checkpoints and tensors were compared.
        label: the git reference, or "" for a plain check.
        notes: remarks on the run, a line each.
        full: whether to print every key.
    """
    sections = list(_sections(verdicts, label, full))
    return "\n".join([*sections, *map(visible, notes), compared(counts, label)])


def compared(counts: tuple[int, int], label: str) -> str:
    """``compared  3 checkpoints, 130 tensors, with origin/main (merge base 1a2b3c4d)``."""
    checkpoints, tensors = counts
    where = f", with {label}" if label else ""
    if not checkpoints:
        return f"could not check: no checkpoint was compared{where}"
    return f"compared  {count(checkpoints, 'checkpoint')}, {count(tensors, 'tensor')}{where}"


def _sections(verdicts: Sequence[Verdict], label: str, full: bool) -> Iterator[str]:
    failing = [verdict for verdict in verdicts if any(verdict.of(Severity.ERROR))]
    unknown = [v for v in verdicts if v not in failing and any(v.of(Severity.INCOMPLETE))]
    rest = [verdict for verdict in verdicts if verdict.compatible]
    before = [verdict for verdict in rest if any(verdict.of(Severity.EXISTING))]
    if failing:
        title = "breaks introduced here" if label else "breaks"
        yield f"{title}: {len(failing)}\n"
        yield from (text.render(verdict, full) + "\n" for verdict in failing)
    if unknown:
        yield f"could not be checked: {len(unknown)}\n"
        yield from (text.render(verdict, full) + "\n" for verdict in unknown)
    if before:
        yield f"breaks already on {label.partition(' (')[0]}: {len(before)}\n"
        yield from (text.render(verdict, full) + "\n" for verdict in before)
    for verdict in rest:
        if verdict not in before:
            yield text.headline(verdict)
            yield from (f"  note: {visible(note)}" for note in verdict.notes)
