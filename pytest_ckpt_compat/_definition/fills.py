"""What torch's layers fill their parameters with, where these are on meta and have no numbers to fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from pytest_ckpt_compat._definition.doubts import Doubts

_Fill = Callable[..., "torch.Tensor"]


def fills(doubts: Doubts) -> Mapping[Any, _Fill]:
    """Functions of ``torch.nn.init`` -> what is called in their place, which does as little as they could.

    Operators that fill a tensor on meta are not run, so that all that these functions do is to compute what
    they would fill it with: half of what it costs to build a linear layer. Whatever they would refuse, or
    warn of, is left to them.

    Args:
        doubts: is told that random numbers were not drawn.
    """
    from torch.nn import init

    def uniform(tensor: torch.Tensor, a: Any = 0.0, b: Any = 1.0, generator: Any = None) -> torch.Tensor:
        if generator is not None or not tensor.is_meta or not _are_numbers(a, b):
            return init.uniform_(tensor, a, b, **_given(generator))
        doubts.not_drawn()
        return tensor

    def kaiming_uniform(
        tensor: torch.Tensor,
        a: Any = 0,
        mode: Any = "fan_in",
        nonlinearity: Any = "leaky_relu",
        generator: Any = None,
    ) -> torch.Tensor:
        usual = generator is None and mode in ("fan_in", "fan_out") and nonlinearity == "leaky_relu"
        if not (usual and _are_numbers(a) and tensor.is_meta and tensor.dim() > 1 and tensor.numel()):
            return init.kaiming_uniform_(tensor, a, mode, nonlinearity, **_given(generator))
        doubts.not_drawn()
        return tensor

    return {init.uniform_: uniform, init.kaiming_uniform_: kaiming_uniform}


def _are_numbers(*values: object) -> bool:
    return all(type(each) in (int, float) for each in values)


def _given(generator: Any) -> dict[str, Any]:
    """Torch has not always had this argument."""
    return {} if generator is None else {"generator": generator}
