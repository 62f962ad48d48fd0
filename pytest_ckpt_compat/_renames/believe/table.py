"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -9.59

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 1.96,
        "modules": 1.38,
        "blocks": 1.85,
        "roles": 1.79,
        "whole": 4.39,
        "rarity": 4.33,
        "distinct": 1.01,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.500
