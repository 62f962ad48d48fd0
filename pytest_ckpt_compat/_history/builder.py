"""Builds definitions as commits, or folders of released code, have them: in a process of their own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._history import questions, worker
from pytest_ckpt_compat._history.cache import Cache
from pytest_ckpt_compat._history.commits import Code
from pytest_ckpt_compat._history.questions import Answer, Load, Model
from pytest_ckpt_compat._premerge import git, trees
from pytest_ckpt_compat._premerge.process import Process
from pytest_ckpt_compat._snapshots.fingerprint import same

#: Characters of the reason why a definition cannot be built.
_LONGEST = 300


class Builder:
    """Answers what definitions are, and what they load, in code that is not today's. Close it at the end.

    A commit's code is extracted for one question, and what was answered about the same code before is kept in
    the user's cache; that it cannot be built is not kept, since the next try may succeed.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ckpt-compat-", ignore_cleanup_errors=True)
        self._process: Process | None = None
        self._cache = Cache()
        self._digests: dict[str, str] = {}

    def at(self, code: Code, commit: str, model: Model, load: Load | None = None) -> Answer:
        """A definition as a commit has it, and what a load into it finds.

        Raises:
            UsageError: git cannot read the commit.
        """
        if commit not in self._digests:
            self._digests[commit] = code.digest(commit)
        known = (self._digests[commit], code.paths, code.base.prefix, model.address, model.kwargs)
        keys = [self._cache.key("definition", *known), self._cache.key("load", *known, load and load.data)]
        kept = self._kept(keys, load)
        if kept is not None:
            return kept
        try:
            tree = trees.extract(code.at(commit), code.has)
        except CkptCompatError as error:
            return Answer(problem=f"{error.subject}: {error.problem}")
        try:
            top = os.path.realpath(code.base.top)
            data = self._asked(tree, model, load, paths=code.paths, folder=code.base.prefix, top=top)
        finally:
            trees.remove(tree)
        found = _read(data)
        if not found.problem and not data.get("foreign"):
            self._cache.put(keys[0], {**data, "verdict": None})
            if found.verdict is not None and load is not None and not load.file:
                self._cache.put(keys[1], data)
        inside = git.submodules(code.at(commit))
        if (found.problem or found.absent) and inside:
            return _with_submodules(found, inside)
        return found

    def in_folder(self, folder: Path, model: Model, others: Sequence[str]) -> Answer:
        """A definition with the packages of a folder, which come before those that are installed.

        Args:
            folder: the packages.
            model: the definition; it may be code that uses them.
            others: where else modules are looked for, at last.
        """
        return _read(self._asked(folder, model, None, others=others, uses=True))

    def close(self) -> None:
        """Ends the process, if there is one."""
        self._end()
        self._cache.close()
        self._folder.cleanup()

    def _kept(self, keys: Sequence[str], load: Load | None) -> Answer | None:
        data = self._cache.get(keys[0])
        if data is None:
            return None
        try:
            found = _read(data)
            if load is None or found.absent:
                return found
            if load.unlike and _alike(load, found):
                return found
            data = None if load.file else self._cache.get(keys[1])  # what is in a file may change unseen
            return None if data is None else _read(data)
        except (CkptCompatError, AttributeError, LookupError, TypeError, ValueError):  # it was damaged
            return None

    def _asked(self, tree: Path, model: Model, load: Load | None, **others: Any) -> dict[str, Any]:
        question: dict[str, Any] = {
            "tree": str(tree),
            "paths": ["."],
            "folder": "",
            "top": "",
            "others": [],
            "uses": False,
            "seconds": worker.SECONDS,
            "model": model.address,
            "kwargs": dict(model.kwargs),
            "load": None if load is None else load.data,
        }
        if self._process is None:
            self._process = Process(Path(self._folder.name), "", [], worker.serve)
        found = self._process.ask(question | others)
        if not worker.FORKS or self._process.failed:
            self._end()
        return found

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


def _alike(load: Load, found: Answer) -> bool:
    one, other = load.structure, found.definition
    return one is not None and other is not None and same(one, other)


def _read(data: Mapping[str, Any]) -> Answer:
    found = questions.read(data)
    text = found.problem or found.absent
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 3] + "..."
    return Answer(absent=text) if found.absent else Answer(problem=text) if found.problem else found


def _with_submodules(found: Answer, inside: Sequence[str]) -> Answer:
    more = f" (submodules are not looked into: {', '.join(inside)})"
    return Answer(absent=found.absent and found.absent + more, problem=found.problem and found.problem + more)
