"""A repository with a past: tags, a rename, a commit that cannot be built, and documents in between."""

from __future__ import annotations

from pathlib import Path

from pytest_ckpt_compat._history import worker
from tests.conftest import SETTINGS
from tests.repository import commit, git

NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.body = nn.Linear(3, width)
        self.head = nn.Linear(width, 4)
"""

#: Tag -> what is replaced in the text of ``pkg/net.py``; a syntax error has no tag.
EDITS = (
    ("v1.1", "self.body", "self.trunk"),
    ("", "class Net", "class Net("),
    ("", "class Net(", "class Net"),
    ("rel/2.0", "width, 4", "width, 5"),
    ("v2.1", "width, 5)", "width, 5)\n        self.norm = nn.LayerNorm(4, eps=1e-3)"),
    ("v2.2", "eps=1e-3", "eps=1e-4"),
)


def make_past(folder: Path, inside: str = "") -> Path:
    """Makes the repository.

    Args:
        folder: its top.
        inside: the folder of the package's folder, relative to the top.
    """
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.name", "t")
    git(folder, "config", "user.email", "t@example.com")
    (folder / "pyproject.toml").write_text(SETTINGS.replace('["."]', f'["{inside or "."}"]'))
    (folder / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    commit(folder, "Begin")
    package = folder / inside / "pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "net.py").write_text(NET)
    commit(folder, "Add the model")
    git(folder, "tag", "v1.0")
    (folder / "README.md").write_text("A net.\n")
    commit(folder, "Document it")
    (package / "net.py").write_text(NET + "\n# a comment\n")
    commit(folder, "Comment it")
    for number, (tag, old, new) in enumerate(EDITS):
        text = (package / "net.py").read_text()
        assert old in text
        (package / "net.py").write_text(text.replace(old, new))
        commit(folder, f"Edit {number}")
        if tag:
            git(folder, "tag", tag)
    return folder


def serve_without_forks(*arguments: str) -> None:
    """Serves as on a system where forks are not safe."""
    worker.FORKS = False
    worker.serve(*arguments)
