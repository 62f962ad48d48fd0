"""Outputs in the flows: pytest, check, update, accept, renames, and against the merge base (CK501)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import SETTINGS, Printed
from tests.repository import commit, edit, git
from tests.test_snapshots import change_model, stored

Command = Callable[..., Printed]

MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Linear(3, 8)
        self.right = nn.Linear(3, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.left(x).relu() * self.right(x).sigmoid())


def inputs():
    return torch.randn(2, 3)


def others():
    return {"x": torch.ones(2, 3)}


def broken():
    raise OSError("no data here")


def straight(state):
    return {key.replace("left", "zebra").replace("right", "lion"): value for key, value in state.items()}


def crossed(state):
    return {key.replace("right", "zebra").replace("left", "lion"): value for key, value in state.items()}
"""
ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"
inputs = "models:inputs"
"""
SNAPSHOT = "definitions/models.Net.json"
#: The layers under other names; which of the two is which, the keys do not show.
RENAMED = (("self.left", "self.zebra"), ("self.right", "self.lion"))


@pytest.fixture
def net(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a checkpoint whose definition is run, and of which nothing is recorded."""
    (pytester.path / "models.py").write_text(MODELS)
    (pytester.path / "pyproject.toml").write_text(SETTINGS + ENTRY)
    layers = {name: nn.Linear(3, 8) for name in ("left", "right")} | {"head": nn.Linear(8, 4)}
    torch.save(nn.ModuleDict(layers).state_dict(), pytester.path / "net.pt")
    return pytester


@pytest.fixture
def recorded(net: pytest.Pytester, command: Command) -> pytest.Pytester:
    """The same, recorded."""
    assert command("update").code == 0
    return net


def swap(project: pytest.Pytester) -> None:
    change_model(
        project,
        "self.left(x).relu() * self.right(x).sigmoid()",
        "self.right(x).relu() * self.left(x).sigmoid()",
    )


def rename(project: pytest.Pytester) -> None:
    for old, new in RENAMED:
        change_model(project, old, new)


def register(project: pytest.Pytester, line: str) -> None:
    path = project.path / "pyproject.toml"
    path.write_text(path.read_text() + line + "\n")


SWAPPED = "CK501 net-v1: loads, computes something else before head, in forward of models.Net; the output "


def test_another_computation_is_a_warning_until_it_is_recorded(
    recorded: pytest.Pytester, command: Command
) -> None:
    assert command("check").out.startswith("OK net-v1: 6 tensors load\n")
    assert "every snapshot is up to date" in command("update").out
    swap(recorded)
    before = stored(recorded)
    recorded.runpytest_inprocess().stdout.fnmatch_lines([f"{SWAPPED}*"])
    printed = command("check")
    assert (printed.code, stored(recorded)) == (0, before)
    assert printed.out.startswith(SWAPPED)
    recorded.runpytest_inprocess("--ckpt-update").stdout.fnmatch_lines(
        [f"updated   ckpt_snapshots/{SNAPSHOT}: the outputs"]
    )
    assert command("check").out.startswith("OK net-v1")


def test_the_page_shows_what_a_check_prints(recorded: pytest.Pytester, command: Command) -> None:
    swap(recorded)
    text = command("check").out.splitlines()[0] + "\n"
    assert text == (Path(__file__).parent / "golden" / "outputs.txt").read_text(encoding="utf-8")


def test_what_is_the_same_is_not_written_anew(recorded: pytest.Pytester, command: Command) -> None:
    path = recorded.path / "ckpt_snapshots" / SNAPSHOT
    data = json.loads(path.read_text())
    results = data["outputs"]["models:inputs"]["results"]
    dtype, numbers = results[""].rsplit("] ", 1)
    norm, rest = numbers.split(" ", 1)
    results[""] = f"{dtype}] {float(norm) * (1 + 2e-11):.12g} {rest}"
    text = json.dumps(data)
    path.write_text(text)
    assert "every snapshot is up to date" in command("update").out
    assert path.read_text() == text
    assert command("check").out.startswith("OK net-v1")
    results[""] = f"{dtype}] {float(norm) * (1 + 2e-8):.12g} {rest}"
    path.write_text(json.dumps(data))
    assert "CK501" in command("check").out


