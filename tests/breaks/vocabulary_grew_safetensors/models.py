"""Tokens were added, and safetensors kept one name of the tied tensor."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        vocabulary = self.vocabulary()
        self.wte = nn.Embedding(vocabulary, 8)
        self.layer = nn.Linear(8, 8)
        self.lm_head = nn.Linear(8, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight

    def vocabulary(self):
        return 120


class Before(Net):
    def vocabulary(self):
        return 100


def write(path):
    import safetensors.torch

    safetensors.torch.save_model(Before(), path)
