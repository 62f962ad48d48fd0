"""A project's registered checkpoints, for commands: what pytest would collect, none of it run."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from pytest_ckpt_compat.config import Registration
from pytest_ckpt_compat.declared import REGISTRATIONS
from pytest_ckpt_compat.errors import UsageError
from pytest_ckpt_compat.plugin import session_of
from pytest_ckpt_compat.registered import Context

_T = TypeVar("_T")


@dataclass(frozen=True)
class Project:
    """What a command works on.

    Attributes:
        root: pytest's root folder.
        context: the settings of the checks.
        registrations: every registered checkpoint, in order of collection.
    """

    root: Path
    context: Context
    registrations: tuple[Registration, ...]


def in_project(work: Callable[[Project], _T], args: Sequence[str] = ()) -> _T:
    """Has pytest collect the checkpoints below the working directory, and works on them meanwhile.

    What pytest and the project's code print is dropped: a command prints its result alone.

    Args:
        work: is given the project while its ``pythonpath`` and conftest files are in force.
        args: more arguments for pytest.

    Raises:
        UsageError: the collection failed, or found no checkpoint.
        CkptCompatError: as ``work`` raises it.
    """
    finder = _Finder(work)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        pytest.main(["--collect-only", "-q", "-m", "checkpoint", *args], plugins=[finder])
    if finder.error is not None:
        raise finder.error
    if finder.problem or not finder.result:
        raise UsageError(
            "collection", finder.problem or _complaint(said.getvalue()), "run pytest to see it all"
        )
    return finder.result[0]


class _Finder(Generic[_T]):
    """Does the work at the end of the collection."""

    def __init__(self, work: Callable[[Project], _T]) -> None:
        self._work = work
        self.result: list[_T] = []
        self.error: Exception | None = None
        self.problem = ""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Holds on to the first failure."""
        if report.failed and not self.problem:
            lines = str(report.longrepr).strip().splitlines()
            self.problem = f"{report.nodeid}: {lines[-1].removeprefix('E ').strip() if lines else 'failed'}"

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Does the work, unless the collection failed."""
        if self.problem:
            return
        items = (each for item in session.items for each in item.stash.get(REGISTRATIONS, ()))
        found = {each.id: each for each in items}
        try:
            if not found:
                raise UsageError(
                    str(session.config.rootpath),
                    "no checkpoint is registered",
                    "add [[tool.ckpt_compat.checkpoint]] to pyproject.toml, or "
                    "@pytest.mark.checkpoint(path, model=...) to a test",
                )
            context = session_of(session.config).context()
            self.result.append(self._work(Project(session.config.rootpath, context, tuple(found.values()))))
        except Exception as error:  # raised again outside of pytest, which would print it
            self.error = error


def _complaint(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "E  ", "Exit:", "! _pytest"))]
    return (errors or lines or ["pytest collected nothing"])[0].removeprefix("ERROR: ")
