"""A spectral weight that became real: torch copies its real part, and warns once."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lift, self.spectrum = nn.Linear(8, 8), nn.Parameter(torch.randn(4, 4))


def saved():
    return {**Net().state_dict(), "spectrum": torch.randn(4, 4, dtype=torch.complex64)}
