"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -18.21

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 2.17,
        "modules": 0.33,
        "blocks": 5.00,
        "roles": 2.64,
        "whole": 9.98,
        "rarity": 4.85,
        "distinct": 0.48,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.502
