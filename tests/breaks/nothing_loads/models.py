"""A backbone's file, loaded with strict=False (torchgeo/torchgeo#4036)."""

from torch import nn

OPTIONS = {"strict": False}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8))})


def saved():
    return Net().model.state_dict()
