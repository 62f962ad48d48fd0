"""A pruned model's file, loaded into the plain one (ahendriksen/msd_pytorch#3)."""

from torch import nn
from torch.nn.utils import prune


def Net():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def saved():
    net = Net()
    for layer in (net[0], net[2]):
        prune.l1_unstructured(layer, "weight", 0.5)
    return net.state_dict()
