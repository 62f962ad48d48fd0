"""Finds the base model that a PEFT adapter names, and builds it from its own configuration."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from pytest_ckpt_compat._core.adapters import CONFIG
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._definition.pretrained_config import class_named_in

_ADVICE = 'give model, "package.module:attr"'
#: The task of an adapter -> the class of transformers with which peft's AutoPeftModels load its base.
_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoModel",
}


def base_folder(path: str) -> str | None:
    """The directory of an adapter's base model, with its ``config.json``; None if none is on this machine.

    Args:
        path: the adapter, a directory or a file in one.
    """
    config = _config(path)
    named = config.get("base_model_name_or_path") if config else None
    if not isinstance(named, str) or not named:
        return None
    return named if os.path.isfile(os.path.join(named, "config.json")) else None


def base_of(path: str) -> tuple[Callable[..., Any], str]:
    """What builds the base of an adapter, and its name.

    It is what peft's ``AutoPeftModel`` takes: the class of transformers for the adapter's task, or the class
    that the adapter was trained on, or the one that the base's ``config.json`` names.

    Args:
        path: the adapter, a directory or a file in one.

    Raises:
        UsageError: the adapter's configuration names no base model on this machine, or no class of it.
    """
    subject, config = f"{path}, option load", _config(path)
    if config is None:
        raise UsageError(subject, f"is peft, and no {CONFIG} lies beside the weights", _ADVICE)
    folder = base_folder(path)
    if folder is None:
        named = config.get("base_model_name_or_path")
        what = f"names the base model {named!r}, which is no directory here with a config.json"
        what = what if named else "names no base model"
        raise UsageError(subject, f"is peft, and {CONFIG} {what}", _ADVICE)
    name = _CLASSES.get(str(config.get("task_type")))
    if name is not None:
        return _automatic(name, folder), f"transformers.{name}"
    mapping = config.get("auto_mapping")
    if isinstance(mapping, Mapping):
        return _trained_on(subject, str(mapping.get("parent_library")), str(mapping.get("base_model_class")))
    found = class_named_in(folder)
    return found, f"{found.__module__}.{found.__qualname__}"


def _trained_on(subject: str, library: str, name: str) -> tuple[Callable[..., Any], str]:
    """The class of transformers that an adapter was trained on. A file gets nothing else imported."""
    if library.partition(".")[0] != "transformers":
        problem = (
            f"is peft, and {CONFIG} names the base's class {library}.{name}, which is none of transformers"
        )
        raise UsageError(subject, problem, f'give model, for example "{library}:{name}"')
    try:
        return getattr(importlib.import_module(library), name), f"{library}.{name}"
    except (ImportError, AttributeError) as error:
        problem = f"is peft, and the base's class {library}.{name} cannot be imported ({error})"
        raise UsageError(subject, problem, _ADVICE) from error


def _automatic(name: str, folder: str) -> Callable[..., Any]:
    try:
        import transformers
    except ImportError as error:
        raise UsageError("transformers", f"cannot be imported ({error})", "install it") from error
    kind = getattr(transformers, name)

    def from_config(**kwargs: Any) -> Any:
        config, others = transformers.AutoConfig.from_pretrained(folder, return_unused_kwargs=True, **kwargs)
        return kind.from_config(config, **others)

    return from_config


def _config(path: str) -> Mapping[str, Any] | None:
    """The configuration of an adapter; None if there is none."""
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    try:
        with open(os.path.join(folder, CONFIG), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, Mapping) else None
