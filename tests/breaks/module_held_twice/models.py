"""A decoder that keeps the encoder that the model has, too; files from before hold it once."""

from torch import nn


class Decoder(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.out = encoder, nn.Conv2d(16, 2, 1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 16, 3))
        self.decoder = Decoder(self.encoder)


def saved():
    state = Net().state_dict()
    return {key: value for key, value in state.items() if not key.startswith("decoder.encoder.")}
