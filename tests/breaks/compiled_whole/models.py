"""A compiled model's state_dict, resumed without compiling (karpathy/nanoGPT#325)."""

import torch
from torch import nn


def Net():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def saved():
    return {"model": torch.compile(Net(), backend="eager").state_dict(), "step": 100}
