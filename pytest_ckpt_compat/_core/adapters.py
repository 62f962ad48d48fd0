"""Adapters of PEFT: what the configuration beside their weights says, and what their keys look like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_ckpt_compat._core.structure import Structure

#: Name of the file beside the weights, and of its content among a structure's values.
CONFIG = "adapter_config.json"
#: What a PeftModel puts before the keys of the model in it.
PREFIX = "base_model.model."
#: The same, where the PeftModel is wrapped for training, or compiled.
_OUTER = re.compile(r"(?:(?:module|_orig_mod|_fsdp_wrapped_module)\.)*base_model\.model\.")
#: ``Source.format`` of what an adapter of a definition saves.
ADAPTER = "adapter"
#: Settings that say what an adapter is, in the order in which they are shown.
_TOLD = ("r", "num_virtual_tokens", "target_modules", "modules_to_save", "use_dora")
_SHOWN = 4
#: What peft calls the weights of its adapters, and the modules that it wraps, in keys.
_ADAPTER = re.compile(r"\.(lora_|ia3_l|hada_|lokr_|oft_|boft_|vera_lambda_)\w*(\.|$)")
_OWN = re.compile(r"\.(base_layer|modules_to_save\.[^.]+)\.")
_SAVED = re.compile(r"\.modules_to_save\.[^.]+\.")
_WRAPPED = re.compile(r"\.(base_layer|modules_to_save|original_module)\.")


def config_of(structure: Structure) -> Mapping[str, Any] | None:
    """The configuration of an adapter; None for any other checkpoint."""
    found = structure.values.get(CONFIG)
    return found if isinstance(found, Mapping) and isinstance(found.get("peft_type"), str) else None


def described(config: Mapping[str, Any]) -> str:
    """``LORA adapter of PEFT for gpt2 (r=8, target_modules=[c_attn])``."""
    base = config.get("base_model_name_or_path")
    of = f" for {base}" if isinstance(base, str) and base else ""
    told = [f"{name}={_short(config[name])}" for name in _TOLD if config.get(name)]
    listed = f" ({', '.join(told)})" if told else ""
    return f"{config['peft_type']} adapter of PEFT{of}{listed}"


def _short(value: object) -> str:
    if isinstance(value, list):
        more = ", ..." if len(value) > _SHOWN else ""
        return f"[{', '.join(map(str, value[:_SHOWN]))}{more}]"
    return str(value)


def adapted(keys: Iterable[str]) -> bool:
    """Whether the weights of an adapter are among some keys."""
    return any(map(_ADAPTER.search, keys))


def is_adapters(key: str) -> bool:
    """Whether peft has made a key, of the weights of an adapter or of a module that it wraps."""
    return bool(_OUTER.match(key) or _ADAPTER.search(key) or _WRAPPED.search(key))


def unwrapped(key: str) -> str:
    """The key of a module's weight before peft has wrapped the module, and the model around it."""
    return _OWN.sub(".", _OUTER.sub("", key, count=1) if _OUTER.match(key) else key)


def trained_copies(keys: Iterable[str]) -> Mapping[str, str]:
    """Key of a module as it was -> the same of what peft has trained in whole, under ``modules_to_save``."""
    keys = list(keys)
    untrained = {key for key in keys if ".original_module." in key}
    saved = ((_SAVED.sub(".original_module.", key), key) for key in keys)
    return {before: after for before, after in saved if before in untrained and before != after}
