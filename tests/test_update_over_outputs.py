"""What an update says of the recorded outputs that it writes over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_ckpt_compat._check.contribution import Contribution
from pytest_ckpt_compat._check.update import Over, over_all
from tests.conftest import Printed
from tests.test_outputs_flow import SNAPSHOT, net, recorded, register, rename, swap

Command = Callable[..., Printed]

__all__ = ["net", "recorded"]

WRITTEN = f"updated   ckpt_snapshots/{SNAPSHOT}: "
RENAMES = "  ~ {left,right}.* -> {zebra,lion}.*   4 tensors"


def after(text: str, line: str) -> list[str]:
    """The lines from one on."""
    lines = text.splitlines()
    return lines[lines.index(line) :]


def test_an_update_says_what_is_computed_now(recorded: pytest.Pytester, command: Command) -> None:
    swap(recorded)
    first, told = command("update").out.splitlines()
    assert first == f"{WRITTEN}the outputs"
    assert told.startswith(
        "    it computes something else before head, in forward of models.Net; the output "
    )


def test_an_update_calls_no_proven_rename_ambiguous(recorded: pytest.Pytester, command: Command) -> None:
    """The check had called them proven; the update said "ambiguous", and took the proof away in silence."""
    rename(recorded)
    assert f"{RENAMES}\n" in command("check").out
    printed = command("update")
    assert "ambiguous" not in printed.out
    assert after(printed.out, f"{WRITTEN}keys: 4 added, 4 removed") == [
        f"{WRITTEN}keys: 4 added, 4 removed",
        RENAMES,
        "    net-v1 still needs these renames, and the outputs that prove them are written over: "
        f"get ckpt_snapshots/{SNAPSHOT} back from git, and run ckpt-compat migrate net-v1",
    ]


def test_the_advice_of_that_update_ends_green(recorded: pytest.Pytester, command: Command) -> None:
    snapshot = recorded.path / "ckpt_snapshots" / SNAPSHOT
    before = snapshot.read_text()
    rename(recorded)
    command("update")
    assert "not proven" in command("migrate", "net-v1").err or command("migrate", "net-v1").code == 1
    snapshot.write_text(before)
    printed = command("migrate", "net-v1")
    assert printed.code == 0, printed.err
    (recorded.path / "old_files.py").write_text(printed.out)
    register(recorded, 'migrate = "old_files:migrate"')
    printed = command("update")
    assert (printed.code, "still needs" in printed.out) == (0, False), printed.out
    assert command("check").code == 0


def test_what_is_written_over_travels_between_processes() -> None:
    sent = Contribution(over={"net.json": Over({"a": "b"}, ("computes something else",), "net-v1")})
    assert Contribution.loads(sent.dumps()).over == sent.over


def test_a_checkpoint_that_still_needs_the_renames_goes_first() -> None:
    needs, loads = Over({"a": "b"}, (), "net-v1"), Over({"a": "b"})
    for order in ([needs, loads], [loads, needs]):
        assert over_all({"net.json": each} for each in order) == {"net.json": needs}
