"""The part of a fingerprint that says which migrations made a checkpoint load, and where its values went.

It is the last part. No load depends on it, so the digest leaves it out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_ckpt_compat._core.migrated import Migrated, Origin
from pytest_ckpt_compat._registry.chain import is_version

_START = ',\n  "migrated": '
_END = "\n}\n"


def with_migrated(text: str, migrated: Migrated | None) -> str:
    """A fingerprint with this part, in place of the one that it had; None for none."""
    start = text.rfind(_START)  # a line break within a text is written otherwise
    body = text[:start] if start >= 0 else text.removesuffix(_END)
    return body + (_START + block(migrated) if migrated else "") + _END


def block(migrated: Migrated) -> str:
    """The part, a line for each key that gets another tensor than the checkpoint has under it."""
    lines = [f"{_q(key)}: {_q(_origin(each))}" for key, each in migrated.origins.items()]
    fields = [f'"by": {_q(list(migrated.names))}']
    fields += [f'"version": {_q(migrated.version)}'] if migrated.version else []
    fields += ['"origins": {\n      ' + ",\n      ".join(lines) + "\n    }"] if lines else []
    fields += [f'"dropped": {_q(list(migrated.dropped))}'] if migrated.dropped else []
    return "{\n    " + ",\n    ".join(fields) + "\n  }"


def _origin(origin: Origin) -> str | list[str]:
    plain = len(origin.keys) == 1 and not origin.how
    return origin.keys[0] if plain else [origin.how, *origin.keys]


def read(data: Any) -> Migrated | None:
    """The part of a fingerprint; None for none. Raises ValueError for anything else."""
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise ValueError('"migrated" is not a JSON object')
    origins = data.get("origins", {})
    if not isinstance(origins, Mapping):
        raise ValueError('"migrated" has origins that are not a JSON object')
    found = {key: _read(key, each) for key, each in origins.items()}
    version = data.get("version", "")
    if version and not is_version(version):
        raise ValueError('"migrated" has a version that is none')
    return Migrated(_texts(data.get("by", [])), found, _texts(data.get("dropped", [])), str(version))


def _read(key: str, data: Any) -> Origin:
    if isinstance(data, str):
        return Origin((data,))
    how, *keys = _texts(data) or ("",)
    if not how:
        raise ValueError(f'"migrated" does not say where {key[:100]!r} comes from')
    return Origin(tuple(keys), how)


def _texts(data: Any) -> tuple[str, ...]:
    if not isinstance(data, list) or not all(isinstance(each, str) for each in data):
        raise ValueError('"migrated" has something else where a list of texts is wanted')
    return tuple(data)


def _q(value: Any) -> str:
    return json.dumps(value)
