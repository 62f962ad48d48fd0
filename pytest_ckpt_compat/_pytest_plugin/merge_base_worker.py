"""Runs in a process of its own on the code of an earlier commit, and answers questions about it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._check import guard, outputs
from pytest_ckpt_compat._check.breaks import at_level
from pytest_ckpt_compat._check.check import check_saved, check_structure, resumed
from pytest_ckpt_compat._check.definition_snapshot import definition_name
from pytest_ckpt_compat._check.reading import read_for
from pytest_ckpt_compat._core.errors import BuildError, CkptCompatError, ReadError
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.confirm import defined
from pytest_ckpt_compat._definition.find import Definition, find_registered
from pytest_ckpt_compat._definition.loader import loaded_by
from pytest_ckpt_compat._definition.pretrained_config import CONFIG
from pytest_ckpt_compat._premerge.answers import Answers, failure, pipes
from pytest_ckpt_compat._premerge.own_code import require_own_code
from pytest_ckpt_compat._premerge.wire import as_data
from pytest_ckpt_compat._pytest_plugin.collection import Project, in_project
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots import store
from pytest_ckpt_compat._snapshots.fingerprint import dumps, loads


def serve(tree: str, paths: str, folder: str) -> None:
    """Answers the questions on the standard input, a line of JSON each, until it ends.

    Args:
        tree: the extracted tree.
        paths: the folders of the tree in which modules are looked for, as JSON.
        folder: for temporary files.
    """
    questions, answers = pipes()
    sys.path[:0] = [str(Path(tree) / path) for path in json.loads(paths)]
    first = next(questions, "")
    if not first:
        return
    try:
        in_project(
            lambda project: _serve(tree, project, itertools.chain([first], questions), answers),
            ["-o", f"cache_dir={Path(folder) / 'cache'}", f"--rootdir={os.getcwd()}"],
            whole=False,
        )
    except BaseException as error:  # also what the earlier code exits with: the answer has to name it
        for question in itertools.chain([first], questions):
            answers.send(json.loads(question)["number"], failure(error))


def _serve(tree: str, project: Project, questions: Iterator[str], answers: Answers) -> None:
    for line in questions:
        question = json.loads(line)
        try:
            found = _answer(question | {"tree": tree}, project)
        except BaseException as error:
            found = failure(error)
        answers.send(question["number"], found)


def _answer(question: Mapping[str, Any], project: Project) -> dict[str, Any]:
    """Answers from the code that pytest has collected."""
    registration = _registration(question, project)
    if registration is None:
        if project.problems:
            problem = f"pytest could not collect {project.problems[0]}"
            raise BuildError(question["ids"][0], problem, "run pytest at that commit to see why")
        return {"registered": False, "definition": None, "identifier": "", "changes": {}, "migrations": []}
    files = [each["file"] for each in question["questions"].values() if each["file"]]
    config = loads(question["values"], "values").values.get(CONFIG)
    definition = find_registered(registration, files[0] if files else "", config)
    values = _values(question, registration, definition)
    asked = question["questions"]
    own = next(
        (_structure(each, registration, definition) for each in asked.values() if each["registered"]), None
    )
    changes = {name: _changes(each, registration, definition, own) for name, each in asked.items()}
    packages = {str(getattr(each, "__module__", "")).partition(".")[0] for each in definition.targets}
    require_own_code(question["tree"], question["top"], question["paths"], packages)
    return {
        "registered": True,
        "definition": _built(definition, values, registration, own, question["inputs"]),
        "identifier": store.identifier(definition_name(registration, definition)),
        "changes": changes,
        "migrations": list(definition.remap.names) if definition.remap is not None else [],
    }


def _built(
    definition: Definition,
    values: Mapping[str, Any],
    registration: Registration,
    own: Structure | None,
    inputs: str,
) -> str | None:
    """The structure of the earlier definition; a loader gives its module for a checkpoint alone.

    With what it computes, where ``inputs`` names what gives the inputs today; the earlier code may have that
    under another name.
    """
    budget = registration.policy.memory_budget
    if definition.loader is not None:
        if own is None:
            return None
        try:
            definition = loaded_by(own, definition, budget)
        except CkptCompatError:
            return None
    found = defined(definition, values, budget)
    for given in filter(None, (inputs, inputs and registration.inputs)):
        ran = outputs.recorded(replace(registration, inputs=given), definition, values, found)
        if ran.outputs:
            return dumps(replace(found, outputs={inputs: next(iter(ran.outputs.values()))}))
    return dumps(found)


def _registration(question: Mapping[str, Any], project: Project) -> Registration | None:
    """The checkpoint as it was registered, by its id or the one that it had.

    Models distinguish two registrations of one id.
    """
    for identifier in question["ids"]:
        same = [each for each in project.registrations if each.id == identifier]
        alike = [each for each in same if _name(each) == question["name"]]
        if same:
            return (alike or same)[0]
    return None


def _values(
    question: Mapping[str, Any], registration: Registration, definition: Definition
) -> Mapping[str, Any]:
    """The non-tensor values, from the file if it is there: JSON has neither tuples nor numbers as keys."""
    if question["file"]:
        with contextlib.suppress(ReadError):
            return _read(question["file"], Structure({}), registration, definition).values
    return loads(question["values"], "values").values


def _name(registration: Registration) -> str | None:
    try:
        return find_registered(registration).name
    except CkptCompatError:
        return None


def _structure(
    question: Mapping[str, Any], registration: Registration, definition: Definition
) -> Structure | None:
    """What a question is about; None if it is a file that cannot be read as it was registered."""
    structure = loads(question["structure"], "the question")
    if question["file"]:  # loading code may ask for its numbers, too
        try:
            return _read(question["file"], structure, registration, definition)
        except ReadError:
            return None
    return structure


def _changes(
    question: Mapping[str, Any],
    registration: Registration,
    definition: Definition,
    checkpoint: Structure | None,
) -> list[dict[str, Any]]:
    """What the earlier code finds in a structure."""
    structure = _structure(question, registration, definition)
    if structure is None:
        return []
    policy = registration.policy
    if not question["registered"]:
        verdict = check_saved(structure, definition, policy, checkpoint=checkpoint)
    else:
        recorded = [loads(each, "the question") for each in question["recorded"]]
        verdict = check_structure(structure, definition, policy, registration.strip_prefix, lambda: recorded)
        if registration.level.loads_optimizer:
            verdict = resumed(verdict, definition, registration.optimizer, policy, structure)
    changes = at_level(verdict, registration.level).changes
    if question["snapshot"]:
        stored = loads(question["snapshot"], "the question")
        gone = guard.lost(stored, verdict, definition, registration.strip_prefix)
        changes = (*judge(gone, registration.policy), *changes)
    return list(map(as_data, changes))


def _read(file: str, known: Structure, registration: Registration, definition: Definition) -> Structure:
    """The file as the earlier registration reads it; what today's check has chosen in it stays."""
    if definition.parts or definition.loader is not None:
        found = read_for(file, registration.key, definition, registration.strip_prefix, known.source)[0]
    else:
        key = registration.key if registration.key is not None else known.source.container or None
        found = readers.read(file, key)
    return replace(found, optimizers=known.optimizers) if registration.optimizer_path else found
