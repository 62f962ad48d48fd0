"""A buffer that is set late (pytorch/pytorch#28340)."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("mean", None)


def saved():
    net = Net()
    net.mean = torch.zeros(4)
    return net.state_dict()
