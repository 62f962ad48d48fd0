"""A name that was given to another layer (MONAI's transformer block)."""

from torch import nn


class Block(nn.Module):
    def __init__(self, names):
        super().__init__()
        self.attn, self.cross = nn.Linear(8, 8), nn.Linear(8, 8)
        for name in names:
            setattr(self, name, nn.LayerNorm(8))


class Net(nn.Module):
    def __init__(self, names=("norm1", "norm_cross_attn", "norm2")):
        super().__init__()
        self.blocks = nn.ModuleList(Block(names) for _ in range(2))


def saved():
    return Net(("norm1", "norm2", "norm3")).state_dict()
