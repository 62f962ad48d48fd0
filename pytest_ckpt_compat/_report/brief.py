"""A pattern that is too long to be read, with what stands at its beginnings and ends."""

from __future__ import annotations

import re

#: Letters of a subject, on both sides of its arrow, that are still read. Longer ones fill a screen.
_LONGEST = 400
#: What is kept of the alternatives in braces.
_FIRST = 6
_BRACES = re.compile(r"\{([^{}]*)\}")


def brief(pattern: str) -> str:
    """``m.{1,3,5,7,9,11,...,39999}.weight``: a pattern of any length in no more than a few lines.

    It is for reading only. What is left out is nowhere in it: say where all of it is.
    """
    if len(pattern) <= _LONGEST:
        return pattern
    pattern = _BRACES.sub(_few, pattern)
    if len(pattern) <= _LONGEST:
        return pattern
    sides = pattern.split(" -> ")
    return " -> ".join(_ends(side, _LONGEST // len(sides)) for side in sides)


def _few(braces: re.Match[str]) -> str:
    names = braces[1].split(",")
    if len(names) <= _FIRST + 2:
        return braces[0]
    return "{" + ",".join((*names[:_FIRST], "...", names[-1].lstrip())) + "}"


def _ends(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = max((longest - 3) // 2, 1)
    return f"{text[:half]}...{text[-half:]}"
