"""The errors a user can cause. Each names its path or key, the problem, and what to do next."""

from __future__ import annotations

from pytest_ckpt_compat._core.display import visible

#: Exit code of a run that could decide nothing, as diff(1) has it.
COULD_NOT_CHECK = 2


class CkptCompatError(Exception):
    """Root of every expected failure: the check could not be made (exit code 2).

    Attributes:
        subject: the path, key or name the error is about, exactly as it was given.
        problem: what is wrong with it.
        advice: what to do next.
        rule: the rule id under which a report lists the failure, or None for a mistake in the call.
    """

    rule: str | None = None

    def __init__(self, subject: str, problem: str, advice: str) -> None:
        super().__init__(subject, problem, advice)
        self.subject = subject
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        """One line that stands alone, safe to print whatever a file put into it."""
        return visible(f"{self.subject}: {self.problem}; {self.advice}")


class ReadError(CkptCompatError):
    """A checkpoint cannot be read: corrupt, hostile, ambiguous or of an unknown format (CK905)."""

    rule = "CK905"


class UnreachableError(ReadError):
    """What is behind an address cannot be had at present: no network, no access, no such file."""


class BuildError(CkptCompatError):
    """A model definition cannot be found, or raised while it was built (CK906)."""

    rule = "CK906"


class SnapshotError(CkptCompatError):
    """A stored fingerprint cannot be used: unreadable, edited by hand, or of a newer version (CK905)."""

    rule = "CK905"


class NoBaselineError(CkptCompatError):
    """Neither the checkpoint nor a snapshot of it is there (CK901)."""

    rule = "CK901"


class UsageError(CkptCompatError):
    """An option, a marker or a command line says something that cannot be meant."""
