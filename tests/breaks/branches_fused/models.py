"""A network whose blocks have three branches in training, and one kernel where it is deployed (DingXiaoH/RepVGG)."""

from collections import OrderedDict

from torch import nn


def branch(inputs, outputs, kernel):
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs)))


class Block(nn.Module):
    def __init__(self, inputs, outputs, deploy):
        super().__init__()
        if deploy:
            self.rbr_reparam = nn.Conv2d(inputs, outputs, 3, padding=1)
        else:
            self.rbr_identity = nn.BatchNorm2d(inputs) if inputs == outputs else None
            self.rbr_dense = branch(inputs, outputs, 3)
            self.rbr_1x1 = branch(inputs, outputs, 1)


class Net(nn.Module):
    def __init__(self, deploy=True):
        super().__init__()
        self.stage0 = Block(3, 8, deploy)
        self.stage1 = nn.Sequential(Block(8, 16, deploy), Block(16, 16, deploy))
        self.linear = nn.Linear(16, 4)


def saved():
    return Net(deploy=False).state_dict()
