"""A default of the constructor changed."""

from torch import nn


class Net(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )


def saved():
    return Net(64).state_dict()
