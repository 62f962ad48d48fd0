"""The migrations of a registration: one, a list of them, or one for each version of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_ckpt_compat._core.errors import UsageError

#: Suffix of a file of rules, which may stand in for a function.
RULES = ".toml"

_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,9}")
_ADDRESS = re.compile(r"[\w.]+:[\w.]+")


@dataclass(frozen=True)
class Link:
    """One migration.

    Attributes:
        by: a function, ``"package.module:function"``, or the path of a file of rules.
        to: the version of the file that it leads to, or "" if it is for every file.
        shown: the path of a file of rules as reports write it, or "".
    """

    by: Any
    to: str = ""
    shown: str = ""


def links(given: Any) -> tuple[Link, ...]:
    """The migrations that ``migrate`` stands for, in the order in which they are applied."""
    if given is None:
        return ()
    if isinstance(given, Mapping):
        found = (Link(by, str(to)) for to, by in given.items())
        return tuple(sorted(found, key=lambda link: numbers(link.to)))
    listed = given if isinstance(given, (list, tuple)) else [given]
    return tuple(each if isinstance(each, Link) else Link(each) for each in listed)


def is_migrate(value: Any) -> bool:
    """Whether a value is a text, a list or a mapping that ``migrate`` may be, or None."""
    if isinstance(value, Mapping):
        versions = [numbers(str(each)) if is_version(each) else None for each in value]
        return (
            bool(value) and None not in versions and len({*versions}) == len(value) and _all(value.values())
        )
    return _all(value) if isinstance(value, (list, tuple)) else value is None or _is_one(value)


def _all(values: Iterable[Any]) -> bool:
    listed = list(values)
    return bool(listed) and all(callable(each) or _is_one(each) for each in listed)


def _is_one(value: Any) -> bool:
    return isinstance(value, str) and (value.endswith(RULES) or _ADDRESS.fullmatch(value) is not None)


def is_version(value: Any) -> bool:
    """Whether a value is a version: a whole number, or numbers with dots between them."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return whole or (isinstance(value, str) and _VERSION.fullmatch(value) is not None)


def numbers(version: str) -> tuple[int, ...]:
    """What a version is compared by: 1.10 comes after 1.9, and 2.0 is 2."""
    found = [int(part) for part in version.split(".")]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def require_version(subject: str, migrate: Any, version: Any) -> None:
    """Refuses a table by version without a version of the file, and a version without such a table.

    Raises:
        UsageError: one of both is there alone.
    """
    by_version = any(link.to for link in links(migrate))
    if by_version and version is None:
        advice = 'give it as version=1, or its place in the file, as version="meta.version"'
        raise UsageError(f"{subject}, option migrate", "is by version, and the file's is not known", advice)
    if version is not None and not by_version:
        advice = 'write migrate={2: "package.module:function", ...}, or leave version out'
        raise UsageError(f"{subject}, option version", "is given, and migrate is not by version", advice)


def with_files(given: Any, find: Callable[[str], tuple[str, str]]) -> tuple[Link, ...]:
    """The migrations, with the paths of files of rules as ``find`` finds them, and as it shows them."""
    return tuple(
        Link(found[0], link.to, found[1])
        if isinstance(link.by, str) and link.by.endswith(RULES) and (found := find(link.by))
        else link
        for link in links(given)
    )
