"""Weights stored as int8 numbers by a script of one's own, loaded into the float model."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(3))


def saved():
    return {key: (value * 127).to(torch.int8) for key, value in Net().state_dict().items()}