def test_outputs_that_are_not_recorded_could_not_be_checked(
    recorded: pytest.Pytester, command: Command
) -> None:
    settings = recorded.path / "pyproject.toml"
    settings.write_text(settings.read_text().replace("models:inputs", "models:others"))
    printed = command("check")
    assert printed.code == 2
    assert (
        "CK901 net-v1: loads, no outputs of models.Net have been recorded for models:others; " in printed.out
    )
    command("update")
    assert command("check").code == 0
    change_model(recorded, "torch.ones(2, 3)", "torch.zeros(2, 3)")
    printed = command("check")
    assert printed.code == 2
    assert (
        "CK901 net-v1: loads, outputs of models.Net were recorded for other inputs than models:others"
        in printed.out
    )


def test_inputs_that_raise_leave_the_verdict_of_the_load(net: pytest.Pytester, command: Command) -> None:
    settings = net.path / "pyproject.toml"
    settings.write_text(settings.read_text().replace("models:inputs", "models:broken"))
    printed = command("update")
    assert printed.code == 2
    assert "CK906 net-v1: inputs models:broken: raised OSError: no data here (models.py:" in printed.out
    assert set(stored(net)) == {SNAPSHOT, "net-v1.json"}
    printed = command("check")
    assert printed.code == 2
    assert printed.out.count("no data here") == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("return self.head(torch.rand_like(x).sum() *", "in eval mode, two runs with the same values differ"),
        ("return self.head(torch.nan *", "with drawn values, its outputs are NaN or infinite throughout"),
    ],
)
def test_what_cannot_be_compared_is_said_and_nothing_fails(
    net: pytest.Pytester, command: Command, line: str, why: str
) -> None:
    change_model(net, "return self.head(", line)
    said = f"outputs of models.Net not compared: {why}"
    assert command("update").code == 0
    assert '"outputs"' not in stored(net)[SNAPSHOT]
    printed = command("check")
    assert (printed.code, said in printed.out, "CK" in printed.out) == (0, True, False)


def test_a_budget_is_kept_to(net: pytest.Pytester, command: Command) -> None:
    path = net.path / "pyproject.toml"
    path.write_text(
        path.read_text().replace("[[tool", "[tool.ckpt_compat]\nmemory_budget = 500\n\n[[tool", 1)
    )
    command("update")
    printed = command("check")
    said = "its 100 elements and the values for them take 1.6 kB as float64, memory_budget is 500 bytes"
    assert (printed.code, said in printed.out) == (0, True)


def test_it_can_be_accepted_until_it_is_another(recorded: pytest.Pytester, command: Command) -> None:
    swap(recorded)
    accepting = ("accept", "net-v1", "--rule", "CK501", "--reason", "trained anew")
    assert command(*accepting).code == 0
    assert "CK501 net-v1: accepted, computes something else" in command("check").out
    change_model(recorded, ".sigmoid()", ".tanh()")
    printed = command("check")
    assert "the accepted CK501 * of net-v1 (trained anew) no longer occurs" in printed.out
    assert SWAPPED in printed.out.replace("\n", " ") or "computes something else before head" in printed.out


def test_nothing_is_run_without_inputs(net: pytest.Pytester, command: Command) -> None:
    settings = net.path / "pyproject.toml"
    settings.write_text(settings.read_text().replace('inputs = "models:inputs"\n', ""))
    change_model(net, "return self.head", "raise ValueError; return self.head")
    assert command("update").code == 0
    assert command("check").out.startswith("OK net-v1")
    assert '"outputs"' not in stored(net)[SNAPSHOT]


# One definition, registered several times -----------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
def test_a_registration_without_inputs_leaves_the_others_outputs(
    net: pytest.Pytester, command: Command, first: bool
) -> None:
    plain = ENTRY.replace("net-v1", "net-v0").replace('inputs = "models:inputs"\n', "")
    (net.path / "pyproject.toml").write_text(SETTINGS + (plain + ENTRY if first else ENTRY + plain))
    command("update")
    assert command("check").code == 0
    change_model(
        net, "self.head = nn.Linear(8, 4)", "self.extra = nn.Linear(2, 2); self.head = nn.Linear(8, 4)"
    )
    assert "updated   ckpt_snapshots" in command("update").out
    after = stored(net)
    assert list(json.loads(after[SNAPSHOT])["outputs"]) == ["models:inputs"]
    assert "no snapshot was written" in command("update").out
    assert stored(net) == after


def test_other_inputs_have_their_own_section(net: pytest.Pytester, command: Command) -> None:
    again = ENTRY.replace("net-v1", "net-v2").replace("models:inputs", "models:others")
    (net.path / "pyproject.toml").write_text(SETTINGS + ENTRY + again)
    command("update")
    assert list(json.loads(stored(net)[SNAPSHOT])["outputs"]) == ["models:inputs", "models:others"]
    assert "every snapshot is up to date" in command("update").out
    swap(net)
    assert command("check").out.count("computes something else before head") == 2


