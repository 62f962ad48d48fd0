"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -18.28

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 2.26,
        "blocks": 4.65,
        "roles": 2.69,
        "whole": 10.62,
        "rarity": 4.99,
        "distinct": 0.45,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.502
