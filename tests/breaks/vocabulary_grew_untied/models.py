"""The same with an embedding and a head that are not tied (YangRui2015/RiC#19)."""

from torch import nn


class Net(nn.Module):
    def __init__(self, vocabulary=120):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, 8)
        self.layer = nn.Linear(8, 8)
        self.lm_head = nn.Linear(8, vocabulary, bias=False)


def saved():
    return Net(100).state_dict()
