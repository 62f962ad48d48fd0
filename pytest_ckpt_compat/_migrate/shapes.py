"""Finds the operation that makes tensors of some shapes out of tensors of others, where only one does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

from pytest_ckpt_compat._migrate.steps import MOVE, Op

Shape = tuple[int, ...]

#: Most dimensions whose orders are tried.
_MOST_DIMENSIONS = 6


def one_to_one(old: Shape, new: Shape) -> Op | None:
    """The operation that keeps, permutes or squeezes a tensor; None if several do, or none does."""
    if old == new:
        return MOVE
    if [n for n in old if n != 1] == [n for n in new if n != 1] and (op := _squeezed(old, new)):
        return op
    if len(old) != len(new) or len(old) > _MOST_DIMENSIONS or sorted(old) != sorted(new):
        return None
    orders = [order for order in permutations(range(len(old))) if tuple(old[i] for i in order) == new]
    moved = {tuple(i for i in order if old[i] != 1) for order in orders}
    return Op("permute", orders[0]) if len(moved) == 1 else None


def _squeezed(old: Shape, new: Shape) -> Op | None:
    """Dimensions of size 1 that go or come; None if some go and others come."""
    shorter, longer = sorted((old, new), key=len)
    dims: list[int] = []
    position = 0
    for dim, size in enumerate(longer):
        if position < len(shorter) and shorter[position] == size:
            position += 1
        elif size == 1:
            dims.append(dim)
        else:
            return None
    if position < len(shorter) or not dims:
        return None
    return Op("squeeze", tuple(reversed(dims))) if len(old) > len(new) else Op("unsqueeze", tuple(dims))


def divided(whole: Shape, parts: Sequence[Shape]) -> Op | None:
    """The operation that divides a tensor into parts, in their order; None if several do, or none does."""
    found = [op for op in (_along(whole, parts), _stacked(whole, parts)) if op is not None]
    return found[0] if len(found) == 1 else None


def joined(parts: Sequence[Shape], whole: Shape) -> Op | None:
    """The operation that joins tensors into one, in their order; None if several do, or none does."""
    op = divided(whole, parts)
    if op is None:
        return None
    if op.name == "unstack":
        return Op("stack", op.numbers)
    return Op("cat", op.numbers[:1])


def _along(whole: Shape, parts: Sequence[Shape]) -> Op | None:
    if len(parts) < 2 or any(len(part) != len(whole) for part in parts):
        return None
    dims = [
        dim
        for dim in range(len(whole))
        if sum(part[dim] for part in parts) == whole[dim]
        and all(part[:dim] + part[dim + 1 :] == whole[:dim] + whole[dim + 1 :] for part in parts)
    ]
    if len(dims) != 1:
        return None
    sizes = [part[dims[0]] for part in parts]
    return Op("chunk", (dims[0],)) if len(set(sizes)) == 1 else Op("split", (dims[0], *sizes))


def _stacked(whole: Shape, parts: Sequence[Shape]) -> Op | None:
    """Slices of the whole's first dimension, each of them one part or a joint of several equal ones."""
    first = parts[0]
    if not whole or len(first) != len(whole) - 1 or any(part != first for part in parts):
        return None
    number, slice_ = whole[0], whole[1:]
    if not number or len(parts) % number:
        return None
    each = len(parts) // number
    if each == 1:
        return Op("unstack", (0, 1, 0)) if first == slice_ else None
    inner = [
        dim
        for dim in range(len(slice_))
        if first[dim] * each == slice_[dim]
        and first[:dim] + first[dim + 1 :] == slice_[:dim] + slice_[dim + 1 :]
    ]
    return Op("unstack", (0, each, inner[0])) if len(inner) == 1 else None


def magnitude_dim(magnitude: Shape, direction: Shape) -> int | None:
    """The dimension that weight norm keeps, -1 for none, or None if the shapes do not tell."""
    if not magnitude:
        return -1
    if len(magnitude) != len(direction):
        return None
    kept = [i for i, size in enumerate(magnitude) if size != 1]
    if len(kept) == 1 and magnitude[kept[0]] == direction[kept[0]]:
        return kept[0]
    ones = [i for i, size in enumerate(direction) if size == 1]
    # One number for all of it: the norm over the others of a dimension of size 1 is that of everything.
    return ones[0] if not kept and ones and math.prod(magnitude) == 1 else None


def spectral_dim(u: Shape, v: Shape, main: Shape, layer: str) -> int | None:
    """The dimension by which spectral norm makes a matrix of a weight, or None if that is not known.

    Where the sizes fit several, it is the one that torch chooses for the class: the second dimension of a
    transposed convolution, and the first of every other layer of its own.

    Args:
        u: shape of the left singular vector, which has a number for each slice of that dimension.
        v: shape of the right one.
        main: shape of the weight.
        layer: class of the layer (``torch.nn.Conv2d``), or "" if it is not known.
    """
    fitting = [
        dim for dim, size in enumerate(main) if u == (size,) and v == (math.prod(main) // (size or 1),)
    ]
    if len(fitting) > 1 and layer.startswith("torch.nn."):
        fitting = [dim for dim in fitting if dim == int("ConvTranspose" in layer)]
    return fitting[0] if len(fitting) == 1 else None
