"""An orthogonal layer became a plain one."""

from torch import nn
from torch.nn.utils.parametrizations import orthogonal


class Net(nn.Module):
    def __init__(self, wrap=lambda layer: layer):
        super().__init__()
        self.mix = wrap(nn.Linear(4, 4))
        self.tall = wrap(nn.Linear(4, 8))
        self.out = nn.Linear(8, 2)


def saved():
    return Net(orthogonal).state_dict()
