"""Makes the pictures of ``html_report.md``: a refactored model, checked in a real project, in a real browser.

``python docs/make_html_report.py`` needs ``.[test]`` and a Chromium on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURES = Path(__file__).parent / "html_report"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

BEFORE = """
from torch import nn


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)


class Encoder(nn.Module):
    def __init__(self, width, depth):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)


class Classifier(nn.Module):
    def __init__(self, width=192, depth=12, classes=1000):
        super().__init__()
        self.backbone = Encoder(width, depth)
        self.head = nn.Linear(width, classes)
"""
#: The refactor: the attention has three layers for one, names follow another convention, classes are added.
EDITS = (
    (
        "self.qkv = nn.Linear(width, 3 * width)",
        "self.q, self.k, self.v = (nn.Linear(width, width) for _ in 'qkv')",
    ),
    ("self.norm1", "self.attn_norm"),
    ("self.norm2", "self.mlp_norm"),
    ("self.backbone", "self.encoder"),
    ("classes=1000", "classes=1203"),
)
PROJECT = """
[[tool.ckpt_compat.checkpoint]]
id = "classifier-v1"
path = "checkpoints/classifier_v1.pt"
model = "models:Classifier"

[[tool.ckpt_compat.checkpoint]]
id = "encoder-v1"
path = "checkpoints/encoder_v1.pt"
model = "models:Encoder"
kwargs = { width = 192, depth = 12 }

[[tool.ckpt_compat.checkpoint]]
id = "mlp-v3"
path = "checkpoints/mlp_v3.pt"
model = "models:Mlp"
kwargs = { width = 192 }

[tool.pytest.ini_options]
pythonpath = ["."]
"""
SAVE = """
import torch, models
torch.save(models.Classifier().state_dict(), "checkpoints/classifier_v1.pt")
torch.save(models.Encoder(192, 12).state_dict(), "checkpoints/encoder_v1.pt")
torch.save(models.Mlp(192).state_dict(), "checkpoints/mlp_v3.pt")
"""
ACCEPT = "accept classifier-v1 --rule CK202 --key head.* --reason"


def report(folder: Path) -> Path:
    """Makes the project in a folder, refactors its model, and checks it; returns the page."""
    (folder / "checkpoints").mkdir()
    (folder / "models.py").write_text(BEFORE, encoding="utf-8")
    (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    _run(folder, "-c", SAVE)
    command = ("-m", "pytest_ckpt_compat")
    _run(folder, *command, "update")
    text = BEFORE
    for old, new in EDITS:
        assert old in text
        text = text.replace(old, new)
    (folder / "models.py").write_text(text, encoding="utf-8")
    _run(folder, *command, *ACCEPT.split(), "203 new classes; the head is trained anew")
    _run(folder, *command, "check", "--report", "report.html")
    return folder / "report.html"


def _run(folder: Path, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode > 1:  # 1: a checkpoint breaks, which is what is shown
        raise RuntimeError(done.stdout + done.stderr)


def take(page: Path) -> None:
    """Takes the pictures: the whole in light colours, the trees in light and in dark ones."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        executable = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = running.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            size = {"width": 1240, "height": 860}
            tab = browser.new_page(color_scheme=scheme, viewport=size)  # type: ignore[arg-type]
            tab.goto(page.as_uri())
            if scheme == "light":
                tab.screenshot(path=PICTURES / "page.png")
            tab.set_viewport_size(size | {"height": 1200})  # type: ignore[arg-type]
            trees = tab.locator(".trees").first
            trees.scroll_into_view_if_needed()
            row = trees.locator("[role=row][data-row]", has_text="qkv").first
            row.click()
            row.click()
            box = trees.bounding_box()
            assert box is not None
            clip = {"x": 16, "y": box["y"] - 16, "width": size["width"] - 32, "height": box["height"] + 32}
            tab.screenshot(path=PICTURES / f"trees_{scheme}.png", clip=clip)  # type: ignore[arg-type]
        browser.close()


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        take(report(Path(name)))
