"""Recognizes models of transformers, and builds them from the ``config.json`` beside their weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from pytest_ckpt_compat._core.errors import UsageError


def is_pretrained(kind: Any) -> bool:
    """Whether a class is a ``transformers.PreTrainedModel``. Its names decide: nothing is imported."""
    return any(
        base.__name__ == "PreTrainedModel" and base.__module__.partition(".")[0] == "transformers"
        for base in getattr(kind, "__mro__", ())
    )


def factory_of(target: Any, path: str) -> Callable[..., Any] | None:
    """A factory that builds a model class from the ``config.json`` of a checkpoint.

    As in ``from_pretrained``, its keyword arguments change the configuration, and those that it does not
    know go to the class.

    Args:
        target: what was registered as the model.
        path: the checkpoint, a directory or a file in one.

    Returns:
        None if ``target`` is no class of transformers, or the checkpoint has no ``config.json``.
    """
    folder = _folder(path)
    if not is_pretrained(target) or folder is None:
        return None

    def from_config(**kwargs: Any) -> Any:
        config, others = target.config_class.from_pretrained(folder, return_unused_kwargs=True, **kwargs)
        return target(config, **others)

    from_config.__module__ = target.__module__
    return from_config


def class_named_in(path: str) -> Any:
    """The class of transformers that the ``config.json`` of a checkpoint names.

    Raises:
        UsageError: there is no such file, it names none, or transformers has no such class.
    """
    subject, advice = f"{path}, option load", 'give model, "package.module:attr"'
    folder = _folder(path)
    if folder is None:
        raise UsageError(subject, "is transformers, and no config.json lies beside the weights", advice)
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            named = (json.load(file).get("architectures") or [""])[0]
    except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise UsageError(
            subject, f"is transformers, and config.json cannot be read ({error})", advice
        ) from error
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            subject, f"is transformers, which cannot be imported ({error})", "install it"
        ) from error
    found = getattr(transformers, named, None) if isinstance(named, str) and named else None
    if not is_pretrained(found):
        raise UsageError(
            subject, f"is transformers, and its config.json names no class of it ({named!r})", advice
        )
    return found


def _folder(path: str) -> str | None:
    """The directory with a checkpoint's ``config.json``; None if there is none."""
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    return folder if path and os.path.isfile(os.path.join(folder, "config.json")) else None
