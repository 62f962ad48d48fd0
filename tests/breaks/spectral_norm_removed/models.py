"""A decoder's spectral norm, gone from the definition (he-dhamo/simsg#12)."""

from torch import nn
from torch.nn.utils import spectral_norm


class Decoder(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.conv_0 = wrap(nn.Conv2d(3, 8, 3))
        self.conv_1 = wrap(nn.Conv2d(8, 8, 3))
        self.out = nn.Conv2d(8, 3, 1)


def Net():
    return Decoder(lambda layer: layer)


def saved():
    return Decoder(spectral_norm).state_dict()
