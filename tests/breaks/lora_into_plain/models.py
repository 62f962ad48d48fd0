"""LoRA's keys, loaded into the plain model (JIA-Lab-research/LISA#116)."""

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj = nn.Linear(8, 8), nn.Linear(8, 8)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Attention() for _ in range(2))
        self.norm = nn.LayerNorm(8)


def saved():
    state = {}
    for key, value in Net().state_dict().items():
        key = key.replace("q_proj.", "q_proj.base_layer.")
        state["base_model.model." + key] = value
    for n in range(2):
        state[f"base_model.model.layers.{n}.q_proj.lora_A.default.weight"] = torch.zeros(4, 8)
        state[f"base_model.model.layers.{n}.q_proj.lora_B.default.weight"] = torch.zeros(8, 4)
    return state
