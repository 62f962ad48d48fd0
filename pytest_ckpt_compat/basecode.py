"""Asking the code of an earlier commit: an extracted tree, a process of its own, answers kept."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ckpt_compat import git
from pytest_ckpt_compat.changes import Change, Severity
from pytest_ckpt_compat.config import Registration
from pytest_ckpt_compat.definition.find import Definition
from pytest_ckpt_compat.errors import BuildError
from pytest_ckpt_compat.fingerprint import dumps, loads
from pytest_ckpt_compat.structure import Structure, TensorSpec

#: Bytes of the largest file that is extracted: code and settings are smaller, weights are not.
_LARGEST = 10 << 20
_SECONDS = 600


@dataclass(frozen=True)
class Answer:
    """What the earlier code says.

    Attributes:
        definition: the structure of the definition as it was, or None where there was none.
        changes: name -> what a load of the structure of that name into it found.
    """

    definition: Structure | None = None
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)


def ask(
    base: git.Base, registration: Registration, definition: Definition, structures: Mapping[str, Structure]
) -> Answer:
    """Loads structures into the definition as the commit had it.

    Raises:
        BuildError: the earlier code cannot be found, imported or built.
        UsageError: git cannot read the commit.
    """
    request = {
        "model": _address(registration, definition),
        "kwargs": dict(registration.kwargs),
        "strict": registration.policy.strict,
        "strip_prefix": registration.strip_prefix,
        "optimizer": _optimizer_address(registration, definition),
        "structures": {
            name: dumps(each, each.values, bool(each.optimizers)) for name, each in structures.items()
        },
    }
    try:
        text = json.dumps(request, sort_keys=True)
    except (TypeError, ValueError) as error:
        why = f"its kwargs cannot be handed to another process ({error})"
        raise _unbuildable(base, definition, why) from error
    import importlib.metadata

    versions = f"{sys.version} {importlib.metadata.version('torch')} {base.prefix}"
    digest = hashlib.sha256((text + versions).encode()).hexdigest()
    folder = cache_folder() / base.tree
    kept = folder / "answers" / f"{digest}.json"
    try:
        data = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        tree = _extracted(base, folder)
        data = _run(base, tree, request | {"paths": _paths(base, tree, definition), "top": str(base.top)})
        if "error" not in data:
            _keep(kept, json.dumps(data))
    if "error" in data:
        raise _unbuildable(base, definition, data["error"])
    return _read(data)


def cache_folder() -> Path:
    """Where trees and answers are kept: outside of every project."""
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "pytest-ckpt-compat"


def _unbuildable(base: git.Base, definition: Definition, why: str) -> BuildError:
    advice = "make it importable with today's dependencies, or record its snapshot on that branch"
    inside = git.submodules(base)
    if inside:
        advice += f" (submodules are not looked into: {', '.join(inside)})"
    return BuildError(f"{definition.name or definition.label} at {base.label}", why, advice)


def _address(registration: Registration, definition: Definition) -> str:
    if isinstance(registration.model, str):
        return registration.model
    if not definition.name:
        raise _nameless(definition.label, "model")
    return _named(definition.target, definition.label, "model")


def _optimizer_address(registration: Registration, definition: Definition) -> str | None:
    """Of the optimizer at level resume; an own class of torch's goes by its name, too."""
    if registration.level != "resume" or isinstance(registration.optimizer, str):
        return registration.optimizer if registration.level == "resume" else None
    return _named(registration.optimizer, f"the optimizer of {definition.label}", "optimizer")


def _named(target: Any, label: str, option: str) -> str:
    name = getattr(target, "__qualname__", "")
    if not name or "<" in name:
        raise _nameless(label, option)
    return f"{target.__module__}:{name}"


def _nameless(label: str, option: str) -> BuildError:
    problem = "has no name by which an earlier commit's code could be asked for it"
    return BuildError(label, problem, f'give {option}="package.module:attr"')


def _paths(base: git.Base, tree: Path, definition: Definition) -> list[str]:
    """The search path of this process, with the folders of the repository as the commit had them."""
    top = os.path.realpath(base.top)
    found = [_import_root(definition), str(base.root), *sys.path]
    inside = [os.path.realpath(path) for path in found if path]
    kept = [path for path in inside if (path + os.sep).startswith(top + os.sep)]
    ours = [path for path in kept if not path.startswith(os.path.realpath(sys.prefix) + os.sep)]
    return list(dict.fromkeys(str(tree / os.path.relpath(path, top)) for path in ours))


def _import_root(definition: Definition) -> str:
    """The folder from which the definition's module was imported."""
    target = definition.target if hasattr(definition.target, "__module__") else type(definition.target)
    name = target.__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    if not file:
        return ""
    package = Path(file).parent if Path(file).stem != "__init__" else Path(file).parent.parent
    return str(package.parents[name.count(".") - 1] if name.count(".") else package)


def _extracted(base: git.Base, folder: Path) -> Path:
    """The commit's tree on disk; extracted once, whole or not at all."""
    tree = folder / "tree"
    if tree.is_dir():
        return tree
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder))
    try:
        with tarfile.open(fileobj=_Stream(git.archive(base)), mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if _wanted(member) else None
                if content is not None:
                    place = temporary / member.name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(content.read())
        os.replace(temporary, tree)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not tree.is_dir():  # another process may have been quicker
            raise BuildError(str(folder), f"cannot be written ({error})", "check the folder") from error
    return tree


def _wanted(member: tarfile.TarInfo) -> bool:
    """Files of code and settings; links might lead out of the tree."""
    return member.isfile() and member.size <= _LARGEST and ".." not in Path(member.name).parts


class _Stream(io.RawIOBase):
    """Blocks of bytes, to be read as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes."""
        while size < 0 or len(self._rest) < size:
            block = next(self._blocks, b"")
            if not block:
                break
            self._rest += block
        end = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:end], self._rest[end:]
        return data


def _run(base: git.Base, tree: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    package = str(Path(__file__).parent.parent)
    code = f"import sys; sys.path.append({package!r})\n"
    code += "from pytest_ckpt_compat.at_base import main; main(*sys.argv[1:])"
    place = tree / base.prefix
    with tempfile.TemporaryDirectory() as name:
        asked, answer = Path(name) / "asked.json", Path(name) / "answer.json"
        asked.write_text(json.dumps(request), encoding="utf-8")
        try:
            done = subprocess.run(  # noqa: S603
                [sys.executable, "-c", code, str(asked), str(answer)],
                cwd=place if place.is_dir() else tree,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"it took more than {_SECONDS} seconds"}
        if answer.exists():
            return dict(json.loads(answer.read_text(encoding="utf-8")))
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return {"error": f"its process ended with {done.returncode}: {lines[-1] if lines else ''}"}


def _keep(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _read(data: Mapping[str, Any]) -> Answer:
    if data.get("absent"):
        return Answer()
    verdicts = data["verdicts"].items()
    changes = {name: tuple(_change(each) for each in verdict["changes"]) for name, verdict in verdicts}
    return Answer(loads(data["definition"], "the earlier definition"), changes)


def _change(data: Mapping[str, Any]) -> Change:
    return Change(
        kind=data["kind"],
        old=tuple(data["old"]),
        new=tuple(data["new"]),
        old_specs=tuple(map(TensorSpec.parse, data["old_specs"])),
        new_specs=tuple(map(TensorSpec.parse, data["new_specs"])),
        group=data.get("group", ""),
        detail=data.get("detail", ""),
        rule=data["rule"],
        severity=Severity(data["severity"]),
    )
