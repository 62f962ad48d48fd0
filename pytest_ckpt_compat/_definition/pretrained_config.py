"""Recognizes models of transformers, and builds them from the ``config.json`` beside their weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.hub import repository
from pytest_ckpt_compat._definition.names import descends

#: Name of a model's configuration: the file, and its content among a checkpoint's values.
CONFIG = "config.json"


def is_pretrained(kind: Any) -> bool:
    """Whether a class is a ``transformers.PreTrainedModel``."""
    return descends(kind, "PreTrainedModel", "transformers")


def factory_of(
    target: Any, path: str, recorded: Mapping[str, Any] | None = None
) -> Callable[..., Any] | None:
    """A factory that builds a model class from the ``config.json`` of a checkpoint.

    As in ``from_pretrained``, its keyword arguments change the configuration, and those that it does not
    know go to the class.

    Args:
        target: the class of transformers that was registered as the model.
        path: the checkpoint, a directory or a file in one, or an address of the Hub.
        recorded: the configuration in the checkpoint's snapshot, which stands in where there is no file.

    Returns:
        None if the checkpoint has no ``config.json``.
    """
    place = _place(path)
    if recorded is not None and not os.path.isdir(place[0] if place else ""):
        place = None
    elif place is None:
        return None

    def from_config(**kwargs: Any) -> Any:
        kind = target.config_class
        if place is None:
            config, others = kind.from_dict(dict(recorded or {}), return_unused_kwargs=True, **kwargs)
        else:
            config, others = kind.from_pretrained(place[0], return_unused_kwargs=True, **place[1], **kwargs)
        return target(config, **others)

    from_config.__module__ = target.__module__
    return from_config


def configuration(path: str) -> dict[str, Any] | None:
    """The content of a checkpoint's ``config.json``, for its snapshot; None if it cannot be had."""
    try:
        return _configuration(path, None)
    except (ImportError, OSError, ValueError):
        return None


def _configuration(path: str, recorded: Mapping[str, Any] | None) -> dict[str, Any] | None:
    place = _place(path)
    if place is not None and os.path.isdir(place[0]):
        with open(os.path.join(place[0], CONFIG), encoding="utf-8") as file:
            found = json.load(file)
    elif recorded is not None:
        found = recorded
    elif place is not None:
        import transformers

        found = transformers.PretrainedConfig.get_config_dict(place[0], **place[1])[0]
    else:
        return None
    if not isinstance(found, Mapping):
        raise ValueError(f"it holds {type(found).__name__}, not names and values")
    return dict(found)


def class_named_in(path: str, recorded: Mapping[str, Any] | None = None) -> Any:
    """The class of transformers that the ``config.json`` of a checkpoint names.

    Raises:
        UsageError: there is no such file, it names none, or transformers has no such class.
    """
    subject, advice = f"{path}, option load", 'give model, "package.module:attr"'
    try:
        config = _configuration(path, recorded)
        named = None if config is None else (config.get("architectures") or [""])[0]
    except (ImportError, OSError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise UsageError(
            subject, f"is transformers, and config.json cannot be read ({error})", advice
        ) from error
    if config is None:
        raise UsageError(subject, "is transformers, and no config.json lies beside the weights", advice)
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            subject, f"is transformers, which cannot be imported ({error})", "install it"
        ) from error
    found = getattr(transformers, named, None) if isinstance(named, str) and named else None
    if not is_pretrained(found):
        raise UsageError(
            subject,
            f"is transformers, and its config.json names no class of that library ({named!r})",
            advice,
        )
    return found


def _place(path: str) -> tuple[str, dict[str, Any]] | None:
    """Where transformers finds a checkpoint's ``config.json``: a directory, or a model of the Hub.

    Returns:
        The first argument of ``from_pretrained``, and its options; None if there is no such file.
    """
    found = repository(path)
    if found is None:
        folder = _folder(path)
        return None if folder is None else (folder, {})
    options = {"revision": found.revision or "main", "subfolder": found.folder}
    return found.id, options


def _folder(path: str) -> str | None:
    """The directory with a checkpoint's ``config.json``; None if there is none."""
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    return folder if path and os.path.isfile(os.path.join(folder, CONFIG)) else None
