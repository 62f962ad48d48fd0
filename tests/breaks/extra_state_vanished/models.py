"""Settings of low-precision layers (NVIDIA/Megatron-LM#900)."""

from torch import nn


class Low(nn.Linear):
    def get_extra_state(self):
        return {"recipe": "delayed"}

    def set_extra_state(self, state):
        pass


class Net(nn.Module):
    def __init__(self, kind=nn.Linear):
        super().__init__()
        self.layers = nn.ModuleList(kind(8, 8) for _ in range(4))


def saved():
    return Net(Low).state_dict()
