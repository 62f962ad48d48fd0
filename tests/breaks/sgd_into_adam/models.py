"""SGD with momentum became AdamW."""

import torch
from torch import nn

OPTIONS = {"level": "resume", "optimizer": "torch.optim:AdamW"}


def Net():
    return nn.Linear(4, 2)


def saved():
    net = Net()
    before = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.zeros(1, 4)).sum().backward()
    before.step()
    return {"model": net.state_dict(), "optimizer": before.state_dict()}
