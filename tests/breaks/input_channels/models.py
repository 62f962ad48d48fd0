"""A first layer with one more channel."""

from torch import nn


class Net(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.conv_in = nn.Conv2d(channels, 8, 3)
        self.body = nn.Conv2d(8, 8, 3)
        self.head = nn.Conv2d(8, 2, 1)


def saved():
    return Net(3).state_dict()
