"""The segments of a key or module path: the modules around it, its numbers."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import cycle

#: Most digits of a number. Longer ones are names: no model has so many layers; some cannot be read.
_DIGITS = 18
#: A number in a name.
NUMBER = re.compile(rf"\d{{1,{_DIGITS}}}")
_PARTED = re.compile(rf"({NUMBER.pattern})")

#: Number of paths that are taken apart once: each is asked for by many steps.
_REMEMBERED = 1 << 17


@lru_cache(maxsize=_REMEMBERED)
def modules_of(key: str) -> tuple[str, ...]:
    """Returns the modules around a key, outermost first."""
    found: list[str] = []
    end = key.find(".")
    while end >= 0:
        found.append(key[:end])
        end = key.find(".", end + 1)
    return tuple(found)


def around(key: str) -> list[str]:
    """Returns the modules around a key, the whole model ("") among them, outermost first."""
    return ["", *modules_of(key)]


def home(key: str) -> str:
    """Returns the module around a key with its dot. Keys of one home have the same modules around them."""
    return key[: key.rfind(".") + 1]


def is_number(segment: str) -> bool:
    """Whether a segment is the number of a block."""
    return segment.isdecimal() and len(segment) <= _DIGITS


def blocks_around(path: str) -> list[str]:
    """Returns the modules around a layer that have numbers for names, outermost first."""
    return [module for module in modules_of(path) if is_number(module.rpartition(".")[2])]


def numbers(path: str) -> tuple[int, ...]:
    """Returns the segments of a path that are numbers, in order."""
    return tuple(int(segment) for segment in path.split(".") if is_number(segment))


@lru_cache(maxsize=_REMEMBERED)
def template(path: str) -> str:
    """Replaces the numbers of a path by ``#``: ``layers.#.attn.q``."""
    return ".".join("#" if is_number(segment) else segment for segment in path.split("."))


@lru_cache(maxsize=_REMEMBERED)
def without_numbers(path: str) -> str:
    """Replaces all numbers of a path by ``#``, those inside of names as well: ``block_#.conv#``."""
    return NUMBER.sub("#", path)


def natural(path: str) -> list[tuple[tuple[bool, int, str], ...]]:
    """What sorts paths with numbers as numbers: ``layers.2`` before ``layers.10``."""
    return [_pieces(segment) for segment in path.split(".")]


@lru_cache(maxsize=_REMEMBERED)
def _pieces(segment: str) -> tuple[tuple[bool, int, str], ...]:
    """The words and numbers of a segment. Few segments make many paths, and equal ones compare at once."""
    return tuple(
        (odd == 1, int(piece) if odd else 0, piece)
        for piece, odd in zip(_PARTED.split(segment), cycle((0, 1)))
    )
