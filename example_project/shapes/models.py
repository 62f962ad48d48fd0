"""The classifier."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn


class Stem(nn.Module):
    """From one channel to the width of the blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


class Classifier(nn.Module):
    """Pictures float32[n, 1, 16, 16] to class scores float32[n, num_classes]."""

    #: 2: ``features`` became ``stem`` and ``blocks``.
    _version = 2

    def __init__(self, num_classes: int = 4, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.stem = Stem(width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.head(x.mean(dim=(2, 3)))
        return scores

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        if local_metadata.get("version", 1) < 2:
            for key in [key for key in state_dict if key.startswith(prefix + "features.")]:
                state_dict[prefix + _since_version_2(key[len(prefix) :])] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def _since_version_2(key: str) -> str:
    """``features.0.weight`` is ``stem.conv.weight``, ``features.3.*`` is ``blocks.0.*``."""
    key = key.replace("features.0.", "stem.conv.").replace("features.1.", "stem.bn.")
    return re.sub(r"features\.(\d+)", lambda match: f"blocks.{int(match[1]) - 3}", key)
