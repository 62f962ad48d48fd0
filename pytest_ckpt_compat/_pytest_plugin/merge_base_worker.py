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
from pytest_ckpt_compat._check import outputs
from pytest_ckpt_compat._check.breaks import at_level
from pytest_ckpt_compat._check.check import check_saved, check_structure, resumed
from pytest_ckpt_compat._check.reading import read_for
from pytest_ckpt_compat._check.snapshots import definition_name
from pytest_ckpt_compat._core.errors import BuildError, CkptCompatError, ReadError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.confirm import defined
from pytest_ckpt_compat._definition.find import Definition, find_registered
from pytest_ckpt_compat._definition.loader import loaded_by
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._definition.pretrained_config import CONFIG
from pytest_ckpt_compat._premerge.wire import as_data
from pytest_ckpt_compat._pytest_plugin.collection import Project, in_project
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots import store
from pytest_ckpt_compat._snapshots.fingerprint import dumps, loads

_PACKAGE = __name__.partition(".")[0]


def serve(tree: str, paths: str, folder: str) -> None:
    """Answers the questions on the standard input, a line of JSON each, until it ends.

    Args:
        tree: the extracted tree.
        paths: the folders of the tree in which modules are looked for, as JSON.
        folder: for temporary files.
    """
    questions, answers = _pipes()
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
            answers.send(json.loads(question)["number"], _error(error))


class _Answers:
    """The pipe to the other end, written to by this process alone."""

    def __init__(self, number: int) -> None:
        self._stream = os.fdopen(number, "w", encoding="utf-8")
        self._identity = _identity(number)
        self._process = os.getpid()
        self._stream.write("\n")  # ends a line that something printed before

    def send(self, number: int, found: Mapping[str, Any]) -> None:
        """Answers the question with this number.

        A fork of this process does not answer. If the project's code has closed the pipe, its number may be
        that of another file by now, and the process ends.
        """
        if os.getpid() != self._process or _identity(self._stream.fileno()) != self._identity:
            os._exit(1)
        self._stream.write(json.dumps({**found, "number": number}) + "\n")
        self._stream.flush()


def _identity(number: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _pipes() -> tuple[Iterator[str], _Answers]:
    """Takes the standard input and output; other readers and writers get ``os.devnull``."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = _Answers(os.dup(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return iter(questions.readline, ""), answers


def _serve(tree: str, project: Project, questions: Iterator[str], answers: _Answers) -> None:
    for line in questions:
        question = json.loads(line)
        try:
            found = _answer(question | {"tree": tree}, project)
        except BaseException as error:
            found = _error(error)
        answers.send(question["number"], found)


def _error(error: BaseException) -> dict[str, Any]:
    return {"error": error.problem if isinstance(error, CkptCompatError) else f"it raised {brief(error)}"}


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
    _require_old_code(question, definition)
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
    return list(map(as_data, at_level(verdict, registration.level).changes))


def _read(file: str, known: Structure, registration: Registration, definition: Definition) -> Structure:
    """The file as the earlier registration reads it; what today's check has chosen in it stays."""
    if definition.parts or definition.loader is not None:
        found = read_for(file, registration.key, definition, registration.strip_prefix, known.source)[0]
    else:
        key = registration.key if registration.key is not None else known.source.container or None
        found = readers.read(file, key)
    return replace(found, optimizers=known.optimizers) if registration.optimizer_path else found


def _require_old_code(question: Mapping[str, Any], definition: Definition) -> None:
    """Refuses when today's files were imported instead of the earlier commit's."""
    tree, top = question["tree"] + os.sep, question["top"] + os.sep
    packages = {str(getattr(each, "__module__", "")).partition(".")[0] for each in definition.targets}
    owned = {
        package
        for package in packages
        if any(
            (Path(tree) / path / f"{package}{end}").exists()
            for path in question["paths"]
            for end in ("", ".py")
        )
    }
    for name, file in _files(tree):
        today = file.startswith(top) and "site-packages" not in file
        if today or name.partition(".")[0] in owned:
            raise BuildError(
                name,
                f"its code is not the commit's: {name} was imported from {file}",
                "put the folder of the package on pythonpath",
            )


def _files(tree: str) -> Iterator[tuple[str, str]]:
    """Name and file of each imported module outside the tree, Python and this package."""
    known = tuple(os.path.realpath(path) + os.sep for path in (tree, sys.prefix, sys.base_prefix))
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or not os.path.isabs(file) or name.partition(".")[0] == _PACKAGE:
            continue  # a relative one is no file: torch.ops has it
        file = os.path.realpath(file)
        if "site-packages" in file or not file.startswith(known):
            yield name, file
