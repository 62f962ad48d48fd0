"""The part of a fingerprint that says which classes a file of ``torch.save`` names, and what opens it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_ckpt_compat._core.pickled import Name, Pickled

#: What every state_dict that ``torch.save`` writes may name: these say nothing about a file.
_PLAIN = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\.\w+Storage|torch\.storage\.\w+Storage|torch\.(Size|device)"
    r"|torch\.(bfloat16|float\d+|int\d+|uint\d+|bool|complex\d+)|collections\.OrderedDict"
)
#: Names that are kept at most; as many are looked for when a file is opened.
_MOST = 1_000
_NAMES = ("names", "filled", "built")


def as_data(pickled: Pickled | None) -> dict[str, Any]:
    """What a fingerprint keeps; {} for a file that names nothing but what every state_dict does."""
    if pickled is None:
        return {}
    strange = [name for name in pickled.names if not _PLAIN.fullmatch(".".join(name))]
    if not strange and not pickled.beyond:
        return {}
    kept = {name: [list(each) for each in getattr(pickled, name)[:_MOST]] for name in _NAMES}
    others = {"dtypes": list(pickled.numpy_dtypes), "beyond": pickled.beyond, "module": pickled.module}
    return {name: value for name, value in {**kept, **others}.items() if value}


def read(data: Any) -> Pickled | None:
    """Reverses ``as_data``. Raises ValueError, TypeError or LookupError for anything else."""
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise ValueError('"pickled" is not a JSON object')
    names, filled, built = (tuple(map(_name, data.get(field, ()))) for field in _NAMES)
    texts = [str(data.get(field, "")) for field in ("beyond", "module")]
    return Pickled(names, filled, built, tuple(map(str, data.get("dtypes", ()))), *texts)


def _name(pair: Any) -> Name:
    module, attribute = pair
    if not isinstance(module, str) or not isinstance(attribute, str):
        raise ValueError('"pickled" has a name that is not a module and an attribute')
    return module, attribute
