"""Which settings of modules are new: what this branch changed, and what the merge base's code has too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_ckpt_compat._check.breaks import facts
from pytest_ckpt_compat._check.settings import with_settings
from pytest_ckpt_compat._core.changes import Change, Policy, Severity
from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._premerge.merge_base_code import Answer


def compare(
    main: Verdict, recorded: Structure | None, policy: Policy, ask: Callable[[], Answer], ref: str
) -> Verdict:
    """Adds the settings that differ from the merge base's snapshot, and marks those that its code has too.

    Args:
        main: the checkpoint's verdict.
        recorded: the definition as the merge base has it, or None.
        policy: accepted breaks.
        ask: gives the merge base's answer; only called if a setting differs.
        ref: the reference that the branch is compared with.
    """
    if main.new is None:
        return main
    if recorded is not None:
        found, notes = with_settings(recorded, main.new)
        known = facts(each for each in main.changes if _is_setting(each))
        added = [each for each in judge(found, policy) if not facts([each]) <= known]
        main = replace(main, changes=(*main.changes, *added), notes=(*main.notes, *notes))
    if not any(map(_is_open, main.changes)):
        return main
    try:
        before = ask().definition
    except BuildError:
        return main
    if before is None or not before.settings:
        return main
    new = facts(judge(with_settings(before, main.new)[0], policy)) if main.new else set()
    marked = main.with_severity(
        lambda each: _is_open(each) and not facts([each]) <= new, Severity.EXISTING, ref
    )
    return replace(marked, settings_asked=True)


def _is_setting(change: Change) -> bool:
    return change.kind == "settings-changed"


def _is_open(change: Change) -> bool:
    return _is_setting(change) and change.severity is Severity.WARNING
