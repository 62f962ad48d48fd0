"""Settings and registered checkpoints: what markers, ini and flags say, as frozen data."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import addresses
from pytest_ckpt_compat._core.changes import Acceptance, Policy
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.rules import BY_ID, BY_KIND

SNAPSHOT_DIR = "ckpt_snapshots"
#: Subfolder of the definitions' snapshots; a checkpoint's id may not begin with it.
DEFINITIONS = "definitions"

OPTIONS = ("model", "kwargs", "key", "strip_prefix", "strict", "id", "allow", "level", "optimizer")
LEVELS = ("backward", "forward", "full", "resume")
_ADDRESS = re.compile(r"[\w.]+:[\w.]+")
_USAGE = '@pytest.mark.checkpoint("path/to/file.pt", model=MyModel)'


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
        level: what the checkpoint is held to, one of ``LEVELS``.
        optimizer: a class or factory, or ``"package.module:attr"``, for level ``resume``.
    """

    id: str
    path: Path
    shown: str
    model: Any = field(repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    key: str | None = None
    strip_prefix: str | None = None
    policy: Policy = field(default_factory=Policy)
    level: str = "backward"
    optimizer: Any = field(default=None, repr=False)
    #: Of a checkpoint that is not on this machine, the address as it was given; else "".
    address: str = field(default="", repr=False)

    @property
    def there(self) -> bool:
        """Whether the checkpoint itself may be had: it is on this disk, or behind an address."""
        return bool(self.address) or self.path.exists()


@dataclass(frozen=True)
class Place:
    """Where relative paths are looked for.

    Attributes:
        folders: the test file's folder, then the root folder.
        root: the root folder; shown paths and default ids are relative to it.
        recorded: for a glob whose files are absent, (shown path, id) of every stored snapshot.
        level: what a checkpoint is held to that does not say.
    """

    folders: tuple[Path, ...]
    root: Path
    recorded: Callable[[], Iterator[tuple[str, str]]]
    level: str = "backward"


def from_marker(args: tuple[Any, ...], options: Mapping[str, Any], place: Place) -> tuple[Registration, ...]:
    """The registrations that one marker stands for: one, or as many as its glob finds.

    Raises:
        UsageError: the marker says something that cannot be meant.
    """
    subject = _subject(args)
    _require(subject, len(args) == 1 and isinstance(args[0], (str, os.PathLike)), "needs one path", _USAGE)
    return register(subject, os.fspath(args[0]), options, place)


def register(subject: str, path: str, options: Mapping[str, Any], place: Place) -> tuple[Registration, ...]:
    """The registrations that a path and options stand for, wherever they were written.

    Args:
        subject: where, for messages.
        path: a file or a glob.
        options: those of ``OPTIONS``.
        place: where relative paths are looked for.

    Raises:
        UsageError: something is said that cannot be meant.
    """
    _check_options(subject, options)
    level = options.get("level") or place.level
    _require(subject, level in LEVELS, f"has the level {level!r}", f"levels are {', '.join(LEVELS)}")
    resumable = level != "resume" or options.get("optimizer") is not None
    _require(
        subject, resumable, "has the level resume and no optimizer=", 'optimizer="package.module:factory"'
    )
    allow = tuple(_acceptances(subject, options.get("allow") or ()))
    found = _resolve(subject, path, place)
    identifier = options.get("id")
    _require(
        subject,
        identifier is None or len(found) == 1,
        f"gives one id to {len(found)} files",
        "leave id out: each file gets one from its path",
    )
    first, shown = found[0]
    remote = path if addresses.is_url(path) else ""
    there = (
        bool(remote) or first.exists() or (identifier or shown) in {stored for _, stored in place.recorded()}
    )
    _require(
        subject,
        there,
        f"matches nothing: neither {shown} nor a snapshot of it is there",
        "fetch the file, or correct the path",
    )
    return tuple(
        Registration(
            id=_checked_id(subject, identifier or shown),
            path=each,
            address=remote,
            shown=shown,
            model=options["model"],
            kwargs=options.get("kwargs") or {},
            key=options.get("key"),
            strip_prefix=options.get("strip_prefix"),
            policy=Policy(strict=options.get("strict", True), accepted=allow),
            level=level,
            optimizer=options.get("optimizer"),
        )
        for each, shown in found
    )


def _check_options(subject: str, options: Mapping[str, Any]) -> None:
    for name in options:
        _require(subject, name in OPTIONS, f"has no option {name!r}", f"options are {', '.join(OPTIONS)}")
    _require(subject, options.get("model") is not None, "lacks model=", _USAGE)
    kwargs = options.get("kwargs") or {}
    _require(subject, isinstance(kwargs, Mapping), "has kwargs that are not a dict", 'kwargs={"width": 64}')
    for name in ("model", "optimizer"):
        named = options.get(name)
        _require(
            subject,
            not isinstance(named, str) or bool(_ADDRESS.fullmatch(named)),
            f"has the {name} {named!r}, which names none",
            f'write {name}="package.module:attr"',
        )
    for name in ("key", "strip_prefix", "id"):
        value = options.get(name)
        _require(subject, value is None or isinstance(value, str), f"has a {name} that is no text", _USAGE)
    strict = options.get("strict", True)
    _require(subject, isinstance(strict, bool), "has a strict that is neither True nor False", _USAGE)


def is_glob(path: object) -> bool:
    """Whether a marker's path stands for any number of files."""
    if not isinstance(path, (str, os.PathLike)):
        return False
    text = os.fspath(path)
    return glob.has_magic(text) and not addresses.is_url(text)


def definition_id(name: str, kwargs: Mapping[str, Any], fallback: str) -> str:
    """Names a definition's snapshot: ``models.Classifier(num_classes=10)``.

    A definition that has no name of its own, or arguments that cannot stand in a file name, goes
    by the id of the checkpoint that it is checked with.
    """
    given = ",".join(f"{key}={value}" for key, value in sorted(kwargs.items()))
    identifier = f"{name}({given})" if given else name
    plain = all(isinstance(value, (str, int, float, bool, type(None))) for value in kwargs.values())
    usable = name and plain and len(identifier) <= 120 and not set(identifier) & set('/\\:*?"<>|\n')
    return identifier if usable and identifier.isprintable() else fallback


def find_file(text: str, place: Place) -> tuple[Path, str]:
    """The file that a path means, and how reports write it; absent, it may still have a snapshot."""
    if addresses.is_url(text):
        return Path(text), addresses.redacted(text)
    candidates = [Path(os.path.normpath(folder / text)) for folder in place.folders]
    path = next((path for path in candidates if path.exists()), None)
    if path is None:
        known = {shown for shown, _ in place.recorded()}
        path = next((each for each in candidates if _shown(each, place.root) in known), candidates[0])
    return path, _shown(path, place.root)


def _resolve(subject: str, text: str, place: Place) -> tuple[tuple[Path, str], ...]:
    """The files that a marker's path means; of a glob, also those of which only snapshots are there."""
    if not is_glob(text):
        return (find_file(text, place),)
    for folder in place.folders:
        hits = sorted(glob.glob(os.path.join(glob.escape(str(folder)), text), recursive=True))
        found = {_shown(Path(hit), place.root): Path(hit) for hit in hits}
        pattern = _pattern(_shown(folder / text, place.root))
        for shown, identifier in place.recorded():
            if shown == identifier and pattern.fullmatch(shown):
                found.setdefault(shown, place.root / shown)
        if found:
            return tuple((path, shown) for shown, path in sorted(found.items()))
    folders = " or ".join(dict.fromkeys(map(str, place.folders)))
    raise UsageError(subject, f"{text} matches no file in {folders}", "check the path")


def _pattern(text: str) -> re.Pattern[str]:
    """A glob as ``glob.glob`` reads it, for whole paths: a star stays within a folder."""
    parts = ["(?:[^/]+/)*" if part == "**" else _segment(part) + "/" for part in text.split("/")]
    return re.compile("".join(parts).removesuffix("/"))


def _segment(part: str) -> str:
    signs = {"*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\[!?\]?[^\]]*\]|.", part)
    return "".join(
        "[" + token[1:].replace("\\", r"\\").replace("!", "^", token[1] == "!")
        if len(token) > 1
        else signs.get(token, re.escape(token))
        for token in tokens
    )


def _shown(path: Path, root: Path) -> str:
    relative = os.path.relpath(path, root)
    return (str(path) if relative.startswith("..") else relative).replace(os.sep, "/")


def _acceptances(subject: str, allow: Any) -> Iterator[Acceptance]:
    usage = 'allow=[("CK202", "head.*", "the reason")]'
    _require(subject, isinstance(allow, (list, tuple)), "has an allow that is not a list", usage)
    for entry in allow:
        whole = isinstance(entry, (list, tuple)) and len(entry) == 3
        _require(subject, whole and all(isinstance(part, str) for part in entry), f"allows {entry!r}", usage)
        rule, keys, reason = entry
        known = rule in BY_ID or rule in BY_KIND
        _require(subject, known, f"allows {rule!r}, which is no rule", "see the rule table in the README")
        _require(subject, bool(reason.strip()), f"allows {rule} without a reason", usage)
        yield Acceptance(rule, keys, reason)


def _checked_id(subject: str, identifier: str) -> str:
    parts = identifier.split("/")
    strange = next((sign for sign in identifier if sign in '\\:*?"<>|' or not sign.isprintable()), "")
    _require(
        subject,
        not strange and not {"", ".", ".."} & set(parts),
        f"has the id {identifier!r}, which cannot be a file name" + (f": {strange!r}" if strange else ""),
        'give another id="..."',
    )
    _require(
        subject,
        parts[0] != DEFINITIONS,
        f"has the id {identifier!r}, and those in {DEFINITIONS}/ are reserved for definitions",
        'give another id="..."',
    )
    return identifier


def _subject(args: tuple[Any, ...]) -> str:
    return f"checkpoint marker {args[0]}" if args else "checkpoint marker"


def _require(subject: str, condition: bool, problem: str, advice: str) -> None:
    if not condition:
        raise UsageError(subject, problem, advice)
