"""Stands in for the functions that read checkpoint files, so that they give tensors without data."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType, TracebackType
from typing import Any

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.parts import part_of
from pytest_ckpt_compat._core.structure import SNAPSHOT, Structure
from pytest_ckpt_compat._definition.empty_state import empty_state
from pytest_ckpt_compat._definition.entries import tensors_in
from pytest_ckpt_compat._definition.watch import Watched, storage_of


class Files:
    """What the functions that stand in give for the files of one checkpoint.

    Args:
        structure: the structure of the checkpoint.
        path: of the checkpoint, as the loader gets it.
        tensors: what they give: tensors on ``meta``, the ``file``'s own, or ``zeros``.
        watched: gets the tensors that they give.
    """

    def __init__(self, structure: Structure, path: str, tensors: str, watched: Watched) -> None:
        self.served = False
        self.tensors = tensors
        self.there = file_is_there(structure, path)
        self._structure, self._watched = structure, watched
        self._top = os.path.realpath(path)
        self._files = {self._top, *(os.path.realpath(e.file) for e in structure.locations.values())}
        self._kept: list[Any] = []

    def own(self, file: Any) -> str:
        """The path of a file of the checkpoint, given as path or open file; "" for any other."""
        name = getattr(file, "name", file)
        if not isinstance(name, (str, os.PathLike)):
            return ""
        found = os.path.realpath(os.fspath(name))
        inside = found.startswith(self._top + os.sep)
        return found if isinstance(found, str) and (found in self._files or inside) else ""

    def note(self, value: Any) -> Any:
        """Returns a value that a loader reads, and takes note of the tensors in it."""
        self.served = True
        self._kept.append(value)
        for tensor in tensors_in(value):
            storage = storage_of(tensor)
            if storage is not None:
                self._watched.derived[storage] = frozenset((storage,))
        return value

    def state(self, path: str) -> Mapping[str, Any]:
        """The tensors of one file, without data."""
        structure = self._structure
        if self.there and path != self._top:
            structure = readers.read(path)
        return empty_state(structure, "meta" if self.tensors == "meta" else "cpu")

    def checkpoint(self) -> Any:
        """What ``torch.load`` gives for a file that is not there: its state_dicts and their surroundings."""
        structure, device = self._structure, "meta" if self.tensors == "meta" else "cpu"
        held = {path: part_of(structure, name) for name, path in structure.source.parts}
        held = held or {structure.source.container: structure}
        whole: dict[Any, Any] = dict(structure.values)
        for container, each in held.items():
            state = empty_state(each, device)
            if not container:
                return state
            *outer, last = container.split(".")
            inner = whole
            for name in outer:
                inner[name] = dict(inner[name]) if isinstance(inner.get(name), Mapping) else {}
                inner = inner[name]
            inner[last] = state
        return whole


def file_is_there(structure: Structure, path: str) -> bool:
    """Whether a structure is that of the file at a path, and not of a snapshot that stands in for one."""
    return structure.source.format != SNAPSHOT and os.path.exists(path)


@contextlib.contextmanager
def stand_ins(files: Files) -> Iterator[None]:
    """Stands in, inside the context, for the functions that read files, wherever a module has them."""
    import torch

    replaced: list[tuple[Any, Any]] = [
        (torch.load, _torch_load(files, torch.load)),
        (torch.jit.load, _jit_load(files, torch.jit.load)),
    ]
    with contextlib.suppress(ImportError):
        import safetensors
        import safetensors.torch

        load_file: Any = safetensors.torch.load_file
        replaced.append((load_file, _load_file(files, load_file)))
        replaced.append((safetensors.safe_open, _safe_open(files, safetensors.safe_open)))
    _exchange({id(old): new for old, new in replaced})
    try:
        yield
    finally:
        # Modules that were imported meanwhile have the functions that stand in, too.
        _exchange({id(new): old for old, new in replaced})


def _exchange(replaced: Mapping[int, Any]) -> None:
    """Replaces objects by others, by identity, in the names of all modules."""
    wanted = frozenset(replaced)
    for module in list(sys.modules.values()):
        if not isinstance(module, ModuleType) or wanted.isdisjoint(map(id, list(vars(module).values()))):
            continue  # of the hundreds of thousands of names, few are looked at one by one
        names = vars(module)
        for name, value in list(names.items()):
            if id(value) in replaced:
                names[name] = replaced[id(value)]


def _torch_load(files: Files, original: Callable[..., Any]) -> Callable[..., Any]:
    def load(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not files.own(f):
            return original(f, map_location, *args, **kwargs)
        if not files.there:
            return files.note(files.checkpoint())
        if files.tensors == "meta":
            map_location = "meta"  # torch reads no data for it
            kwargs.pop("mmap", None)
        return files.note(original(f, map_location, *args, **kwargs))

    return load


def _jit_load(files: Files, original: Callable[..., Any]) -> Callable[..., Any]:
    def load(f: Any, *args: Any, **kwargs: Any) -> Any:
        if files.own(f):
            raise ReadError(
                files.own(f),
                "is read with torch.jit.load, which takes the model out of the file, too",
                "register the definition that its weights are loaded into",
            )
        return original(f, *args, **kwargs)

    return load


def _load_file(files: Files, original: Callable[..., Any]) -> Callable[..., Any]:
    def load_file(filename: Any, *args: Any, **kwargs: Any) -> Any:
        own = files.own(filename)
        if own and files.tensors != "file":
            return files.note(dict(files.state(own)))
        found = original(filename, *args, **kwargs)
        return files.note(found) if own else found

    return load_file


def _safe_open(files: Files, original: Callable[..., Any]) -> Callable[..., Any]:
    def safe_open(filename: Any, framework: str, *args: Any, **kwargs: Any) -> Any:
        own = files.own(filename)
        if not own or not framework.startswith(("pt", "torch")):
            return original(filename, framework, *args, **kwargs)
        real = original(filename, framework, *args, **kwargs) if files.there else None
        state = files.note(dict(files.state(own))) if files.tensors != "file" else None
        return _Opened(files, real, state)

    return safe_open


class _Opened:
    """A safetensors file that is open. Slices of its tensors are taken from whole ones."""

    def __init__(self, files: Files, real: Any, state: Mapping[str, Any] | None) -> None:
        self._files, self._real, self._state = files, real, state

    def __enter__(self) -> _Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._real is not None:
            self._real.__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the library offers: ``metadata``, ``offset_keys``."""
        if self._real is None:
            raise AttributeError(name)
        return getattr(self._real, name)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._real.keys() if self._state is None else self._state)

    def get_tensor(self, name: str) -> Any:
        """One tensor."""
        return self._files.note(self._real.get_tensor(name)) if self._state is None else self._state[name]

    def get_slice(self, name: str) -> Any:
        """One tensor, of which the loader takes a part."""
        real = None if self._real is None else self._real.get_slice(name)
        return _Slice(self._files, real, None if self._state is None else self._state[name])


class _Slice:
    """A tensor of which a loader takes a part."""

    def __init__(self, files: Files, real: Any, tensor: Any) -> None:
        self._files, self._real, self._tensor = files, real, tensor

    def __getitem__(self, part: Any) -> Any:
        return self._files.note(self._real[part]) if self._tensor is None else self._tensor[part]

    def __getattr__(self, name: str) -> Any:
        """Whatever else the library offers: ``get_shape``, ``get_dtype``."""
        if self._real is None:
            raise AttributeError(name)
        return getattr(self._real, name)
