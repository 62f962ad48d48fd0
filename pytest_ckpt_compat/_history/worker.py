"""Runs in a process of its own: builds a definition as some tree of code has it, each in a fork.

A fork starts with torch imported, and with no module of the tree; it ends with its answer. So no commit
sees what another has imported. Where forks are not safe, each tree gets a process that imports torch anew.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._check.check import check_structure, could_not_check
from pytest_ckpt_compat._check.reading import read_for
from pytest_ckpt_compat._core.changes import MEMORY_BUDGET, Policy
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import BuildError, CkptCompatError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.confirm import defined
from pytest_ckpt_compat._definition.find import Definition, find
from pytest_ckpt_compat._definition.steady import steady
from pytest_ckpt_compat._history.questions import as_data
from pytest_ckpt_compat._premerge.answers import failure, pipes
from pytest_ckpt_compat._premerge.own_code import outside, require_own_code
from pytest_ckpt_compat._premerge.search_path import is_inside
from pytest_ckpt_compat._snapshots import fingerprint

#: Whether one process serves many trees.
FORKS = sys.platform == "linux"
#: Seconds that importing and building a definition may take; torch is imported already.
SECONDS = 120
#: Seconds between two looks at a fork, at first and at most.
_LOOKS = (0.002, 0.1)


def serve(_tree: str, _paths: str, folder: str) -> None:
    """Answers the questions on the standard input, a line of JSON each, until it ends.

    Args:
        folder: for temporary files.
    """
    questions, answers = pipes()
    if FORKS:
        importlib.import_module("torch")
    for line in questions:
        question = json.loads(line)
        found = _forked(question, Path(folder)) if FORKS else _answered(question)
        answers.send(question["number"], found)


def _forked(question: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The answer of a fork of this process, which is killed if it takes too long."""
    file, log = folder / "answer", folder / "log"
    for each in (file, log):
        each.unlink(missing_ok=True)
    with warnings.catch_warnings():  # a library may have started threads, which this process never uses
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if not process:
        _run(question, file, log)
    try:
        code = _waited(process, question["seconds"])
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)  # and whatever it has started
    if code is None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0)
        return {"error": f"it took more than {question['seconds']} seconds"}
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    reason = f": {visible(lines[-1])}" if lines else ""
    return {"error": f"its process ended with {code}{reason}"}


def _waited(process: int, seconds: float) -> int | None:
    """The exit code of a fork; None if it runs for longer."""
    end, look = time.monotonic() + seconds, _LOOKS[0]
    while time.monotonic() < end:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(look)
        look = min(2 * look, _LOOKS[1])
    return None


def _run(question: Mapping[str, Any], file: Path, log: Path) -> None:
    """Writes the answer into a file, and ends the process."""
    end = os._exit
    try:
        os.setsid()
        stream = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        text = json.dumps(_answered(question))
        unfinished = file.with_suffix(".part")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, file)
    finally:
        end(0)


def _answered(question: Mapping[str, Any]) -> dict[str, Any]:
    """Builds the definition from the question's tree, and loads into it what the question gives."""
    try:
        return _built(question)
    except BaseException as error:  # also what the code exits with: the answer has to name it
        found = failure(error)
        if isinstance(error, BuildError) and _is_absent(question["model"], error):
            return {"absent": found["error"]}
        return found


def _built(question: Mapping[str, Any]) -> dict[str, Any]:
    tree, top = Path(question["tree"]), question["top"]
    folder = tree / question["folder"]
    os.chdir(folder if folder.is_dir() else tree)
    sys.dont_write_bytecode = True
    others = [path for path in sys.path if not top or not is_inside(os.path.realpath(path or "."), top)]
    sys.path[:] = [*(str(tree / path) for path in question["paths"]), *others, *question["others"]]
    importlib.invalidate_caches()
    opened = _opened()
    definition = find(question["model"], question["kwargs"])
    found = steady(defined(definition), definition, {}, MEMORY_BUDGET)
    read = {*opened}  # before the load, which opens the checkpoint
    own = _require_own(question)
    verdict = _loaded(question["load"], definition, found) if question["load"] else None
    _require_own(question)
    files = [file for name, file in outside(str(tree)) if name not in ("__main__", "__mp_main__")]
    files += [file for file in read if not _is_settled(file, str(tree))]
    foreign = any("site-packages" not in file for file in files)  # code and data that may change unseen
    return as_data(found, verdict) | {"own": own, "foreign": foreign}


def _opened() -> set[str]:
    """The files that this process opens from now on, by their real paths; the set grows."""
    found: set[str] = set()

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            found.add(os.path.realpath(os.fsdecode(arguments[0])))

    sys.addaudithook(note)
    return found


def _is_settled(file: str, tree: str) -> bool:
    """Whether a file is the tree's, or Python's own or an installed package's, or none that holds data."""
    own = str(Path(__file__).parents[1])
    homes = {tree, own, sys.prefix, sys.base_prefix, sys.exec_prefix, "/proc", "/sys", "/dev"}
    inside = any(file.startswith(os.path.realpath(home) + os.sep) for home in homes)
    return inside or not os.path.isfile(file)


def _require_own(question: Mapping[str, Any]) -> bool:
    """Whether the definition's module is the tree's.

    Raises:
        BuildError: code was imported from elsewhere that the tree has, too; or none of the tree's was.
    """
    tree, paths = question["tree"], question["paths"]
    require_own_code(tree, question["top"], paths, _names(Path(tree), paths))
    inside = os.path.realpath(tree) + os.sep
    files = {
        name: os.path.realpath(file)
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) and os.path.isabs(file)
    }
    module = str(question["model"]).partition(":")[0]
    own = bool(files.get(module, "").startswith(inside))
    if not own and (not question["uses"] or not any(file.startswith(inside) for file in files.values())):
        where = f"{module} was imported from {files.get(module, 'elsewhere')}"
        raise BuildError(question["model"], f"it is not in this code: {where}", "check the name")
    return own


def _names(tree: Path, paths: list[str]) -> set[str]:
    """The top-level names of the modules and packages in a tree."""
    inside = [each for path in paths for each in (tree / path).glob("*")]
    packages = {each.name for each in inside if (each / "__init__.py").exists()}
    return packages | {each.stem for each in inside if each.suffix == ".py"}


def _is_absent(model: str, error: BuildError) -> bool:
    """Whether the failure says that there is no such module, or nothing of that name in it."""
    module, _, attribute = model.partition(":")
    cause = error.__cause__
    if isinstance(cause, ModuleNotFoundError):
        return bool(f"{module}.".startswith(f"{cause.name}."))
    found: Any = sys.modules.get(module)
    for part in attribute.split("."):
        if found is not None and not hasattr(found, part):
            return True
        found = getattr(found, part, None)
    return bool(error.problem.startswith("it is not in this code"))


def _loaded(load: Mapping[str, Any], definition: Definition, found: Structure) -> Verdict | None:
    prefix = load["strip_prefix"]
    if load["file"]:
        structure, _ = read_for(load["file"], load["key"], definition, prefix)
    else:
        structure = fingerprint.loads(load["structure"], "the question")
    if load["unlike"] and fingerprint.same(structure, found):
        return None
    try:
        return check_structure(structure, definition, Policy(load["strict"]), prefix)
    except CkptCompatError as error:  # the definition is known all the same
        return replace(could_not_check(error), old=structure, new=found)