# Renames --------------------------------------------------------------------------------------------


def test_a_migration_is_proven_right(recorded: pytest.Pytester, command: Command) -> None:
    rename(recorded)
    register(recorded, 'migrate = "models:straight"')
    printed = command("check")
    assert printed.code == 0
    assert "proven by outputs: after migration models.straight it computes what it computed" in printed.out
    assert "CK501" not in printed.out


def test_a_migration_is_proven_wrong(recorded: pytest.Pytester, command: Command) -> None:
    rename(recorded)
    register(recorded, 'migrate = "models:crossed"')
    printed = command("check")
    assert printed.code == 0
    assert "after migration models.crossed it computes something else before head" in printed.out
    assert "proven" not in printed.out


def test_a_rule_file_is_proven(recorded: pytest.Pytester, command: Command) -> None:
    rename(recorded)
    rules = "ckpt_compat_rules = 1\n"
    for old, new in (("left", "zebra"), ("right", "lion")):
        rules += f"\n[[rename]]\nfrom = '^{old}\\.'\nto = '{new}.'\n"
    (recorded.path / "rules.toml").write_text(rules)
    register(recorded, 'migrate = "rules.toml"')
    assert "proven by outputs: after migration rules.toml" in command("check").out


def test_ambiguous_renames_are_proven(recorded: pytest.Pytester, command: Command) -> None:
    rename(recorded)
    printed = command("check")
    assert printed.code == 1
    assert "~ {left,right}.* -> {zebra,lion}.*   4 tensors\n" in printed.out
    assert "proven by outputs: after the renames it computes what it computed\n" in printed.out
    assert "breaks by the same changes; migrate the checkpoint before ckpt-compat update" in printed.out


def test_wrong_pairs_are_found_and_put_right(recorded: pytest.Pytester, command: Command) -> None:
    rename(recorded)
    change_model(
        recorded,
        "self.zebra(x).relu() * self.lion(x).sigmoid()",
        "self.lion(x).relu() * self.zebra(x).sigmoid()",
    )
    printed = command("check")
    assert printed.code == 1
    assert "~ {left,right}.* -> {lion,zebra}.*   4 tensors\n" in printed.out
    assert "(the first of the other ways to pair them)" in printed.out
    assert "CK501" not in printed.out


@pytest.mark.parametrize("right", [{"left": "zebra", "right": "lion"}, {"left": "lion", "right": "zebra"}])
def test_a_migration_is_written_with_the_pairs_that_outputs_prove(
    recorded: pytest.Pytester, command: Command, right: dict[str, str]
) -> None:
    rename(recorded)
    now = f"self.{right['left']}(x).relu() * self.{right['right']}(x).sigmoid()"
    path = recorded.path / "models.py"
    if now not in path.read_text():
        change_model(recorded, "self.zebra(x).relu() * self.lion(x).sigmoid()", now)
    printed = command("migrate", "net-v1")
    assert (printed.code, "# likely" in printed.out, "# decide" in printed.out) == (0, False, False)
    assert "proven by outputs: after the renames it computes what it computed" in printed.err
    space: dict[str, Any] = {}
    exec(printed.out, space)
    made = space["migrate"]({f"{old}.weight": old for old in right})
    assert made == {f"{new}.weight": old for old, new in right.items()}


def test_layers_of_which_the_names_say_nothing_are_paired(net: pytest.Pytester, command: Command) -> None:
    layers = "\n        ".join(f"self.{name} = nn.Linear(3, 3)" for name in "abc")
    old = MODELS.partition("        self.left")[0] + f"        {layers}\n\n    def forward(self, x):\n"
    old += "        return self.c(self.b(self.a(x)))\n\n\n" + MODELS[MODELS.index("def inputs") :]
    path = net.path / "models.py"
    path.write_text(old)
    torch.save(nn.ModuleDict({name: nn.Linear(3, 3) for name in "abc"}).state_dict(), net.path / "net.pt")
    command("update")
    for before, after in (("self.a", "self.quartz"), ("self.b", "self.ember"), ("self.c", "self.willow")):
        change_model(net, before, after)
    change_model(
        net,
        "self.quartz = nn.Linear(3, 3)\n        self.ember",
        "self.ember = nn.Linear(3, 3)\n        self.quartz",
    )
    printed = command("check")
    assert printed.code == 1
    assert "proven by outputs: after the renames it computes what it computed" in printed.out
    assert "CK101" not in printed.out
    printed = command("migrate", "net-v1")
    space: dict[str, Any] = {}
    exec(printed.out, space)
    made = space["migrate"]({f"{name}.weight": name for name in "abc"})
    assert made == {"quartz.weight": "a", "ember.weight": "b", "willow.weight": "c"}


