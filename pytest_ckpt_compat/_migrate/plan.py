"""Turns the changes of a verdict into the steps of a migration, and what is left to decide."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from pytest_ckpt_compat._core.changes import TIED, Change, Kind
from pytest_ckpt_compat._core.rules import BY_KIND
from pytest_ckpt_compat._core.structure import OBJECT, Structure, TensorSpec
from pytest_ckpt_compat._core.ties import Source, sources
from pytest_ckpt_compat._migrate import part_order, shapes, squares
from pytest_ckpt_compat._migrate.settle import settled
from pytest_ckpt_compat._migrate.steps import COPY, DROP, MOVE, TRANSPOSED, Decision, Op, Plan, Step
from pytest_ckpt_compat._renames.believe import bare
from pytest_ckpt_compat._renames.units.parametrized import MAGNITUDE, MAIN, Parametrized, parametrized

#: Kinds that need no step: a load copes with them, or they are about something else than keys.
_NO_STEP: frozenset[Kind] = frozenset(
    {"retied", "unopenable", "optimizer-mismatch", "settings-changed", "output-drift"}
)
#: What helps with another size, where nothing more is known.
_ANOTHER_SIZE: Mapping[Kind, str] = {
    "head-resized": BY_KIND["head-resized"].advice,
    "resized": "build the model with the size that the file has, or write how the one becomes the other",
}
#: An advice that offers to drop a tensor: any other one says what is lost with it.
_MAY_DROP = re.compile(r"(?<!to )\bdrop (it|the key|these keys|them)\b")
_HOOKED = "a hook of the model has a part in it, and the keys do not show which"
#: Said of a tensor of the model that nothing in the checkpoint is known to become.
NO_SOURCE = (
    "nothing in the checkpoint is known to become it: say what does (--choose OLD=NEW), "
    "or start it anew with the model's own value"
)


def plan_of(changes: Iterable[Change], old: Structure, new: Structure) -> Plan:
    """The migration that a verdict's changes amount to.

    Args:
        changes: how the checkpoint differs from the model, explained.
        old: the checkpoint.
        new: the model.
    """
    steps: list[Step] = []
    decisions: list[Decision] = []
    stored, changes = _Stored.of(old, new), tuple(changes)
    absent = [key for change in changes if change.kind == "missing" for key in change.new]
    tied = sources(absent, changes, old, new)
    for change in changes:
        if change.kind in _NO_STEP:
            continue
        if not (old.tensors.keys() >= {*change.old} and new.tensors.keys() >= {*change.new}):
            text = f"{change.kind}: {_HOOKED}"
            decisions.append(Decision(change.old, change.new, text, change.group))
            continue
        for each in _of(change, old, new, stored, tied):
            (steps if isinstance(each, Step) else decisions).append(each)  # type: ignore[arg-type]
    return settled(Plan(tuple(steps), (), tuple(decisions)), old, new)


class _Stored:
    """How the parameters of both sides are stored: plainly, or in other terms."""

    def __init__(self, old: Mapping[str, Parametrized], new: Mapping[str, Parametrized]) -> None:
        self.old, self.new = old, new

    @classmethod
    def of(cls, old: Structure, new: Structure) -> _Stored:
        return cls(parametrized(old.tensors), parametrized(new.tensors))


def _of(
    change: Change, old: Structure, new: Structure, stored: _Stored, tied: Mapping[str, Source]
) -> Iterator[Step | Decision]:
    """The steps of one change, or what it leaves to decide."""
    undone = _undone(change)
    if undone is not None:
        yield undone
    elif change.kind in ("renamed", "prefixed", "transposed"):
        yield from _one_to_one(change, old, new)
    elif change.kind == "split":
        yield _divided(change, old, new)
    elif change.kind == "fused":
        yield _joined(change, old, new)
    elif change.kind == "reparametrized":
        yield from _reparametrized(change, old, new, stored)
    elif change.kind == "missing" or (change.kind == "extra-state" and not change.old):
        yield from _missing(change, tied)
    elif change.kind in ("unexpected", "extra-state"):
        yield Step(DROP, change.old, group=change.group)


def _undone(change: Change) -> Decision | None:
    """What no step does, in the words of the report; None of anything else."""
    if change.kind in ("resized", "head-resized"):
        return _resized(change)
    if change.kind == "retyped" and change.advice:  # it loads as other numbers; any other one a load casts
        return replace(_resized(change), hint="")
    if change.kind == "unexpected" and change.advice and not _MAY_DROP.search(change.advice):
        return Decision(change.old, (), _caused(change), change.group, f"{change.old[0]}=")
    if change.kind == "unmerged":
        text = change.advice or BY_KIND["unmerged"].advice
        return Decision(change.old, change.new, text, "an adapter that is not merged")
    if change.kind == "partial-load":
        return Decision((), change.new, "the load leaves it as it is initialised", change.group)
    if change.kind in ("load-raises", "nothing-loaded"):
        return Decision(change.old, change.new, change.detail)
    return None


def _shapes(keys: Iterable[str], side: Structure) -> list[tuple[int, ...]]:
    return [side.tensors[key].shape for key in keys]


def _divided(change: Change, old: Structure, new: Structure) -> Step | Decision:
    (whole,), parts = change.old, part_order.by_name(change.new, change.old[0])
    op = shapes.divided(old.tensors[whole].shape, _shapes(parts, new))
    if op is None:
        text = "how it was divided does not follow from the shapes"
        return Decision(change.old, change.new, text, change.group)
    doubt = part_order.doubt(parts, whole, new.tensors, old.tensors)
    step = _ordered(_made(change, op, change.old, parts), part_order.told(change.new, parts, whole), doubt)
    return squares.doubted_columns(step, new.tensors)


def _joined(change: Change, old: Structure, new: Structure) -> Step | Decision:
    parts, (whole,) = part_order.by_name(change.old, change.new[0]), change.new
    op = shapes.joined(_shapes(parts, old), new.tensors[whole].shape)
    if op is None:
        text = "how they were joined does not follow from the shapes"
        return Decision(change.old, change.new, text, change.group)
    doubt = part_order.doubt(parts, whole, old.tensors, new.tensors)
    step = _ordered(_made(change, op, parts, change.new), part_order.told(change.old, parts, whole), doubt)
    return squares.doubted_columns(step, old.tensors)


def _ordered(step: Step, caution: str, doubt: str) -> Step:
    """The step with what is said of the order of its numbers; no doubt, where that is certain.

    Parts of which the names say nothing are likely where they stand in the order of their model.
    """
    if step.confidence == "likely" and doubt.startswith(part_order.UNTOLD):
        return replace(step, caution=doubt)
    return replace(step, caution=caution, doubt=doubt if step.confidence != "certain" else "")


def _made(change: Change, op: Op, old: tuple[str, ...], new: tuple[str, ...]) -> Step:
    candidates = () if len(change.old) != len(old) else change.candidates
    return Step(op, old, new, change.confidence, change.evidence, candidates, change.rivals, change.group)


def _one_to_one(change: Change, old: Structure, new: Structure) -> Iterator[Step | Decision]:
    if len(change.old) != len(change.new):
        yield Decision(change.old, change.new, f"moved: {_HOOKED}", change.group)
        return
    for one, other in zip(change.old, change.new, strict=True):
        yield _pair(change, one, other, old, new)


def _pair(change: Change, one: str, other: str, old: Structure, new: Structure) -> Step | Decision:
    before, after = old.tensors[one], new.tensors[other]
    op = operation(before, after)
    if op is not None:
        caution = part_order.by_head_no_more(one, other)
        caution = _transposable(one, other) if bare.IN_DOUBT in change.evidence else caution
        return _ordered(
            _made(change, op, (one,), (other,)), caution, part_order.renamed_across(one, other, before)
        )
    text = f"{before} -> {after}: in which order its numbers are to stand does not follow from the shapes"
    text += f": {change.advice}" if change.advice else ""
    return Decision((one,), (other,), text, change.group)


def _transposable(one: str, other: str) -> str:
    choice = shlex.quote(f"{one}={other}{TRANSPOSED}")
    return f"{bare.IN_DOUBT}: --choose {choice} transposes it"


def operation(before: TensorSpec, after: TensorSpec) -> Op | None:
    """What makes one entry of another, if that follows from their specs."""
    if OBJECT in (before.dtype, after.dtype):
        return MOVE if before.dtype == after.dtype else None
    return shapes.one_to_one(before.shape, after.shape)


def _resized(change: Change) -> Decision:
    before, after = change.old_specs or ("",), change.new_specs or ("",)
    sizes = f"{before[0]} -> {after[0]}" + (f", {change.detail}" if change.detail else "")
    text = change.advice or _ANOTHER_SIZE[change.kind]
    hint = f"{change.old[0]}=" if change.old else ""
    return Decision(change.old, change.new, text, change.group, hint, detail=sizes)


def _missing(change: Change, tied: Mapping[str, Source]) -> Iterator[Step | Decision]:
    for key in change.new:
        if key in tied:
            twin = tied[key]
            yield Step(COPY, (twin.tensor,), (key,), twin.confidence, (TIED + twin.key,), group=change.group)
        else:
            yield Decision((), (key,), _caused(change) if change.advice else NO_SOURCE, change.group)


def _caused(change: Change) -> str:
    """Why something is missing or left over, and what helps, where the report knows it."""
    return f"{change.detail}: {change.advice}" if change.detail else change.advice


def _reparametrized(
    change: Change, old: Structure, new: Structure, stored: _Stored
) -> Iterator[Step | Decision]:
    """The same parameter in other terms: renamed part by part, or computed."""
    before, after = stored.old.get(change.old[0]), stored.new.get(change.new[0])
    if len(change.old) == len(change.new) and before is not None and after is not None:
        yield from _one_to_one(change, old, new)
        return
    op = _conversion(change, old, new, before, after)
    if op is not None:
        yield _made(change, op, change.old, change.new)
        return
    text = "one form of it cannot be computed from the other: convert it, or load before you parametrize"
    yield Decision(change.old, change.new, change.advice or text, change.group)


def _conversion(
    change: Change,
    old: Structure,
    new: Structure,
    before: Parametrized | None,
    after: Parametrized | None,
) -> Op | None:
    if before is not None and len(change.new) == 1 and after is None:
        specs = {part: old.tensors[key].shape for part, key in before.parts.items()}
        if specs[MAIN] != new.tensors[change.new[0]].shape:
            return None
        keys = before.parts
        if keys.keys() == {MAGNITUDE, MAIN} and change.old == (keys[MAGNITUDE], keys[MAIN]):
            return _of_dim("weight_norm", shapes.magnitude_dim(specs[MAGNITUDE], specs[MAIN]))
        if keys.keys() == {MAIN, "u", "v"} and change.old == (keys[MAIN], keys["u"], keys["v"]):
            layer = new.modules.get(change.new[0].rpartition(".")[0], "")
            dim = shapes.spectral_dim(specs["u"], specs["v"], specs[MAIN], layer)
            return Op("unspectral") if dim == 0 else _of_dim("unspectral", dim)
        if keys.keys() == {MAIN, "mask"} and change.old == (keys[MAIN], keys["mask"]):
            return Op("masked")
    if after is not None and len(change.old) == 1 and before is None:
        keys = after.parts
        if keys.keys() == {MAGNITUDE, MAIN} and change.new == (keys[MAGNITUDE], keys[MAIN]):
            magnitude, direction = (new.tensors[keys[part]].shape for part in (MAGNITUDE, MAIN))
            if direction == old.tensors[change.old[0]].shape:
                return _of_dim("norm_and_direction", shapes.magnitude_dim(magnitude, direction))
    return None


def _of_dim(name: str, dim: int | None) -> Op | None:
    return None if dim is None else Op(name, (dim,))  # type: ignore[arg-type]
