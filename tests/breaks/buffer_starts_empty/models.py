"""A memory bank that grows while it is trained (PatchCore and its like)."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("memory_bank", torch.empty(0))


def saved():
    net = Net()
    net.memory_bank = torch.zeros(50, 4)
    return net.state_dict()
