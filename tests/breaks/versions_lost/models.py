"""A prefix taken off by a dict comprehension, from a quantized model."""

import warnings

import torch
from torch import nn


def Net():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(
            nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), {nn.Linear}
        )


def saved():
    return {key: value for key, value in Net().state_dict().items()}
