"""A run that was trained with an 8-bit optimizer goes on with torch's."""

import torch
from torch import nn

OPTIONS = {"level": "resume", "optimizer": "models:optimizer"}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)


def optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=0.1)


def saved():
    model = Net()
    state = optimizer(model).state_dict()
    for number, each in enumerate(model.parameters()):
        kept = {f"state{n}": torch.zeros(each.shape, dtype=torch.uint8) for n in (1, 2)}
        kept |= {f"qmap{n}": torch.zeros(256) for n in (1, 2)}
        kept |= {f"absmax{n}": torch.zeros(1) for n in (1, 2)}
        state["state"][number] = {"step": 5, **kept}
    return {"model": model.state_dict(), "optimizer": state}
