"""Modules with hooks: those that change what is loaded, and those that look at it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Variant = Callable[[int], nn.Module]


class Named(nn.Module):
    """Parameters of the given names, ``size`` rows each."""

    def __init__(self, size: int, *names: str) -> None:
        super().__init__()
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.randn(size, 2)))


def named(*names: str) -> Variant:
    return lambda size: Named(size, *names)


def before(hook: Callable[..., Any], *names: str, public: bool = False) -> Variant:
    """A hook before the load, which is given the state_dict and the prefix."""

    def make(size: int) -> nn.Module:
        module: Any = Named(size, *names)
        if public and hasattr(module, "register_load_state_dict_pre_hook"):
            module.register_load_state_dict_pre_hook(lambda _module, *rest: hook(*rest))
        else:
            module._register_load_state_dict_pre_hook(hook)
        return module  # type: ignore[no-any-return]

    return make


def after(hook: Callable[[Any], Any], *names: str) -> Variant:
    """A hook after the load, which is given the missing and unexpected keys."""

    def make(size: int) -> nn.Module:
        module: Any = Named(size, *names)
        module.register_load_state_dict_post_hook(lambda _module, keys: hook(keys))
        return module  # type: ignore[no-any-return]

    return make


def _rename(state: Any, prefix: str, *_rest: Any) -> None:
    if prefix + "gamma" in state:
        state[prefix + "weight"] = state.pop(prefix + "gamma")


def _fuse(state: Any, prefix: str, *_rest: Any) -> None:
    parts = [state.pop(prefix + name) for name in ("q", "k") if prefix + name in state]
    if parts:
        state[prefix + "weight"] = torch.cat(parts)[: parts[0].shape[0]]


def _split(state: Any, prefix: str, *_rest: Any) -> None:
    if prefix + "weight" in state:
        state[prefix + "q"] = state[prefix + "k"] = state.pop(prefix + "weight")


def _fill(state: Any, prefix: str, *_rest: Any) -> None:
    state.setdefault(prefix + "weight", torch.zeros(2, 2))


def _drop(state: Any, prefix: str, *_rest: Any) -> None:
    for key in [key for key in state if key.startswith(prefix) and not key.endswith("weight")]:
        del state[key]


def _report_missing(_s: Any, prefix: str, _m: Any, _strict: bool, missing: Any, *_rest: Any) -> None:
    missing.append(prefix + "phantom")


def _report_error(_s: Any, _p: str, _m: Any, _strict: bool, _missing: Any, _u: Any, errors: Any) -> None:
    errors.append("not today")


def _version(state: Any, prefix: str, metadata: Any, *_rest: Any) -> None:
    if metadata.get("version") is None:
        state.pop(prefix + "weight", None)


def _raise(state: Any, prefix: str, *_rest: Any) -> None:
    state[prefix + "weight"]
    if prefix + "gamma" in state:
        raise ValueError("gamma is too old")


def _give_back(keys: Any) -> Any:
    return keys


def _forgive(keys: Any) -> None:
    keys.missing_keys.clear()
    keys.unexpected_keys.clear()


def _complain(keys: Any) -> None:
    keys.missing_keys.append("phantom")


def _insist(keys: Any) -> None:
    if keys.missing_keys:
        raise ValueError(f"{len(keys.missing_keys)} are missing")


def _interpolate(state: Any, prefix: str, *_rest: Any) -> None:
    table = state.get(prefix + "weight")
    if table is not None and table.shape[0] != 2:
        resized = nn.functional.interpolate(table.t()[None], size=2, mode="linear")
        state[prefix + "weight"] = resized[0].t()


def _interpolate_in_numpy(state: Any, prefix: str, *_rest: Any) -> None:
    import numpy as np

    table = state.get(prefix + "weight")
    if table is not None and table.shape[0] != 2:
        places = np.linspace(0, table.shape[0] - 1, 2)
        columns = [np.interp(places, np.arange(table.shape[0]), column) for column in table.numpy().T]
        state[prefix + "weight"] = torch.from_numpy(np.stack(columns, 1)).float()


def _two_rows(hook: Callable[..., Any]) -> Variant:
    make = before(hook, "weight")
    return lambda _size: make(2)


def _look(look: Callable[[torch.Tensor], Any]) -> Callable[..., Any]:
    """A hook that drops what its question answers with no."""

    def hook(state: Any, prefix: str, *_rest: Any) -> None:
        for key in [key for key in state if key.startswith(prefix)]:
            if not look(state[key]):
                del state[key]

    return hook


def _refuse(look: Callable[[torch.Tensor], Any]) -> Callable[..., Any]:
    """A hook that raises where its question is answered with yes."""

    def hook(state: Any, prefix: str, *_rest: Any) -> None:
        if any(look(value) for key, value in state.items() if key.startswith(prefix)):
            raise ValueError("refused")

    return hook


def _readable(tensor: torch.Tensor) -> bool:
    try:
        tensor.numpy()
    except Exception:
        return False
    return True


def _tied(state: Any, prefix: str, *_rest: Any) -> None:
    first, second = state.get(prefix + "weight"), state.get(prefix + "other")
    if first is not None and second is not None and first.data_ptr() == second.data_ptr():
        del state[prefix + "other"]


def _transposed(hook: Callable[..., Any]) -> Variant:
    """A hook on a module whose parameter is a transposed view."""

    def make(size: int) -> nn.Module:
        module: Any = nn.Module()
        module.weight = nn.Parameter(torch.randn(2, size).t())
        module._register_load_state_dict_pre_hook(hook)
        return module  # type: ignore[no-any-return]

    return make


_PLACES = {"cpu": 1, "cuda": 2}

KINDS: dict[str, tuple[Variant, ...]] = {
    "hook: renames": (named("gamma"), named("weight"), before(_rename, "weight")),
    "hook: renames, public": (named("gamma"), before(_rename, "weight", public=True)),
    "hook: fuses": (named("q", "k"), named("weight"), before(_fuse, "weight")),
    "hook: splits": (named("weight"), named("q", "k"), before(_split, "q", "k")),
    "hook: fills in": (named("gamma"), named(), before(_fill, "weight")),
    "hook: drops": (named("weight", "old"), before(_drop, "weight", public=True), before(_drop, "weight")),
    "hook: appends to missing": (named("weight"), before(_report_missing, "weight")),
    "hook: appends an error": (named("weight"), before(_report_error, "weight")),
    "hook: looks at the version": (named("weight"), before(_version, "weight")),
    "hook: raises": (named("weight"), named("weight", "gamma"), before(_raise, "weight")),
    "hook: returns the keys": (named("weight"), after(_give_back, "weight")),
    "hook: clears the keys": (named("weight"), named("gamma"), after(_forgive, "weight")),
    "hook: appends after": (named("weight"), after(_complain, "weight")),
    "hook: insists": (named("weight"), named("gamma"), after(_insist, "weight")),
    "hook: interpolates": (named("weight"), _two_rows(_interpolate)),
    "hook: interpolates in numpy": (named("weight"), _two_rows(_interpolate_in_numpy)),
    "look: item": (before(_look(lambda t: t.sum().item() < 1e9), "weight"),),
    "look: truth": (before(_look(lambda t: bool((t == t).all())), "weight"),),
    "look: tolist": (before(_look(lambda t: t.tolist()), "weight"),),
    "look: numpy, caught": (before(_look(_readable), "weight"),),
    "look: data_ptr": (before(_tied, "weight", "other"),),
    "look: is_meta": (before(_look(lambda t: not t.is_meta), "weight"),),
    "look: is_meta, refused": (before(_refuse(lambda t: t.is_meta), "weight"),),
    "look: device": (before(_look(lambda t: _PLACES[t.device.type]), "weight"),),
    "look: device, gently": (before(_look(lambda t: t.device == torch.device("cpu")), "weight"),),
    "look: stride": (
        before(_look(lambda t: t.stride() == (2, 1)), "weight"),
        _transposed(_look(lambda t: t.stride() != (2, 1))),
        _transposed(_look(lambda t: not t.is_contiguous())),
    ),
    "look: type": (before(_look(lambda t: type(t) is torch.Tensor), "weight"),),
    "look: requires_grad": (before(_refuse(lambda t: t.requires_grad), "weight"),),
    "look: deepcopy": (before(_look(lambda t: copy.deepcopy(t) is not None), "weight"),),
    "look: text": (before(_look(lambda t: "tensor" in repr(t) and "meta" not in repr(t)), "weight"),),
    "look: storage": (before(_look(lambda t: t.untyped_storage().nbytes() > 0), "weight"),),
}
