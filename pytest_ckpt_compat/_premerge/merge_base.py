"""The merge base as a run is compared with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pytest_ckpt_compat._check.context import Subject
from pytest_ckpt_compat._core.changes import RuleSeverity
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._premerge import git, new_breaks
from pytest_ckpt_compat._premerge.merge_base_code import MergeBaseCode
from pytest_ckpt_compat._premerge.missing import missing
from pytest_ckpt_compat._premerge.project_settings import with_its_snapshots
from pytest_ckpt_compat._premerge.severities import changed_severities


class GitMergeBase:
    """A commit of a git repository: ``MergeBase``, as checks ask it."""

    def __init__(self, root: Path, ref: str, folder: Path, serve: Callable[..., None]) -> None:
        """Finds the commit.

        Args:
            root: the project's root folder.
            ref: the reference that the branch is compared with.
            folder: the snapshot folder.
            serve: answers questions in the process that runs the commit's code.

        Raises:
            UsageError: there is no such commit here; names the command that fetches it.
        """
        self._root = root
        base = with_its_snapshots(git.base_of(root, ref, folder), root, folder)
        self._code = MergeBaseCode(base, serve)

    @property
    def ref(self) -> str:
        """The reference as the user gave it."""
        return self._code.base.ref

    @property
    def label(self) -> str:
        """The reference and the commit, as reports name them."""
        return self._code.base.label

    def compare(
        self, subject: Subject, verdicts: tuple[Verdict, ...], update: bool = False
    ) -> tuple[Verdict, ...]:
        """See ``MergeBase``."""
        return new_breaks.compare(subject, verdicts, self._code, update)

    def recorded(self, subject: Subject) -> Structure | None:
        """See ``MergeBase``."""
        return new_breaks.recorded(subject, self._code)

    def require_recorded(self, subject: Subject, verdict: Verdict) -> Verdict:
        """See ``MergeBase``."""
        return new_breaks.require_recorded(subject, verdict, self._code)

    def missing_snapshots(
        self, folder: Path, used: Iterable[str]
    ) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
        """See ``MergeBase``."""
        return missing(self._code.base, folder, used)

    def changed_severities(self, severities: tuple[RuleSeverity, ...]) -> tuple[str, ...]:
        """See ``MergeBase``."""
        return changed_severities(self._code.base, self._root, severities)

    def close(self) -> None:
        """See ``MergeBase``."""
        self._code.close()
