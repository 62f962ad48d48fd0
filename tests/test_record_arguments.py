"""``ckpt-compat record``: definitions that differ in an argument alone have a past each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_ckpt_compat._history.questions import Model
from pytest_ckpt_compat._history.record import name_of
from tests.conftest import Printed
from tests.repository import commit, git

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, mode="", other=""):
        super().__init__()
        self.fc = nn.Linear(2, 2 + len(other) if mode.endswith("a") else 8)
"""
LONG = "x" * 500


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"mode": f"{LONG}a"}, {"mode": f"{LONG}b"}),
        ({"mode": "a,other=bc"}, {"mode": "a", "other": "bc"}),
    ],
    ids=["the end of a long text", "a comma"],
)
def test_each_is_recorded_and_guarded(
    project: pytest.Pytester,
    command: Callable[..., Printed],
    first: dict[str, str],
    second: dict[str, str],
) -> None:
    project.makepyfile(net_by_mode=NET)
    git(project.path, "init", "-q")
    commit(project.path)
    git(project.path, "tag", "v1")
    for kwargs in (first, second):
        given = ", ".join(f'{name} = "{value}"' for name, value in kwargs.items())
        printed = command("record", "--at", "v1", "--model", "net_by_mode:Net", "--kwargs", f"{{{given}}}")
        assert printed.code == 0, printed.out + printed.err
        assert printed.out.startswith("recorded  "), printed.out
    names = [path.name for path in (project.path / "ckpt_snapshots").glob("*.json")]
    assert len(names) == 2
    assert all(len(name) < 120 for name in names)
    printed = command("check")
    assert (printed.code, printed.out.splitlines()[-1]) == (0, "compared  2 checkpoints, 4 tensors")
    code = project.path / "net_by_mode.py"
    # Of another size: else Python may take it for what it compiled in the same second.
    code.write_text(code.read_text(encoding="utf-8").replace("else 8", "else 10"), encoding="utf-8")
    printed = command("check")
    assert printed.code == 1
    assert printed.out.count("outputs 8 -> 10") == 2  # weight and bias of one, and nothing of the other


def test_names_of_definitions_differ_where_arguments_do() -> None:
    arguments: list[dict[str, object]] = [
        {},
        {"n": 4},
        {"n": "4"},
        {"n": 4.0},
        {"n": True},
        {"n": "True"},
        {"n": f"{LONG}a"},
        {"n": f"{LONG}b"},
        {"n": "x,m=y"},
        {"n": "x", "m": "y"},
        {"n": [1, 2]},
        {"n": "[1, 2]"},
        {"n": {"a": 1}},
    ]
    names = [name_of(Model("net_by_mode:Net", each)) for each in arguments]
    assert len(set(names)) == len(arguments)
