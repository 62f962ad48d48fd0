"""The errors that a user can cause. Each gives its path or key, the problem, and what to do next."""

from __future__ import annotations

from pytest_ckpt_compat._core.addresses import redacted, redacted_in
from pytest_ckpt_compat._core.display import visible

#: Exit code of a run that could decide nothing, as diff(1) has it.
COULD_NOT_CHECK = 2


class CkptCompatError(Exception):
    """Root of all expected failures: the check could not be made (exit code 2).

    Attributes:
        subject: the path, key or name that the error is about, exactly as given.
        problem: what is wrong with it.
        advice: what to do next.
        rule: id of the rule under which a report lists the failure; None for a mistake in the call.
    """

    rule: str | None = None

    def __init__(self, subject: str, problem: str, advice: str) -> None:
        super().__init__(subject, problem, advice)
        self.subject = subject
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        """One complete line. Text from a file in it is safe to print, and no address in it holds a secret."""
        return visible(f"{redacted(self.subject)}: {redacted_in(self.problem)}; {self.advice}")


class ReadError(CkptCompatError):
    """A checkpoint cannot be read: it is corrupt, hostile, ambiguous or of an unknown format (CK905)."""

    rule = "CK905"


class ChoiceError(ReadError):
    """A checkpoint holds several state_dicts, and nothing says which is meant.

    Attributes:
        equal: the dotted paths of those that go first.
        keys: the dotted paths of all, those that go first at the beginning.
    """

    def __init__(
        self, subject: str, problem: str, advice: str, equal: tuple[str, ...], others: tuple[str, ...] = ()
    ) -> None:
        super().__init__(subject, problem, advice)
        self.equal = equal
        self.keys = tuple(dict.fromkeys((*equal, *others)))


class UnreachableError(ReadError):
    """The file is elsewhere: its URL cannot be reached at present, or a Git LFS pointer lies in its place."""


class BuildError(CkptCompatError):
    """A model definition cannot be found, or raises while it is built (CK906)."""

    rule = "CK906"


class SnapshotError(CkptCompatError):
    """A snapshot cannot be used: it is unreadable, edited by hand, or of a newer version (CK905)."""

    rule = "CK905"


class NoBaselineError(CkptCompatError):
    """Neither the checkpoint nor a snapshot of it exists (CK901)."""

    rule = "CK901"


class UsageError(CkptCompatError):
    """An option, a marker or a command line is invalid or contradicts itself."""
