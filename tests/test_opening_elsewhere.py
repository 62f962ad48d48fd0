"""CK405 of the shards of an index, and where only the snapshot is there. Torch itself is the oracle."""

from __future__ import annotations

import argparse
import enum
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.pickled import Pickled
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import Net, Printed, save
from tests.repository import ENTRY, make_project


class Color(enum.Enum):
    RED = 1


def opens(path: Path) -> bool:
    try:
        torch.load(path)
    except (pickle.UnpicklingError, RuntimeError):
        return False
    return True


def rules(verdict: Any) -> list[str]:
    return [change.rule for change in verdict.changes]


@pytest.mark.parametrize("extra", [None, Color.RED, argparse.Namespace(lr=1), np.float64(3)])
@pytest.mark.parametrize("number", [0, 1])
def test_shards(tmp_path: Path, extra: Any, number: int) -> None:
    state = Net().state_dict()
    names = list(state)
    shards: list[dict[str, Any]] = [
        {key: state[key] for key in names[::2]},
        {key: state[key] for key in names[1::2]},
    ]
    mapping: dict[str, str] = {}
    for index, shard in enumerate(shards):
        mapping |= dict.fromkeys(shard, f"{index}.bin")
        # Beside the tensors of a shard nothing else may be: what is strange is on a tensor.
        if extra is not None and index == number:
            first = next(iter(shard))
            shard[first].note = extra
        torch.save(shard, tmp_path / f"{index}.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": mapping}))
    wanted = all(opens(tmp_path / f"{index}.bin") for index in range(2))
    assert wanted is (extra is None)
    verdict = ckpt.check(tmp_path, Net)
    assert ("CK405" not in rules(verdict)) is wanted, str(verdict)


KINDS: dict[str, Any] = {
    "plain": lambda: {"state_dict": Net().state_dict(), "epoch": 3},
    "parameters": lambda: dict(Net().named_parameters()),
    "half": lambda: Net().half().state_dict(),
    "enum": lambda: {"state_dict": Net().state_dict(), "color": Color.RED},
    "namespace": lambda: {"state_dict": Net().state_dict(), "args": argparse.Namespace(lr=1)},
    "numpy": lambda: {"state_dict": Net().state_dict(), "best": np.float64(0.5)},
    "whole": Net,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_says_what_the_file_says(tmp_path: Path, kind: str) -> None:
    from pytest_ckpt_compat._check.check import check_structure
    from pytest_ckpt_compat._core.changes import Policy
    from pytest_ckpt_compat._definition.find import find

    path = tmp_path / "net.pt"
    torch.save(KINDS[kind](), path)
    structure = read(path)
    text = fingerprint.dumps(structure)
    stored = fingerprint.loads(text, "s")
    assert fingerprint.same(structure, stored)
    assert ('"pickled"' in text) is (kind not in ("plain", "half", "parameters")), text
    both = [check_structure(each, find(Net), Policy()) for each in (structure, stored)]
    found = [[(c.rule, c.detail, c.severity) for c in each.changes] for each in both]
    assert found[0] == found[1]
    assert both[0].repairs == both[1].repairs
    assert ("CK405" in rules(both[1])) is not opens(path)


def test_a_registered_checkpoint_without_its_file(
    pytester: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    make_project(pytester.path, ENTRY)
    save(pytester.path / "net.pt", args=argparse.Namespace(lr=1))
    assert command("update").code == 0
    (pytester.path / "net.pt").unlink()
    printed = command("check", "--report", "r.json")
    assert printed.code == 0, printed.out
    (entry,) = json.loads((pytester.path / "r.json").read_text())["checkpoints"]
    assert [change["rule"] for change in entry["changes"]] == ["CK405"]
    assert "argparse.Namespace" in command("show", "ckpt_snapshots/net-v1.json").out


def test_a_snapshot_of_an_earlier_version_stays_valid(
    pytester: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    make_project(pytester.path, ENTRY)
    save(pytester.path / "net.pt", args=argparse.Namespace(lr=1))
    assert command("update").code == 0
    snapshot = pytester.path / "ckpt_snapshots" / "net-v1.json"
    text = snapshot.read_text()
    fields = json.loads(text)
    del fields["pickled"]
    snapshot.write_text(json.dumps(fields))
    assert command("check").code == 0
    assert "every snapshot is up to date" in command("update").out  # it is frozen
    printed = command("update", "net-v1")
    assert printed.code == 0
    assert "updated   ckpt_snapshots/net-v1.json: the classes that the file names" in printed.out
    assert snapshot.read_text() == text


@pytest.mark.parametrize(
    "pickled",
    [[], 3, {"names": [["a"]]}, {"names": [[1, 2]]}, {"names": 3}, {"names": ["abc"]}, {"dtypes": 3}],
)
def test_a_section_that_cannot_be_meant(pickled: Any) -> None:
    text = json.dumps({"tensors": {}, "pickled": pickled})
    with pytest.raises(SnapshotError, match="is not a fingerprint"):
        fingerprint.loads(text, "s")


def test_many_names_are_cut() -> None:
    names = tuple(("package", f"Class{number}") for number in range(3_000))
    structure = ckpt.Structure({}, pickled=Pickled(names=names))
    stored = fingerprint.loads(fingerprint.dumps(structure), "s")
    assert stored.pickled is not None
    assert stored.pickled.names == names[:1_000]
