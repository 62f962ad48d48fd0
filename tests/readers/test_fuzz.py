"""Any bytes give a structure or a ReadError: small real files cut and changed everywhere."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pytest_ckpt_compat.errors import ReadError
from pytest_ckpt_compat.readers import read
from pytest_ckpt_compat.readers.limits import RefusalError
from pytest_ckpt_compat.readers.pickled import interpret

BOUNDED = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

Edits = list[tuple[int, int]]
EDITS = st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=6)


def sample(path: Path, kind: str) -> bytes:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    if kind == "safetensors":
        save_file(net.state_dict(), path)
    elif kind == "module":
        torch.save(net, path)
    else:
        torch.save({"model": net.state_dict(), "epoch": 1, "args": {"lr": 0.1}}, path)
    return path.read_bytes()


def edited(content: bytes, edits: Edits) -> bytes:
    result = bytearray(content)
    for place, value in edits:
        result[place % len(result)] = value
    return bytes(result)


def read_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with contextlib.suppress(ReadError):
        read(path)


@pytest.mark.parametrize("kind", ["checkpoint", "safetensors"])
def test_cut_at_every_byte(tmp_path: Path, kind: str) -> None:
    content = sample(tmp_path / "good", kind)
    for length in range(len(content)):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(ReadError):
            read(tmp_path / "cut")


@pytest.mark.parametrize("kind", ["checkpoint", "safetensors"])
def test_every_byte_flipped(tmp_path: Path, kind: str) -> None:
    content = sample(tmp_path / "good", kind)
    for place in range(len(content)):
        read_or_refuse(tmp_path / "flipped", edited(content, [(place, content[place] ^ 0xFF)]))


@pytest.mark.parametrize("kind", ["checkpoint", "module", "safetensors"])
@BOUNDED
@given(edits=EDITS)
def test_bytes_changed_anywhere(tmp_path: Path, kind: str, edits: Edits) -> None:
    good = tmp_path / "good"
    content = good.read_bytes() if good.exists() else sample(good, kind)
    read_or_refuse(tmp_path / "changed", edited(content, edits))


@BOUNDED
@given(edits=EDITS, protocol=st.integers(0, 5))
def test_pickles_changed_anywhere(edits: Edits, protocol: int) -> None:
    value = {
        "a": [1, 2.5, "x", b"y", None, True],
        "b": ({1, 2}, frozenset("c")),
        "c": 1 << 70,
        "d": complex(1, 2),
    }
    with contextlib.suppress(RefusalError):
        interpret(edited(pickle.dumps(value, protocol), edits), str)


@BOUNDED
@given(data=st.binary(max_size=200))
def test_any_bytes_as_a_pickle(data: bytes) -> None:
    with contextlib.suppress(RefusalError):
        interpret(data, str)


#: Plain values, nested: what every interpreter of pickles must agree on.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=20)
    | st.frozensets(st.text(max_size=3), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


@BOUNDED
@given(value=VALUES, protocol=st.integers(0, 5))
def test_agrees_with_pickle_on_plain_values(value: Any, protocol: int) -> None:
    written = pickle.dumps(value, protocol)
    assert interpret(written, str) == (pickle.loads(written), len(written))
