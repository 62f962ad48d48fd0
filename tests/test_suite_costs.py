"""What a run does once, however many checkpoints it has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat._core import toml
from pytest_ckpt_compat._snapshots import fingerprint

_TEST = """
import pytest
from torch import nn

@pytest.mark.checkpoint("a.pt", model=nn.Linear, kwargs={"in_features": 2, "out_features": 2})
@pytest.mark.checkpoint("b.pt", model=nn.Linear, kwargs={"in_features": 2, "out_features": 2})
@pytest.mark.checkpoint("c.pt", model=nn.Linear, kwargs={"in_features": 2, "out_features": 2})
def test_it(): ...
"""
_ACCEPTED = """
[[accepted]]
id = "none"
rule = "CK101"
key = "*"
reason = "it is not there"
changes = ["(none) -> a float32[2]"]
"""


def _noted(function: Any, calls: list[str], which: int) -> Any:
    def noted(*given: Any) -> Any:
        calls.append(given[which])
        return function(*given)

    return noted


def test_snapshots_and_accepted_breaks_are_read_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are absent are looked for among the snapshots, each of which was read for each of them."""
    (pytester.mkdir("inside") / "test_inside.py").write_text(_TEST)
    for name in "abc":
        torch.save(nn.Linear(2, 2).state_dict(), pytester.path / f"{name}.pt")
    pytester.inline_run("--ckpt-update").assertoutcome(passed=3)
    entries = [_ACCEPTED.replace("none", name) for name in ("none", "neither")]
    (pytester.mkdir("ckpt_snapshots/accepted") / "one.toml").write_text(entries[0])
    (pytester.path / "ckpt_snapshots" / "accepted.toml").write_text(entries[1])
    for name in "abc":
        (pytester.path / f"{name}.pt").unlink()
    read: list[str] = []
    parsed: list[str] = []
    monkeypatch.setattr(fingerprint, "loads", _noted(fingerprint.loads, read, 1))
    monkeypatch.setattr(toml, "parse", _noted(toml.parse, parsed, 0))
    pytester.inline_run().assertoutcome(passed=3)
    checkpoints = [path for path in read if "definitions" not in path]
    assert len(checkpoints) == 3, checkpoints  # to find the files, a look at the first lines is enough
    assert [sum(text == entry for text in parsed) for entry in entries] == [1, 1]


_MANY = """
import pytest
from torch import nn

def pytest_ckpt_compat_checkpoints(config):
    return [
        dict(path="a.pt", model=nn.Linear, kwargs=dict(in_features=2, out_features=2 + n % 3), id=f"c{n}")
        for n in range(9)
    ]

def pytest_collection_finish(session):
    worker = getattr(session.config, "workerinput", {}).get("workerid", "one")
    (session.config.rootpath / f"{worker}.txt").write_text(" ".join(item.name for item in session.items))

class Carried:
    def __init__(self, path):
        self.path = path

    def pytest_runtest_logreport(self, report):
        with open(self.path, "a") as file:
            file.write(f"{report.when} {len(getattr(report, 'ckpt_compat', ''))}\\n")

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Carried(config.rootpath / "carried.txt"))
"""


@pytest.mark.usefixtures("warm_python")
def test_workers_get_the_checkpoints_of_one_definition_together(pytester: pytest.Pytester) -> None:
    """Both of two workers built each of the definitions, whose checkpoints stood far apart."""
    pytester.makeconftest(_MANY)
    pytester.makepyprojecttoml("")
    torch.save(nn.Linear(2, 2).state_dict(), pytester.path / "a.pt")
    pytester.runpytest_subprocess("-n", "2", "-p", "no:randomly")
    pytester.runpytest_subprocess("-p", "no:randomly")
    order = {name: (pytester.path / f"{name}.txt").read_text() for name in ("gw0", "gw1", "one")}
    assert order["one"] == "c0 c1 c2 c3 c4 c5 c6 c7 c8"
    assert order["gw0"] == order["gw1"] == "c0 c3 c6 c1 c4 c7 c2 c5 c8"


@pytest.mark.usefixtures("warm_python")
def test_a_report_without_news_carries_nothing(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_MANY)
    pytester.makepyprojecttoml("")
    torch.save(nn.Linear(2, 2).state_dict(), pytester.path / "a.pt")
    pytester.runpytest_subprocess("-p", "no:randomly")
    lines = [line.split() for line in (pytester.path / "carried.txt").read_text().splitlines()]
    assert len(lines) == 27
    assert {when for when, size in lines if size == "0"} == {"teardown"}
    assert {when for when, size in lines if size != "0"} == {"setup", "call"}
