"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -15.53

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 2.01,
        "modules": 0.86,
        "blocks": 2.41,
        "roles": 2.55,
        "whole": 9.56,
        "rarity": 4.75,
        "distinct": 0.77,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.508
