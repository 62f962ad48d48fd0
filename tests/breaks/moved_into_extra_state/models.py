"""A buffer became part of the extra state."""

import torch
from torch import nn


class Scaler(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.ones(4)

    def get_extra_state(self):
        return {"scale": self.scale}

    def set_extra_state(self, state):
        self.scale = state["scale"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scaler = Scaler()
        self.layer = nn.Linear(4, 2)


def saved():
    return {
        "scaler.scale": torch.ones(4),
        **{f"layer.{k}": v for k, v in nn.Linear(4, 2).state_dict().items()},
    }
