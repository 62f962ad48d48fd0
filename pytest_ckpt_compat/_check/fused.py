"""A checkpoint in the form of training, for a definition in its deployed one, with branches fused."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_ckpt_compat._check.norms import folded
from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._renames.units.paths import template

_LOST: frozenset[Kind] = frozenset({"missing", "unexpected", "resized", "head-resized"})
_STATISTIC = "running_mean"
#: What is said of a tensor of the checkpoint that was fused.
INTO = "fused here with the BatchNorm and the branches beside it"
_FUSE = (
    "load it into the model as it was trained, fuse that by its own code (fuse, switch_to_deploy), and "
    "save it again, or fuse while loading (migrate=): to drop these is to lose what was trained"
)


def with_fused(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; those of modules whose kernels took the BatchNorm and the branches beside them, with this.

    A BatchNorm that stays, in such a module or elsewhere, says nothing against it.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    found = _Fusion.of(changes, old, new)
    if not found.norms or found.norms <= folded(changes, old, new).keys():
        return changes
    fused = [parent for parent in found.parents() if found.explains(parent)]
    return [
        _told(each)
        if each.kind in _LOST and not each.advice and any(_is_in(each, parent) for parent in fused)
        else each
        for each in changes
    ]


def _is_in(change: Change, parent: str) -> bool:
    return all(_below(key, parent) for key in (*change.old, *change.new))


def _below(key: str, parent: str) -> bool:
    return not parent or key.startswith(f"{parent}.")


def _told(change: Change) -> Change:
    detail = INTO if not change.new else change.detail
    detail = detail if change.old else "of what is fused here"
    return replace(
        change, kind="resized" if change.old and change.new else change.kind, detail=detail, advice=_FUSE
    )


@dataclass(frozen=True)
class _Fusion:
    """What a load leaves over, as far as kernels can have been fused.

    Attributes:
        lost: key of the checkpoint that has no place in the definition -> its shape.
        gained: key of the definition that the checkpoint lacks, or has in another size -> its shape.
        norms: each BatchNorm of the checkpoint that is lost.
        kernels: each layer of the definition that has a kernel -> its shape.
    """

    lost: Mapping[str, tuple[int, ...]]
    gained: Mapping[str, tuple[int, ...]]
    norms: frozenset[str]
    kernels: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, changes: Sequence[Change], old: Structure, new: Structure) -> _Fusion:
        left = [each for each in changes if each.kind in _LOST]
        lost = {key: old.tensors[key].shape for each in left for key in each.old if key in old.tensors}
        gained = {key: new.tensors[key].shape for each in left for key in each.new if key in new.tensors}
        norms = frozenset(_module(key) for key in lost if key.endswith(f".{_STATISTIC}"))
        kernels = {_module(key): spec.shape for key, spec in new.tensors.items() if _is_kernel(spec.shape)}
        return cls(lost, gained, norms, kernels)

    def parents(self) -> set[str]:
        """The modules around the kernels that have a bias of which the checkpoint knows nothing."""
        return {_module(_module(key)) for key in self.gained if _is_bias(key, self.kernels)}

    def explains(self, parent: str) -> bool:
        """Whether all that a module lost can be in the kernels that it gained, and it gained no more."""
        gained = {key: shape for key, shape in self.gained.items() if _below(key, parent)}
        lost = {key: shape for key, shape in self.lost.items() if _below(key, parent)}
        if not any(_below(norm, parent) for norm in self.norms):
            return False
        if not all(_is_kernel(shape) or _is_bias(key, self.kernels) for key, shape in gained.items()):
            return False
        branches = {key: shape for key, shape in lost.items() if _is_kernel(shape)}
        layers = {_module(key): self.kernels[_module(key)] for key in gained}
        if not branches:  # a norm alone is folded, not fused
            return False
        taken = all(any(_holds(layer, each) for layer in layers.values()) for each in branches.values())
        vectors = all(len(shape) < 2 for key, shape in lost.items() if key not in branches)
        return taken and vectors and self._are_beside(branches, layers)

    def _are_beside(self, branches: Mapping[str, tuple[int, ...]], layers: Mapping[str, object]) -> bool:
        """Whether no more kernels than there are layers are as large as these, but for copies by number.

        Two of one size may follow each other, and no sum of kernels is what they compute.
        """
        sizes = {shape[2:] for key, shape in self.kernels.items() if key in layers}
        whole = [key for key, shape in branches.items() if shape[2:] in sizes and set(shape[2:]) != {1}]
        return len({template(key) for key in whole}) <= max(len(layers), 1)


def _holds(layer: tuple[int, ...], branch: tuple[int, ...]) -> bool:
    """Whether a kernel can be part of another: no larger, for as many outputs, of no more inputs.

    One that only mixes channels may stand before another branch, and have a width of its own.
    """
    if len(layer) != len(branch) or any(a < b for a, b in zip(layer[2:], branch[2:], strict=True)):
        return False
    return set(branch[2:]) == {1} or (layer[0] == branch[0] and layer[1] % branch[1] == 0)


def _is_bias(key: str, layers: Container[str]) -> bool:
    return key.rpartition(".")[2] == "bias" and _module(key) in layers


def _is_kernel(shape: tuple[int, ...]) -> bool:
    return len(shape) > 2


def _module(key: str) -> str:
    return key.rpartition(".")[0]
