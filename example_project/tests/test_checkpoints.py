"""Released checkpoints must go on loading into the classifier as it is defined now."""

from __future__ import annotations

import pytest
import torch
from pytest_ckpt_compat.fixture import CkptCompat

from shapes.data import pictures
from shapes.models import Classifier


@pytest.mark.checkpoint("../checkpoints/shapes_v1.pt", model=Classifier, id="shapes-v1")
def test_v1_still_tells_shapes_apart(ckpt_compat: CkptCompat) -> None:
    net = ckpt_compat.load().eval()
    images, labels = pictures(200, torch.Generator().manual_seed(1))
    assert (net(images).argmax(1) == labels).float().mean() > 0.8
