"""A LightningModule's file into the bare network, a refactor later."""

from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 8)


class Net(nn.Module):
    def __init__(self, name="layers"):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        setattr(self, name, nn.ModuleList(Block() for _ in range(3)))
        self.head = nn.Linear(8, 10)


def saved():
    return {"state_dict": nn.ModuleDict({"model": Net("blocks")}).state_dict(), "epoch": 3}
