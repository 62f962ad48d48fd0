"""A file of the quantized model, for the float one."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.rnn = nn.LSTM(8, 8)
        self.fc1 = nn.Linear(8, 16)
        self.fc2 = nn.Linear(16, 4)


def saved():
    return torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear, nn.LSTM}, dtype=torch.qint8).state_dict()
