"""Modules with tensors of every make, in containers of every name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from tests.wide.hooks import Variant

_ODD = (
    "a b",
    "é",
    "0",
    "_orig_mod",
    "weight_g",
    "base",
    "a:b",
    "a/b",
    "*",
    "module",
    "x[0]",
    "-1",
    "'",
    "A",
    "data",
)


class Holder(nn.Module):
    """Parameters and buffers by name; None for a slot that is empty."""

    def __init__(self, parameters: Any = (), buffers: Any = (), persistent: bool = True) -> None:
        super().__init__()
        for name, value in dict(parameters).items():
            self.register_parameter(name, value)
        for name, value in dict(buffers).items():
            self.register_buffer(name, value, persistent=persistent)


def parameter(make: Callable[[int], torch.Tensor]) -> Variant:
    def variant(size: int) -> nn.Module:
        value = make(size)
        return Holder({"w": nn.Parameter(value, requires_grad=value.is_floating_point())})

    return variant


def buffer(make: Callable[[int], torch.Tensor | None], persistent: bool = True) -> Variant:
    return lambda size: Holder((), {"w": make(size)}, persistent)


def _both(make: Callable[[int], torch.Tensor]) -> tuple[Variant, ...]:
    return (parameter(make), buffer(make))


def _dtypes(*names: str) -> tuple[Variant, ...]:
    """As buffers: not every dtype can be a parameter. Those that this torch lacks are left out."""

    def variant(dtype: torch.dtype) -> Variant:
        return buffer(lambda size: torch.zeros(size, 2 * dtype.itemsize, dtype=torch.uint8).view(dtype))

    return tuple(variant(getattr(torch, name)) for name in names if hasattr(torch, name))


def _tied(size: int) -> nn.Module:
    shared = nn.Parameter(torch.randn(size, 2))
    return Holder({"w": shared, "v": shared})


def _tied_modules(size: int) -> nn.Module:
    layer = nn.Linear(size, 2)
    return nn.ModuleDict({"w": layer, "v": layer, "u": nn.Linear(size, 2)})


def _views(size: int) -> nn.Module:
    whole = torch.randn(2 * size, 2)
    return Holder({"w": nn.Parameter(whole[:size])}, {"v": whole[size:]})


def _untied(size: int) -> nn.Module:
    return Holder({"w": nn.Parameter(torch.randn(size, 2)), "v": nn.Parameter(torch.randn(size, 2))})


def _names(names: Sequence[str]) -> Callable[[int], list[str]]:
    return lambda size: [names[(size * 5 + step) % len(names)] for step in range(size + 1)]


_odd = _names(_ODD)


def _module_dict(size: int) -> nn.Module:
    holder = nn.Module()
    for name in _odd(size):
        holder.add_module(name, nn.Linear(2, 1))
    return holder


class Tagged(nn.Parameter):
    """A parameter that knows its tag, and needs it."""

    tag: str

    def __new__(cls, data: torch.Tensor, tag: str) -> Tagged:
        made: Tagged = torch.Tensor._make_subclass(cls, data, True)
        made.tag = tag
        return made


class Simple(nn.Parameter):
    """A parameter of its own class."""


class Strange(torch.Tensor):
    """A tensor of its own class."""


def _strange(size: int) -> torch.Tensor:
    return torch.randn(size, 2).as_subclass(Strange)


def _sparse(size: int) -> torch.Tensor:
    return torch.eye(size).to_sparse()


def _quantized(size: int) -> torch.Tensor:
    return torch.quantize_per_tensor(torch.randn(size, 2), 0.1, 0, torch.qint8)


def _per_channel(size: int) -> torch.Tensor:
    scales, zeros = torch.full((size,), 0.1), torch.zeros(size)
    return torch.quantize_per_channel(torch.randn(size, 2), scales, zeros, 0, torch.qint8)


def _data_dependent(size: int) -> torch.Tensor:
    return torch.arange(size * 3).remainder(3).nonzero().flatten()


KINDS: dict[str, tuple[Variant, ...]] = {
    "tensor: plain": _both(lambda n: torch.randn(n, 2)),
    "tensor: 0-d": (*_both(lambda n: torch.tensor(1.0)), parameter(lambda n: torch.randn(n))),
    "tensor: empty": (*_both(lambda n: torch.empty(0, n)), buffer(lambda n: torch.empty(n - 1))),
    "tensor: strided": (*_both(lambda n: torch.randn(2, n).t()), *_both(lambda n: torch.randn(n, 4)[:, ::2])),
    "tensor: expanded": (
        *_both(lambda n: torch.randn(1, 2).expand(n, 2)),
        parameter(lambda n: torch.randn(n, 2)),
    ),
    "tensor: overlapping": (buffer(lambda n: torch.randn(n + 1).as_strided((n, 2), (1, 1))),),
    "tensor: complex and bool": _dtypes("complex64", "bool", "float32", "complex128"),
    "tensor: integers": _dtypes("int8", "uint8", "int16", "uint16", "int32", "int64", "float32"),
    "tensor: half": _dtypes("float16", "bfloat16", "float64"),
    "tensor: float8": _dtypes("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float32"),
    "tensor: float4": _dtypes("float4_e2m1fn_x2", "float32"),
    "tensor: bits8": _dtypes("bits8", "float32", "uint8"),
    "tensor: sparse": (buffer(_sparse), buffer(lambda n: torch.eye(n))),
    "tensor: compressed": (buffer(lambda n: torch.eye(n).to_sparse_csr()), buffer(lambda n: torch.eye(n))),
    "tensor: quantized": (buffer(_quantized), buffer(lambda n: torch.randn(n, 2))),
    "tensor: quantized per channel": (buffer(_per_channel), buffer(lambda n: torch.randn(n, 2))),
    "tensor: sparse of all layouts": tuple(
        buffer(make)
        for make in (
            _sparse,
            lambda n: torch.sparse_coo_tensor(torch.zeros(2, 3).long(), torch.ones(3), (n, n)),
            lambda n: torch.eye(2 * n).to_sparse_csc(),
            lambda n: torch.eye(2 * n).to_sparse_bsr((2, 2)),
            lambda n: torch.eye(2 * n),
        )
    ),
    "tensor: rare dtypes": _dtypes(
        "complex32", "uint32", "uint64", "float8_e4m3fnuz", "int16", "uint4", "int4"
    ),
    "tensor: of one element": (
        *_both(lambda n: torch.randn(())),
        *_both(lambda n: torch.randn(1)),
        *_both(lambda n: torch.randn(*[1] * n)),
    ),
    "tied: parameters": (_tied, _untied),
    "tied: modules": (_tied_modules,),
    "tied: views": (_views, _untied),
    "class: parameter": (
        lambda n: Holder({"w": Simple(torch.randn(n, 2))}),
        parameter(lambda n: torch.randn(n, 2)),
    ),
    "class: parameter with arguments": (
        lambda n: Holder({"w": Tagged(torch.randn(n, 2), "t")}),
        parameter(lambda n: torch.randn(n, 2)),
    ),
    "class: tensor": (buffer(_strange), parameter(_strange), buffer(lambda n: torch.randn(n, 2))),
    "buffer: none": (buffer(lambda n: None), buffer(lambda n: torch.randn(n, 2))),
    "buffer: not persistent": (buffer(lambda n: torch.randn(n), False), buffer(lambda n: torch.randn(n))),
    "buffer: size by its data": (buffer(_data_dependent),),
    "parameter: none": (lambda n: Holder({"w": None}), parameter(lambda n: torch.randn(n, 2))),
    "container: modules with odd names": (_module_dict,),
    "container: parameters with odd names": (
        lambda n: Holder({name: nn.Parameter(torch.randn(2)) for name in _odd(n)}),
        lambda n: nn.ParameterDict({name: torch.randn(2) for name in _odd(n)[:1]}),
    ),
    "container: lists": (
        lambda n: nn.ParameterList([torch.randn(2) for _ in range(n)]),
        lambda n: nn.ModuleList([nn.Linear(2, 2) for _ in range(n)]),
    ),
    "container: buffers": (lambda n: Holder((), {name: torch.ones(2) for name in _odd(n)}),),
    "module: empty": (lambda n: nn.ReLU(), lambda n: nn.Linear(n, 1)),
}
