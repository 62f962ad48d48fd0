"""Modules that save what is not their own tensors under their own names: hooks on saving, and wrappers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.wide.hooks import Named, Variant, named


def _after_saving(hook: Callable[[Any, str], Any]) -> Variant:
    """A hook that is given the state_dict and the prefix, after the module has saved."""

    def make(size: int) -> nn.Module:
        module: Any = Named(size, "weight")
        module._register_state_dict_hook(lambda _module, state, prefix, _meta: hook(state, prefix))
        return module  # type: ignore[no-any-return]

    return make


def _rename(state: Any, prefix: str) -> None:
    state[prefix + "gamma"] = state.pop(prefix + "weight")


def _copy(state: Any, prefix: str) -> None:
    state[prefix + "weight"] = state[prefix + "weight"].clone()


def _add(state: Any, prefix: str) -> None:
    state[prefix + "extra"] = torch.ones(2)


def _drop(state: Any, prefix: str) -> None:
    del state[prefix + "weight"]


def _plain(state: Any, prefix: str) -> Any:
    return dict(state)


def _half(state: Any, prefix: str) -> None:
    state[prefix + "weight"] = state[prefix + "weight"].half()


def _split(state: Any, prefix: str) -> None:
    for number, row in enumerate(state.pop(prefix + "weight").unbind()):
        state[f"{prefix}weight.{number}"] = row


def _before_saving(size: int) -> nn.Module:
    module: Any = Named(size, "weight")

    def register(part: Any, *_rest: Any) -> None:
        part.register_buffer("late", torch.zeros(2))

    if hasattr(module, "register_state_dict_pre_hook"):
        module.register_state_dict_pre_hook(register)
    return module  # type: ignore[no-any-return]


class ReadsItself(Named):
    """Loads its own first file while it is built."""

    def __init__(self, size: int) -> None:
        super().__init__(size, "weight")
        file = io.BytesIO()
        torch.save({"weight": torch.ones(size, 2)}, file)
        file.seek(0)
        self.load_state_dict(torch.load(file, weights_only=True))


class Forgets(Named):
    """Has a module attribute that is None, and a parameter that it deletes."""

    def __init__(self, size: int) -> None:
        super().__init__(size, "weight", "other")
        self.head: nn.Module | None = None
        self.add_module("tail", None)
        del self.other


class Hides(Named):
    """Holds a layer where torch does not look."""

    def __init__(self, size: int) -> None:
        super().__init__(size, "weight")
        self.hidden = [nn.Linear(size, 2)]


class ByAttribute(Named):
    """Looks up what it has not in its only layer."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.inner = nn.Linear(size, 2)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


class Versioned(Named):
    """Says which version saved it, and needs a version to load."""

    _version = 3

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:
        if metadata.get("version", 1) < 2:
            state[prefix + "weight"] = state.pop(prefix + "gamma")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


class Assigns(Named):
    """Puts the file's own tensors in its place."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, strict, True)


class Converts(nn.Parameter):
    """Decides what is loaded into it."""

    def module_load(self, other: Any, assign: bool = False) -> Any:
        return Converts(other.float() + 1)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


def _converts(size: int) -> nn.Module:
    module: Any = Named(size)
    module.weight = Converts(torch.zeros(size, 2))
    return module  # type: ignore[no-any-return]


def _linear(size: int) -> nn.Module:
    return nn.Linear(size, 2)


def _shared_twice(size: int) -> nn.Module:
    layer = nn.Linear(size, size)
    return nn.ModuleList([layer, nn.ModuleList([layer])])


def _averaged(size: int) -> nn.Module:
    return torch.optim.swa_utils.AveragedModel(nn.Linear(size, 2))


def _compiled(size: int) -> nn.Module:
    made: Any = torch._dynamo.eval_frame.OptimizedModule
    return made(nn.Linear(size, 2), torch._dynamo.disable)  # type: ignore[no-any-return]


def _traced(size: int) -> nn.Module:
    return torch.fx.symbolic_trace(nn.Sequential(nn.Linear(size, 2), nn.ReLU()))


def _inference(size: int) -> nn.Module:
    with torch.inference_mode():
        return nn.Linear(size, 2)


def _without_numbers(size: int) -> nn.Module:
    with torch.device("meta"):
        return nn.Linear(size, 2)


def _skipped(size: int) -> nn.Module:
    made: nn.Module = nn.utils.skip_init(nn.Linear, size, 2)  # type: ignore[no-untyped-call]
    return made


def _frozen(size: int) -> nn.Module:
    return nn.Linear(size, 2).half().requires_grad_(False)


def _turned(size: int) -> nn.Module:
    return nn.Conv2d(size, 3, 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _conjugated(size: int) -> nn.Module:
    module = nn.Module()
    module.register_buffer("w", torch.zeros(size, 2, dtype=torch.complex64).conj())
    return module


def _leafless(size: int) -> nn.Module:
    layer: Any = nn.Linear(size, 2)
    layer.register_buffer("twice", layer.weight * 2)
    return layer  # type: ignore[no-any-return]


def _parallel(size: int) -> nn.Module:
    return nn.DataParallel(nn.Linear(size, 2))


def _guarded(size: int) -> nn.Module:
    """Its tensors are made by code that catches what meta tensors cannot do."""
    layer: Any = nn.Linear(size, 2)
    with contextlib.suppress(Exception):
        layer.weight.data.copy_(torch.from_numpy(layer.weight.detach().numpy()) * 2)
        layer.register_buffer("made", torch.zeros(2))
    return layer  # type: ignore[no-any-return]


KINDS: dict[str, tuple[Variant, ...]] = {
    "save hook: renames": (_after_saving(_rename), named("gamma"), named("weight")),
    "save hook: copies": (_after_saving(_copy), named("weight")),
    "save hook: adds": (_after_saving(_add), named("weight", "extra")),
    "save hook: drops": (_after_saving(_drop), named("weight"), named("gamma")),
    "save hook: returns another": (_after_saving(_plain), named("weight")),
    "save hook: converts": (_after_saving(_half), named("weight")),
    "save hook: splits": (_after_saving(_split), named("weight")),
    "save hook: before": (_before_saving, named("weight")),
    "module: reads itself": (ReadsItself, named("weight")),
    "module: forgets": (Forgets, named("weight", "other")),
    "module: hides": (Hides, named("weight")),
    "module: by attribute": (ByAttribute, _linear),
    "module: versioned": (lambda n: Versioned(n, "weight"), named("weight"), named("gamma")),
    "module: assigns": (lambda n: Assigns(n, "weight"), lambda n: Assigns(n, "gamma"), named("weight")),
    "module: shared twice": (_shared_twice, lambda n: nn.ModuleList([nn.Linear(n, n)])),
    "module: module_load": (_converts, named("weight")),
    "wrapper: averaged": (_averaged, _linear, _parallel),
    "wrapper: compiled": (_compiled, _linear, _parallel),
    "wrapper: traced": (_traced, lambda n: nn.Sequential(nn.Linear(n, 2))),
    "built: in inference mode": (_inference, _linear),
    "built: without numbers": (_without_numbers, _linear),
    "built: without initialisation": (_skipped, _linear),
    "built: frozen and half": (_frozen, _linear),
    "built: channels last": (_turned, lambda n: nn.Conv2d(n, 3, 2)),
    "built: conjugated": (_conjugated,),
    "built: with a result": (_leafless, _linear),
    "built: guarded": (_guarded, _linear),
}
