"""A file without a wrapper, loaded into a model in one (gongda0e/FUTR#7)."""

from torch import nn


def bare():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def Net():
    return nn.DataParallel(bare())


def saved():
    return bare().state_dict()
