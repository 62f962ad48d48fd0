"""A head on top of another backbone: nothing of it fits."""

from torch import nn


class Net(nn.Module):
    def __init__(self, width=16, classes=10):
        super().__init__()
        self.stem = nn.Linear(4, 8)
        self.neck = nn.Linear(8, width)
        self.head = nn.Linear(width, classes)


def saved():
    return Net(12, 5).state_dict()
