"""What values of JSON must be, as data: a file of somebody else's is held to it before it is used."""

from __future__ import annotations

from typing import Any, TypeAlias

#: What a value must be: of a type, one of some words, a list of such values, or a mapping that has at least
#: these names; a name that ends in ``?`` may be missing.
Form: TypeAlias = "type | tuple[type, ...] | frozenset[str] | list[Form] | dict[str, Form]"


def require(value: Any, form: Form, where: str = "it") -> None:
    """Raises ValueError, with the place, if a value of JSON is not of a form.

    Args:
        value: what was read.
        form: what it must be.
        where: its place (``checkpoints[0].id``).
    """
    if isinstance(form, (type, tuple)):
        fits = isinstance(value, form)
    elif isinstance(form, frozenset):
        fits = isinstance(value, str) and value in form
    else:
        fits = isinstance(value, list if isinstance(form, list) else dict)
    if not fits:
        raise ValueError(f"{where} is {_short(value)}")
    if isinstance(form, list):
        for number, each in enumerate(value):
            require(each, form[0], f"{where}[{number}]")
    elif isinstance(form, dict):
        for name, inner in form.items():
            key = name.removesuffix("?")
            if key in value:
                require(value[key], inner, key if where == "it" else f"{where}.{key}")
            elif key == name:
                raise ValueError(f"{where} has no {key}")


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, int, float, type(None))) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}..."
