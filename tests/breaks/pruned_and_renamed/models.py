"""A pruned layer, whose mask was never applied for good, has another name."""

from torch import nn
from torch.nn.utils import prune


class Net(nn.Module):
    def __init__(self, name="layer1"):
        super().__init__()
        self.add_module(name, nn.Linear(6, 6))
        self.fc2 = nn.Linear(6, 2)


def saved():
    net = Net("fc1")
    prune.l1_unstructured(net.fc1, "weight", 0.5)
    return net.state_dict()
