"""The history of a project's code: its commits, and what each makes of a definition."""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_ckpt_compat._history import commits as git_commits
from pytest_ckpt_compat._history.builder import Builder
from pytest_ckpt_compat._history.commits import Code, Commit
from pytest_ckpt_compat._history.questions import Answer, Load, Model
from pytest_ckpt_compat._history.walk import Step
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._premerge.search_path import search_path


def code_of(base: git.Base, folder: Path, models: Sequence[str]) -> Code:
    """Which files of a repository's commits are code, for definitions that are looked for in them.

    Args:
        base: any commit of it.
        folder: the snapshot folder, which has none.
        models: the definitions, ``"package.module:attr"``.
    """
    roots = filter(None, (_root_of(each.partition(".")[0].partition(":")[0]) for each in models))
    return Code(base, tuple(search_path(base, roots)), base.path_of(folder))


def _root_of(package: str) -> str:
    """The folder from which a package would be imported today, or "". Nothing is imported for it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return ""
    if spec is None:
        return ""
    if spec.submodule_search_locations:
        return os.path.dirname(next(iter(spec.submodule_search_locations), ""))
    return os.path.dirname(spec.origin) if spec.origin and os.path.isabs(spec.origin) else ""


@dataclass(frozen=True)
class History:
    """The commits along HEAD's first parents that touched a definition's code.

    Attributes:
        code: which of their files are code.
        commits: the oldest first.
        model: the definition, ``"package.module:attr"``.
    """

    code: Code
    commits: tuple[Commit, ...]
    model: str

    @classmethod
    def of(cls, root: Path, folder: Path, model: str, since: str | None) -> History:
        """The history of a project's repository.

        Args:
            root: the project's root folder.
            folder: the snapshot folder.
            model: the definition.
            since: where it begins, or None.

        Raises:
            UsageError: there is no repository, or no such commit in it.
        """
        head = git.commit_at(root, "HEAD", "history")
        first = None if since is None else git.commit_at(root, since, f"--since {since}")
        code = code_of(head, folder, [model])
        return cls(code, git_commits.that_touched(code, first), model)

    def asked(
        self, builder: Builder, model: Model, say: Callable[[str], None]
    ) -> Callable[[Commit, Load | None], Answer]:
        """Answers what a commit makes of a definition; says which commit is being asked."""
        places = {commit: number for number, commit in enumerate(self.commits, 1)}

        def ask(commit: Commit, load: Load | None) -> Answer:
            say(f"commit {commit.short} of {commit.date}, {places[commit]:,} of {len(self.commits):,}")
            return builder.at(self.code, commit.id, model, load)

        return ask

    def notes(self, steps: Sequence[Step] | None = None) -> list[str]:
        """What a reader has to know of the walk, a line each.

        Args:
            steps: what it told; None where it was not told step by step.
        """
        found = []
        base = self.code.base
        if not self.commits:
            found.append("no commit touched the code")
        first = next((step for step in steps or () if step.structure is not None), None)
        if steps is not None and first is None and all(step.state != "unbuildable" for step in steps):
            found.append(f"{self.model} is not there at any of these commits: check the name and the folder")
        elif first is not None and first.commit != self.commits[0] and not first.unsure:
            found.append(
                f"{self.model} is not there before {first.commit.short}{self._renamed(first.commit)}"
            )
        if git.is_shallow(base.root):
            found.append("this clone is shallow, earlier commits are not here: git fetch --unshallow")
        if git_commits.is_dirty(base):
            found.append("the work tree has changes that are not committed: they were not looked at")
        return found

    def _renamed(self, commit: Commit) -> str:
        """Where the definition's module was before a commit that renamed its file, as a clause, or ""."""
        module, _, attribute = self.model.partition(":")
        for path in self.code.paths:
            folder = "" if path == "." else path + "/"
            file = f"{folder}{module.replace('.', '/')}.py"
            old = git_commits.renamed_from(self.code, commit, file)
            if old.startswith(folder) and old.endswith(".py"):
                before = old.removeprefix(folder).removesuffix(".py").removesuffix("/__init__")
                command = shlex.join(["ckpt-compat", "history", f"{before.replace('/', '.')}:{attribute}"])
                return f", which made it of {old}; what was before: {command}"
        return ""
