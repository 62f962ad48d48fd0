"""A model saved from its DataParallel wrapper (a thread on forums of torch)."""

from torch import nn


def Net():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def saved():
    return nn.DataParallel(Net()).state_dict()
