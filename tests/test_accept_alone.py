"""``ckpt-compat accept`` checks what the given ids concern, and nothing else, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_ckpt_compat._check import checkpoint
from pytest_ckpt_compat._snapshots import accepted
from tests.conftest import SETTINGS, Printed
from tests.repository import ENTRY, commit, edit, git, make_project
from tests.test_snapshots import change_model

Command = Callable[..., Printed]

OTHER = ENTRY.replace("net-v1", "other") + "kwargs = { classes = 4 }\n"
THREE = ENTRY + ENTRY.replace("net-v1", "net-v2") + OTHER


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets the ids of the checkpoints that are checked."""
    original, ids = checkpoint.check_registered, list[str]()

    def counted(registration: Any, context: Any) -> checkpoint.Result:
        ids.append(registration.id)
        return original(registration, context)

    monkeypatch.setattr(checkpoint, "check_registered", counted)
    return ids


@pytest.fixture
def broken(project: pytest.Pytester) -> pytest.Pytester:
    """Two checkpoints of one definition and one of another lack a new layer."""
    project.makepyprojecttoml(SETTINGS + THREE.replace('"models:Net"', '"models:Net"\nstrict = false'))
    change_model(project, "extra=False", "extra=True")
    project.runpytest_inprocess("--ckpt-update", "-q")
    change_model(project, "extra=True", "extra=False")
    project.makepyprojecttoml(SETTINGS + THREE)
    return project


@pytest.mark.parametrize(
    ("names", "rule", "ids"),
    [
        (["models.Net"], "CK102", ["net-v1", "net-v2"]),
        (["models.Net(classes=4)"], "CK102", ["other"]),
        (["models.Net", "models.Net(classes=4)"], "CK102", ["net-v1", "net-v2", "other"]),
    ],
)
def test_a_definition_needs_the_checkpoints_that_use_it(
    broken: pytest.Pytester, command: Command, checked: list[str], names: list[str], rule: str, ids: list[str]
) -> None:
    printed = command("accept", *names, "--rule", rule, "--reason", "no scale any more")
    assert (printed.code, printed.err) == (0, "")
    assert checked == ids
    assert sorted(each.id for each in accepted.load(broken.path / "ckpt_snapshots")) == sorted(names)


def test_a_checkpoint_needs_itself(project: pytest.Pytester, command: Command, checked: list[str]) -> None:
    project.makepyprojecttoml(SETTINGS + THREE)
    project.runpytest_inprocess("--ckpt-update", "-q")
    change_model(project, "        self.head =", "        self.extra = nn.Linear(3, 3)\n        self.head =")
    checked.clear()
    printed = command("accept", "net-v2", "--all", "--reason", "new layer")
    assert (printed.code, checked) == (0, ["net-v2"])
    assert {each.id for each in accepted.load(project.path / "ckpt_snapshots")} == {"net-v2"}


def test_an_unknown_id_is_looked_for_everywhere(
    broken: pytest.Pytester, command: Command, checked: list[str]
) -> None:
    printed = command("accept", "net-v9", "--all", "--reason", "new layer")
    assert printed.code == 2
    assert (
        "net-v9: is neither a registered checkpoint nor a failing definition; known are net-v1, "
        in printed.err
    )
    assert checked == ["net-v1", "net-v2", "other"]


def test_of_many_ids_those_like_the_unknown_one_are_told(
    project: pytest.Pytester, command: Command, checked: list[str]
) -> None:
    table = '[[tool.ckpt_compat.checkpoint]]\nid = "run-{:02}"\npath = "net.pt"\nmodel = "models:Net"\n'
    project.makepyprojecttoml(SETTINGS + "".join(map(table.format, range(20))))
    printed = command("accept", "run-17x", "--all", "--reason", "new layer")
    assert printed.code == 2
    assert "known are run-17, " in printed.err
    assert "and 12 more: ckpt-compat status lists them; a break that only" in printed.err


def test_one_checkpoint_costs_another_nothing(
    broken: pytest.Pytester, command: Command, checked: list[str]
) -> None:
    """A definition that cannot be found has no name; the others' are known."""
    edit(broken.path / "pyproject.toml", OTHER.strip(), OTHER.strip().replace("models:Net", "models:Gone"))
    printed = command("accept", "models.Net", "--all", "--reason", "no scale any more")
    assert (printed.code, checked) == (0, ["net-v1", "net-v2"])


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_what_a_branch_breaks(pytester: pytest.Pytester, command: Command, checked: list[str]) -> None:
    """What is gone is known without a check of what is there."""
    folder = make_project(pytester.path, THREE)
    assert command("update").code == 0
    commit(folder, "first")
    git(folder, "switch", "-q", "-c", "change")
    edit(folder / "models.py", "classes=4", "classes=5")
    checked.clear()
    printed = command("accept", "net-v1", "--all", "--reason", "five classes now", "--against", "main")
    assert (printed.code, checked) == (0, ["net-v1"]), printed.err
    checked.clear()
    edit(folder / "pyproject.toml", OTHER, "")
    (folder / "ckpt_snapshots" / "other.json").unlink()
    words = ("accept", "other", "--all", "--reason", "nobody loads it", "--against", "main")
    assert command(*words).code == 0
    assert {each.id for each in accepted.load(folder / "ckpt_snapshots")} == {"net-v1", "other"}
