"""A quantized layer that saves more than it loads (bitsandbytes-foundation/bitsandbytes#1946)."""

import torch
from torch import nn


class Quantized(nn.Linear):
    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight.absmax"] = torch.zeros(4)
        destination[prefix + "weight.quant_map"] = torch.zeros(16)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Quantized(4, 4)
        self.second = Quantized(4, 2)


def saved():
    return Net().state_dict()
