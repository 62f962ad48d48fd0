"""Tokens were added to the tokenizer (unslothai/unsloth#237)."""

from torch import nn


class Net(nn.Module):
    def __init__(self, vocabulary=120):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, 8)
        self.layer = nn.Linear(8, 8)
        self.lm_head = nn.Linear(8, vocabulary, bias=False)
        self.lm_head.weight = self.embed_tokens.weight


def saved():
    return Net(100).state_dict()
