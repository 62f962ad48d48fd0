"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -16.06

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 2.45,
        "modules": 0.69,
        "blocks": 2.89,
        "roles": 2.85,
        "whole": 9.53,
        "rarity": 4.13,
        "distinct": 0.57,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.502
