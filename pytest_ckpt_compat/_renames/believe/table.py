"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -18.04

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 2.20,
        "modules": 0.58,
        "blocks": 5.17,
        "roles": 2.70,
        "whole": 9.38,
        "rarity": 5.03,
        "distinct": 0.41,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.508
