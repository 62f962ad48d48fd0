"""Trains the classifier and saves a checkpoint: ``python train.py checkpoints/NAME.pt``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from shapes.data import CLASSES, pictures
from shapes.models import Classifier
from torch import nn

STEPS = 150


def train(path: Path) -> float:
    """Trains for some seconds, saves to ``path``, and returns the accuracy on new pictures."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    settings = {"num_classes": len(CLASSES), "width": 16, "depth": 3}
    net = Classifier(**settings)
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
    checkpoint = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "settings": settings,
        "steps": STEPS,
        "accuracy": accuracy,
    }
    torch.save(checkpoint, path)
    return accuracy


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python train.py checkpoints/NAME.pt")
    print(f"accuracy {train(Path(sys.argv[1])):.3f}")
