"""Globs over keys, with the braces of the reports: ``head.*``, ``{head,norm}.*``, ``layers.{0..3}.*``."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Iterator
from fnmatch import translate
from functools import lru_cache
from itertools import islice

from pytest_ckpt_compat._core.patterns import fold

_RANGE = re.compile(r"(0|[1-9]\d{0,8})\.\.(0|[1-9]\d{0,8})\Z")
#: Most globs without braces that a glob stands for; one of more is taken as it is written.
_MOST = 4096
#: Most characters of a glob that is worth more than one that says less.
_LONGEST = 60
_BRACES = frozenset("{}")


def matches(key: str, pattern: str) -> bool:
    """Whether a glob matches a key; the braces in it are alternatives, or a range of numbers."""
    return _compiled(pattern).match(key) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A glob as one expression: it is asked of each key of a checkpoint."""
    alternatives = list(islice(_expanded(pattern), _MOST + 1)) if _BRACES.issubset(pattern) else []
    globs = [pattern, *alternatives] if len(alternatives) <= _MOST else [pattern]
    return re.compile("|".join(map(translate, dict.fromkeys(globs))))


def narrowest(keys: Collection[str], universe: Collection[str]) -> str:
    """A glob that matches the keys, and no other key of the universe if a short one does.

    Args:
        keys: what is meant, at least one.
        universe: all keys of the same sides.
    """
    simple = _dotted(keys)
    others = {*universe} - {*keys}
    if not any(matches(each, simple) for each in others):
        return simple
    folds = [each.pattern for each in fold(tuple(dict.fromkeys(keys)), tuple(dict.fromkeys(universe)))]
    whole = folds[0] if len(folds) == 1 else f"{{{','.join(folds)}}}"
    if len(folds) > 1 and any(each.startswith("{") for each in folds):
        return simple  # braces in braces are hard to read
    if len(whole) > _LONGEST:
        return simple
    exact = all(matches(each, whole) for each in keys) and not any(matches(each, whole) for each in others)
    return whole if exact else simple


def _dotted(keys: Collection[str]) -> str:
    """The tightest glob of whole segments, without braces, that matches all keys."""
    escaped = [glob.escape(key) for key in keys]
    parts = [key.split(".") for key in escaped]
    common = []
    for column in zip(*(each[:-1] for each in parts), strict=False):
        if len(set(column)) > 1:
            break
        common.append(column[0])
    if len(set(escaped)) == 1:
        return escaped[0]
    return ".".join([*common, "*"])


def _expanded(pattern: str) -> Iterator[str]:
    """The globs without braces that one stands for; braces without alternatives stay."""
    for start, letter in enumerate(pattern):
        if letter == "{" and (options := _alternatives(pattern, start)) is not None:
            chosen, rest = options
            head = pattern[:start]
            for option in chosen:
                for inner in _expanded(option):
                    yield from (f"{head}{inner}{tail}" for tail in _expanded(rest))
            return
    yield pattern


def _alternatives(pattern: str, start: int) -> tuple[list[str], str] | None:
    """What stands between commas in a pair of braces, and what follows it; None if they are no such pair."""
    depth, parts, begun = 0, list[str](), start + 1
    for place in range(start, len(pattern)):
        letter = pattern[place]
        depth += (letter == "{") - (letter == "}")
        if (letter == "," and depth == 1) or depth == 0:
            parts.append(pattern[begun:place])
            begun = place + 1
        if depth == 0:
            break
    if depth:
        return None
    if len(parts) > 1:
        return parts, pattern[begun:]
    numbers = _RANGE.match(parts[0])
    if numbers is None:
        return None
    first, last = map(int, numbers.groups())
    return ([str(each) for each in range(first, last + 1)], pattern[begun:]) if last - first < _MOST else None
