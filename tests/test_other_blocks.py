"""A block of another class among equal ones: what came with it, and where the others are now."""

from __future__ import annotations

import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat import TensorSpec
from pytest_ckpt_compat._check.other_blocks import with_other_blocks
from pytest_ckpt_compat._check.recorded import nothing
from pytest_ckpt_compat._core.changes import Change
from tests.counting import calls


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)


class First(Block):
    def __init__(self, gated: bool = True) -> None:
        super().__init__()
        if gated:
            self.gate = nn.Parameter(torch.ones(4))


class Other(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(4))


class Net(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(4, 2)


def equal(number: int) -> list[nn.Module]:
    return [Block() for _ in range(number)]


def came(before: list[nn.Module], after: list[nn.Module]) -> list[Change]:
    old, new = (ckpt.define(lambda blocks=blocks: Net(*blocks)) for blocks in (before, after))
    return [each for each in ckpt.diff(old, new).changes if each.kind == "missing"]


MOVED = "(blocks.0 is blocks.1)"


def test_blocks_behind_one_of_another_class_get_no_default() -> None:
    for gated in (True, False):
        missing = came(equal(3), [First(gated), *equal(3)])
        assert {each.new[0].rpartition(".")[0] for each in missing} >= {"blocks.3.fc"}
        assert all(MOVED in each.advice for each in missing)
        assert all("--choose blocks.0=blocks.1" in each.advice for each in missing)


def test_the_first_that_moved_is_named() -> None:
    missing = came(equal(3), [Block(), First(), *equal(2)])
    assert all("(blocks.1 is blocks.2)" in each.advice for each in missing)


def test_blocks_that_came_behind_the_others_may_get_one() -> None:
    assert not any(each.advice for each in came(equal(3), [*equal(3), First()]))
    assert not any(each.advice for each in came(equal(3), equal(4)))


def test_a_class_that_all_blocks_have_now_moves_none() -> None:
    missing = came(equal(3), [Other(), Other(), Other(), Other()])
    assert missing
    assert not any(each.advice for each in missing)


def test_new_tensors_of_a_module_tell_its_former_class() -> None:
    [gate] = came(equal(2), [First(), Block()])
    assert gate.detail == "its Block is a First here"
    assert not gate.advice


def test_a_checkpoint_of_a_recorded_definition_has_its_classes() -> None:
    from pytest_ckpt_compat._check.other_blocks import with_other_blocks
    from pytest_ckpt_compat._core.structure import Structure

    old, new = (
        ckpt.define(lambda blocks=blocks: Net(*blocks)) for blocks in (equal(2), [First(), *equal(2)])
    )
    keys = [key for key in new.tensors if key not in old.tensors]
    changes = [Change("missing", new=(key,), new_specs=(new.tensors[key],)) for key in keys]
    file = Structure(old.tensors)
    found = with_other_blocks(changes, file, new, lambda: iter([old]))
    assert all(MOVED in each.advice for each in found)
    assert list(with_other_blocks(changes, file, new, lambda: iter(()))) == changes


def test_each_key_is_looked_at_once_however_many_came() -> None:
    def work(number: int) -> int:
        blocks = [
            f"{name}.{n}.fc.weight" for name in (f"old{number}", f"kept{number}") for n in range(number)
        ]
        tensors = {key: TensorSpec("float32", (4,)) for key in blocks}
        old = ckpt.Structure(tensors)
        modules = {f"kept{number}.{n}": "nets.Block" for n in range(number)}
        new = ckpt.Structure(
            {key.replace("old", "new"): spec for key, spec in tensors.items()}, modules=modules
        )
        came = [Change("missing", new=(key,)) for key in new.tensors if key not in tensors]
        came.append(Change("missing", new=(f"kept{number}.0.gate",)))
        with calls() as counted:
            with_other_blocks(came, old, new, nothing)
            return counted()

    assert work(400) < 5 * work(100)
