"""A model that was saved whole, from a package that is gone (ultralytics/yolov5#353)."""

import sys
import types

import torch
from torch import nn


def Net():
    return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))


def write(path):
    package = types.ModuleType("oldpkg")
    package.Detector = type("Detector", (nn.Sequential,), {"__module__": "oldpkg"})
    sys.modules["oldpkg"] = package
    torch.save({"model": package.Detector(*Net()), "epoch": 3}, path)
    del sys.modules["oldpkg"]
