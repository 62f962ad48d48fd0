"""Adadelta's state given to Adam (ultralytics/yolov3#80)."""

import torch
from torch import nn

OPTIONS = {"level": "resume", "optimizer": "torch.optim:Adam"}


def Net():
    return nn.Linear(4, 2)


def saved():
    net = Net()
    before = torch.optim.Adadelta(net.parameters())
    net(torch.zeros(1, 4)).sum().backward()
    before.step()
    return {"model": net.state_dict(), "optimizer": before.state_dict()}
