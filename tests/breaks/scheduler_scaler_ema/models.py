"""A run to resume, with a schedule, a scaler and averaged weights that lack a new layer."""

import torch
from torch import nn

OPTIONS = {"level": "resume", "optimizer": "torch.optim:Adam", "key": "model"}


def Net():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def saved():
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.zeros(1, 4)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    scaler = {
        "scale": 65536.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 0,
    }
    return {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "scaler": scaler,
        "ema": nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).state_dict(),
    }
