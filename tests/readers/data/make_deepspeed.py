"""Writes the DeepSpeed directories in this folder: ``python make_deepspeed.py 2`` and ``... 3``.

They were written by DeepSpeed 0.19.8 with torch 2.13, on one process without an accelerator. Only
the model states are kept, and what DeepSpeed itself joins them to, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SETTINGS = {"DS_ACCELERATOR": "cpu", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
SETTINGS |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


def network() -> Any:
    """A model with tied, frozen and plain parameters, and buffers."""
    import torch

    net = torch.nn.ModuleDict(
        {"a": torch.nn.Linear(4, 6), "norm": torch.nn.BatchNorm1d(6), "frozen": torch.nn.Linear(4, 4)}
    )
    net["tied"] = torch.nn.Linear(4, 6)
    net["tied"].weight = net["a"].weight
    net["frozen"].requires_grad_(requires_grad=False)
    return net


def main(stage: int) -> None:
    """Saves a checkpoint, keeps what describes the model, and writes what DeepSpeed reads from it."""
    os.environ.update(SETTINGS)
    deepspeed: Any = import_module("deepspeed")
    script: Any = import_module("deepspeed.utils.zero_to_fp32")
    net = network()
    config = {
        "train_batch_size": 1,
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": stage},
        "optimizer": {"type": "Adam", "params": {"lr": 0.1, "torch_adam": True}},
    }
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    engine, *_ = deepspeed.initialize(model=net, model_parameters=trained, config=config)
    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(folder)
        joined = script.get_fp32_state_dict_from_zero_checkpoint(folder)
        target = HERE / f"deepspeed-zero{stage}"
        for path in Path(folder).glob("global_step0/*_model_states.pt"):
            (target / "global_step0").mkdir(parents=True, exist_ok=True)
            path.rename(target / "global_step0" / path.name)
        (Path(folder) / "latest").rename(target / "latest")
    specs = {
        key: f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
        for key, tensor in joined.items()
    }
    (target / "joined.json").write_text(json.dumps(specs, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
