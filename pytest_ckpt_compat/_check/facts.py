"""What a load found, as changes: torch's lists, and what torch does not report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pytest_ckpt_compat._check import compare, left_out
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._definition.beside import Beside
from pytest_ckpt_compat._definition.observation import Outcome, Shape

#: What is said of a tensor that the definition keeps in its extra state.
EXTRA = "not in the state_dict, set by set_extra_state"
#: Whether a buffer that is not saved holds the checkpoint's numbers -> what is said of it, and what helps.
_BUFFERS: Mapping[bool | None, tuple[str, str]] = {
    True: (
        "still there, persistent=False, with these values: safe to drop",
        "drop the key while loading (migrate=), since the definition makes the same values itself",
    ),
    False: (
        "still there, persistent=False, with other values",
        "make the buffer persistent again if the values matter, or drop the key while loading (migrate=)",
    ),
    None: (
        "still there, persistent=False",
        "drop the key while loading (migrate=), if the definition makes the same values itself",
    ),
}
#: How the classes of torch end whose parameters the argument ``affine`` makes.
_AFFINE = (
    *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "GroupNorm"),
    *("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
)
_OWN_SIZE = "drop the key while loading (migrate=), if the definition makes its values for its own size"
#: The same for what else a definition may have under a key.
_OTHERS: Mapping[str, tuple[str, str]] = {
    "none": (
        "is None here, and torch loads nothing into None",
        "register a tensor of the checkpoint's size first, or drop the key while loading (migrate=)",
    ),
    "extra": (
        EXTRA,
        "move its value into the extra state while loading (migrate=)",
    ),
    "attribute": (
        "still there, as an attribute that is not in the state_dict",
        "register it as a buffer, or drop the key while loading (migrate=) if the definition makes it itself",
    ),
}


def as_changes(old: Structure, new: Structure, outcome: Outcome) -> Iterator[Change]:
    """What torch found, in full, and what it does not report."""
    tied = compare.tied_to(new, frozenset(outcome.missing))
    found = [
        *(_resized(key, shapes, old, new) for key, shapes in outcome.mismatched.items()),
        *(_missing(key, old, new, outcome, tied) for key in outcome.missing),
        *(_unexpected(key, old, new, outcome.beside.get(key)) for key in outcome.unexpected),
        *(_raised(error, old, new) for error in outcome.errors),
    ]
    yield from found
    unloaded = {*outcome.untouched, *(key for change in found for key in change.new)}
    if not outcome.complete:
        # torch stopped half-way: what it did not get to is read off the two structures.
        known = {(key, side) for change in found for side in ("old", "new") for key in getattr(change, side)}
        for change in compare.compare(old, new):
            rest = {(key, side) for side in ("old", "new") for key in getattr(change, side)}
            if change.kind not in ("retyped", "retied") and not rest & known:
                unloaded.update(change.new)
                yield change
    if outcome.raised and not found:
        yield Change("load-raises", detail="load_state_dict raised without saying why")
    yield from left_out.unexpected(old, new, outcome)
    yield from left_out.lost(new, outcome)
    if outcome.untouched:
        specs = tuple(new.tensors[key] for key in outcome.untouched)
        yield Change("partial-load", new=outcome.untouched, new_specs=specs)
    yield from compare.retyped(old, new, unloaded, outcome.copied)
    yield from compare.retied(old, new, outcome.left_out, outcome.tied)


def _missing(key: str, old: Structure, new: Structure, outcome: Outcome, tied: Mapping[str, str]) -> Change:
    if not outcome.raised and key in old.tensors and key in new.tensors:
        return left_out.of(key, old, new)
    return compare.missing(key, new, tied)


def _raised(error: str, old: Structure, new: Structure) -> Change:
    """The change for an error of the load; a sparse tensor that meets a dense one in a word of its own."""
    for key in _differently_sparse(old, new) if "sparse" in error.lower() else ():
        if f'"{key}"' in error:
            was, now, turn = "sparse", "dense", "to_dense()"
            if new.tensors[key].dtype.startswith("sparse"):
                layout = new.tensors[key].dtype.removeprefix("sparse_").partition("_")[0]
                was, now, turn = "dense", "sparse", f"to_sparse(layout=torch.sparse_{layout})"
                # torch copies only between compressed tensors of equally many elements.
                turn += "" if layout == "coo" else " with as many elements as here"
            advice = f"make {key} {now} while loading (migrate=), by {turn}, or keep it {was} here"
            return Change("load-raises", detail=f"{key} is {was} in the file and {now} here", advice=advice)
    return Change("load-raises", detail=error)


def _differently_sparse(old: Structure, new: Structure) -> list[str]:
    """The keys whose tensor is sparse on one side alone."""
    sides = (old.tensors, new.tensors)
    sparse = [{key for key, spec in side.items() if spec.dtype.startswith("sparse")} for side in sides]
    return [key for key in old.tensors if key in new.tensors and (key in sparse[0]) != (key in sparse[1])]


def _unexpected(key: str, old: Structure, new: Structure, there: Beside | None) -> Change:
    """The change for a key that torch had no use for, and what the definition has under it instead."""
    change = compare.unexpected(key, old)
    if there is None or change.kind != "unexpected":
        return change
    if there.how == "none" and (argument := _switch(key, new)):
        advice = (
            f"build the layer with {argument}=True, as the checkpoint has it, or lose what was trained in it"
        )
        return replace(change, detail=f"is None here: built without {argument}", advice=advice)
    if there.how == "number":
        return _number(change, there) if [each.numel for each in change.old_specs] == [1] else change
    if there.how == "buffer" and there.shape not in (None, old.tensors[key].shape):
        detail = f"still there, persistent=False, of another size {list(there.shape or ())}"
        return replace(change, detail=detail, advice=_OWN_SIZE)
    if there.how == "elsewhere":
        if there.shape != old.tensors[key].shape:
            return change
        detail, advice = _BUFFERS[there.equal]
        return replace(change, detail=detail.replace("still there", f"{there.value} here"), advice=advice)
    detail, advice = _BUFFERS[there.equal] if there.how == "buffer" else _OTHERS[there.how]
    return replace(change, detail=detail, advice=advice)


def _switch(key: str, new: Structure) -> str:
    """The argument without which torch's own layer has no such parameter: ``bias``; "" of anything else."""
    module, _, name = key.rpartition(".")
    package, _, kind = new.modules.get(module, "").partition("(")[0].rpartition(".")
    if package.partition(".")[0] != "torch" or name not in ("weight", "bias"):
        return ""
    if kind.endswith(_AFFINE):
        return "affine"
    return "elementwise_affine" if name == "weight" and kind.endswith("Norm") else "bias"


def _number(change: Change, there: Beside) -> Change:
    detail = f"a {there.value} here, which the load does not set"
    advice = "register it as a parameter or a buffer, or build the definition with the checkpoint's value"
    return replace(change, detail=detail, advice=advice)


def _resized(key: str, shapes: tuple[Shape, Shape], old: Structure, new: Structure) -> Change:
    """By torch's own shapes: a hook may have made the tensor out of others."""
    both = key in old.tensors and key in new.tensors
    if both and shapes == (old.tensors[key].shape, new.tensors[key].shape):
        return compare.resized(key, old, new)
    before, after = (TensorSpec("any", shape) for shape in shapes)
    own = (key,) if key in old.tensors else ()
    return Change(
        "resized", own, (key,), (before,), (after,), detail="the shape after a load_state_dict hook"
    )
