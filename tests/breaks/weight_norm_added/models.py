"""Weight norm was added to a small network."""

from torch import nn
from torch.nn.utils.parametrizations import weight_norm


def Net():
    return nn.Sequential(weight_norm(nn.Linear(4, 8)), nn.ReLU(), weight_norm(nn.Linear(8, 2)))


def saved():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).state_dict()
