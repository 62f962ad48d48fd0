"""A part of the model was wrapped by DataParallel, and its tied vocabulary grew."""

from torch import nn


class Language(nn.Module):
    def __init__(self, vocabulary=120):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 8)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.head = nn.Linear(8, vocabulary, bias=False)
        self.head.weight = self.embed.weight


class Net(nn.Module):
    def __init__(self, wrap=lambda part: part, vocabulary=120):
        super().__init__()
        self.lm = wrap(Language(vocabulary))
        self.proj = nn.Linear(8, 8)


def saved():
    return Net(nn.DataParallel, 100).state_dict()
