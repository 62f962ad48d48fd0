"""Layers that are built without the parameters that they were trained with."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False)
        self.norm = nn.BatchNorm1d(4, affine=False)
        self.last = nn.LayerNorm(4, bias=False)


class Before(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.LayerNorm(4)


def saved():
    return Before().state_dict()
