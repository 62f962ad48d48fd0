"""The checkpoints that a run has registered: by markers, in the project's file, by the hook."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._registry import project_file
from pytest_ckpt_compat._registry.hook import from_hook
from pytest_ckpt_compat._registry.ids import Ids
from pytest_ckpt_compat._registry.marker import from_marker
from pytest_ckpt_compat._registry.paths import SearchPath
from pytest_ckpt_compat._registry.registration import Registration, unresolved, without_duplicates
from pytest_ckpt_compat._snapshots import store

Node = pytest.Item | pytest.Collector


@dataclass
class Registrations:
    """Finds the checkpoints of a run, and keeps what it has found.

    Attributes:
        config: pytest's.
        settings: those of the project's file.
        folder: the snapshot folder.
        ids: those of all checkpoints that were found.
        known: the checkpoints themselves.
    """

    config: pytest.Config
    settings: project_file.Settings
    folder: Path
    ids: Ids = field(default_factory=Ids)
    known: list[Registration] = field(default_factory=list)

    def of_marks(self, node: Node, marks: list[pytest.Mark]) -> list[Registration]:
        """Those of the markers on a test, a class or a module; the second of one id is not valid."""
        search = self.search(node.path.parent)
        found: dict[str, Registration] = {}
        for mark in marks:
            try:
                registrations = from_marker(mark.args, mark.kwargs, search)
            except UsageError as error:
                registrations = (unresolved(str(next(iter(mark.args), node.name)), error),)
            for each in map(self._claimed, registrations):
                found[each.id] = each if each.id not in found else _twice(each, node)
        return list(found.values())

    def declared(self) -> tuple[Registration, ...]:
        """Those that are registered without test code: in the project's file, and by the hook."""
        search = self.search()
        given = self.config.hook.pytest_ckpt_compat_checkpoints(config=self.config)
        tables = [table for tables in reversed(given) for table in tables or ()]
        found = (*project_file.registrations(self.settings, search), *from_hook(tables, search))
        return without_duplicates(map(self._claimed, found), "checkpoint")

    def search(self, *folders: Path) -> SearchPath:
        """Where a relative path is looked for: in these folders, then in the project's."""
        root = self.config.rootpath
        settings = self.settings
        return SearchPath(
            (*folders, root),
            root,
            lambda: iter(self._recorded),
            settings.level,
            settings.memory_budget,
            settings.severities,
        )

    def _claimed(self, registration: Registration) -> Registration:
        """The registration, unless its snapshot would be in the way of another's."""
        try:
            if registration.problem is None:
                self.ids.add(registration.id)
                self.known.append(registration)
        except UsageError as error:
            return unresolved(registration.id, error)
        return registration

    @functools.cached_property
    def _recorded(self) -> tuple[tuple[str, str], ...]:
        """What is recorded, read once: a run writes at its end."""
        return tuple(store.recorded(self.folder))


def _twice(registration: Registration, node: Node) -> Registration:
    problem = f"is registered twice on {node.name}"
    error = UsageError(f"checkpoint {registration.id}", problem, "give one of them another id=")
    return unresolved(registration.id, error)
