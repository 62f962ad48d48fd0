"""weight_norm was taken off, and its layer has another name."""

from torch import nn
from torch.nn.utils import weight_norm


class Net(nn.Module):
    def __init__(self, name="layer1"):
        super().__init__()
        self.add_module(name, nn.Linear(6, 6))
        self.fc2 = nn.Linear(6, 2)


def saved():
    net = Net("fc1")
    weight_norm(net.fc1)
    return net.state_dict()
