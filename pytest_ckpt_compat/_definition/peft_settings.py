"""What PeftModels and adapters say of themselves: which adapter is meant, and how it was configured."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_ckpt_compat._core.adapters import CONFIG, config_of, described
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.names import descends

#: Settings that say nothing about the outputs of a loaded adapter.
_APART = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision"),
        *("init_lora_weights", "init_weights", "lora_dropout", "task_type"),
    }
)
_SHOWN = 5


def is_peft_model(module: object) -> bool:
    """Whether a module is a ``peft.PeftModel``."""
    return descends(type(module), "PeftModel", "peft")


def adapter_of(module: Any, structure: Structure) -> str:
    """The adapter of a PeftModel that a checkpoint is for.

    It is the one that the checkpoint's folder is named after, as peft names the folders of several, or else
    the active one.
    """
    path = os.path.normpath(structure.source.path)
    folders = (os.path.basename(path), os.path.basename(os.path.dirname(path)))
    return next((name for name in folders if name in module.peft_config), str(module.active_adapters[0]))


def remarks(module: Any, structure: Structure) -> tuple[str, ...]:
    """Says how peft loads an adapter, and where the definition has other settings."""
    config = config_of(structure)
    what = f": {described(config)}" if config else ""
    if not is_peft_model(module):
        lacking = ", ".join(_lacking(config or {}, module))
        told = f"{CONFIG} names {lacking}, and the definition has no such module"
        how = f"loaded as peft's PeftModel.from_pretrained does{what}"
        return (how, told) if lacking else (how,)
    name = adapter_of(module, structure)
    others = _differences(config or {}, module.peft_config[name].to_dict())
    return (
        f"loaded as peft's load_adapter does, into the definition's adapter {name!r}{what}",
        *(f"{CONFIG} has {each}: the definition's counts" for each in others),
    )


def _lacking(config: Mapping[str, Any], module: Any) -> list[str]:
    """The modules that an adapter is for, or saves, and that its base does not have."""
    fields = (config.get("target_modules"), config.get("modules_to_save"))
    named = [name for field in fields if isinstance(field, list) for name in field if isinstance(name, str)]
    own = [f".{path}" for path, _ in module.named_modules()]
    return [name for name in named if not any(path.endswith(f".{name}") for path in own)]


def _differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """``lora_alpha=16, and the definition lora_alpha=32``, for each setting that both sides have."""
    pairs = {name: (_plain(saved[name]), _plain(own[name])) for name in saved if name in own}
    told = _told({name: pair for name, pair in pairs.items() if name not in _APART})
    return list(told)[:_SHOWN]


def _told(pairs: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    for name, (before, now) in pairs.items():
        if before != now:
            yield f"{name}={before}, and the definition {name}={now}"


def _plain(value: Any) -> Any:
    """A setting as JSON has it; the order of a set means nothing."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset, list, tuple)) and all(isinstance(each, str) for each in value):
        return sorted(value)
    return value
