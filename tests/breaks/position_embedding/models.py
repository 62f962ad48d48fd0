"""A vision transformer at a larger image size."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, image_size=384):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 16, 16)
        self.pos_embed = nn.Parameter(torch.zeros(1, (image_size // 16) ** 2 + 1, 8))
        self.block = nn.Linear(8, 8)
        self.head = nn.Linear(8, 10)


def saved():
    return Net(224).state_dict()
