"""Float weights, for a definition that is quantized already when it loads."""

import torch
from torch import nn


class Float(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.rnn = nn.LSTM(8, 8)
        self.fc1 = nn.Linear(8, 16)
        self.fc2 = nn.Linear(16, 4)


def Net():
    return torch.ao.quantization.quantize_dynamic(Float(), {nn.Linear, nn.LSTM}, dtype=torch.qint8)


def saved():
    return Float().state_dict()
