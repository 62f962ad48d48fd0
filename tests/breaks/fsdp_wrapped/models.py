"""The names of FSDP's wrappers in the keys (pytorch/pytorch#74810)."""

from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.Linear(8, 8)
        self.mlp = nn.Linear(8, 8)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(8, 10)


class Wrapper(nn.Module):
    def __init__(self, module):
        super().__init__()
        self._fsdp_wrapped_module = module


def saved():
    net = Net()
    for n, block in enumerate(net.blocks):
        net.blocks[n] = Wrapper(block)
    return Wrapper(net).state_dict()
