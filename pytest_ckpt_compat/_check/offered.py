"""A verdict with the code that ``ckpt-compat migrate`` would print, for a report that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_ckpt_compat._check import definition_snapshot
from pytest_ckpt_compat._check.context import Context, Subject
from pytest_ckpt_compat._check.migration import Migration, compared, migration, planned
from pytest_ckpt_compat._check.proven import with_proven
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.internal import located
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._migrate.rules import RulesError


def with_code(
    verdict: Verdict, subject: Subject, context: Context, proven: Mapping[str, str], checked: Verdict
) -> Verdict:
    """The verdict with the code; with the reason, where none can be made.

    Args:
        verdict: of a load that fails, and that code may mend.
        subject: the registered checkpoint.
        context: of the run.
        proven: old key -> new key of the renames that outputs have proven.
        checked: the same verdict as the load gave it, with nothing accepted or compared.
    """
    registration = subject.registration
    try:
        sides = compared(
            subject.structure,
            subject.definition,
            registration.strip_prefix,
            lambda: definition_snapshot.recorded_definitions(subject, context.merge_base),
            replace(registration.policy, accepted=()),
            checked if registration.policy == Policy() else None,
        )
        sides = replace(sides, verdict=with_proven(sides.verdict, proven, Policy()))
        found = migration(sides, planned(sides))
    except (CkptCompatError, RulesError) as error:
        return replace(verdict, proof=f"no migration can be written: {error}")
    except Exception as error:  # the verdict stands without it
        return replace(verdict, proof=f"writing a migration failed: {located(error)}; please report it")
    return replace(verdict, code=found.code, proof=_proof(found))


def _proof(found: Migration) -> str:
    """``12 of 12 steps proven, loaded by the definition``, and what is left to the user."""
    if not found.code:
        return ""
    steps = count(len(found.plan.live), "step")
    proven = f"{found.proven} of {steps} proven, {found.load}" if found.plan.live else ""
    doubt = "the comments in it say what is in doubt" if found.cautions else ""
    left = doubt if found.complete else "the comments in it say what is left to you"
    return "; ".join(part for part in (proven, left) if part)
