"""spectral_norm was taken off, and its layers have other names."""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class Net(nn.Module):
    def __init__(self, names=("inc", "mid", "up", "out"), wrap=lambda layer: layer):
        super().__init__()
        layers = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.ConvTranspose2d(8, 8, 2), nn.Linear(8, 2)
        for name, layer in zip(names, layers, strict=True):
            self.add_module(name, wrap(layer))


def saved():
    return Net(("enc_in", "enc_mid", "dec_up", "enc_out"), spectral_norm).state_dict()
