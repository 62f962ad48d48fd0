"""Which rules have another severity here than at the merge base."""

from __future__ import annotations

from pathlib import Path

from pytest_ckpt_compat._core import files
from pytest_ckpt_compat._core.changes import RuleSeverity
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.severities import differences
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._registry import project_file
from pytest_ckpt_compat._registry.names import OWN_FILE


def changed_severities(base: git.Base, root: Path, severities: tuple[RuleSeverity, ...]) -> tuple[str, ...]:
    """A line on each rule to which the project gives another severity than at the commit.

    Args:
        base: the commit.
        root: the project's root folder.
        severities: those of the work tree.

    Raises:
        UsageError: git cannot read the commit.
    """

    def text_of(name: str) -> str | None:
        try:
            text = git.read(base, root / name, files.SETTINGS_BYTES)
        except ValueError as error:
            raise UsageError(name, f"cannot be read: {error}", "check the file") from error
        return text if text is not None and (name == OWN_FILE or "ckpt_compat" in text) else None

    try:
        before = project_file.settings_in(text_of).severities
    except UsageError as error:
        problem = f"the settings of {base.label} cannot be read ({error.subject} {error.problem})"
        return (f"{problem}: not compared with them",) if severities else ()
    return tuple(differences(severities, before, base.ref))
