"""Records definitions as they were: the frozen snapshots of a project's past."""

from __future__ import annotations

import glob
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_ckpt_compat._check.update import difference
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.errors import BuildError, CkptCompatError, SnapshotError
from pytest_ckpt_compat._core.structure import Source, Structure
from pytest_ckpt_compat._history.builder import Builder
from pytest_ckpt_compat._history.code import code_of
from pytest_ckpt_compat._history.questions import Answer, Model
from pytest_ckpt_compat._history.released import install, pinned
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._registry import ids
from pytest_ckpt_compat._registry.registration import definition_id
from pytest_ckpt_compat._snapshots import fingerprint, store


@dataclass(frozen=True)
class Recorded:
    """What came of one definition at one place of the past.

    Attributes:
        line: what a user is told.
        id: of its snapshot, or "" where there is none.
        model: the definition.
        failed: whether it could not be recorded.
    """

    line: str
    id: str
    model: Model
    failed: bool = False


@dataclass(frozen=True)
class Past:
    """Where definitions are recorded from.

    Attributes:
        root: the project's root folder.
        folder: the snapshot folder.
        models: the definitions.
        others: where else modules are looked for, beside a released package.
    """

    root: Path
    folder: Path
    models: tuple[Model, ...]
    others: tuple[str, ...] = ()

    def record(
        self, refs: Sequence[str], packages: Sequence[str], say: Callable[[str], None]
    ) -> Iterator[Recorded]:
        """Records every definition at every commit and in every release; what fails costs no other.

        Args:
            refs: tags, branches or commits.
            packages: releases, ``name==1.0``.
            say: is told what is being done.

        Raises:
            UsageError: a reference is not known here, or a release is not pinned.
        """
        commits = [(ref, git.commit_at(self.root, ref, f"--at {ref}")) for ref in refs]
        releases = [(text, pinned(text)) for text in packages]
        builder = Builder()
        try:
            for ref, base in commits:
                say(f"recording {ref}")
                code = code_of(base, self.folder, [model.address for model in self.models])
                for model in self.models:
                    found = builder.at(code, base.commit, model)
                    where = f"{ref} (commit {base.commit[:8]})"
                    yield self._kept(model, ref, f"commit {base.commit}", found, where)
            for text, (name, version) in releases:
                say(f"recording {text}")
                yield from self._of_release(builder, text, name, version)
        finally:
            builder.close()

    def _of_release(self, builder: Builder, text: str, name: str, version: str) -> Iterator[Recorded]:
        with tempfile.TemporaryDirectory(prefix="ckpt-compat-", ignore_cleanup_errors=True) as parent:
            folder = Path(parent) / "packages"
            folder.mkdir()
            try:
                install(text, folder)
            except BuildError as error:
                yield Recorded(f"failed    {error}", "", self.models[0], failed=True)
                return
            for model in self.models:
                found = builder.in_folder(folder, model, self.others)
                label = version if found.own else f"{name}-{version}"
                yield self._kept(model, label, text, found, text)

    def _kept(self, model: Model, label: str, recorded: str, found: Answer, where: str) -> Recorded:
        """Writes the snapshot, unless there is one, which is frozen."""
        identifier = f"{name_of(model)}@{label}"
        if found.definition is None:
            what = f"is not there in {where}" if found.absent else f"cannot be built as {where} has it"
            why = f"{found.absent or found.problem}{_lacking(found)}"
            return Recorded(visible(f"failed    {name_of(model)}: {what}: {why}"), "", model, failed=True)
        problem = ids.problem_of(identifier)
        if problem:
            return Recorded(visible(f"failed    {identifier}: {problem}"), "", model, failed=True)
        try:
            return self._written(model, identifier, recorded, found.definition)
        except CkptCompatError as error:
            return Recorded(f"failed    {error}", "", model, failed=True)

    def _written(self, model: Model, identifier: str, recorded: str, definition: Structure) -> Recorded:
        name = store.checkpoint_name(identifier)
        shown = visible(store.shown(self.folder, name))
        stored = store.load(self.folder, name)
        if stored is not None and fingerprint.digest(stored) == fingerprint.digest(definition):
            return Recorded(f"unchanged {shown}", identifier, model)
        if stored is not None:
            was = stored.source.recorded or "a file"
            problem = f"is of {was}, and {recorded} has another definition ({difference(stored, definition)})"
            raise SnapshotError(shown, problem, "a recorded past is frozen: remove that file if it is wrong")
        source = Source(path=identifier, recorded=recorded)
        store.save(self.folder, name, fingerprint.dumps(replace(definition, source=source)))
        tensors = count(len(definition.tensors), "tensor")
        return Recorded(f"recorded  {shown}: {tensors}, as {text_of(recorded)} has it", identifier, model)


def _lacking(found: Answer) -> str:
    """What to do where a module is missing that is not the definition's own."""
    lacks = re.search(r"No module named '(\w+)", found.problem)
    return f"; it needs {lacks[1]}, which is not installed here" if lacks else ""


def text_of(recorded: str) -> str:
    """What has a recorded definition, as reports name it: ``commit 1a2b3c4d``, ``package==1.0``."""
    kind, _, commit = recorded.partition(" ")
    return f"{kind} {commit[:8]}" if kind == "commit" else recorded


def name_of(model: Model) -> str:
    """How snapshots of a definition begin: ``models.Net(width=32)``; long arguments are told by a digest."""
    name = model.address.replace(":", ".")
    facts = json.dumps(model.kwargs, sort_keys=True, default=str).encode()
    digest = hashlib.sha256(facts).hexdigest()[:8]
    return definition_id(name, model.kwargs, "") or f"{name}({digest})"


def glob_of(model: Model, identifier: str) -> str:
    """The glob that finds a snapshot of a definition's past, and those that are recorded later."""
    start = f"{name_of(model)}@"
    folder = identifier.removeprefix(start).rpartition("/")[0]
    return glob.escape(f"{start}{folder}/" if folder else start) + "*"
