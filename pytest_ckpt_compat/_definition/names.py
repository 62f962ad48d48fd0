"""Imports what a user names, and says where the user's code is and what it raised."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import sysconfig
import traceback
import types
from collections.abc import Mapping
from typing import Any

from pytest_ckpt_compat._core.errors import BuildError, UsageError
from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._definition.surroundings import untouched_process

#: What a library colours its messages with, as torch.load does.
_COLOURS = re.compile(r"(?:\x1b|\\x1b)\[[0-9;]*m")
#: Longest message of an error that is told in full, and the first sentence of a longer one.
_LONGEST = 1000
_SENTENCE = re.compile(r".{20,}?[.;](?= )")


def is_module(value: object) -> bool:
    """Whether ``value`` is an instance of torch.nn.Module."""
    import torch

    return isinstance(value, torch.nn.Module)


def descends(kind: object, name: str, *packages: str) -> bool:
    """Whether a class is, or is derived from, one of this name in a library. Nothing is imported for it."""
    return any(
        base.__name__ == name and base.__module__.partition(".")[0] in packages
        for base in getattr(kind, "__mro__", ())
    )


def brief(error: BaseException) -> str:
    """Describes an error and the user's line that raised it: ``ValueError: bad width (models/net.py:12)``."""
    text = _COLOURS.sub("", words(error))
    if len(text) > _LONGEST and (sentence := _SENTENCE.match(text)):  # torch's dispatcher lists every backend
        text = sentence[0]
    summary = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    return f"{summary} ({relative(frames[-1].filename)}:{frames[-1].lineno})" if frames else summary


def _is_users(filename: str) -> bool:
    others = (os.path.dirname(os.path.dirname(os.path.abspath(__file__))), os.path.dirname(os.__file__))
    inside = os.path.abspath(filename).startswith(tuple(folder + os.sep for folder in others))
    return not inside and "site-packages" not in filename and os.path.exists(filename)


@functools.cache
def installed() -> tuple[str, ...]:
    """The folders of Python and of what is installed for it, each with a separator at its end."""
    found = map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))
    return tuple({folder + os.sep for folder in found if folder})


def find_attribute(text: str) -> Any:
    """Imports the object that ``"package.module:attr"`` names.

    Raises:
        BuildError: the module cannot be imported, or has no such attribute.
        UsageError: the text is not of this form.
    """
    module_name, _, attribute = text.partition(":")
    if not module_name or not attribute:
        raise UsageError(
            text, "is not the name of a model", 'write "package.module:attr", for example "models:Classifier"'
        )
    try:
        with untouched_process():
            found: Any = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BuildError(
            text,
            f"importing {module_name} raised {brief(error)}",
            _what_lets_it_be_imported(module_name, error),
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise BuildError(text, f"{module_name} has no attribute {attribute}", "check the spelling")
        found = getattr(found, part)
    return found


def _what_lets_it_be_imported(module_name: str, error: BaseException) -> str:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return f"make {module_name} import where the check runs"
    if f"{module_name}.".startswith(f"{error.name}."):
        return "check the name, and that the package is installed or its folder is on PYTHONPATH"
    return f"install what gives {error.name} where the check runs, or put its folder on PYTHONPATH"


def parameters(target: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def dotted(text: str) -> str:
    return text.replace(":", ".")


def name_of(target: Any) -> str:
    qualname = getattr(target, "__qualname__", "")
    return "" if not qualname or "<" in qualname else f"{target.__module__}.{qualname}"


def where_of(target: Any) -> str:
    known = isinstance(target, (type, types.FunctionType))  # others may have code of the user's to be equal
    try:
        filename, line = _place_of(target) if known else _place_of.__wrapped__(target)
    except (OSError, TypeError, ValueError):
        return ""
    return f"{relative(filename)}:{line}" if filename else ""


@functools.lru_cache(maxsize=256)
def _place_of(target: Any) -> tuple[str | None, int]:
    target = inspect.unwrap(target)
    code = getattr(target, "__code__", None)  # a class has none
    return inspect.getsourcefile(target), code.co_firstlineno if code else inspect.getsourcelines(target)[1]


def relative(filename: str) -> str:
    """Returns a path relative to the working directory if it is inside, else the path itself."""
    try:
        relative = os.path.relpath(filename)
    except (OSError, ValueError):  # the folder is gone, or on another drive
        return filename
    return filename if relative.startswith("..") else relative.replace(os.sep, "/")
