"""A required argument, which the file has (Lightning-AI/pytorch-lightning#3140)."""

from torch import nn


class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.layer = nn.Linear(4, width)
        self.head = nn.Linear(width, classes)


def saved():
    return {"state_dict": Net(8, 2).state_dict(), "hyper_parameters": {"width": 8, "classes": 2, "lr": 0.1}}
