"""Modules whose hooks decide by what is around a checkpoint's numbers: its storages, its keys, its class."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.wide.hooks import Named, Variant, before, named


def _drops(question: Callable[[Any, str, Any], Any]) -> tuple[Variant, ...]:
    """Hooks that drop the weight where the answer is yes, and where it is no."""

    def drop(answer: bool) -> Callable[..., Any]:
        def hook(state: Any, prefix: str, metadata: Any, *_rest: Any) -> None:
            if prefix + "weight" in state and bool(question(state, prefix, metadata)) is answer:
                del state[prefix + "weight"]

        return hook

    both = (before(drop(True), "weight", "other"), before(drop(False), "weight", "other"))
    return (*both, _views, _turned, _tied, named("weight"))


def _views(size: int) -> nn.Module:
    module: Any = nn.Module()
    whole = torch.randn(2 * size, 2)
    module.weight, module.other = nn.Parameter(whole[size:]), nn.Parameter(whole[:size])
    return module  # type: ignore[no-any-return]


def _turned(size: int) -> nn.Module:
    module: Any = nn.Module()
    module.weight = nn.Parameter(torch.randn(2, size).t())
    module.other = nn.Parameter(torch.randn(size, 4)[:, ::2])
    return module  # type: ignore[no-any-return]


def _tied(size: int) -> nn.Module:
    module: Any = Named(size, "weight")
    module.other = module.weight
    return module  # type: ignore[no-any-return]


def _both(state: Any, prefix: str) -> tuple[torch.Tensor, torch.Tensor]:
    return state[prefix + "weight"], state.get(prefix + "other", state[prefix + "weight"])


def _share(state: Any, prefix: str, _metadata: Any) -> bool:
    first, second = _both(state, prefix)
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


def _are_one(state: Any, prefix: str, _metadata: Any) -> bool:
    first, second = _both(state, prefix)
    return first is second


def _spare(state: Any, prefix: str, _metadata: Any) -> bool:
    weight = state[prefix + "weight"]
    return bool(weight.untyped_storage().nbytes() > weight.numel() * weight.element_size())


def _begins(state: Any, prefix: str, _metadata: Any) -> bool:
    return bool(state[prefix + "weight"].storage_offset() == 0)


KINDS: dict[str, tuple[Variant, ...]] = {
    f"looks at: {name}": _drops(question)
    for name, question in {
        "a shared storage": _share,
        "the same object": _are_one,
        "spare storage": _spare,
        "its offset": _begins,
        "its layout": lambda state, prefix, _: state[prefix + "weight"].layout is torch.strided,
        "leaves": lambda state, prefix, _: state[prefix + "weight"].is_leaf,
        "contiguity": lambda state, prefix, _: state[prefix + "weight"].is_contiguous(),
        "density": lambda state, prefix, _: state[prefix + "weight"].is_non_overlapping_and_dense(),
        "a view": lambda state, prefix, _: state[prefix + "weight"].reshape(-1).data_ptr() != 0,
        "the container": lambda state, prefix, _: type(state) is OrderedDict,
        "the metadata": lambda state, prefix, _: hasattr(state, "_metadata"),
        "a version": lambda state, prefix, metadata: metadata.get("version") == 1,
        "the order": lambda state, prefix, _: next(iter(state)).endswith("weight"),
        "the number of keys": lambda state, prefix, _: len(state) > 1,
        "the pinned": lambda state, prefix, _: state[prefix + "weight"].is_pinned(),
        "the device number": lambda state, prefix, _: state[prefix + "weight"].get_device() < 0,
        "the type": lambda state, prefix, _: state[prefix + "weight"].type() == "torch.FloatTensor",
        "the size in bytes": lambda state, prefix, _: state[prefix + "weight"].nbytes > 16,
        "an attribute": lambda state, prefix, _: getattr(state[prefix + "weight"], "tag", None),
        "a copy": lambda state, prefix, _: state[prefix + "weight"].clone().is_cpu,
        "a cuda flag": lambda state, prefix, _: state[prefix + "weight"].is_cuda,
    }.items()
}
