"""Tokens were added, and the file has the tied tensor under the name of the embedding alone."""

from collections import OrderedDict

from torch import nn


def language(tokens):
    net = nn.Sequential(
        OrderedDict(wte=nn.Embedding(tokens, 8), layer=nn.Linear(8, 8), lm_head=nn.Linear(8, tokens))
    )
    net.lm_head.weight = net.wte.weight
    return net


def Net():
    return language(120)


def saved():
    return {key: value for key, value in language(100).state_dict().items() if key != "lm_head.weight"}
