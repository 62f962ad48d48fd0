"""One submodule was compiled (facebookresearch/fairseq#5096)."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))
        self.decoder = nn.Linear(8, 2)


def saved():
    net = Net()
    net.encoder = torch.compile(net.encoder, backend="eager")
    return net.state_dict()
