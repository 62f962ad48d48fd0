"""Released checkpoints must go on loading into the classifier as it is defined now."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from shapes.data import pictures
from shapes.models import Classifier
from torch import nn

from pytest_ckpt_compat import CkptCompat


def trained_with(checkpoint: dict[str, Any]) -> Classifier:
    """The classifier with the settings that the checkpoint was trained with."""
    return Classifier(**checkpoint["settings"])


def accuracy(net: nn.Module) -> float:
    """On pictures that no training has seen."""
    images, labels = pictures(200, torch.Generator().manual_seed(1))
    return float((net.eval()(images).argmax(1) == labels).float().mean())


@pytest.mark.checkpoint("../checkpoints/shapes_v1.pt", model=Classifier, id="shapes-v1")
@pytest.mark.checkpoint("../checkpoints/shapes_v2.pt", model=Classifier, id="shapes-v2")
def test_released_checkpoints_still_tell_shapes_apart(ckpt_compat: CkptCompat) -> None:
    assert accuracy(ckpt_compat.load()) > 0.8


@pytest.mark.checkpoint("../checkpoints/shapes_v2.pt", model=trained_with, id="shapes-v2-settings")
def test_settings_in_the_checkpoint_still_build_its_model() -> None:
    pass  # the marker alone is the test
