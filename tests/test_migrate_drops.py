"""What a norm of another kind leaves over: dropped by one pattern, as soon as all else has its place."""

from __future__ import annotations

import re

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
