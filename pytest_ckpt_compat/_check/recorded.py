"""What is known of the modules that a checkpoint was saved from: a recorded definition with its keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.parts import part_of
from pytest_ckpt_compat._core.structure import OBJECT, Structure
from pytest_ckpt_compat._definition.find import Definition

#: Gives recorded definitions, the best first. Called only where an explanation needs one.
Recorded = Callable[[], Iterable[Structure]]


def nothing() -> Iterable[Structure]:
    """No definition was recorded."""
    return ()


def parts_of(recorded: Recorded, definition: Definition) -> Recorded:
    """The parts of the definitions that ``recorded`` gives, where the definition has parts."""
    return lambda: (part_of(each, name) for each in recorded() for name in definition.parts)


def with_modules(structure: Structure, recorded: Recorded) -> Structure:
    """The structure in the order and with the modules of a recorded definition that has its keys and shapes.

    The structure itself where none has, or where its own modules are known.
    """
    if structure.modules:
        return structure
    shapes = _shapes(structure)
    for each in recorded():
        if each.modules and _are_of(shapes, each):
            order = [key for key in each.tensors if key in structure.tensors]
            rest = (key for key in structure.tensors if key not in each.tensors)
            tensors = {key: structure.tensors[key] for key in (*order, *rest)}
            return replace(structure, tensors=tensors, modules=each.modules, settings=each.settings)
    return structure


def with_classes(structure: Structure, changes: Iterable[Change], recorded: Recorded) -> Structure:
    """The structure as it is, with the classes of a recorded definition that has its keys and shapes.

    They are looked for only where a change is about a tensor of another shape.
    """
    if not any(each.kind in ("resized", "head-resized", "transposed") for each in changes):
        return structure
    known = with_modules(structure, recorded)
    return replace(structure, modules=known.modules, settings=known.settings)


def _shapes(structure: Structure) -> dict[str, tuple[int, ...]]:
    return {key: spec.shape for key, spec in structure.tensors.items() if spec.dtype != OBJECT}


def _are_of(shapes: dict[str, tuple[int, ...]], definition: Structure) -> bool:
    """Whether a definition saves these keys and shapes; a file may keep one of several tied keys."""
    wanted = _shapes(definition)
    if any(wanted.get(key) != shape for key, shape in shapes.items()):
        return False
    kept = {key for group in definition.aliases if not shapes.keys().isdisjoint(group) for key in group}
    return wanted.keys() - shapes.keys() <= kept
