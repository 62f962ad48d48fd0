"""The class and the settings of a module <-> one text: ``torch.nn.Dropout(p=0.1)``.

A text without brackets is the class alone: its settings are not known.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping

from pytest_ckpt_compat._core.structure import Structure

#: Characters of a text that is read; no module has as many.
_LONGEST = 10_000


def joined(structure: Structure) -> dict[str, str]:
    """Path of each module -> its text; none where a text would not be read back as it was."""
    texts: dict[str, str] = {}
    checked: set[str] = set()
    for path, kind in structure.modules.items():
        settings = structure.settings.get(path)
        texts[path] = text = kind if settings is None else _text(kind, settings)
        if text not in checked:
            try:
                if _read(text) != (kind, None if settings is None else dict(settings)):
                    return {}
            except ValueError:
                return {}
            checked.add(text)
    return texts


def separated(texts: Mapping[str, str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The classes and the settings of modules, by path.

    Raises:
        ValueError: a text is not one of a module.
    """
    known: dict[str, tuple[str, dict[str, str] | None]] = {}
    classes: dict[str, str] = {}
    settings: dict[str, dict[str, str]] = {}
    for path, text in texts.items():
        if text not in known:
            known[text] = _read(text)
        classes[path], found = known[text]
        if found is not None:
            settings[path] = found
    return classes, settings


def _text(kind: str, settings: Mapping[str, str]) -> str:
    return f"{kind}({', '.join(f'{name}={value}' for name, value in settings.items())})"


def _read(text: str) -> tuple[str, dict[str, str] | None]:
    kind, bracket, rest = text.partition("(")
    if not bracket:
        return kind, None
    source = f"f({rest}"
    if len(source) > _LONGEST or not text.endswith(")"):
        raise ValueError(f'"modules" has {text[:100]!r}, which is no class with settings')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            call = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f'"modules" has {text[:100]!r}, whose settings cannot be read') from error
    if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
        raise ValueError(f'"modules" has {text[:100]!r}, which is no class with settings')
    found: dict[str, str] = {}
    for each in call.keywords:
        if each.arg is None or each.arg in found:
            raise ValueError(f'"modules" has {text[:100]!r}, with a setting that has no name or comes twice')
        found[each.arg] = ast.get_source_segment(source, each.value) or ""
    return kind, found
