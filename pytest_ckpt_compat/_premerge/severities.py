"""Which rules have another severity here than at the merge base."""

from __future__ import annotations

from pathlib import Path

from pytest_ckpt_compat._core.changes import RuleSeverity
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.severities import differences
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._premerge.project_settings import settings_at


def changed_severities(base: git.Base, root: Path, severities: tuple[RuleSeverity, ...]) -> tuple[str, ...]:
    """A line on each rule to which the project gives another severity than at the commit.

    Args:
        base: the commit.
        root: the project's root folder.
        severities: those of the work tree.

    Raises:
        UsageError: git cannot read the commit.
    """
    try:
        before = settings_at(base, root).severities
    except UsageError as error:
        problem = f"the settings of {base.label} cannot be read ({error.subject} {error.problem})"
        return (f"{problem}: not compared with them",) if severities else ()
    return tuple(differences(severities, before, base.ref))
