"""Ids of checkpoints. Each is the name of a snapshot's file, on every system that the files are copied to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._registry.names import DEFINITIONS, SNAPSHOT_SUFFIX

#: Bytes of an id in UTF-8.
LONGEST = 512
#: Bytes of a file's name on the usual file systems.
_LONGEST_NAME = 255
_FORBIDDEN = frozenset('\\:*?"<>|')
#: Begins what makes a name a glob; an id may have the last two itself.
_OF_GLOBS = frozenset("*?[{")
#: Ids that a message names at most.
_NAMED = 8
#: Names that Windows keeps for devices, whatever follows after a dot.
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])\Z", re.IGNORECASE)


def check(subject: str, identifier: str, given: bool) -> None:
    """Raises UsageError where an id cannot be the name of a file.

    Args:
        subject: where it is registered, for messages.
        identifier: the id.
        given: whether the user gave it; else it is the path.
    """
    problem = problem_of(identifier)
    if problem:
        shown = identifier if len(identifier) <= 80 else f"{identifier[:77]}..."
        advice = 'give another id="..."' if given else 'give an id="...", or rename the file'
        raise UsageError(subject, f"has the id {shown!r}, {problem}", advice)


def problem_of(identifier: str) -> str:
    """What is wrong with an id, to complete "has the id 'x', ..."; "" where nothing is."""
    parts = identifier.split("/")
    forbidden = next((sign for sign in identifier if sign in _FORBIDDEN or not sign.isprintable()), "")
    if forbidden:
        return f"which cannot be a file name: {forbidden!r}"
    if {"", ".", ".."} & set(parts):
        return "which cannot be a file name"
    if identifier.startswith("-"):
        return "which a command would take for an option"
    if _folded(parts[0]) == DEFINITIONS:
        return f"and those in {DEFINITIONS}/ are reserved for definitions"
    for part in parts:
        if part[-1] in ". ":
            return f"which cannot be a file name on Windows: {part!r} ends with {part[-1]!r}"
        if _DEVICE.match(part.partition(".")[0].rstrip()):
            return f"which cannot be a file name on Windows: {part!r} is the name of a device"
    names = (*parts[:-1], parts[-1] + SNAPSHOT_SUFFIX)
    if any(len(name.encode()) > _LONGEST_NAME for name in names):
        most = _LONGEST_NAME - len(SNAPSHOT_SUFFIX)
        return f"which is too long for a file name: more than {most} bytes without a slash"
    size = len(identifier.encode())
    return f"which is too long: {size} bytes, and {LONGEST} are the limit" if size > LONGEST else ""


def is_glob(name: str) -> bool:
    """Whether a name that is not known is a glob."""
    return not _OF_GLOBS.isdisjoint(name)


def meant(names: Iterable[str], known: Collection[str]) -> list[str]:
    """The ids that names on a command line stand for, each once: a glob, for those known that it matches.

    A name that is known is no glob; what matches nothing stays as it is, for the caller's message.
    """
    from pytest_ckpt_compat._core.globs import matches

    found: dict[str, None] = {}
    for name in names:
        globbed = name not in known and is_glob(name)
        hits = [each for each in known if matches(each, name)] if globbed else []
        found |= dict.fromkeys(hits or [name])
    return list(found)


def refuse_glob(name: str, known: Collection[str], one: str) -> None:
    """Says that a name is a glob, where a command takes one thing.

    Args:
        name: a name that is not known.
        known: ids that the glob may match.
        one: what the command takes, in words.

    Raises:
        UsageError: it is a glob.
    """
    if not is_glob(name):
        return
    found = [each for each in meant([name], known) if each != name]
    shown = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
    advice = f"give one of {shown}" if found else "name the one that is meant"
    raise UsageError(name, f"is a glob, and this command takes {one}", advice)


def known_are(name: str, known: Collection[str]) -> str:
    """``known are a, b``: all ids; of many, those like an unknown name first, and how many more there are."""
    from difflib import get_close_matches

    there = list(dict.fromkeys(known))
    if len(there) > _NAMED:
        there = list(dict.fromkeys((*get_close_matches(name, there, _NAMED), *there)))[:_NAMED]
    left = len({*known}) - len(there)
    more = f" and {left} more: ckpt-compat status lists them" if left else ""
    return f"known are {', '.join(there) or 'none'}{more}"


class Ids:
    """The ids of a run. No two may have one snapshot file on a system that ignores case, or be in its way."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def add(self, identifier: str) -> None:
        """Adds an id, which may be known.

        Raises:
            UsageError: its snapshot would be the file of another, or lie in that file's place.
        """
        name = _folded(identifier + SNAPSHOT_SUFFIX)
        ends = [number for number, sign in enumerate(name) if sign == "/"]
        folders = [name[:end] for end in ends]
        other = self._files.get(name, identifier)
        if other != identifier:
            problem = (
                f"differs from {other!r} in case alone, or in how its letters are composed: on macOS and "
            )
            problem += "Windows their snapshots are one file"
            raise UsageError(f"checkpoint {identifier}", problem, "give one of them another id")
        other = self._folders.get(name) or next((self._files[f] for f in folders if f in self._files), "")
        if other:
            problem = f"and {other} cannot both have a snapshot: one's file is the other's folder"
            raise UsageError(f"checkpoint {identifier}", problem, "give one of them another id")
        self._files[name] = identifier
        self._folders.update(dict.fromkeys(folders, identifier))


def _folded(text: str) -> str:
    """The text as a system compares it that ignores case and how letters are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
