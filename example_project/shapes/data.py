"""Synthetic pictures of four shapes."""

from __future__ import annotations

import torch
from torch import Tensor

CLASSES = ("circle", "square", "triangle", "cross")
SIZE = 16


def pictures(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random pictures and their classes: float32[count, 1, 16, 16] and int64[count]."""
    labels = torch.randint(len(CLASSES), (count,), generator=generator)
    radius = torch.empty(count, 1, 1).uniform_(3, 6, generator=generator)
    center = torch.empty(2, count, 1, 1).uniform_(6, 10, generator=generator)
    grid = torch.arange(SIZE, dtype=torch.float32)
    dy, dx = grid.view(1, -1, 1) - center[0], grid.view(1, 1, -1) - center[1]
    masks = torch.stack(
        [
            dx**2 + dy**2 <= radius**2,
            torch.maximum(dx.abs(), dy.abs()) <= radius,
            (dy.abs() <= radius) & (dx.abs() <= (dy + radius) / 2),
            (torch.minimum(dx.abs(), dy.abs()) <= 1) & (torch.maximum(dx.abs(), dy.abs()) <= radius),
        ]
    )
    chosen = masks[labels, torch.arange(count)].float().unsqueeze(1)
    return chosen + 0.3 * torch.randn(chosen.shape, generator=generator), labels
