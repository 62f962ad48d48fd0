"""Observes what torch's own loading code writes to, by the versions of tensors.

Each operator that writes to a tensor raises its version, on meta as well. Where no code but torch's copies
entry by entry, this says as much as a look at each operator, which costs more than the copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._definition.walk import named_tensors
from pytest_ckpt_compat._definition.watch import Watched, storage_of

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Start of torch's message where a copy raised.
COPYING = "While copying the parameter named"


def copies_alone(
    parts: Sequence[nn.Module], tensors: Sequence[torch.Tensor], state: Mapping[str, Any]
) -> bool:
    """Whether torch's ``load_state_dict`` does nothing with ordinary tensors but copy them, key by key.

    Args:
        parts: the modules of a module of which no code runs but torch's; itself first.
        tensors: their parameters and buffers.
        state: what it is given.
    """
    import torch
    from torch import nn
    from torch.jit import ScriptModule

    if torch.__future__.get_swap_module_params_on_conversion():
        return False
    own, kinds = nn.Module._load_from_state_dict, {type(part) for part in parts}
    if type(parts[0]).load_state_dict is not nn.Module.load_state_dict:
        return False
    if any(kind._load_from_state_dict is not own or issubclass(kind, ScriptModule) for kind in kinds):
        return False
    ordinary = {torch.Tensor, nn.Parameter}
    return {*map(type, tensors), *map(type, state.values())} <= ordinary and not any(
        tensor.is_inference() or tensor.layout is not torch.strided for tensor in tensors
    )


@contextlib.contextmanager
def watch_versions(
    module: nn.Module, tensors: Sequence[torch.Tensor], state: Mapping[str, Any]
) -> Iterator[Watched]:
    """As ``watch_operators``, for a load that ``copies_alone``; what was written is known at the end.

    Whether an operator raised is not noted: torch's own messages say so, which begin with ``COPYING``.
    """
    storages = {storage for value in state.values() if (storage := storage_of(value)) is not None}
    every = frozenset(storages)  # nothing asks which of them a tensor has, as nothing is computed
    watched = Watched(derived=dict.fromkeys(storages, every), users=False)
    before = [(tensor, tensor._version) for tensor in tensors]
    yield watched
    written = {id(tensor): storage_of(tensor) for tensor, version in before if tensor._version != version}
    watched.written |= {storage for storage in written.values() if storage is not None}
    watched.reached |= watched.written
    watched.used = bool(written)
    watched.copied |= _copies(module, state, written)
    watched.derived |= dict.fromkeys(watched.written, every)


def _copies(module: nn.Module, state: Mapping[str, Any], written: Mapping[int, int | None]) -> dict[int, str]:
    """Storage that torch copied a tensor of the checkpoint into -> dtype of the last of these.

    Args:
        module: what was loaded into.
        state: the checkpoint.
        written: id of each tensor that was written to -> its storage.
    """
    dtypes = {value.dtype for value in state.values()}
    if len(dtypes) == 1:  # then each got a tensor of this one, whichever
        name = str(dtypes.pop()).removeprefix("torch.")
        return {storage: name for storage in written.values() if storage is not None}
    found = {}
    for key, tensor in named_tensors(module):
        storage, value = written.get(id(tensor)), state.get(key)
        if storage is not None and value is not None:
            found[storage] = str(value.dtype).removeprefix("torch.")
    return found
