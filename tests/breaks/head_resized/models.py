"""An ImageNet file into a model of ten classes."""

from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.fc = nn.Linear(8, num_classes)


def saved():
    return Net(1000).state_dict()
