"""Groups tensors into units: a layer's weight and bias, a batch norm's five tensors, a lone parameter.

Units are matched instead of tensors, so a bias always stays with its weight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames.units.parametrized import MAIN, Form, Parametrized, parametrized
from pytest_ckpt_compat._renames.units.tokens import segment_tokens

if TYPE_CHECKING:
    from pytest_ckpt_compat._renames.units.owners import Label

#: Name of a parameter or buffer -> its role in a layer.
ROLES: Mapping[str, str] = MappingProxyType(
    {
        "weight": "weight",
        "bias": "bias",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
        "moving_var": "running_var",
        "running_mean": "running_mean",
        "running_var": "running_var",
        "num_batches_tracked": "num_batches_tracked",
    }
)

#: Number of dimensions of a matrix; a kernel has more.
MATRIX = 2

#: Parameters whose names include the layer: ``in_proj_weight``, ``q_bias``.
_SUFFIXED = re.compile(r"(?P<name>.+)_(?P<role>weight|bias)")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a unit.

    Attributes:
        role: what it is in the unit.
        key: its key.
        spec: its shape and dtype.
        form: how the parameter is stored that it is, or is a part of.
        part: which part of that parameter it is.
    """

    role: str
    key: str
    spec: TensorSpec
    form: Form = "plain"
    part: str = MAIN


@dataclass(frozen=True)
class Unit:
    """Tensors that are renamed together.

    Attributes:
        path: the module, or the key of a lone parameter.
        tensors: at least one; the first is the main one.
        copies: number of identical units that it represents, for each repeated block around it.
        numbers: the numbers of these copies.
        parts: the units that it joins, if the other side holds them as one.
        label: what is known of the module that owns it, where both sides are code.
    """

    path: str
    tensors: tuple[Tensor, ...]
    copies: tuple[int, ...] = ()
    numbers: tuple[tuple[str, ...], ...] = ()
    parts: tuple[Unit, ...] = ()
    label: Label | None = None

    @property
    def main(self) -> TensorSpec:
        """Spec of the main tensor."""
        return self.tensors[0].spec

    @property
    def dimensions(self) -> int:
        """How many of the sizes of the main tensor are above 1."""
        return sum(size > 1 for size in self.main.shape)

    @cached_property
    def kind(self) -> tuple[object, ...]:
        """A value that is equal for units that can hold the same numbers, as often."""
        return (*shape_class(self.main), self.copies)

    @cached_property
    def slot(self) -> tuple[object, ...]:
        """A value that differs for units of one kind that cannot stand in for each other, transposed or not.

        The bias of an oblong matrix shows which of its sizes is the output: 512 x 2048 with a bias of 2048 is
        never 512 x 2048 with one of 512. The kernels of one side lie in one order, so that 512 x 2048 x 1 x 1
        is never 2048 x 512 x 1 x 1.
        """
        if len(self.main.shape) > MATRIX:
            return (*self.kind, self.main.shape)
        oblong = len({size for size in self.main.shape if size != 1}) > 1
        biases = (tensor.spec.numel for tensor in self.tensors if tensor.role == "bias")
        return (*self.kind, next(biases, 0) if oblong else 0)

    @property
    def numel(self) -> int:
        """Number of elements, copies included."""
        return sum(tensor.spec.numel for tensor in self.tensors) * math.prod(self.copies)


def units_of(specs: Mapping[str, TensorSpec]) -> list[Unit]:
    """Groups tensors into units, in the order of their first keys."""
    replaced = parametrized(specs)
    # A parametrized parameter is located once, where its first part is, as if it were stored plainly.
    parameters: dict[str, Parametrized | None] = {}
    for key in specs:
        each = replaced.get(key)
        parameters.setdefault(each.parameter if each else key, each)
    located = [(parameter, *_locate(parameter)) for parameter in parameters]
    branching = {path.rpartition(".")[0] for _, path, _ in located}
    grouped: dict[str, dict[str, Tensor]] = {}
    for parameter, path, leaf in located:
        role = ROLES.get(leaf, "value")
        own_name = leaf if leaf in ("gamma", "beta") and path in branching else ""
        other = f"{path}.{leaf}"  # a layer has its bias of its own, beside which q_bias is another parameter
        taken = role in grouped.get(path, ()) or (other != parameter and other in parameters)
        if role == "value" or own_name or taken:
            path, role = parameter, "value"
        for tensor in _stored(parameter, role, parameters[parameter], specs):
            grouped.setdefault(path, {})[tensor.role] = tensor
    _adopt_biases(grouped)
    return [Unit(path, tuple(sorted(tensors.values(), key=_rank))) for path, tensors in grouped.items()]


def _stored(
    parameter: str, role: str, replaced: Parametrized | None, specs: Mapping[str, TensorSpec]
) -> Iterator[Tensor]:
    """Yields the tensors that a parameter is stored as."""
    if replaced is None:
        yield Tensor(role, parameter, specs[parameter])
        return
    for part, key in replaced.parts.items():
        yield Tensor(f"{role}:{part}" if part else role, key, specs[key], replaced.form, part)


def _adopt_biases(grouped: dict[str, dict[str, Tensor]]) -> None:
    """Adds a lone bias to the sibling layer that it is named after (``q_bias`` to ``query``)."""
    biases = [path for path, tensors in grouped.items() if tensors.keys() == {"bias"}]
    parents = {path.rpartition(".")[0] for path in biases}
    layers = {
        (path.rpartition(".")[0], segment_tokens(path.rpartition(".")[2])): path
        for path, tensors in grouped.items()
        if tensors.keys() == {"weight"} and path.rpartition(".")[0] in parents
    }
    for path in biases:
        parent, _, name = path.rpartition(".")
        layer = layers.get((parent, segment_tokens(name)))
        bias = grouped[path]["bias"]
        if layer and grouped[layer]["weight"].spec.shape[:1] == bias.spec.shape:
            grouped[layer]["bias"] = bias
            del grouped[path]


def _locate(key: str) -> tuple[str, str]:
    """Splits a key into the path of its layer and the name of the tensor in it."""
    path, _, leaf = key.rpartition(".")
    suffixed = None if leaf in ROLES else _SUFFIXED.fullmatch(leaf)
    if suffixed:
        return f"{path}.{suffixed['name']}".lstrip("."), suffixed["role"]
    return path, leaf


def _rank(tensor: Tensor) -> tuple[bool, bool, int]:
    """Sorts the main tensor of a unit first: its weight, else the largest."""
    return tensor.role != "weight", tensor.part != MAIN, -tensor.spec.numel


def shape_class(spec: TensorSpec) -> tuple[object, ...]:
    """Returns a value that is equal for specs that can hold the same numbers: sorted sizes, without 1s."""
    return (_is_floating(spec), *sorted(size for size in spec.shape if size != 1))


def _is_floating(spec: TensorSpec) -> bool:
    return "float" in spec.dtype or spec.dtype.startswith("complex")
