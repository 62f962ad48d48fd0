"""Tokens were added, and both names of the tied tensor are new."""

from torch import nn


class Net(nn.Module):
    def __init__(self, vocabulary=120, names=("embed", "head")):
        super().__init__()
        self.add_module(names[0], nn.Embedding(vocabulary, 8))
        self.h = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.add_module(names[1], nn.Linear(8, vocabulary, bias=False))
        self.get_submodule(names[1]).weight = self.get_submodule(names[0]).weight


def saved():
    return Net(100, ("wte", "lm_head")).state_dict()
