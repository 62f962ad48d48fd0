"""An attention of a project's own, with the names of torch's, became torch's."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2)
        self.head = nn.Linear(8, 2)


def saved():
    state = Net().state_dict()
    joint = state.pop("attn.in_proj_weight")
    names = ("q", "k", "v")
    parts = {f"attn.{name}_proj_weight": part for name, part in zip(names, joint.chunk(3), strict=True)}
    return {**state, **{key: torch.clone(part) for key, part in parts.items()}}