def test_no_pairs_that_compute_the_same(recorded: pytest.Pytester, command: Command) -> None:
    rename(recorded)
    change_model(recorded, ".sigmoid()", ".tanh()")
    printed = command("check")
    assert printed.code == 1
    assert "after the renames it computes something else" in printed.out
    assert "4 tensors   ambiguous, left.weight could also be lion.weight" in printed.out
    assert "proven" not in printed.out


def test_what_has_no_part_in_the_outputs_is_not_proven(net: pytest.Pytester, command: Command) -> None:
    change_model(net, "self.left(x).relu() * self.right(x).sigmoid()", "torch.ones(2, 8)")
    command("update")
    rename(net)
    printed = command("check")
    assert "4 tensors   ambiguous, left.weight could also be lion.weight" in printed.out
    assert "note: not proven by outputs: 4 renamed tensors without a part in them" in printed.out
    assert "breaks by the same changes; ckpt-compat update records today's" in printed.out


def test_a_new_layer_is_not_compared(recorded: pytest.Pytester, command: Command) -> None:
    change_model(
        recorded, "self.head = nn.Linear(8, 4)", "self.extra = nn.Linear(2, 2); self.head = nn.Linear(8, 4)"
    )
    printed = command("check")
    assert printed.code == 1
    known = "outputs of models.Net not compared: nothing is known to become extra.weight, extra.bias"
    assert known in printed.out


# Against a git reference ----------------------------------------------------------------------------


@pytest.fixture
def branch(recorded: pytest.Pytester) -> pytest.Pytester:
    """A branch that left ``main``, where all is recorded."""
    (recorded.path / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    git(recorded.path, "init", "-q", "-b", "main")
    commit(recorded.path)
    git(recorded.path, "switch", "-q", "-c", "work")
    return recorded


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_what_this_branch_computes_is_told_though_it_is_recorded(
    branch: pytest.Pytester, command: Command
) -> None:
    swap(branch)
    for _ in range(2):
        printed = command("check", "--against", "main")
        assert printed.code == 0
        assert printed.out.startswith(SWAPPED)
        assert printed.out.count("CK501") == 1
        command("update")
    assert "CK501" not in command("check").out


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_what_main_computes_unrecorded_is_not_this_branchs(branch: pytest.Pytester, command: Command) -> None:
    git(branch.path, "switch", "-q", "main")
    swap(branch)
    commit(branch.path)
    git(branch.path, "switch", "-q", "-c", "next")
    printed = command("check", "--against", "main")
    assert printed.code == 0
    assert "CK501 net-v1: already on main, computes something else before head" in printed.out


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_the_code_of_the_merge_base_is_run_where_its_snapshot_has_no_outputs(
    branch: pytest.Pytester, command: Command
) -> None:
    git(branch.path, "switch", "-q", "main")
    path = branch.path / "ckpt_snapshots" / SNAPSHOT
    data = json.loads(path.read_text())
    del data["outputs"]
    path.write_text(json.dumps(data))
    edit(branch.path / "pyproject.toml", 'inputs = "models:inputs"\n', "")
    commit(branch.path)
    git(branch.path, "switch", "-q", "-c", "next")
    register(branch, 'inputs = "models:inputs"')
    command("update")
    assert "CK501" not in command("check", "--against", "main").out
    swap(branch)
    command("update")
    printed = command("check", "--against", "main")
    assert printed.out.startswith(SWAPPED)


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_rename_that_is_recorded_is_proven_beside_the_merge_base(
    branch: pytest.Pytester, command: Command
) -> None:
    rename(branch)
    register(branch, 'migrate = "models:straight"')
    command("update")
    printed = command("check", "--against", "main")
    assert "note: beside main: proven by outputs: after migration models.straight" in printed.out
    assert "CK501" not in printed.out
    edit(branch.path / "pyproject.toml", "models:straight", "models:crossed")
    printed = command("check", "--against", "main")
    assert "after migration models.crossed it computes something else" in printed.out
