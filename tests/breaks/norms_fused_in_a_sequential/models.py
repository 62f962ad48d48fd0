"""A Sequential in its deployed form: each BatchNorm went into the convolution before it, and numbers moved."""

from torch import nn


class Net(nn.Module):
    def __init__(self, fused=True):
        super().__init__()
        layers = []
        for _ in range(3):
            norm = [] if fused else [nn.BatchNorm2d(8)]
            layers += [nn.Conv2d(8, 8, 3, bias=fused), *norm, nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(8, 2)


def saved():
    return Net(fused=False).state_dict()
