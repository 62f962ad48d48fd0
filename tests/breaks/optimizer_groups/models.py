"""A file whose optimizer had a second group (CompVis/latent-diffusion#231)."""

import torch
from torch import nn

OPTIONS = {"level": "resume", "optimizer": "models:optimizer"}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
        self.head = nn.Linear(4, 2)


def optimizer(model):
    return torch.optim.Adam(model.body.parameters())


def saved():
    net = Net()
    before = torch.optim.Adam([{"params": net.body.parameters()}, {"params": net.head.parameters()}])
    net.head(net.body(torch.zeros(1, 4))).sum().backward()
    before.step()
    return {"model": net.state_dict(), "optimizer": before.state_dict()}
