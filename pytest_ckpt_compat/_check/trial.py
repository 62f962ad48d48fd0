"""One way to give a definition the values of the keys that it had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_ckpt_compat._definition.filling import Way


@dataclass(frozen=True)
class Trial:
    """One way to give a definition the values of another's keys.

    Attributes:
        name: what does it, for messages; "" for the definition's own load.
        way: does it; None for the definition's own load.
        doubtful: old key -> new key of renames that are not certain.
        moved: old key -> new key of all tensors that have another one.
    """

    name: str = ""
    way: Way | None = None
    doubtful: Mapping[str, str] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
