"""Flat parameters of one rank (facebookresearch/dinov2#544)."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(6))
        self.head = nn.Linear(8, 2)


def saved():
    keys = ["_fsdp_wrapped_module._flat_param"]
    keys += [f"_fsdp_wrapped_module.blocks.{n}._fsdp_wrapped_module._flat_param" for n in range(6)]
    return {key: torch.zeros(72) for key in keys}
