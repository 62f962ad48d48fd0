"""A registered checkpoint as frozen data, and how options become one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pytest_ckpt_compat._core import addresses
from pytest_ckpt_compat._core.changes import Acceptance, Policy
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.levels import Level
from pytest_ckpt_compat._core.rules import BY_ID, BY_KIND
from pytest_ckpt_compat._core.training_runs import is_training_run
from pytest_ckpt_compat._registry import ids
from pytest_ckpt_compat._registry.chain import Link, require_version, with_files
from pytest_ckpt_compat._registry.logged import runs_of
from pytest_ckpt_compat._registry.paths import SearchPath, beside, find_file, find_files, is_glob

_T = TypeVar("_T")


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
        migrate: what makes an older checkpoint one of today's before the load, in order.
        version: the version of the file, or the dotted path of its version inside it, for migrations that
            lead to a version.
        load: the project's whole loader, ``"package.module:function"``, or the name of a library.
        policy: strictness and accepted breaks.
        level: what the checkpoint is held to.
        optimizer: a class or factory, or ``"package.module:attr"``, for level ``resume``.
        optimizer_path: the files that hold the optimizers' states, in their order; () if the checkpoint does.
        address: the address of a checkpoint that is not on this machine, as it was given; else "".
        problem: why the registration cannot be resolved, or None; then nothing but the id counts.
        inputs: the function that gives the inputs of one forward, or ``"package.module:function"``; None if
            the definition is not to be run.
        by_glob: whether a glob found it.
    """

    id: str
    path: Path
    shown: str
    model: Any = field(repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    key: str | None = None
    strip_prefix: str | None = None
    migrate: tuple[Link, ...] = field(default=(), repr=False)
    version: int | str | None = None
    load: Any = field(default=None, repr=False)
    policy: Policy = field(default_factory=Policy)
    level: Level = Level.BACKWARD
    optimizer: Any = field(default=None, repr=False)
    optimizer_path: tuple[str, ...] = ()
    address: str = field(default="", repr=False)
    problem: UsageError | None = field(default=None, repr=False)
    inputs: Any = field(default=None, repr=False)
    by_glob: bool = False

    @property
    def there(self) -> bool:
        """Whether the checkpoint can be read: it is on this disk, or it has an address."""
        return bool(self.address) or os.path.exists(self.path)


def unresolved(name: str, problem: UsageError) -> Registration:
    """A registration that fails its own check, and no other, with the reason."""
    return Registration(name, Path(), name, None, problem=problem)


def definition_id(name: str, kwargs: Mapping[str, Any], fallback: str) -> str:
    """Names a definition's snapshot: ``models.Classifier(num_classes=10)``.

    A definition without a name of its own, or with arguments that cannot stand in a file name, gets
    ``fallback``, the id of the checkpoint that it is checked with; where that is what the same definition is
    named by with other arguments (``models.Classifier``), it is marked.
    """
    plain = all(map(_is_plain, kwargs.values()))  # the text of others is the user's code
    given = ",".join(f"{key}={value}" for key, value in sorted(kwargs.items())) if plain else ""
    identifier = f"{name}({given})" if given else name
    short = plain and len(identifier) <= 120 and "/" not in identifier
    if name and short and not ids.problem_of(identifier):
        return identifier
    other = name and (fallback == name or (fallback.startswith(f"{name}(") and fallback.endswith(")")))
    return f"{fallback} (by id)" if other else fallback


def by_definition(things: Sequence[_T], registration_of: Callable[[_T], Registration]) -> list[_T]:
    """What has a registration each, in its order, but those of one definition one after the other."""
    first: dict[object, int] = {}

    def place(thing: _T) -> int:
        each = registration_of(thing)
        plain = all(map(_is_plain, each.kwargs.values()))
        given = repr(sorted(each.kwargs.items())) if plain else each.id
        model = each.model if isinstance(each.model, str) else id(each.model)
        return first.setdefault((model, given), len(first))

    return sorted(things, key=place)


def _is_plain(value: object) -> bool:
    """Whether a value is told by its text from every other, and from several.

    ``"4"`` is not, beside the number, nor ``"x,depth=2"``, beside two arguments.
    """
    if isinstance(value, str):
        if "," in value:
            return False
        try:
            float(value)
        except ValueError:
            return value not in ("True", "False", "None")
        return False
    return isinstance(value, (int, float, bool, type(None)))


def register(subject: str, values: Mapping[str, Any], search: SearchPath) -> tuple[Registration, ...]:
    """The registrations that checked options stand for: one, or one for each file of a glob.

    Args:
        subject: where they were written, for messages.
        values: option -> value, as ``options.check`` accepts them.
        search: where relative paths are looked for.

    Raises:
        UsageError: the options contradict each other, or a glob matches nothing.
    """
    level = Level(values["level"]) if values.get("level") else search.level
    accepted = tuple(_acceptances(subject, values.get("allow") or ()))
    require_version(subject, values.get("migrate"), values.get("version"))
    migrate = with_files(values.get("migrate"), lambda text: _rules_file(subject, text, search))
    path, identifier = values["path"], values.get("id")
    logged = runs_of(subject, path) if is_training_run(path) else ()
    found = tuple((Path(each), each) for each, _ in logged) or find_files(subject, path, search)
    if identifier is not None and len(found) > 1:
        raise UsageError(
            subject, f"gives one id to {len(found)} files", "leave id out: each file gets one from its path"
        )
    optimizers = values.get("optimizer_path") or ()
    optimizers = (optimizers,) if isinstance(optimizers, str) else optimizers
    address = path if addresses.is_url(path) else ""
    named = dict(logged)
    for _, shown in found:
        ids.check(subject, identifier or named.get(shown, shown), given=bool(identifier))
    return tuple(
        Registration(
            id=identifier or named.get(shown, shown),
            path=each,
            address=shown if logged else address,
            shown=shown,
            model=values.get("model"),
            kwargs=values.get("kwargs") or {},
            key=values.get("key"),
            strip_prefix=values.get("strip_prefix"),
            migrate=migrate,
            version=values.get("version"),
            load=values.get("load"),
            inputs=values.get("inputs"),
            policy=Policy(values.get("strict", True), accepted, search.memory_budget, search.severities),
            level=level,
            optimizer=values.get("optimizer"),
            optimizer_path=tuple(beside(text, each, search) for text in optimizers),
            by_glob=is_glob(path),
        )
        for each, shown in found
    )


def _rules_file(subject: str, text: str, search: SearchPath) -> tuple[str, str]:
    """The path of a file of rules, and how reports write it: relative to the root folder."""
    path, shown = find_file(text, search)
    if not os.path.exists(path):
        raise UsageError(f"{subject}, option migrate", f"names {text}, which is not there", "check the path")
    return str(path), shown


def without_duplicates(found: Iterable[Registration], subject: str) -> tuple[Registration, ...]:
    """The registrations; those that share an id become one that fails by itself."""
    known: dict[str, Registration] = {}
    for each in found:
        other = known.get(each.id)
        if other is not None:
            problem = f"is registered twice, for {other.shown} and for {each.shown}"
            error = UsageError(f"{subject} {each.id}, option id", problem, "give one of them another id")
            each = unresolved(each.id, error)
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
                f"names {rule!r}, which is not a rule",
                "see the rules in the documentation",
            )
        if not reason.strip():
            raise UsageError(f"{subject}, option allow", f"accepts {rule} without a reason", usage)
        yield Acceptance(rule, keys, reason)
