"""Two modules alike in keys and shapes that both got new names: a recorded definition knows their classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat import Structure
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._check.recorded import parts_of, with_modules
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.parts import joined
from pytest_ckpt_compat._core.structure import Source
from pytest_ckpt_compat._definition.find import find
from tests.conftest import SETTINGS, Printed
from tests.repository import ENTRY, commit, edit, git

Command = Callable[..., Printed]

MODELS = """
from torch import nn


class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(32, 32)


class Mix(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(32, 32)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8 * size, 32) for size in range(5, 25))
        self.left = Pool()
        self.right = Mix()
"""

BEFORE = "        self.left = Pool()\n        self.right = Mix()\n"
#: The first of them is now what was the second: order and names say the contrary of what is true.
AFTER = "        self.alpha = Mix()\n        self.beta = Pool()\n"

RIGHT = "{left,right}.* -> {beta,alpha}.*"
WRONG = "{left,right}.* -> {alpha,beta}.*"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose checkpoint is as old as its definition, and keeps its keys sorted by name."""
    (pytester.path / "models.py").write_text(MODELS)
    (pytester.path / "pyproject.toml").write_text(SETTINGS + ENTRY)
    (pytester.path / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    namespace: dict[str, type[torch.nn.Module]] = {}
    exec(MODELS, namespace)
    torch.save(dict(sorted(namespace["Net"]().state_dict().items())), pytester.path / "net.pt")
    return pytester


@pytest.fixture
def repository(project: pytest.Pytester) -> pytest.Pytester:
    """The same in a repository, as a branch that left ``main`` and has changed the model."""
    git(project.path, "init", "-q", "-b", "main")
    return project


def renames(printed: Printed) -> str:
    """What became of the two modules, as a report says it."""
    lines = (" ".join(line.split()) for line in printed.out.splitlines())
    return next((text for line in lines for text in (RIGHT, WRONG) if text in line), "")


def test_keys_and_shapes_alone_go_by_order(project: pytest.Pytester, command: Command) -> None:
    edit(project.path / "models.py", BEFORE, AFTER)
    printed = command("diff", "net.pt", "models:Net")
    assert printed.code == 1
    assert renames(printed) == WRONG


def test_two_definitions_know_the_classes() -> None:
    sides = []
    for text in (MODELS, MODELS.replace(BEFORE, AFTER)):
        namespace: dict[str, type[torch.nn.Module]] = {}
        exec(text, namespace)
        sides.append(ckpt.define(namespace["Net"]))
    verdict = ckpt.diff(*sides)
    assert RIGHT in " ".join(str(verdict).split())
    assert {change.confidence for change in verdict.changes} == {"likely"}


def test_a_recorded_definition_knows_the_classes(project: pytest.Pytester, command: Command) -> None:
    assert command("update").code == 0
    edit(project.path / "models.py", BEFORE, AFTER)
    printed = command("check")
    assert printed.code == 1
    assert renames(printed) == RIGHT


def test_one_that_is_none_of_the_checkpoint_has_no_say(project: pytest.Pytester, command: Command) -> None:
    models = project.path / "models.py"
    edit(models, "range(5, 25)", "range(5, 26)")
    command("update")
    edit(models, "range(5, 26)", "range(5, 25)")
    edit(models, BEFORE, AFTER)
    assert renames(command("check")) == WRONG


def test_a_migration_knows_them_too(project: pytest.Pytester, command: Command) -> None:
    command("update")
    edit(project.path / "models.py", BEFORE, AFTER)
    printed = command("migrate", "net-v1")
    assert "--choose left.proj=beta.proj" in printed.out


def test_an_accepted_break_stays_accepted_when_the_definition_is_recorded_anew(
    project: pytest.Pytester, command: Command
) -> None:
    """Then its classes are those of today, and what became of the two modules is told otherwise."""
    command("update")
    edit(project.path / "models.py", BEFORE, AFTER)
    assert command("accept", "net-v1", "--rule", "CK103", "--reason", "retrained").code == 0
    assert command("check").code == 0
    assert command("update").code == 0
    printed = command("check")
    assert printed.code == 0, printed.out


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_the_snapshot_of_the_merge_base_knows_them(repository: pytest.Pytester, command: Command) -> None:
    command("update")
    commit(repository.path)
    git(repository.path, "switch", "-q", "-c", "work")
    edit(repository.path / "models.py", BEFORE, AFTER)
    command("update")
    assert renames(command("check")) == WRONG
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert renames(printed) == RIGHT


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_so_does_its_code(repository: pytest.Pytester, command: Command) -> None:
    commit(repository.path)
    git(repository.path, "switch", "-q", "-c", "work")
    edit(repository.path / "models.py", BEFORE, AFTER)
    printed = command("check", "--against", "main")
    assert "breaks introduced here: 1" in printed.out
    assert renames(printed) == RIGHT


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_break_that_main_has_is_told_there_as_it_is_here(
    repository: pytest.Pytester, command: Command
) -> None:
    command("update")
    edit(repository.path / "models.py", BEFORE, AFTER)
    commit(repository.path)
    git(repository.path, "switch", "-q", "-c", "work")
    printed = command("check", "--against", "main")
    assert printed.code == 0
    assert printed.out.startswith("breaks already on main: 1\n")


def structure(*keys: str, **others: object) -> Structure:
    return Structure({key: ckpt.TensorSpec("float32", (2,)) for key in keys}, **others)  # type: ignore[arg-type]


def test_a_checkpoint_has_the_modules_of_a_definition_with_its_keys_and_shapes() -> None:
    saved = structure("b.w", "a.w", modules={"": "Net", "b": "B", "a": "A"})
    known = with_modules(structure("a.w", "b.w"), lambda: [structure("b.w", "a.w"), saved])
    assert (list(known.tensors), known.modules) == (["b.w", "a.w"], saved.modules)


@pytest.mark.parametrize(
    "saved",
    [
        structure("b.w", modules={"": "Net"}),
        structure("b.w", "a.w", "c.w", modules={"": "Net"}),
        Structure(dict.fromkeys(("a.w", "b.w"), ckpt.TensorSpec("float32", (3,))), modules={"": "Net"}),
    ],
    ids=["fewer keys", "more keys", "other shapes"],
)
def test_and_not_of_another(saved: Structure) -> None:
    checkpoint = structure("a.w", "b.w")
    assert with_modules(checkpoint, lambda: [saved]) is checkpoint


def test_a_file_that_keeps_one_of_two_tied_tensors_is_of_the_definition_that_ties_them() -> None:
    saved = structure("b.w", "a.w", aliases=(("b.w", "a.w"),), modules={"": "Net"})
    assert with_modules(structure("b.w"), lambda: [saved]).modules == {"": "Net"}


def test_a_part_has_the_modules_of_the_recorded_part() -> None:
    sides = {"one": structure("a.w", modules={"": "One"}), "other": structure("b.w", modules={"": "Other"})}
    whole = joined(sides, Source())
    definition = replace(find(torch.nn.Module), parts=dict.fromkeys(sides, find(torch.nn.Module)))
    known = parts_of(lambda: [whole], definition)
    assert with_modules(structure("b.w"), known).modules == {"": "Other"}


def test_what_was_recorded_is_not_asked_for_where_nothing_is_to_be_explained(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> list[Structure]:
        raise AssertionError

    monkeypatch.chdir(project.path)
    monkeypatch.syspath_prepend(str(project.path))
    path = Path("net.pt")
    assert check_structure(ckpt.read(path), find("models:Net"), Policy(), None, fails).compatible
