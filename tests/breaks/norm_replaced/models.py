"""BatchNorm became GroupNorm."""

from torch import nn


def network(norm):
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm(8), nn.Conv2d(8, 8, 3), norm(8))


def Net():
    return network(lambda width: nn.GroupNorm(2, width))


def saved():
    return network(nn.BatchNorm2d).state_dict()
