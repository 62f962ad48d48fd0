"""Convolutions that got a bias."""

from torch import nn


class Net(nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 3, bias=bias) for _ in range(4))


def saved():
    return Net(bias=False).state_dict()
