"""Norms were taken out of the optimizer (mli0603/stereo-transformer#58)."""

import torch
from torch import nn

OPTIONS = {"level": "resume", "optimizer": "models:optimizer"}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *(layer for _ in range(2) for layer in (nn.Linear(4, 4), nn.BatchNorm1d(4)))
        )
        self.head = nn.Linear(4, 2)


def optimizer(model):
    return torch.optim.Adam([p for name, p in model.named_parameters() if p.dim() > 1])


def saved():
    net = Net()
    before = torch.optim.Adam(net.parameters())
    net.head(net.layers(torch.randn(2, 4))).sum().backward()
    before.step()
    return {"model": net.state_dict(), "optimizer": before.state_dict()}
