"""Asks the merge base's code: in a tree extracted for the run, in a process of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._premerge import git, trees, wire
from pytest_ckpt_compat._premerge.process import Process
from pytest_ckpt_compat._premerge.search_path import import_root, search_path
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots.fingerprint import dumps, loads


@dataclass(frozen=True)
class Question:
    """A structure that the merge base's definition is to load.

    Attributes:
        structure: what is loaded, as the file has it.
        registered: whether it is the registered checkpoint's: then the prefix that the earlier
            registration strips is stripped, and the optimizer's state counts at level resume.
        file: the file it was read from, or "". It is read with the options of the earlier registration.
        recorded: definitions of which one may have saved it.
        snapshot: text of its snapshot there, where it is asked what migrations no longer do; or "".
    """

    structure: Structure
    registered: bool = False
    file: str = ""
    recorded: tuple[Structure, ...] = ()
    snapshot: str = ""


@dataclass(frozen=True)
class Answer:
    """What the merge base's code answers.

    Attributes:
        registered: whether the checkpoint was registered there.
        definition: the structure of the definition as it was registered, or None where it was not.
        identifier: the definition's, or "".
        changes: name -> what a load of the question's structure found, judged by the registration
            as it was.
        migrations: names of those that the registration had.
    """

    registered: bool = False
    definition: Structure | None = None
    identifier: str = ""
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)
    migrations: tuple[str, ...] = ()


class MergeBaseCode:
    """The code of the merge base, in a process that starts with the first question.

    It serves all checkpoints of one run. Nothing of it is kept for another. Close it at the end.

    Attributes:
        base: the commit.
    """

    def __init__(self, base: git.Base, serve: Callable[..., None]) -> None:
        """The process starts with the first question.

        Args:
            base: the commit.
            serve: answers the questions in the process, as ``Process`` runs it.
        """
        self.base = base
        self._serve = serve
        self._tree: Path | None = None
        self._process: Process | None = None
        self._answers: dict[str, Answer] = {}

    def ask(
        self,
        ids: Sequence[str],
        registration: Registration,
        definition: Definition,
        values: Mapping[str, Any],
        questions: Mapping[str, Question],
        inputs: str = "",
    ) -> Answer:
        """Loads structures into the definition that the commit had registered for a checkpoint.

        Args:
            ids: the checkpoint's, then those that it may have had there.
            registration: the checkpoint as it is registered today.
            definition: today's definition; it distinguishes two registrations of one file.
            values: the checkpoint's non-tensor values, for a definition that takes them.
            questions: the structures, by names that the answer uses.
            inputs: name of what gives the inputs, if the definition is to be run as well.

        Raises:
            BuildError: the earlier code cannot be collected, imported or built.
            UsageError: git cannot read the commit.
        """
        request = _request(ids, registration, definition, values, questions) | {"inputs": inputs}
        paths = search_path(self.base, map(import_root, definition.targets))
        key = hashlib.sha256(json.dumps([request, paths]).encode()).hexdigest()
        if key not in self._answers:
            data = self._with(paths).ask(request | {"paths": paths, "top": str(self.base.top)})
            if "error" in data:
                raise _unbuildable(self.base, definition, data["error"])
            self._answers[key] = _read(data)
        return self._answers[key]

    def close(self) -> None:
        """Ends the process, if there is one, and removes the tree."""
        self._end()
        if self._tree is not None:
            trees.remove(self._tree)
            self._tree = None

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _with(self, paths: list[str]) -> Process:
        """The process; a new one if the present one does not look for modules in all of these folders."""
        known = self._process.paths if self._process is not None else []
        if self._process is None or not set(paths) <= set(known):
            self._end()
            if self._tree is None:
                self._tree = trees.extract(self.base)
            wanted = list(dict.fromkeys([*known, *paths]))
            self._process = Process(self._tree, self.base.prefix, wanted, self._serve)
        return self._process


def _request(
    ids: Sequence[str],
    registration: Registration,
    definition: Definition,
    values: Mapping[str, Any],
    questions: Mapping[str, Question],
) -> dict[str, Any]:
    resume = registration.level.loads_optimizer
    return {
        "ids": list(ids),
        "name": definition.name,
        "values": dumps(Structure({}), values),
        "file": next((each.file for each in questions.values() if each.file), ""),
        "questions": {
            name: {
                "structure": dumps(each.structure, each.structure.values, resume and each.registered),
                "registered": each.registered,
                "file": each.file,
                "recorded": [dumps(known) for known in each.recorded],
                "snapshot": each.snapshot,
            }
            for name, each in questions.items()
        },
    }


def _unbuildable(base: git.Base, definition: Definition, why: str) -> BuildError:
    advice = "make it importable from what is committed there, with what is installed here"
    inside = git.submodules(base)
    if inside:
        advice += f" (submodules are not looked into: {', '.join(inside)})"
    return BuildError(f"{definition.name or definition.label} at {base.label}", why, advice)


def _read(data: Mapping[str, Any]) -> Answer:
    definition = data["definition"]
    return Answer(
        registered=data["registered"],
        identifier=data["identifier"],
        definition=None if definition is None else loads(definition, "the earlier definition"),
        changes={name: tuple(map(wire.from_data, changes)) for name, changes in data["changes"].items()},
        migrations=tuple(data["migrations"]),
    )
