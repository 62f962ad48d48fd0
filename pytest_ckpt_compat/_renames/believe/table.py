"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -7.0

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 0.9,
        "modules": 1.5,
        "blocks": 1.3,
        "roles": 1.7,
        "whole": 5.0,
        "rarity": 6.0,
        "distinct": 0.5,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.95
