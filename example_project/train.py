"""Trains the classifier and saves a checkpoint: ``python train.py checkpoints/NAME.pt``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from shapes.data import pictures
from shapes.models import Classifier

STEPS = 120


def train(path: Path) -> float:
    """Trains for a few seconds, saves to ``path``, and returns the accuracy on new pictures."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = Classifier()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(STEPS):
        images, labels = pictures(64, generator)
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    images, labels = pictures(500, generator)
    accuracy = float((net(images).argmax(1) == labels).float().mean())
    torch.save({"state_dict": net.state_dict(), "steps": STEPS, "accuracy": accuracy}, path)
    return accuracy


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python train.py checkpoints/NAME.pt")
    print(f"accuracy {train(Path(sys.argv[1])):.3f}")
