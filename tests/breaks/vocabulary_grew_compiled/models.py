"""A compiled model's file, after tokens were added: the head is the embedding."""

from torch import nn


class Net(nn.Module):
    def __init__(self, vocabulary=120):
        super().__init__()
        self.wte = nn.Embedding(vocabulary, 8)
        self.h = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.lm_head = nn.Linear(8, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight


def saved():
    return {"model": {f"_orig_mod.{key}": value for key, value in Net(100).state_dict().items()}}
