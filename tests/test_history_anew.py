"""What ``history`` answers after something changed that is in no commit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import Printed
from tests.repository import commit, git

pytestmark = pytest.mark.long

MODELS = """
import json
import os
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = os.environ.get("SIZES")
        width = json.load(open(sizes)) if sizes else int(os.environ.get("WIDTH", "4"))
        self.layer = nn.Linear(width, 4)
"""


@pytest.fixture
def repository(pytester: pytest.Pytester, earlier_code: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose definition depends on its surroundings, and a cache of its own."""
    root = pytester.path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setattr(pytester, "_path", root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.name", "t")
    git(root, "config", "user.email", "t@example.com")
    (root / ".gitignore").write_text("weights/\nnet.pt\n")
    (root / "models.py").write_text(MODELS)
    commit(root, "Begin")
    return root


def write(path: Path, *shape: int) -> None:
    """A checkpoint whose size and time do not depend on the shape."""
    path.parent.mkdir(exist_ok=True)
    torch.save({"layer.weight": torch.zeros(*shape), "layer.bias": torch.zeros(4)}, path)
    os.utime(path, (1e9, 1e9))


@pytest.mark.parametrize("name", ["net.pt", "weights/pytorch_model.bin"])
def test_a_checkpoint_that_was_replaced(repository: Path, command: Callable[..., Printed], name: str) -> None:
    path = repository / name
    asked = "weights" if "/" in name else name
    write(path, 4, 4)
    first = command("history", "models:Net", "--bisect", asked)
    assert "nothing broke" in first.out
    write(path, 2, 8)
    second = command("history", "models:Net", "--bisect", asked)
    assert "nothing broke" not in second.out + second.err


def test_a_variable_of_the_environment(
    repository: Path, command: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repository / "net.pt", 4, 4)
    monkeypatch.setenv("WIDTH", "4")
    assert "nothing broke" in command("history", "models:Net", "--bisect", "net.pt").out
    monkeypatch.setenv("WIDTH", "5")
    assert "nothing broke" not in command("history", "models:Net", "--bisect", "net.pt").out


def test_a_file_from_elsewhere(
    repository: Path, command: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(repository / "net.pt", 4, 4)
    sizes = tmp_path / "sizes.json"
    monkeypatch.setenv("SIZES", str(sizes))
    sizes.write_text("4")
    assert "nothing broke" in command("history", "models:Net", "--bisect", "net.pt").out
    sizes.write_text("5")
    assert "nothing broke" not in command("history", "models:Net", "--bisect", "net.pt").out
