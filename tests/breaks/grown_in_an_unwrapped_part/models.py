"""A language model that lost a wrapper of its own in the middle of the keys, while its vocabulary grew."""

from torch import nn


class Language(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 8)
        self.h = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.head = nn.Linear(8, vocabulary, bias=False)
        self.head.weight = self.embed.weight


class Net(nn.Module):
    def __init__(self, vocabulary=120):
        super().__init__()
        self.lm = Language(vocabulary)
        self.value = nn.Linear(8, 1)


def saved():
    net = Net(vocabulary=100)
    net.lm = nn.ModuleDict({"inner": net.lm})
    return net.state_dict()
