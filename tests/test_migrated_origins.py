"""Where the values of a migrated checkpoint come from, and how a snapshot keeps that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.migrated import Migrated, Origin
from pytest_ckpt_compat._snapshots import fingerprint, migrated_data
from tests.test_chain import Net, State, saved


def origins_of(tmp_path: Path, migrate: Any) -> Mapping[str, Origin]:
    verdict = ckpt.check(tmp_path / "net.pt", Net, migrate=migrate)
    assert verdict.migrated is not None
    return verdict.migrated.origins


def test_the_origin_of_a_value_tells_its_place_and_not_the_code(tmp_path: Path) -> None:
    saved(tmp_path, 3)

    def with_(made: Any) -> Any:
        return lambda state: {**state, "x": made(state["head.weight"], state["layer3.weight"])}

    alike = [
        (lambda a, b: a.t(), lambda a, b: a.permute(1, 0).contiguous()),
        (lambda a, b: torch.cat([a, b]), lambda a, b: torch.vstack([a, b])),
        (lambda a, b: a.chunk(2)[1], lambda a, b: a[1:]),
        (lambda a, b: a * 2, lambda a, b: a.mul(2)),
        (lambda a, b: a.clone(), lambda a, b: a.detach()),
    ]
    others = [
        (lambda a, b: a, lambda a, b: b),
        (lambda a, b: a, lambda a, b: a.t()),
        (lambda a, b: torch.cat([a, b]), lambda a, b: torch.cat([b, a])),
        (lambda a, b: a.chunk(2)[1], lambda a, b: a.chunk(2)[0]),
        (lambda a, b: a * 2, lambda a, b: a * 3),
        (lambda a, b: a.flip(0), lambda a, b: a.flip(1)),
    ]
    for one, other in alike:
        assert origins_of(tmp_path, with_(one))["x"] == origins_of(tmp_path, with_(other))["x"]
    for one, other in others:
        assert origins_of(tmp_path, with_(one))["x"] != origins_of(tmp_path, with_(other))["x"]


def test_what_is_written_in_place_is_another_value(tmp_path: Path) -> None:
    saved(tmp_path, 3)

    def scale(state: State) -> State:
        state["head.weight"].mul_(2)
        return state

    found = origins_of(tmp_path, scale)
    assert list(found) == ["head.weight"]
    assert found["head.weight"].keys == ("head.weight",)
    assert found["head.weight"].how


def test_a_long_computation_is_told_at_once(tmp_path: Path) -> None:
    """Each step has the one before twice in it: what they share is looked at once."""
    saved(tmp_path, 3)

    def double(state: State) -> State:
        value = state["head.bias"]
        for _ in range(60):
            value = value + value
        return {**state, "head.bias": value}

    assert origins_of(tmp_path, double)["head.bias"].keys == ("head.bias",)


def test_tied_tensors_that_stay_are_no_change(tmp_path: Path) -> None:
    shared = torch.zeros(2, 2)
    torch.save({"a": shared, "b": shared}, tmp_path / "net.pt")
    assert origins_of(tmp_path, lambda state: dict(state)) == {}


_KEYS = st.text(max_size=8)
_ORIGINS = st.builds(Origin, st.tuples(_KEYS)) | st.builds(
    Origin, st.lists(_KEYS, max_size=3).map(tuple), st.text("0123456789abcdef", min_size=12, max_size=12)
)


@given(
    st.lists(_KEYS, max_size=3).map(tuple),
    st.dictionaries(_KEYS, _ORIGINS, max_size=4),
    st.lists(_KEYS, max_size=2).map(tuple),
    st.sampled_from(["", "3", "1.10"]),
    st.dictionaries(_KEYS, st.text(max_size=5), max_size=2),
)
def test_a_snapshot_keeps_all_of_it(
    names: tuple[str, ...],
    origins: dict[str, Origin],
    dropped: tuple[str, ...],
    version: str,
    values: dict[str, str],
) -> None:
    kept = Migrated(names, origins, dropped, version)
    plain = fingerprint.dumps(ckpt.define(Net), values)
    keys = ckpt.define(Net).tensors
    text = migrated_data.with_migrated(plain, kept, keys)
    assert fingerprint.loads(text, "here").migrated == kept
    assert migrated_data.with_migrated(text, None, keys) == plain
    assert migrated_data.with_migrated(text, kept, keys) == text
    assert fingerprint.loads(text, "here") == fingerprint.loads(plain, "here")


@pytest.mark.parametrize(
    "data",
    [
        3,
        [],
        {"by": "a"},
        {"by": [1]},
        {"origins": []},
        {"origins": {"a": 3}},
        {"origins": {"a": []}},
        {"origins": {"a": [""]}},
        {"dropped": {}},
        {"version": "two"},
        {"version": -1},
    ],
)
def test_a_snapshot_that_was_spoilt_is_refused(data: Any) -> None:
    fields = json.loads(fingerprint.dumps(ckpt.define(Net)))
    with pytest.raises(CkptCompatError, match=r"^here: is not a fingerprint: "):
        fingerprint.loads(json.dumps(fields | {"migrated": data}), "here")


_NAMES = st.sampled_from(["a", "b", "c", "blocks", "0", "1", "*", ""])
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map(".".join)


@given(st.sets(_PATHS, min_size=1, max_size=12), st.data())
def test_whatever_is_folded_is_read_back(keys: set[str], data: st.DataObject) -> None:
    """Modules that go below others, keys that go astray, some of each left out."""
    moves = data.draw(st.dictionaries(_PATHS, _PATHS, max_size=3))
    origins = {}
    for key in sorted(keys):
        for old, new in moves.items():
            if key.startswith(f"{old}.") and data.draw(st.integers(0, 5)):
                origins[new + key.removeprefix(old)] = Origin((key,))
    origins.update(data.draw(st.dictionaries(_PATHS, _ORIGINS, max_size=2)))
    kept = Migrated(("m",), origins)
    text = "{" + migrated_data.with_migrated("\n}\n", kept, keys).removeprefix(",")
    assert migrated_data.read(json.loads(text)["migrated"], keys) == kept


def test_a_module_that_was_renamed_takes_one_line() -> None:
    keys = [f"blocks.{n}.{name}.weight" for n in range(12) for name in ("fc", "norm")]
    origins = {key.replace("blocks", "stages"): Origin((key,)) for key in keys}
    text = migrated_data.with_migrated("{\n}\n", Migrated(("m",), origins), [*keys, "head.weight"])
    assert '"origins": {\n      "stages.*": "blocks.*"\n    }' in text
    prefixed = {f"net.{key}": Origin((key,)) for key in keys}
    assert '"net.*": "*"' in migrated_data.with_migrated("{\n}\n", Migrated(("m",), prefixed), keys)
    assert '"*"' not in migrated_data.with_migrated("{\n}\n", Migrated(("m",), prefixed), [*keys, "head"])
