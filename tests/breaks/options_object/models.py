"""Options of a class that has moved, beside the weights (facebookresearch/ParlAI#2550)."""

import sys
import types

import torch
from torch import nn


def Net():
    return nn.Linear(4, 2)


def write(path):
    package = types.ModuleType("oldopts")
    package.Opt = type("Opt", (dict,), {"__module__": "oldopts"})
    sys.modules["oldopts"] = package
    torch.save({"model": Net().state_dict(), "opt": package.Opt(lr=0.1)}, path)
    del sys.modules["oldopts"]
