"""Keys as segments, and templates that make new keys out of the numbers of old ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

#: A segment that is a number as Python prints it: a block of a ``ModuleList``.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
#: How a group is written in a rule's file: ``{1}``, ``{1+1}``, ``{2-3}``.
_REFERENCE = re.compile(r"\{(?P<group>[1-9][0-9]*)(?P<shift>[+-][0-9]+)?\}")


@dataclass(frozen=True)
class Ref:
    """What a group of a pattern found, as a number plus ``shift`` if that is not 0."""

    group: int
    shift: int = 0


#: The parts of a new key: text, and what groups found.
Template = tuple[str | Ref, ...]

#: A segment of a key, or None for a number.
Segments = tuple[str | None, ...]


def is_number(segment: str) -> bool:
    """Whether a segment is a number as Python prints it."""
    return bool(_NUMBER.fullmatch(segment))


def segmented(key: str) -> tuple[Segments, tuple[int, ...]]:
    """The segments of a key with None for each number, and the numbers."""
    parts = key.split(".")
    numbers = tuple(int(part) for part in parts if is_number(part))
    return tuple(None if is_number(part) else part for part in parts), numbers


def starred(key: str) -> str:
    """A key with a star for each number, as ``--choose`` takes it."""
    return ".".join("*" if each is None else each for each in segmented(key)[0])


def numbered(key: str) -> Iterator[str]:
    """The numbered modules that a key is in: ``stages.1`` and ``stages.1.blocks.0``."""
    parts = key.split(".")
    return (".".join(parts[: i + 1]) for i, part in enumerate(parts[:-1]) if is_number(part))


def template_of(segments: Sequence[str | Ref]) -> Template:
    """The template of a key's segments: texts, or references that stand for one."""
    return joined(
        part for index, segment in enumerate(segments) for part in (("." if index else ""), segment)
    )


def joined(parts: Iterable[str | Ref]) -> Template:
    """A template of parts, of which texts that stand beside each other become one."""
    found: list[str | Ref] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        elif part != "":
            found.append(part)
    return tuple(found)


def expanded(template: Template, groups: Sequence[str | None]) -> str:
    """The key that a template makes of what the groups of a pattern found.

    Raises:
        ValueError: a group that is to be shifted found no number, or would be negative.
    """
    return "".join(part if isinstance(part, str) else _value(part, groups) for part in template)


def _value(ref: Ref, groups: Sequence[str | None]) -> str:
    found = groups[ref.group - 1] or ""
    if not ref.shift:
        return found
    number = int(found) + ref.shift
    if number < 0:
        raise ValueError(f"{found}{ref.shift:+} is below 0")
    return str(number)


def written(template: Template) -> str:
    """A template as a file of rules has it: ``blocks.{1+1}.``, with ``{{`` for a brace."""
    return "".join(
        part.replace("{", "{{").replace("}", "}}") if isinstance(part, str) else _reference(part)
        for part in template
    )


def _reference(ref: Ref) -> str:
    return f"{{{ref.group}{ref.shift:+}}}" if ref.shift else f"{{{ref.group}}}"


def parsed(text: str) -> Template:
    """The template that ``written`` has written. Raises ValueError for a brace that is none of its."""
    parts: list[str | Ref] = []
    position = 0
    while position < len(text):
        pair = text[position : position + 2]
        found = _REFERENCE.match(text, position) if pair[0] == "{" and pair != "{{" else None
        if found:
            parts.append(Ref(int(found["group"]), int(found["shift"] or 0)))
            position = found.end()
            continue
        if pair[0] in "{}" and pair not in ("{{", "}}"):
            raise ValueError(
                f"a brace at {position} belongs to no group: write {{1}} or {{1+1}}, and {{{{ for a brace"
            )
        if parts and isinstance(parts[-1], str):
            parts[-1] += pair[0]
        else:
            parts.append(pair[0])
        position += 2 if pair in ("{{", "}}") else 1
    return tuple(parts)


def pattern_of(segments: Sequence[str | Sequence[str] | None]) -> str:
    r"""The pattern of segments: ``None`` is any number, a list one of its texts, each of them a group."""
    return r"\.".join(map(_segment, segments))


def _segment(segment: str | Sequence[str] | None) -> str:
    if segment is None:
        return r"(\d+)"
    return re.escape(segment) if isinstance(segment, str) else f"({'|'.join(map(re.escape, segment))})"
