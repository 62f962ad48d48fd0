"""The part of a fingerprint that says which migrations made a checkpoint load, and where its values went.

It is the last part. No load depends on it, so the digest leaves it out. ``"stages.*": "blocks.*"`` stands for
every key of the checkpoint below ``blocks``.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pytest_ckpt_compat._core.migrated import Migrated, Origin
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._registry.chain import is_version

_START = ',\n  "migrated": '
_END = "\n}\n"
_ALL = "*"


def with_migrated(text: str, migrated: Migrated | None, keys: Collection[str]) -> str:
    """A fingerprint with this part, in place of the one that it had.

    Args:
        text: the fingerprint.
        migrated: what the part is to say; None for no such part.
        keys: of the tensors in the fingerprint.
    """
    start = text.rfind(_START)  # a line break within a text is written otherwise
    body = text[:start] if start >= 0 else text.removesuffix(_END)
    return body + (_START + _block(migrated, keys) if migrated else "") + _END


def _block(migrated: Migrated, keys: Collection[str]) -> str:
    lines = [f"{_q(key)}: {_q(value)}" for key, value in _folded(migrated.origins, keys).items()]
    fields = [f'"by": {_q(list(migrated.names))}']
    fields += [f'"version": {_q(migrated.version)}'] if migrated.version else []
    fields += ['"origins": {\n      ' + ",\n      ".join(lines) + "\n    }"] if lines else []
    fields += [f'"dropped": {_q(list(migrated.dropped))}'] if migrated.dropped else []
    return "{\n    " + ",\n    ".join(fields) + "\n  }"


def _folded(origins: Mapping[str, Origin], keys: Collection[str]) -> dict[str, Any]:
    """A line for each key, or for all keys below a module that went below another."""
    single = {key: _written(origin) for key, origin in origins.items()}
    if any(_ALL in key for key in (*keys, *origins)):
        return single
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for key, source in single.items():
        if isinstance(source, str):
            groups[_without_common_end(key, source)].append(key)
    ordered = sorted(keys)
    folds: dict[str, tuple[str, str]] = {}
    for (new, old), members in groups.items():
        if new != old and len(members) > 1 and {single[key] for key in members} == {*_below(old, ordered)}:
            folds.update(dict.fromkeys(members, (f"{new}{_ALL}", f"{old}{_ALL}")))
    return dict(folds.get(key, (key, source)) for key, source in single.items())


def _without_common_end(key: str, source: str) -> tuple[str, str]:
    """What is before the names that both keys end with, with its last dot; "" for nothing."""
    one, other = key.split("."), source.split(".")
    same = 0
    while same < min(len(one), len(other)) and one[-1 - same] == other[-1 - same]:
        same += 1
    start, begin = one[: len(one) - same], other[: len(other) - same]
    return "".join(f"{name}." for name in start), "".join(f"{name}." for name in begin)


def _below(start: str, ordered: Sequence[str]) -> Iterator[str]:
    """The keys that begin so, among sorted ones."""
    for place in range(bisect_left(ordered, start), len(ordered)):
        if not ordered[place].startswith(start):
            return
        yield ordered[place]


def _written(origin: Origin) -> str | list[str]:
    plain = len(origin.keys) == 1 and not origin.how
    return origin.keys[0] if plain else [origin.how, *origin.keys]


def read(data: Any, keys: Collection[str]) -> Migrated | None:
    """The part of a fingerprint; None for none.

    Args:
        data: the part.
        keys: of the tensors in the fingerprint.

    Raises:
        ValueError: it is something else.
    """
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise ValueError('"migrated" is not a JSON object')
    origins, version = data.get("origins", {}), data.get("version", "")
    if not isinstance(origins, Mapping):
        raise ValueError('"migrated" has origins that are not a JSON object')
    if version and not is_version(version):
        raise ValueError('"migrated" has a version that is none')
    found: dict[str, Origin] = {}
    ordered = [] if any(_ALL in key for key in keys) else sorted(keys)
    for key, each in origins.items():
        found.update(_read(key, each, ordered))
        if len(found) > limits.KEYS:
            raise ValueError(f'"migrated" has more than {limits.KEYS:,} keys, the limit for reading it')
    return Migrated(_texts(data.get("by", [])), found, _texts(data.get("dropped", [])), str(version))


def _read(key: str, data: Any, ordered: Sequence[str]) -> dict[str, Origin]:
    if isinstance(data, str) and ordered and key.endswith(_ALL) and data.endswith(_ALL):
        new, old = key.removesuffix(_ALL), data.removesuffix(_ALL)
        return {new + source.removeprefix(old): Origin((source,)) for source in _below(old, ordered)}
    if isinstance(data, str):
        return {key: Origin((data,))}
    how, *keys = _texts(data) or ("",)
    if not how:
        raise ValueError(f'"migrated" does not say where {key[:100]!r} comes from')
    return {key: Origin(tuple(keys), how)}


def _texts(data: Any) -> tuple[str, ...]:
    if not isinstance(data, list) or not all(isinstance(each, str) for each in data):
        raise ValueError('"migrated" has something else where a list of texts is wanted')
    return tuple(data)


def _q(value: Any) -> str:
    return json.dumps(value)
