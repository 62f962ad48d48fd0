"""What the user decides, on a terminal and by ``--choose``; and the versions of renamed modules."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat import Change, Structure, TensorSpec
from pytest_ckpt_compat._check import migration
from pytest_ckpt_compat._check.migration_writer import Sides
from pytest_ckpt_compat._cli import migrate as command
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import proof
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._migrate.choose import chosen, offered
from pytest_ckpt_compat._migrate.generate import hints, remarks
from pytest_ckpt_compat._migrate.plan import plan_of
from pytest_ckpt_compat._migrate.python import WIDTH
from pytest_ckpt_compat._readers import read
from tests.migrations import unwrapped

SPEC = TensorSpec("float32", (3,))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ambiguous(depth: int = 2) -> Sides:
    """Two norms of each block, of which it is open which became which."""
    old: dict[str, TensorSpec] = {}
    new: dict[str, TensorSpec] = {}
    changes = []
    for block in range(depth):
        names = [f"blocks.{block}.{name}" for name in ("x", "y")]
        others = [f"blocks.{block}.{name}" for name in ("first", "second")]
        old |= dict.fromkeys(names, SPEC)
        new |= dict.fromkeys(others, SPEC)
        for one, other, rival in ((names[0], *others), (names[1], *reversed(others))):
            group = f"blocks.{{0..1}}.{one[-1]} -> blocks.{{0..1}}.{other.rpartition('.')[2]}"
            changes.append(
                Change(
                    "renamed",
                    (one,),
                    (other,),
                    (SPEC,),
                    (SPEC,),
                    "ambiguous",
                    candidates=(rival,),
                    group=group,
                )
            )
    sides = Structure(old), Structure(new)
    return Sides(*sides, None, Verdict(tuple(changes), old=sides[0], new=sides[1]))


def test_what_is_ambiguous_is_no_code_and_names_its_candidates() -> None:
    sides = ambiguous()
    found = migration.migration(sides, migration.planned(sides))
    assert not found.complete
    assert "RENAMES" not in found.code
    assert (
        "# decide: blocks.{0..1}.x -> blocks.{0..1}.first (2 tensors) is possible, not sure, "
        "blocks.0.x may also be blocks.0.second: --choose 'blocks.*.x=blocks.*.first' if it is so"
    ) in unwrapped(found.code)
    assert max(map(len, found.code.splitlines())) <= WIDTH


@pytest.mark.parametrize(("answers", "wanted"), [("1\n1\n", "first"), ("2\n1\n", "second"), ("\n\n", None)])
def test_on_a_terminal_it_is_asked(monkeypatch: pytest.MonkeyPatch, answers: str, wanted: str | None) -> None:
    asked = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answers))
    monkeypatch.setattr(sys, "__stderr__", asked)
    arguments: Any = type("Arguments", (), {"choose": [], "style": "function", "old": "old.pt"})
    found = command.made(ambiguous(), arguments)[1]
    assert "what did blocks.0.x become?\n  1  blocks.0.first\n  2  blocks.0.second\n" in asked.getvalue()
    assert found.complete == (wanted is not None)
    if wanted is not None:
        migrate = proof.compiled(found.code, "migrate")
        assert migrate({"blocks.1.x": 1, "blocks.1.y": 2})[f"blocks.1.{wanted}"] == 1


def two_layers(blocks: tuple[str, ...] = ("",)) -> Sides:
    """Two layers, of which it is open which of three they became; a report has them in one row."""
    old = [f"{block}{name}" for block in blocks for name in ("gate", "mix")]
    new = [f"{block}parts.{name}" for block in blocks for name in ("zeta", "omega", "rho")]
    one_side, other_side = (
        Structure({f"{each}.{leaf}": SPEC for each in names for leaf in ("weight", "bias")})
        for names in (old, new)
    )
    changes = [
        Change(
            "renamed",
            (f"{block}{one}.{leaf}",),
            (f"{block}parts.{other}.{leaf}",),
            (SPEC,),
            (SPEC,),
            "ambiguous",
            candidates=tuple(f"{block}parts.{name}.{leaf}" for name in ("zeta", "omega", "rho")),
            group="{gate,mix}.* -> parts.{zeta,rho}.*",
        )
        for block in blocks
        for one, other in (("gate", "zeta"), ("mix", "rho"))
        for leaf in ("weight", "bias")
    ]
    return Sides(one_side, other_side, None, Verdict(tuple(changes), old=one_side, new=other_side))


@pytest.mark.parametrize("blocks", [("",), ("blocks.0.", "blocks.1.")])
def test_each_module_is_asked_about_whatever_row_it_is_in(
    monkeypatch: pytest.MonkeyPatch, blocks: tuple[str, ...]
) -> None:
    """The answer about one says nothing of the other; what one became is not offered again."""
    asked = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal("1\n1\n"))
    monkeypatch.setattr(sys, "__stderr__", asked)
    arguments: Any = type("Arguments", (), {"choose": [], "style": "function", "old": "old.pt"})
    found = command.made(two_layers(blocks), arguments)[1]
    block, star = blocks[0], "blocks.*." if blocks[0] else ""
    number = 2 * len(blocks)
    ask = "number, or nothing to leave it open: "
    lines = asked.getvalue().replace(ask, "").splitlines()
    assert lines == [
        f"{star}gate ({number} tensors): what did {block}gate.weight become?",
        *(
            f"  {place}  {block}parts.{name}.weight"
            for place, name in ((1, "zeta"), (2, "omega"), (3, "rho"))
        ),
        f"{star}mix ({number} tensors): what did {block}mix.weight become?",
        *(f"  {place}  {block}parts.{name}.weight" for place, name in ((1, "rho"), (2, "omega"))),
    ]
    migrate = proof.compiled(found.code, "migrate")
    last = blocks[-1]
    given = {f"{last}gate.weight": 1, f"{last}gate.bias": 2, f"{last}mix.weight": 3, f"{last}mix.bias": 4}
    assert migrate(given) == {
        f"{last}parts.zeta.weight": 1,
        f"{last}parts.zeta.bias": 2,
        f"{last}parts.rho.weight": 3,
        f"{last}parts.rho.bias": 4,
    }


def test_a_module_without_an_answer_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("2\n\n"))
    monkeypatch.setattr(sys, "__stderr__", Terminal())
    arguments: Any = type("Arguments", (), {"choose": [], "style": "function", "old": "old.pt"})
    plan = command.made(two_layers(), arguments)[1].plan
    assert [(step.old, step.new) for step in plan.live] == [
        (("gate.weight",), ("parts.omega.weight",)),
        (("gate.bias",), ("parts.omega.bias",)),
    ]
    assert {key for step in plan.doubtful for key in step.old} == {"mix.weight", "mix.bias"}


def test_the_remark_of_a_row_names_the_choice_of_each_module_in_it() -> None:
    found = migration.migration(two_layers(), migration.planned(two_layers()))
    assert "--choose 'gate=parts.zeta' --choose 'mix=parts.rho' if it is so" in unwrapped(found.code)


@pytest.mark.parametrize(
    "choices",
    [
        ["blocks.*.x=blocks.*.second", "blocks.*.y=blocks.*.first"],
        [f"blocks.{i}.{a}=blocks.{i}.{b}" for i in (0, 1) for a, b in (("x", "second"), ("y", "first"))],
    ],
)
def test_a_choice_may_go_against_the_first_candidate(choices: list[str]) -> None:
    sides = ambiguous()
    found = migration.migration(sides, migration.planned(sides, choices))
    assert found.complete
    migrate = proof.compiled(found.code, "migrate")
    assert migrate({"blocks.0.x": 1, "blocks.0.y": 2}) == {"blocks.0.second": 1, "blocks.0.first": 2}


def test_a_row_of_the_report_is_a_choice() -> None:
    sides = ambiguous()
    rows = ["blocks.{0..1}.x=blocks.{0..1}.first", "blocks.{0..1}.y=blocks.{0..1}.second"]
    assert migration.planned(sides, rows).complete


def test_two_tensors_cannot_be_given_one_key() -> None:
    sides = ambiguous()
    with pytest.raises(UsageError, match="was given for two tensors"):
        migration.planned(sides, ["blocks.0.x=blocks.0.first", "blocks.0.y=blocks.0.first"])


def test_what_a_choice_leaves_over_is_open() -> None:
    sides = ambiguous(1)
    plan = migration.planned(sides, ["blocks.0.x=blocks.0.second"])
    assert not plan.complete
    assert any("blocks.0.first" in line or "blocks.0.y" in line for line in remarks(plan))


def test_a_chosen_key_may_hold_equal_signs() -> None:
    old, new = Structure({"a=b": SPEC}), Structure({"c=d": SPEC})
    plan = plan_of([Change("unexpected", ("a=b",)), Change("missing", (), ("c=d",))], old, new)
    found = chosen(plan, ["a=b=c=d"], old, new)
    assert found.complete
    assert [(step.old, step.new) for step in found.live] == [(("a=b",), ("c=d",))]


class Versioned(nn.Module):
    """Since version 2, it stores its scale the other way round."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.arange(3.0))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        if local_metadata.get("version", 1) < 2:
            state_dict[f"{prefix}scale"] = 1 / state_dict[f"{prefix}scale"]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class Inner(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.other = nn.Linear(2, 2)
        setattr(self, name, Versioned())


class Before(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner("before")


class After(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner("after")


@pytest.mark.parametrize("style", ["function", "hook", "timm", "lightning", "rules"])
def test_a_renamed_module_keeps_its_version(style: str, tmp_path: Any) -> None:
    before, after = Before(), After()
    before.state_dict()["inner.before.scale"].fill_(5.0)
    torch.save(before.state_dict(), tmp_path / "old.pt")
    sides = migration.compared(read(tmp_path / "old.pt"), find(After))
    plan = migration.planned(sides, ["inner.before=inner.after"])
    code = migration.migration(sides, plan, style).code
    state: Any = torch.load(tmp_path / "old.pt")
    if style == "hook":
        registering: Any = after.register_load_state_dict_pre_hook
        registering(proof.compiled(code, "upgrade"))
    elif style == "lightning":
        checkpoint = {"state_dict": state}
        proof.compiled(code, "on_load_checkpoint")(None, checkpoint)
        state = checkpoint["state_dict"]
    elif style == "rules":
        from pytest_ckpt_compat._definition.operations import by_rules
        from pytest_ckpt_compat._migrate.toml_file import rules_in

        state = by_rules(rules_in(code))(state)
    else:
        run = proof.compiled(code, "migrate" if style == "function" else "checkpoint_filter_fn")
        state = run(state) if style == "function" else run(state, after)
    after.load_state_dict(state)
    assert after.state_dict()["inner.after.scale"].tolist() == [5.0] * 3


def test_a_star_stands_for_no_layer_that_has_another_answer() -> None:
    """``layer1.0`` and ``stages.0.fc1`` share a number by chance; ``layer1.2`` became none."""
    became = {
        f"layer{stage + 1}.{2 * index}.{leaf}": f"stages.{stage}.fc{index + 1}.{leaf}"
        for stage in range(3)
        for index in range(2)
        for leaf in ("weight", "bias")
    }
    sides = Structure(dict.fromkeys(became, SPEC)), Structure(dict.fromkeys(became.values(), SPEC))
    changes = [
        Change("renamed", (old,), (new,), (SPEC,), (SPEC,), "likely", group=f"{old} -> {new}")
        for old, new in became.items()
    ]
    plan = plan_of(changes, *sides)
    picked = chosen(plan, offered(plan, *sides), *sides)
    assert picked.complete
    assert {step.old[0]: step.new[0] for step in picked.live} == became
    assert "layer1.0=stages.0.fc1" in hints(plan, tuple(became))


def test_what_is_named_for_a_step_keeps_keys_with_an_equals_sign() -> None:
    old, new = {f"h.{i}.a=b.weight": SPEC for i in range(2)}, {f"k.{i}.c=d.weight": SPEC for i in range(2)}
    changes = [
        Change("renamed", (one,), (other,), (SPEC,), (SPEC,), "likely")
        for one, other in zip(old, new, strict=True)
    ]
    sides = Structure(old), Structure(new)
    plan = plan_of(changes, *sides)
    assert chosen(plan, offered(plan, *sides), *sides).complete
