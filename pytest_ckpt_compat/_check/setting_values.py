"""Values of settings and classes of modules: whether two are the same, and what it means if not."""

from __future__ import annotations

import ast
import math
import re
from typing import Any

from pytest_ckpt_compat._core.class_names import simple
from pytest_ckpt_compat._definition.module_settings import is_defined

#: Relative difference of two floats that are one: ``8 ** -0.5`` is also written ``1 / math.sqrt(8)``.
_TOLERANCE = 1e-9
_CONTAINERS = frozenset(
    {"Sequential", "ModuleList", "ModuleDict", "Module", "ParameterList", "ParameterDict"}
)
#: Classes of torch that are another one of its own, kept apart for tools that look for the class.
_TWINS = {"NonDynamicallyQuantizableLinear": "Linear"}
#: Classes that only act while training.
_TRAINING_CLASS = re.compile(r"Drop(out|Path|Block)|StochasticDepth|Loss$")
#: Names of settings that only act while training, where their value is a number.
_TRAINING = re.compile(
    r"(^|_)(p_?drop|drop(out|path|block)?|layerdrop)(_|$)|drop_?(out|prob|path|rate)|^label_smoothing$"
    r"|(^|_)lr$|learning_rate|weight_decay|warmup|^sparse$|^scale_grad_by_freq$",
    re.IGNORECASE,
)
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def differ(one: str, other: str) -> bool:
    """Whether two values of a setting mean something else."""
    if one == other:
        return False
    if _NAME.fullmatch(one) and _NAME.fullmatch(other):
        return switched(one, other, True)
    if _NAME.fullmatch(one) or _NAME.fullmatch(other):  # "gelu" -> torch.nn.functional.gelu
        return not same_name(one, other)
    return not _same(value(one), value(other))


def same_name(one: str, other: str) -> bool:
    """Whether two values name one function: ``'gelu'``, ``torch.nn.functional.gelu``, ``torch.nn.GELU``."""
    return len({text.strip("'\"").rpartition(".")[2].lower() for text in (one, other)}) == 1


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) != isinstance(other, tuple):  # 2 stands for (2, 2)
        items, single = (one, other) if isinstance(one, tuple) else (other, one)
        return bool(items) and all(_same(item, single) for item in items)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(one, other, rel_tol=_TOLERANCE)
    return bool(one == other)


def value(text: str) -> Any:
    """What a text of a setting stands for; names stand for themselves."""
    if text in ("nan", "inf", "-inf"):
        return float(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def number(text: str) -> float | None:
    """The number that a text of a setting stands for, if it is one."""
    found = value(text)
    return found if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def is_size(text: str) -> bool:
    """Whether a value may follow from the shapes of tensors: integers are."""
    found = value(text)
    items = found if isinstance(found, tuple) else (found,)
    return bool(items) and all(isinstance(item, int) and not isinstance(item, bool) for item in items)


def switched(old: str, new: str, alone: bool) -> bool:
    """Whether a module is of another class, or a setting names another function, than before.

    One that the code moved elsewhere has its old name; one that the code renamed is gone under that name.

    Args:
        old: the class of the module as it was.
        new: the class that it has now.
        alone: whether no module is in it, on either side.
    """
    ours, theirs = _is_torchs(old), _is_torchs(new)
    if _simple(old) == _simple(new):
        return ours != theirs
    if not alone and {simple(name) for name in (old, new) if _is_torchs(name)} & _CONTAINERS:
        return False
    return theirs or is_defined(old)


def is_layer(name: str) -> bool:
    """Whether a module without tensors that came or went may matter by its class."""
    return not (_is_torchs(name) and simple(name) in {"Identity", *_CONTAINERS})


def consequence(name: str, values: tuple[str, str], kinds: tuple[str, str]) -> str:
    """What another value of a setting means; only of torch's own layers it is known."""
    numbers = all(number(text) is not None or text in ("True", "False", "None") for text in values)
    momentum = name == "momentum" and any("Norm" in simple(kind) for kind in kinds)
    acting = any(_TRAINING_CLASS.search(simple(kind)) for kind in kinds)
    training = acting or momentum or (numbers and bool(_TRAINING.search(name)))
    return _words(all(map(_is_torchs, kinds)), training)


def consequence_of_class(old: str, new: str, sure: bool = True) -> str:
    """What another class of a module means; ``sure`` if one certainly took the other's place."""
    training = all(_TRAINING_CLASS.search(simple(kind)) or not is_layer(kind) for kind in (old, new))
    return _words(sure and all(map(_is_torchs, (old, new))), training)


def _words(sure: bool, training: bool) -> str:
    return f"{'computes' if sure else 'may compute'} something else{' in training' if training else ''}"


def _simple(name: str) -> str:
    """The last part of a class's name; of a twin among torch's classes, that of the class it is."""
    last = simple(name)
    return _TWINS.get(last, last) if _is_torchs(name) else last


def _is_torchs(name: str) -> bool:
    return name.partition(".")[0] == "torch"
