"""An auxiliary classifier that is not built for inference."""

from torch import nn


class Net(nn.Module):
    def __init__(self, aux=False):
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 3)
        self.classifier = nn.Conv2d(8, 21, 1)
        if aux:
            self.aux_classifier = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 21, 1))


def saved():
    return Net(aux=True).state_dict()
