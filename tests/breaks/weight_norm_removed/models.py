"""A vocoder whose definition removed weight norm before it loaded."""

from torch import nn
from torch.nn.utils import weight_norm


class Generator(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.conv_pre = wrap(nn.Conv1d(4, 8, 3))
        self.ups = nn.ModuleList(wrap(nn.ConvTranspose1d(8, 8, 4)) for _ in range(3))
        self.conv_post = wrap(nn.Conv1d(8, 1, 3))


def Net():
    return Generator(lambda layer: layer)


def saved():
    return Generator(weight_norm).state_dict()
