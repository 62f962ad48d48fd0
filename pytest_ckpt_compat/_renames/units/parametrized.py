"""Finds parameters that are stored in other terms: normalised, masked, or parametrized.

``torch.nn.utils.weight_norm`` keeps ``weight_g`` and ``weight_v`` in place of ``weight``, its
``spectral_norm`` keeps ``weight_orig``, ``weight_u`` and ``weight_v``, and pruning ``weight_orig`` and
``weight_mask``. ``torch.nn.utils.parametrize`` keeps ``parametrizations.weight.original``, or
``original0`` and ``original1``, beside what each parametrization holds itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pytest_ckpt_compat._core.structure import TensorSpec

#: How a parameter is stored: as itself, under names with a suffix, or below ``parametrizations``.
Form = Literal["plain", "suffixed", "parametrized"]

#: The part of a parametrized parameter that has the shape of the parameter.
MAIN = ""

#: The part that has one number for each slice of the main part.
MAGNITUDE = "magnitude"

_ENDINGS = ("_orig", "_mask", "_u", "_v", "_g")
_SUFFIX = re.compile(r"(?P<parameter>(?:.*\.)?[^.]+)_(?P<part>orig|mask|u|v|g)", re.DOTALL)
_BELOW = re.compile(r"(?P<path>(?:.*?\.)??)parametrizations\.(?P<name>[^.]+)\.(?P<part>.+)", re.DOTALL)

#: A part's name below ``parametrizations`` -> the same part's name among those with a suffix.
_SAME_PART: Mapping[str, str] = MappingProxyType({"original": MAIN, "0._u": "u", "0._v": "v"})


@dataclass(frozen=True, slots=True)
class Parametrized:
    """A parameter and the keys that stand in its place.

    Attributes:
        parameter: the key that the parameter itself would have.
        form: how it is stored.
        parts: part -> key; ``MAIN`` is always among them.
    """

    parameter: str
    form: Form
    parts: Mapping[str, str]


def parametrized(specs: Mapping[str, TensorSpec]) -> dict[str, Parametrized]:
    """Returns each key that is a part of a parametrized parameter, with that parameter.

    A name alone proves nothing: the parts must be complete, and the parameter itself must be absent.
    """
    found: dict[str, Parametrized] = {}
    taken: set[str] = set()
    for each in (*_below(specs), *_suffixed(specs)):
        if each.parameter not in specs and each.parameter not in taken:
            taken.add(each.parameter)
            found.update(dict.fromkeys(each.parts.values(), each))
    return found


def _below(keys: Iterable[str]) -> Iterable[Parametrized]:
    grouped: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for key in keys:
        if "parametrizations." in key and (match := _BELOW.fullmatch(key)):
            grouped[match["path"] + match["name"]][match["part"]] = key
    for parameter, parts in grouped.items():
        originals = {part for part in parts if re.fullmatch(r"original\d*", part)}
        if originals == {"original"}:
            named = {_SAME_PART.get(part, part): key for part, key in parts.items()}
            yield Parametrized(parameter, "parametrized", named)
        elif "original1" in originals and originals <= {"original0", "original1"}:
            names = {"original0": MAGNITUDE, "original1": MAIN}
            named = {names.get(part, part): key for part, key in parts.items()}
            yield Parametrized(parameter, "parametrized", named)


def _suffixed(specs: Mapping[str, TensorSpec]) -> Iterable[Parametrized]:
    grouped: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for key in specs:
        if key.endswith(_ENDINGS) and (match := _SUFFIX.fullmatch(key)):
            grouped[match["parameter"]][match["part"]] = key
    for parameter, parts in grouped.items():
        if "orig" in parts:
            named = {MAIN if part == "orig" else part: parts[part] for part in parts if part != "g"}
            if len(named) > 1 or parameter.rpartition(".")[2] in ("weight", "bias"):
                yield Parametrized(parameter, "suffixed", named)
        elif {"g", "v"} <= parts.keys() and _is_magnitude(specs[parts["g"]].shape, specs[parts["v"]].shape):
            yield Parametrized(parameter, "suffixed", {MAGNITUDE: parts["g"], MAIN: parts["v"]})


def _is_magnitude(magnitude: tuple[int, ...], direction: tuple[int, ...]) -> bool:
    """Whether a tensor holds one number for each slice of another, or a single one."""
    if not magnitude:
        return True
    kept = [size for size in magnitude if size != 1]
    return (
        len(magnitude) == len(direction)
        and len(kept) <= 1
        and all(a in (1, b) for a, b in zip(magnitude, direction, strict=True))
    )
