"""Writes the files in this folder with an old torch: ``python3 make.py``.

They were written by torch 1.13.1 of Debian 12 (package python3-torch), NumPy 1.24.2.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent


def checkpoint() -> dict[str, Any]:
    """What a training loop of its time saved: model, optimizer, and values beside them."""
    torch.manual_seed(0)
    conv, norm, out = torch.nn.Conv1d(2, 3, 1), torch.nn.BatchNorm1d(3), torch.nn.Linear(4, 2)
    net = torch.nn.Sequential(OrderedDict(conv=conv, norm=norm, out=out))
    net.tied = out
    net.turned = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float16).t())
    groups: list[dict[str, Any]] = [{"params": conv.parameters()}, {"params": out.parameters(), "lr": 0.5}]
    optimizer = torch.optim.Adam(groups, lr=0.1)
    out(norm(conv(torch.ones(2, 2, 4)))).sum().backward()
    optimizer.step()
    states = {"model": net.state_dict(), "optimizer": optimizer.state_dict()}
    return {"epoch": 3, **states, "best": np.float64(0.5), "whole": net}


def main() -> None:
    """Writes every file."""
    state = checkpoint()
    whole = state.pop("whole")
    torch.save(state, HERE / "torch-1.13-zip.pt")
    torch.save(state, HERE / "torch-1.13-legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(whole, HERE / "torch-1.13-legacy-module.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(whole[:1]).save(str(HERE / "torch-1.13-script.pt"))


if __name__ == "__main__":
    main()
