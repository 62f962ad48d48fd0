"""A trained temperature (CLIP's logit_scale) that is a constant of the class now."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.logit_scale = nn.Linear(4, 4), 2.65


def saved():
    return {**Net().state_dict(), "logit_scale": torch.tensor(4.6)}
