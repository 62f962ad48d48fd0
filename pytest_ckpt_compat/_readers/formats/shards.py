"""Sharded checkpoints of Hugging Face: an index of keys, and the files that it names.

``save_pretrained`` of transformers writes the index: ``{"metadata": {...}, "weight_map": {key: file}}``.
"""

from __future__ import annotations

import re
from typing import Any

from pytest_ckpt_compat._core.pickled import Pickled
from pytest_ckpt_compat._core.structure import Source, Structure
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.formats.single_file import HEAD, read_single
from pytest_ckpt_compat._readers.limits import (
    Budget,
    RefusalError,
    UnreachableRefusalError,
    damaged,
    over_limit,
)
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.folders import Folder, naming_part, plain_name
from pytest_ckpt_compat._readers.source.strict_json import parse_object
from pytest_ckpt_compat._readers.state_dict.containers import require_top
from pytest_ckpt_compat._readers.state_dict.nothing import no_tensors

FORMAT = "sharded"
_MAP = "weight_map"
_NUMBERED = re.compile(r"(.*-)\d{5}(-of-)\d{5}(\.[^.]*)", re.DOTALL)
_SHOWN = 5


def read_index(blob: Blob, folder: Folder, key: str | None, budget: Budget) -> Structure | None:
    """Reads the structure of all files that an index names; returns None if the JSON is not an index.

    The keys are in the order of the file names, and in each file's own order.
    """
    if blob.size > limits.JSON_BYTES:
        raise over_limit("bytes of JSON", limits.JSON_BYTES)
    raw = blob.read_at(0, blob.size)
    if b'"weight_map"' not in raw:
        return None
    index = parse_object(raw, "it", fractions=True)
    shards = _shards(index.get(_MAP))
    require_top(key)
    _refuse_others(folder, shards)
    parts: list[Structure] = []
    for name in sorted(shards):
        with naming_part(name), folder.open(name) as part:
            parts.append(_read_shard(part, shards[name], budget))
    metadata = index.get("metadata")
    return _joined(blob, parts, metadata if type(metadata) is dict else {})


def files_of(blob: Blob) -> tuple[str, ...]:
    """Names of the files that an index names; none if the JSON is not an index."""
    if blob.size > limits.JSON_BYTES:
        raise over_limit("bytes of JSON", limits.JSON_BYTES)
    raw = blob.read_at(0, blob.size)
    if b'"weight_map"' not in raw:
        return ()
    return tuple(sorted(_shards(parse_object(raw, "it", fractions=True).get(_MAP))))


def _shards(mapping: Any) -> dict[str, set[str]]:
    """Returns file name -> the keys that it must hold."""
    if type(mapping) is not dict:
        raise damaged("its weight_map is not an object of names")
    if not mapping:
        raise no_tensors()
    if len(mapping) > limits.KEYS:
        raise over_limit("tensors", limits.KEYS)
    shards: dict[str, set[str]] = {}
    for key, name in mapping.items():
        if type(name) is not str or name not in shards:
            shards[plain_name(name)] = set()
        shards[name].add(key)
    if len(shards) > limits.SHARDS:
        raise over_limit("parts", limits.SHARDS)
    if len({name.casefold() for name in shards}) != len(shards):
        raise damaged("its weight_map has two file names that differ only in case")
    return shards


def _refuse_others(folder: Folder, shards: dict[str, set[str]]) -> None:
    """Refuses missing shards, and files named like shards that the index does not list."""
    names = folder.names()
    if names is None:
        return
    missing = sorted(shards.keys() - names)
    if missing:
        # Where only the index is committed, the weights are elsewhere: a snapshot may stand in for them.
        refusal = UnreachableRefusalError if len(missing) == len(shards) else RefusalError
        raise refusal(
            f"{len(missing)} of its {len(shards)} parts are missing: {_listed(missing)}", "fetch them too"
        )
    families = {found.group(1, 2, 3) for name in shards if (found := _NUMBERED.fullmatch(name))}
    others = sorted(
        name
        for name in names - shards.keys()
        if (found := _NUMBERED.fullmatch(name)) and found.group(1, 2, 3) in families
    )
    if others:
        raise RefusalError(
            f"its folder has parts that the index does not list: {_listed(others)}",
            "remove them if they are left from another save, or fetch the index again",
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _read_shard(part: Blob, keys: set[str], budget: Budget) -> Structure:
    found = read_single(part, part.head(HEAD), "", budget)
    if found is None:
        raise RefusalError("it is neither a safetensors nor a torch file", "fetch or save it again")
    if found.tensors.keys() != keys:
        lacking, other = sorted(keys - found.tensors.keys()), sorted(found.tensors.keys() - keys)
        what = f"lacks {_listed(lacking)}" if lacking else f"also has {_listed(other)}"
        raise damaged(f"the index and the file disagree: the file {what}")
    return found


def _joined(blob: Blob, parts: list[Structure], metadata: dict[str, Any]) -> Structure:
    first = parts[0]
    return Structure(
        {key: spec for part in parts for key, spec in part.tensors.items()},
        aliases=tuple(group for part in parts for group in part.aliases),
        views=tuple(group for part in parts for group in part.views),
        identical=tuple(group for part in parts for group in part.identical),
        versions=first.versions if len(parts) == 1 else None,
        source=Source(blob.path, f"{FORMAT} {first.source.format}"),
        values=metadata,
        objects={key: value for part in parts for key, value in part.objects.items()},
        locations={key: location for part in parts for key, location in part.locations.items()},
        strides={key: stride for part in parts for key, stride in part.strides.items()},
        contents={key: content for part in parts for key, content in part.contents.items()},
        pickled=_all_named([part.pickled for part in parts if part.pickled is not None]),
    )


def _all_named(parts: list[Pickled]) -> Pickled | None:
    """What all shards ask of whoever unpickles them; None if none is a file of ``torch.save``."""
    if not parts:
        return None
    names, filled, built, dtypes = (
        tuple(dict.fromkeys(each for part in parts for each in getattr(part, field)))
        for field in ("names", "filled", "built", "numpy_dtypes")
    )
    beyond = next((part.beyond for part in parts if part.beyond), "")
    return Pickled(names, filled, built, dtypes, beyond)
