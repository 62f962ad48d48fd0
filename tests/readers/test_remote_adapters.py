"""Adapters behind an address: the configuration beside the weights is fetched, too, if there is one."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from pytest_ckpt_compat._core.adapters import CONFIG, config_of
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import read
from tests.readers.test_remote import Server, server

__all__ = ["server"]

STATE = {f"base_model.model.q.lora_{part}.weight": torch.zeros(2, 2) for part in "AB"}


def test_the_configuration_beside_the_weights(server: Server) -> None:
    save_file(STATE, server.folder / "adapter_model.safetensors")
    save_file(STATE, server.folder / "model.safetensors")
    assert config_of(read(f"{server.url}/adapter_model.safetensors")) is None
    (server.folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 0.5}))
    config = config_of(read(f"{server.url}/adapter_model.safetensors?token=a"))
    assert config == {"peft_type": "LORA", "lora_alpha": 0.5}
    assert config_of(read(f"{server.url}/model.safetensors")) is None


@pytest.mark.parametrize("text", ["[]", "{", '{"peft_type": "LORA", "peft_type": "IA3"}', '{"r": NaN}'])
def test_configurations_that_lie(text: str, server: Server) -> None:
    save_file(STATE, server.folder / "adapter_model.safetensors")
    (server.folder / CONFIG).write_text(text)
    with pytest.raises(ReadError, match=r"in its part 'adapter_config\.json', it "):
        read(server.folder)


@pytest.mark.parametrize("config", [{}, {"peft_type": None}, {"peft_type": ["LORA"]}])
def test_a_configuration_of_something_else(config: dict[str, object], server: Server) -> None:
    save_file(STATE, server.folder / "adapter_model.safetensors")
    (server.folder / CONFIG).write_text(json.dumps(config))
    assert config_of(read(server.folder)) is None
