"""Pickled modules of ``torch.ao.nn``: what their ``state_dict()`` adds to parameters and buffers.

Written after the ``_save_to_state_dict`` methods of torch 2.13. The packed parameters of a layer
are a ``ScriptObject`` in a pickled module, and plain tensors in its state_dict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pytest_ckpt_compat._readers.limits import RefusalError, damaged
from pytest_ckpt_compat._readers.pickle.inert import Global, Made, Tensor

_HOMES = ("torch.ao.nn.", "torch.nn.quantized.", "torch.nn.intrinsic.", "torch.nn.qat.")
_LINEAR = frozenset({"Linear", "LinearReLU", "LinearLeakyReLU", "LinearTanh"})
#: Versions of classes that are not 1. Other versions of these classes were written by torch before 1.8.
_VERSIONS: Mapping[str, int] = MappingProxyType(
    {"LinearPackedParams": 3, "LSTM": 2, "GRU": 2, "RNNBase": 2, **dict.fromkeys(_LINEAR, 3)}
)


def is_packed(value: Any) -> bool:
    """Whether a value is a C++ object of torch, such as the packed parameters of a layer."""
    return type(value) is Made and type(value.maker) is Global and str(value.maker) == "torch.ScriptObject"


def is_quantized(module: Any) -> bool:
    """Whether a value is a module of ``torch.ao.nn``, whose ``state_dict()`` may hold more than tensors."""
    return (
        type(module) is Made
        and type(module.maker) is Global
        and module.maker.module.startswith(_HOMES)
        and "quantized" in module.maker.module
    )


def version_of(module: Made) -> int:
    """The version that ``state_dict()`` gives a module."""
    name = module.maker.name if type(module.maker) is Global else ""
    if not is_quantized(module):
        # Norms have the counter since their version 2. One that was pickled before has none.
        fused = name.startswith("ConvBn") and ".qat." in module.maker.module
        return 2 if fused or "num_batches_tracked" in module.state["_buffers"] else 1
    if ".dynamic." in module.maker.module and name in _LINEAR:
        return 4
    return _VERSIONS.get(name, 1)


def more_entries(module: Made) -> Iterator[tuple[str, Any]]:
    """Yields the entries that a quantized module adds. Refuses packed parameters of other classes."""
    name, state = module.maker.name, module.state
    if name in ("LinearPackedParams", "EmbeddingPackedParams"):
        linear = name == "LinearPackedParams"
        yield "dtype", state.get("dtype")
        key = "_packed_params" if linear else "_packed_weight"
        yield key, (_unpacked_linear if linear else _unpacked_embedding)(state.get(key))
    elif name in _LINEAR or name == "QFunctional":
        yield from _numbers(state.get("scale"), state.get("zero_point"))
    elif name == "PackedParameter":
        yield "param", state.get("param")
    elif any(map(is_packed, state.values())):
        raise RefusalError(
            f"it holds a whole {module.maker}, whose packed parameters are not read",
            "save torch.save(model.state_dict(), path) and give that file",
        )


def _numbers(scale: Any, zero_point: Any) -> Iterator[tuple[str, Tensor]]:
    for name, dtype, value in (("scale", "float32", scale), ("zero_point", "int64", zero_point)):
        if type(value) is Tensor:
            yield name, value
        elif type(value) in (int, float):
            yield name, Tensor(dtype, (), kind="number", parts={"value": value})
        else:
            raise damaged(f"its quantized layer has a {name} that is no number")


def _unpacked_linear(packed: Any) -> Any:
    """``((weight, bias), class)`` -> ``(weight, bias)``."""
    state = packed.state if is_packed(packed) else None
    if type(state) is tuple and state and type(state[0]) is tuple and len(state[0]) == 2:
        return state[0]
    return packed


def _unpacked_embedding(packed: Any) -> Any:
    """``((version, [weight], ...), class)`` -> ``weight``."""
    state = packed.state if is_packed(packed) else None
    pending = [state] if state is not None else []
    while pending:
        value = pending.pop()
        if type(value) is Tensor and value.kind == "quantized":
            return value
        if type(value) in (tuple, list) and len(value) < 10:
            pending.extend(value)
    return packed
