"""A backbone that was frozen is trained now, with an optimizer over what is not frozen."""

import torch
from torch import nn

OPTIONS = {"level": "resume", "optimizer": "models:optimizer"}


class Net(nn.Module):
    def __init__(self, frozen=False):
        super().__init__()
        self.backbone = nn.Linear(4, 4).requires_grad_(not frozen)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.backbone(x))


def optimizer(model):
    return torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=0.1)


def saved():
    model = Net(frozen=True)
    adam = optimizer(model)
    model(torch.ones(1, 4)).sum().backward()
    adam.step()
    return {"model": model.state_dict(), "optimizer": adam.state_dict()}
