"""What the benchmarks share: a model, a checkpoint of it of any size, and the environment of a run.

A stock transformer: ``nn.TransformerEncoder`` copies its first layer instead of initialising each
anew, so that building it for real is about as cheap as building a model can be.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_WIDTH = 1024
_HEADS = 16
_WORDS = 8192


def transformer(layers: int) -> nn.Module:
    """A text classifier with ``layers`` encoder layers of 12.6 million float32 parameters each."""
    from collections import OrderedDict

    from torch import nn

    layer = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 4 * _WIDTH, batch_first=True)
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        embedding=nn.Embedding(_WORDS, _WIDTH),
        encoder=nn.TransformerEncoder(layer, layers),
        head=nn.Linear(_WIDTH, 2),
    )
    return nn.Sequential(parts)


def layers_for(size_gb: float) -> int:
    """How many encoder layers make a checkpoint of about ``size_gb`` (10**9 bytes)."""
    rest = size_gb * 1e9 / 4 - _WORDS * _WIDTH
    return max(1, round(rest / (12 * _WIDTH**2)))


def save(path: str, layers: int) -> int:
    """Saves a checkpoint of ``transformer(layers)``, in a process of its own; returns its size in bytes.

    Of its own, since a process that once was large hands its peak memory on to those it starts.
    """
    subprocess.run([sys.executable, __file__, path, str(layers)], check=True)
    return os.path.getsize(path)


def cached_bytecode() -> dict[str, str]:
    """The environment, with bytecode cached as it is by default: imports take three times as long without."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


if __name__ == "__main__":
    import torch

    torch.save(transformer(int(sys.argv[2])).state_dict(), sys.argv[1])
