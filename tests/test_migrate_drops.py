"""What a norm of another kind leaves over: dropped by one pattern, as soon as all else has its place."""

from __future__ import annotations

import re

import pytest

from pytest_ckpt_compat import Change, Structure, TensorSpec
from pytest_ckpt_compat._check import migration
from pytest_ckpt_compat._check.migration_writer import Sides
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import proof
from pytest_ckpt_compat._migrate.joints import joints_for
from pytest_ckpt_compat._migrate.steps import DROP, Step

SPEC = TensorSpec("float32", (3,))
PLACES = ("stem", "mid", "up1.inner")
STATISTICS = ("running_mean", "running_var")


def renamed_norms() -> Sides:
    """Norms that lost their statistics and, likely, got another name."""
    moved = {f"{place}.bn.weight": f"{place}.norm.weight" for place in PLACES}
    lost = [f"{place}.bn.{name}" for place in PLACES for name in STATISTICS]
    old, new = Structure(dict.fromkeys([*moved, *lost], SPEC)), Structure(dict.fromkeys(moved.values(), SPEC))
    changes = [
        *(Change("renamed", (one,), (other,), (SPEC,), (SPEC,), "likely") for one, other in moved.items()),
        *(Change("unexpected", (key,), old_specs=(SPEC,)) for key in lost),
    ]
    return Sides(old, new, None, Verdict(tuple(changes), old=old, new=new))


def test_what_waits_for_the_choices_is_done_once_they_are_made() -> None:
    sides = renamed_norms()
    choices = [f"{place}.bn={place}.norm" for place in PLACES]
    assert len(migration.planned(sides).decisions) == 6
    some = migration.planned(sides, choices[:2])
    assert {key for each in some.decisions for key in each.old} == {*sides.old.tensors} - {
        f"{place}.bn.weight" for place in PLACES
    }
    found = migration.migration(sides, migration.planned(sides, choices))
    assert found.complete
    assert "while the model lacks others" not in found.code
    state = dict.fromkeys(sides.old.tensors, 1)
    assert proof.compiled(found.code, "migrate")(state).keys() == sides.new.tensors.keys()


def test_what_waits_for_the_choices_says_so() -> None:
    """The model lacks nothing: each of its tensors has a likely source."""
    code = " ".join(migration.migration(renamed_norms(), migration.planned(renamed_norms())).code.split())
    assert "while the model lacks others" not in code
    assert "depends on what is in doubt: settle that first, or drop it" in code.replace(" # ", " ")


def test_one_pattern_drops_what_modules_of_one_name_leave() -> None:
    sides = renamed_norms()
    choices = [f"{place}.bn={place}.norm" for place in PLACES]
    found = migration.migration(sides, migration.planned(sides, choices), "rules")
    assert found.code.count("[[drop]]") == 1
    assert r"from = '.*\.bn\.(?:running_mean|running_var)'" in found.code


def test_a_pattern_of_drops_takes_no_other_key() -> None:
    keys = [f"{place}.bn.{name}" for place in PLACES for name in STATISTICS]
    steps = [Step(DROP, (key,)) for key in keys]
    for stays in ("head.bn.running_mean", "a.b.bn.running_var"):
        joints = joints_for(steps, [*keys, stays])
        assert all(not re.fullmatch(joint.pattern, stays) for joint in joints)
        assert sorted(key for joint in joints for step in joint.steps for key in step.old) == sorted(keys)
    uneven = steps[:-1]  # of one module, one tensor stays
    joints = joints_for(uneven, keys)
    assert all(not re.fullmatch(joint.pattern, keys[-1]) for joint in joints)


def blocks_of(old: int, new: int, kept: str = "", names: tuple[str, str] = ("fc1", "up")) -> Sides:
    """Blocks with a layer under another name in each, of which the model has fewer, and another layer."""
    was = [f"blocks.{i}.{name}.weight" for i in range(old) for name in ("norm", names[0])]
    now = [f"blocks.{i}.{name}.weight" for i in range(new) for name in ("norm", names[1])]
    left = [key for key in was if key not in now and int(key.split(".")[1]) >= new]
    moved = {f"blocks.{i}.{names[0]}.weight": f"blocks.{i}.{names[1]}.weight" for i in range(new)}
    extra = [kept] if kept else []
    changes = [
        *(Change("renamed", (a,), (b,), (SPEC,), (SPEC,), "likely") for a, b in moved.items() if a != b),
        *(Change("unexpected", (key,), old_specs=(SPEC,)) for key in left),
        *(Change("missing", (), (key,), new_specs=(SPEC,)) for key in extra),
    ]
    older, newer = (Structure(dict.fromkeys(keys, SPEC)) for keys in (was, [*now, *extra]))
    return Sides(older, newer, None, Verdict(tuple(changes), old=older, new=newer))


@pytest.mark.parametrize(
    "sides",
    [
        pytest.param(blocks_of(4, 3), id="beside a likely rename"),
        pytest.param(blocks_of(4, 3, "head.weight"), id="beside a likely rename and a new layer"),
        pytest.param(blocks_of(4, 3, "first.weight", ("fc1", "fc1")), id="beside a new layer"),
        pytest.param(blocks_of(4, 3, names=("fc1", "fc1")), id="alone"),
    ],
)
def test_which_block_went_is_said_to_be_unknown_whatever_else_is_open(sides: Sides) -> None:
    decisions = migration.planned(sides).decisions
    texts = {each.text for each in decisions if any(key.startswith("blocks.3.") for key in each.old)}
    (text,) = texts
    assert "which of them went is not known" in text


def test_a_block_of_other_layers_is_not_said_to_have_gone() -> None:
    """The model has a block of that number: what it lacks there may be what the checkpoint has."""
    sides = blocks_of(4, 3, "blocks.3.expert.weight", ("fc1", "fc1"))
    texts = {each.text for each in migration.planned(sides).decisions if each.old}
    (text,) = texts
    assert "which of them went" not in text
    assert "while the model lacks others" in text
