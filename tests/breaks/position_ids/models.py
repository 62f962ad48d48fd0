"""A buffer that a library made non-persistent (facebookresearch/DPR#165)."""

import torch
from torch import nn


class Embeddings(nn.Module):
    def __init__(self, persistent):
        super().__init__()
        self.word = nn.Embedding(10, 8)
        self.register_buffer("position_ids", torch.arange(16).unsqueeze(0), persistent=persistent)


class Net(nn.Module):
    def __init__(self, persistent=False):
        super().__init__()
        self.embeddings = Embeddings(persistent)
        self.layer = nn.Linear(8, 8)


def saved():
    return Net(persistent=True).state_dict()
