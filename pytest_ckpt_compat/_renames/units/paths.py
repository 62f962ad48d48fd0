"""The segments of a key or module path: the modules around it, its numbers."""

from __future__ import annotations


def modules_of(key: str) -> list[str]:
    """Returns the modules around a key, outermost first."""
    found: list[str] = []
    end = key.find(".")
    while end >= 0:
        found.append(key[:end])
        end = key.find(".", end + 1)
    return found


def numbers(path: str) -> tuple[int, ...]:
    """Returns the segments of a path that are numbers, in order."""
    return tuple(int(segment) for segment in path.split(".") if segment.isdecimal())


def template(path: str) -> str:
    """Replaces the numbers of a path by ``#``: ``layers.#.attn.q``."""
    return ".".join("#" if segment.isdigit() else segment for segment in path.split("."))
