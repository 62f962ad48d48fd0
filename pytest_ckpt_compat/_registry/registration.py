"""A registered checkpoint as frozen data, and how options become one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import addresses
from pytest_ckpt_compat._core.changes import Acceptance, Policy
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.levels import Level
from pytest_ckpt_compat._core.rules import BY_ID, BY_KIND
from pytest_ckpt_compat._registry.names import DEFINITIONS
from pytest_ckpt_compat._registry.paths import SearchPath, find_files


@dataclass(frozen=True)
class Registration:
    """A checkpoint that must go on loading.

    Attributes:
        id: names it in test ids, reports and its snapshot's file name.
        path: the file; it may be absent where a snapshot stands in for it.
        shown: the path as reports write it, relative to the root folder; of an address, scheme, host
            and path.
        model: a class, a factory, a module instance, or ``"package.module:attr"``.
        kwargs: keyword arguments for the class or factory.
        key: dotted path of the state_dict inside the file.
        strip_prefix: taken off the keys that begin with it.
        policy: strictness and accepted breaks.
        level: what the checkpoint is held to.
        optimizer: a class or factory, or ``"package.module:attr"``, for level ``resume``.
        address: the address of a checkpoint that is not on this machine, as it was given; else "".
    """

    id: str
    path: Path
    shown: str
    model: Any = field(repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    key: str | None = None
    strip_prefix: str | None = None
    policy: Policy = field(default_factory=Policy)
    level: Level = Level.BACKWARD
    optimizer: Any = field(default=None, repr=False)
    address: str = field(default="", repr=False)

    @property
    def there(self) -> bool:
        """Whether the checkpoint can be read: it is on this disk, or it has an address."""
        return bool(self.address) or self.path.exists()


def definition_id(name: str, kwargs: Mapping[str, Any], fallback: str) -> str:
    """Names a definition's snapshot: ``models.Classifier(num_classes=10)``.

    A definition without a name of its own, or with arguments that cannot stand in a file name, gets
    ``fallback``, the id of the checkpoint that it is checked with.
    """
    given = ",".join(f"{key}={value}" for key, value in sorted(kwargs.items()))
    identifier = f"{name}({given})" if given else name
    plain = all(isinstance(value, (str, int, float, bool, type(None))) for value in kwargs.values())
    usable = name and plain and len(identifier) <= 120 and not set(identifier) & set('/\\:*?"<>|\n')
    return identifier if usable and identifier.isprintable() else fallback


def register(subject: str, values: Mapping[str, Any], search: SearchPath) -> tuple[Registration, ...]:
    """The registrations that checked options stand for: one, or one for each file of a glob.

    Args:
        subject: where they were written, for messages.
        values: option -> value, as ``options.check`` accepts them.
        search: where relative paths are looked for.

    Raises:
        UsageError: the options contradict each other, or the path matches nothing.
    """
    level = Level(values["level"]) if values.get("level") else search.level
    if level.loads_optimizer and values.get("optimizer") is None:
        raise UsageError(
            subject, "has level resume and no optimizer", 'give optimizer, "package.module:factory"'
        )
    accepted = tuple(_acceptances(subject, values.get("allow") or ()))
    path, identifier = values["path"], values.get("id")
    found = find_files(subject, path, search)
    if identifier is not None and len(found) > 1:
        raise UsageError(
            subject, f"gives one id to {len(found)} files", "leave id out: each file gets one from its path"
        )
    address = path if addresses.is_url(path) else ""
    first, shown = found[0]
    there = address or first.exists()
    if not there and (identifier or shown) not in {recorded for _, recorded in search.recorded()}:
        raise UsageError(
            subject,
            f"matches nothing: neither {shown} nor a snapshot of it is there",
            "fetch the file, or correct the path",
        )
    return tuple(
        Registration(
            id=_checked_id(subject, identifier or shown),
            path=each,
            address=address,
            shown=shown,
            model=values["model"],
            kwargs=values.get("kwargs") or {},
            key=values.get("key"),
            strip_prefix=values.get("strip_prefix"),
            policy=Policy(values.get("strict", True), accepted, search.memory_budget),
            level=level,
            optimizer=values.get("optimizer"),
        )
        for each, shown in found
    )


def without_duplicates(found: Iterable[Registration], subject: str) -> tuple[Registration, ...]:
    """The registrations as they are. Raises UsageError where two have one id."""
    known: dict[str, Registration] = {}
    for each in found:
        if each.id in known:
            raise UsageError(
                f"{subject} {each.id}, option id",
                f"is registered twice, for {known[each.id].shown} and for {each.shown}",
                "give one of them another id",
            )
        known[each.id] = each
    return tuple(known.values())


def _acceptances(subject: str, allow: Iterable[Any]) -> Iterator[Acceptance]:
    usage = 'write ["CK202", "head.*", "the reason"]'
    for entry in allow:
        whole = isinstance(entry, (list, tuple)) and len(entry) == 3
        if not whole or not all(isinstance(part, str) for part in entry):
            raise UsageError(f"{subject}, option allow", f"holds {entry!r}", usage)
        rule, keys, reason = entry
        if rule not in BY_ID and rule not in BY_KIND:
            raise UsageError(
                f"{subject}, option allow",
                f"names {rule!r}, which is no rule",
                "see the rules in the documentation",
            )
        if not reason.strip():
            raise UsageError(f"{subject}, option allow", f"accepts {rule} without a reason", usage)
        yield Acceptance(rule, keys, reason)


def _checked_id(subject: str, identifier: str) -> str:
    parts = identifier.split("/")
    forbidden = next((sign for sign in identifier if sign in '\\:*?"<>|' or not sign.isprintable()), "")
    if forbidden or {"", ".", ".."} & set(parts):
        why = f": {forbidden!r}" if forbidden else ""
        problem = f"has the id {identifier!r}, which cannot be a file name{why}"
        raise UsageError(subject, problem, 'give another id="..."')
    if parts[0] == DEFINITIONS:
        problem = f"has the id {identifier!r}, and those in {DEFINITIONS}/ are reserved for definitions"
        raise UsageError(subject, problem, 'give another id="..."')
    return identifier
