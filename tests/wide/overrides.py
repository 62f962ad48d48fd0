"""Modules that override what torch saves and loads with, and extra state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.wide.hooks import Named, Variant, named


class FewerArguments(Named):
    def load_state_dict(self, state_dict: Any) -> Any:  # type: ignore[override]
        return super().load_state_dict(state_dict)


class ReturnsNothing(Named):
    def load_state_dict(self, state_dict: Any, strict: bool = True) -> None:  # type: ignore[override]
        super().load_state_dict(state_dict, strict=strict)


class IgnoresStrict(Named):
    def load_state_dict(self, state_dict: Any, *_args: Any, **_kwargs: Any) -> Any:
        return super().load_state_dict(state_dict, strict=False)


class Renames(Named):
    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        renamed = {key.replace("gamma", "weight"): value for key, value in state_dict.items()}
        return super().load_state_dict(renamed, *args, **kwargs)


class KeepsWhatFits(Named):
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        own = self.state_dict()
        fits = {k: v for k, v in state_dict.items() if k in own and own[k].shape == v.shape}
        return super().load_state_dict({**own, **fits}, strict, assign)


class CopiesItself(Named):
    def load_state_dict(self, state_dict: Any, strict: bool = True) -> None:  # type: ignore[override]
        for name, parameter in self.named_parameters():
            parameter.data.copy_(state_dict[name])


class CopiesInside(Named):
    def _load_from_state_dict(self, state_dict: Any, prefix: str, *_rest: Any) -> None:
        for name, parameter in self.named_parameters():
            if prefix + name in state_dict:
                parameter.data = state_dict[prefix + name].clone()


class RenamesInside(Named):
    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        if prefix + "gamma" in state_dict:
            state_dict[prefix + "weight"] = state_dict.pop(prefix + "gamma")
        super()._load_from_state_dict(state_dict, prefix, *rest)


class LoadsNothing(Named):
    def _load_from_state_dict(self, *_rest: Any) -> None:
        pass


class SavesWithoutArguments(Named):
    def state_dict(self) -> Any:  # type: ignore[override]
        return super().state_dict()


class SavesDetached(Named):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {key: value.detach() for key, value in super().state_dict(*args, **kwargs).items()}


class SavesLess(Named):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict(list(super().state_dict(*args, **kwargs).items())[:1])


class SavesIntoADestination(Named):
    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, parameter in self.named_parameters():
            destination[f"{prefix}my_{name}"] = parameter if keep_vars else parameter.detach()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        for name in ("weight", "gamma"):
            if f"{prefix}my_{name}" in state_dict:
                state_dict[prefix + name] = state_dict.pop(f"{prefix}my_{name}")
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Custom:
    """A value of a class that torch does not load by default."""


class WithState(Named):
    """Its extra state is what ``get`` makes of it."""

    def __init__(self, size: int, get: Callable[[Any], Any], take: Callable[[Any], Any]) -> None:
        super().__init__(size, "weight")
        self.get, self.take = get, take

    def get_extra_state(self) -> Any:
        return self.get(self)

    def set_extra_state(self, state: Any) -> None:
        self.take(state)


def _with(get: Callable[[Any], Any], take: Callable[[Any], Any] = lambda _state: None) -> Variant:
    return lambda size: WithState(size, get, take)


class OnlyState(nn.Module):
    """No tensor, but extra state."""

    def get_extra_state(self) -> Any:
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None:
        self.state = state["a"]


def _both(kind: type[Named]) -> tuple[Variant, ...]:
    return (lambda size: kind(size, "weight"), lambda size: kind(size, "gamma"), named("gamma", "weight"))


KINDS: dict[str, tuple[Variant, ...]] = {
    "load_state_dict: fewer arguments": _both(FewerArguments),
    "load_state_dict: returns None": _both(ReturnsNothing),
    "load_state_dict: ignores strict": _both(IgnoresStrict),
    "load_state_dict: renames": _both(Renames),
    "load_state_dict: keeps what fits": _both(KeepsWhatFits),
    "load_state_dict: copies by itself": _both(CopiesItself),
    "_load_from_state_dict: copies": _both(CopiesInside),
    "_load_from_state_dict: renames": _both(RenamesInside),
    "_load_from_state_dict: nothing": _both(LoadsNothing),
    "state_dict: no arguments": _both(SavesWithoutArguments),
    "state_dict: detached": _both(SavesDetached),
    "state_dict: less": _both(SavesLess),
    "state_dict: own names": _both(SavesIntoADestination),
    "extra state: dict": (
        _with(lambda m: {"n": 1}, lambda s: s["n"]),
        _with(lambda m: {"m": 1}),
        named("weight"),
    ),
    "extra state: tensor": (
        _with(lambda m: torch.ones(2), lambda s: s + torch.ones(2)),
        _with(lambda m: torch.ones(3)),
    ),
    "extra state: item": (_with(lambda m: float(m.weight.sum().item())), named("weight")),
    "extra state: values": (
        _with(lambda m: None),
        _with(lambda m: "text", lambda s: s.upper()),
        _with(lambda m: [1, (2, "x")], lambda s: s[0]),
        _with(lambda m: 3, lambda s: s + 1),
    ),
    "extra state: bytes of a tensor": (_with(lambda m: m.weight.detach().numpy().tobytes(), len),),
    "extra state: a class": (_with(lambda m: Custom()), named("weight")),
    "extra state: raises": (_with(lambda m: 1, lambda s: 1 / 0), named("weight")),
    "extra state: alone": (lambda size: OnlyState(), lambda size: nn.ReLU()),
}
