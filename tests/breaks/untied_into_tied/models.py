"""A model that was trained with two matrices has its head tied to the embedding now."""

from torch import nn


class Net(nn.Module):
    def __init__(self, tied=True):
        super().__init__()
        self.embed = nn.Embedding(40, 8)
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, 40, bias=False)
        if tied:
            self.head.weight = self.embed.weight


def saved():
    return Net(tied=False).state_dict()
