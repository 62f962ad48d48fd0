"""``OptimizerState`` <-> plain data, as a snapshot keeps it for level ``resume``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_ckpt_compat._core.structure import OptimizerState, TensorSpec


def as_data(state: OptimizerState) -> dict[str, list[Any]]:
    """Lists of groups and states, an entry each, without what JSON cannot hold."""
    options = [*state.options, *[{}] * len(state.groups)][: len(state.groups)]
    settings = [plain(each) for each in options]
    values = {number: _numbers(fields) for number, fields in state.values.items()}
    data: dict[str, list[Any]] = {
        "groups": [
            {"params": list(numbers), "settings": kept}
            for numbers, kept in zip(state.groups, settings, strict=True)
        ],
        "states": [
            [number, {**values.get(number, {}), **_texts(fields)}] for number, fields in state.states.items()
        ],
    }
    left_out = {
        "unread": {*state.unread, *_dropped(options, settings)},
        "opaque": {*state.opaque, *_dropped(state.values.values(), values.values())},
    }
    return data | {name: sorted(names) for name, names in left_out.items() if names}


def _dropped(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (name for had, kept in zip(before, after, strict=True) for name in had.keys() - kept.keys())


def read(data: Mapping[str, Any]) -> OptimizerState:
    """The inverse of ``as_data``. Raises ValueError, TypeError or KeyError for anything else."""
    specs, values = {}, {}
    for number, fields in data["states"]:
        specs[number] = {name: TensorSpec.parse(text) for name, text in fields.items() if type(text) is str}
        values[number] = {name: value for name, value in fields.items() if type(value) is not str}
    groups = data["groups"]
    if any(type(number) not in (int, str) for number in (*specs, *(n for g in groups for n in g["params"]))):
        raise ValueError('"optimizers" has a parameter that is neither a number nor a name')
    return OptimizerState(
        groups=tuple(tuple(group["params"]) for group in groups),
        states=specs,
        options=tuple(dict(group["settings"]) for group in groups),
        values={number: fields for number, fields in values.items() if fields},
        unread=tuple(map(str, data.get("unread", ()))),
        opaque=tuple(map(str, data.get("opaque", ()))),
    )


def _texts(fields: Mapping[str, TensorSpec]) -> dict[str, str]:
    return {name: str(spec) for name, spec in fields.items()}


def _numbers(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in fields.items()
        if value is None or isinstance(value, (bool, int, float))
    }


def plain(value: Any) -> Any:
    """The part of a value that JSON can hold."""
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items() if isinstance(key, str) and _holds(v)}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value if _holds(v)]
    return value


def _holds(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool, Mapping, list, tuple))
