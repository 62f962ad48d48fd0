"""Finds the module whose hook a migration belongs into: the innermost that all of its keys are in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._migrate.steps import Step
from pytest_ckpt_compat._migrate.templates import Segments, segmented

_S = TypeVar("_S")


@dataclass(frozen=True)
class Owner:
    """A class of modules, and a migration as each of them sees it.

    Attributes:
        name: the class (``models.Block``), or "" for the model itself.
        paths: the modules of that class; "" is the model.
        steps: the migration, with keys relative to a module.
        keys: the old keys below the modules, relative to each.
        new_keys: the same of the model.
    """

    name: str
    paths: tuple[str, ...]
    steps: tuple[Step, ...]
    keys: tuple[str, ...]
    new_keys: tuple[str, ...]

    def relative(self, steps: Iterable[Step]) -> tuple[Step, ...]:
        """Steps with keys relative to the first module that they are in, each once."""
        found = (_below(step, path) for step in steps for path in self.paths if _is_below(step, path))
        return tuple(dict.fromkeys(found))

    def absolute(self, key: str) -> list[str]:
        """The keys of the model that one below a module stands for."""
        return [f"{path}.{key}" if path else key for path in self.paths]


def owner_of(together: Iterable[Step], live: Sequence[Step], old: Structure, new: Structure) -> Owner:
    """The innermost modules of one class that hold all the keys of some steps, alike in each of them.

    Args:
        together: steps whose keys are to be in the same modules; none if the model is to be taken.
        live: the migration.
        old: the checkpoint.
        new: the model, whose modules' classes are known; else the model is taken.
    """
    shared = _shared(together)
    for depth in range(len(shared), 0, -1):
        found = _at(shared[:depth], live, old, new)
        if found is not None:
            return found
    return Owner("", ("",), tuple(live), tuple(old.tensors), tuple(new.tensors))


def _shared(steps: Iterable[Step]) -> Segments:
    """The segments that all paths of modules in the steps begin with; None for a number."""
    found: Segments | None = None
    for step in steps:
        paths = [key.split(".")[:-1] for key in (*step.old, *step.new)]
        own = _beginning(paths)
        form = segmented(".".join(own))[0] if own else ()
        found = form if found is None else tuple(_beginning([found, form]))
    return found or ()


def _beginning(paths: Sequence[Sequence[_S]]) -> list[_S]:
    found: list[_S] = []
    for segments in zip(*paths, strict=False):
        if len(set(segments)) > 1:
            break
        found.append(segments[0])
    return found


def _at(form: Segments, live: Sequence[Step], old: Structure, new: Structure) -> Owner | None:
    """The modules at paths of one form, if they are all there are of one class, and change alike."""
    paths = [path for path in new.modules if path and segmented(path)[0] == form]
    classes = {new.modules[path] for path in paths}
    if len(classes) != 1:
        return None
    (name,) = classes
    if name.startswith("torch.") or [path for path, each in new.modules.items() if each == name] != paths:
        return None
    own = [tuple(_below(step, path) for step in live if _is_below(step, path)) for path in paths]
    if sum(map(len, own)) != len(live) or any(set(each) != set(own[0]) for each in own):
        return None
    return Owner(
        name, tuple(paths), own[0], tuple(_keys(old.tensors, paths)), tuple(_keys(new.tensors, paths))
    )


def _is_below(step: Step, path: str) -> bool:
    return not path or all(key.startswith(f"{path}.") for key in (*step.old, *step.new))


def _below(step: Step, path: str) -> Step:
    """A step with keys relative to a module; its reasons go, as they may differ from module to module."""
    if not path:
        return step
    start = len(path) + 1
    old, new = (tuple(key[start:] for key in keys) for keys in (step.old, step.new))
    return replace(step, old=old, new=new, evidence=step.evidence if step.confidence != "certain" else ())


def _keys(tensors: Mapping[str, object], paths: Sequence[str]) -> Iterator[str]:
    found = (key[len(path) + 1 :] for path in paths for key in tensors if key.startswith(f"{path}."))
    yield from dict.fromkeys(found)
