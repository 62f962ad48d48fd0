"""What a migration makes of a file computes the same, or its code and the lines beside it say what may not.

A model is saved, the code for another definition of it is printed and run on the file, and what both models
compute is compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat import Change, Structure, TensorSpec
from pytest_ckpt_compat._check import migration
from pytest_ckpt_compat._check.migration_writer import Sides
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import proof
from pytest_ckpt_compat._migrate.choose import chosen
from pytest_ckpt_compat._migrate.generate import doubtful_rules, remarks
from pytest_ckpt_compat._migrate.part_order import by_name
from pytest_ckpt_compat._migrate.plan import plan_of
from pytest_ckpt_compat._migrate.rules import Rules, applied
from tests.conftest import Printed
from tests.migrations import unwrapped

Command = Callable[..., Printed]

#: Models of one computation whose layers are stored in different ways.
MODELS = '''
import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Joint layers have the names of their parts, in the order in which they stand."""

    def __init__(self, *names):
        super().__init__()
        self.names = names
        for name in names:
            self.add_module(name, nn.Linear(8, 8 * len(name)))

    def forward(self, x):
        parts = {}
        for name in self.names:
            parts |= dict(zip(name, getattr(self, name)(x).chunk(len(name), -1)))
        return F.scaled_dot_product_attention(parts["q"], parts["k"], parts["v"])


class Blocks(nn.Module):
    def __init__(self, *names):
        super().__init__()
        self.blocks = nn.ModuleList()
        for _ in range(3):
            block = nn.Module()
            block.norm, block.attn = nn.LayerNorm(8), Attention(*names)
            self.blocks.append(block)

    def forward(self, x):
        for block in self.blocks:
            x = x + block.attn(block.norm(x))
        return x


def parts():
    return Blocks("q", "k", "v")


def qkv():
    return Blocks("qkv")


def kqv():
    return Blocks("kqv")


def kv():
    return Blocks("q", "kv")


def vk():
    return Blocks("q", "vk")


class Gated(nn.Module):
    def __init__(self, *names, first="gate"):
        super().__init__()
        self.names, self.first = names, first
        for name in names:
            self.add_module(name, nn.Linear(8, 24 // len(names), bias=False))
        self.down = nn.Linear(12, 8, bias=False)

    def forward(self, x):
        both = torch.cat([getattr(self, name)(x) for name in self.names], -1).chunk(2, -1)
        gate, up = both if self.first == "gate" else reversed(both)
        return self.down(F.silu(gate) * up)


def gate_and_up():
    return Gated("gate", "up")


def gate_up():
    return Gated("gate_up")


def up_gate():
    return Gated("up_gate", first="up")


def w1_and_w3():
    return Gated("w1", "w3")


class Conv1D(nn.Module):
    """As GPT-2 has it: the weight is the other way round."""

    def __init__(self, inside, outside):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inside, outside))
        self.bias = nn.Parameter(torch.randn(outside))

    def forward(self, x):
        return x @ self.weight + self.bias


class Gpt(nn.Module):
    def __init__(self, layer, blocks="h"):
        super().__init__()
        self.name = blocks
        self.add_module(blocks, nn.ModuleList())
        for _ in range(3):
            block = nn.Module()
            block.norm = nn.LayerNorm(8)
            block.attn = nn.Module()
            block.attn.c_attn, block.attn.c_proj = layer(8, 24), layer(8, 8)
            getattr(self, blocks).append(block)

    def forward(self, x):
        for block in getattr(self, self.name):
            q, k, v = block.attn.c_attn(block.norm(x)).chunk(3, -1)
            x = x + block.attn.c_proj(F.scaled_dot_product_attention(q, k, v))
        return x


def gpt():
    return Gpt(Conv1D)


def gpt_linear():
    return Gpt(nn.Linear)


def gpt_renamed():
    return Gpt(nn.Linear, "blocks")


class Projected(nn.Module):
    """CLIP's projection, bare or as a layer."""

    def __init__(self, bare):
        super().__init__()
        self.bare, self.norm = bare, nn.LayerNorm(8)
        self.proj = nn.Parameter(torch.randn(8, 8)) if bare else nn.Linear(8, 8, bias=False)

    def forward(self, x):
        return self.norm(x) @ self.proj if self.bare else self.proj(self.norm(x))


class Joint(nn.Module):
    """Query, key and value, joint or not, of layers of either way round."""

    def __init__(self, layer, *names, by_head=False):
        super().__init__()
        self.names, self.by_head = names, by_head
        for name in names:
            self.add_module(name, layer(8, 24 // len(names)))
        self.dense = nn.Linear(8, 8)

    def forward(self, x):
        x = torch.cat([getattr(self, name)(x) for name in self.names], -1)
        if self.by_head:
            x = x.unflatten(-1, (2, 3, 4)).transpose(-2, -3).flatten(-3)
        return self.dense(F.scaled_dot_product_attention(*x.chunk(3, -1)))


def joint_columns():
    return Joint(Conv1D, "qkv")


def three_columns():
    return Joint(Conv1D, "q", "k", "v")


def three_rows():
    return Joint(nn.Linear, "q", "k", "v")


def by_head():
    return Joint(nn.Linear, "query_key_value", by_head=True)


def one_by_one():
    return Joint(nn.Linear, "Wqkv")


class Language(nn.Module):
    def __init__(self, tied, embed="embed", head="lm_head", scaled=False):
        super().__init__()
        self.names = embed, head
        self.add_module(embed, nn.Embedding(11, 8))
        self.add_module(head, nn.Linear(8, 11, bias=False))
        if tied:
            getattr(self, head).weight = getattr(self, embed).weight
        if scaled:
            self.register_buffer("scale", torch.full((8,), 3.0))

    def forward(self, x):
        embed, head = (getattr(self, name) for name in self.names)
        x = embed((x.abs() * 3).long().sum(-1) % 11)
        return head(x * self.scale if "scale" in self._buffers else x)


def untied():
    return Language(False)


def tied():
    return Language(True)


def tied_under_other_names():
    return Language(True, "tokens", "head")


def scaled():
    return Language(False, scaled=True)


class Branches(nn.Module):
    def __init__(self, *names):
        super().__init__()
        self.names = names
        for name in names:
            self.add_module(name, nn.Linear(8, 8))

    def forward(self, x):
        one, other = (getattr(self, name)(x) for name in self.names)
        return one - 2 * other


def left_and_right():
    return Branches("left", "right")


def first_and_second():
    return Branches("first", "second")


def bare():
    return Projected(True)


def layer():
    return Projected(False)
'''


@dataclass(frozen=True)
class Migrated:
    """What a migration printed, and what it computes.

    Attributes:
        code: the exit code.
        out: the code that was printed, each comment of it on one line.
        err: what was said beside it.
        same: whether both models compute the same; None where the code does not load.
    """

    code: int
    out: str
    err: str
    same: bool | None


Migrate = Callable[..., Migrated]


@pytest.fixture
def migrate(pytester: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch) -> Migrate:
    """Migrates the file of one model of ``MODELS`` to another one of them, with choices."""
    (pytester.path / "stored.py").write_text(MODELS)
    space: dict[str, Any] = {"__name__": "stored"}
    exec(MODELS, space)

    def run(old: str, new: str, *choices: str, style: str = "function") -> Migrated:
        torch.manual_seed(0)
        x, before, after = torch.randn(2, 5, 8), space[old](), space[new]()
        torch.save(before.state_dict(), pytester.path / f"{old}.pt")
        options = [word for each in choices for word in ("--choose", each)]
        printed = command("migrate", f"{old}.pt", f"stored:{new}", "--style", style, *options)
        same = _loads(after, printed.out, pytester.path / f"{old}.pt")
        if same is not None:
            same = torch.allclose(before(x), after(x), atol=1e-4)
        return Migrated(printed.code, unwrapped(printed.out), printed.err, same)

    return run


def _loads(model: nn.Module, code: str, path: Any) -> bool | None:
    if "def migrate" not in code:
        return None
    try:
        model.load_state_dict(proof.compiled(code, "migrate")(torch.load(path)))
    except RuntimeError:
        return None
    return True


# -- the order of the parts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "choices", "order"),
    [
        ("parts", "kqv", ["blocks.*.attn.q.{}=blocks.*.attn.kqv.{}"], "k, q, v is told by the name kqv"),
        ("parts", "kqv", ["blocks.*.attn.v.{}=blocks.*.attn.kqv.{}"], "k, q, v is told by the name kqv"),
        ("kqv", "parts", ["blocks.*.attn.kqv.{}=blocks.*.attn.q.{}"], "k, q, v is told by the name kqv"),
        ("parts", "vk", ["blocks.*.attn.k.{}=blocks.*.attn.vk.{}"], "v, k is told by the name vk"),
        ("vk", "parts", ["blocks.*.attn.vk.{}=blocks.*.attn.k.{}"], "v, k is told by the name vk"),
        ("gate_and_up", "up_gate", ["gate.{}=up_gate.{}"], "up, gate is told by the name up_gate"),
        ("up_gate", "gate_and_up", ["up_gate.{}=gate.{}"], "up, gate is told by the name up_gate"),
    ],
)
def test_parts_stand_in_the_order_of_the_joint_layers_name(
    migrate: Migrate, old: str, new: str, choices: list[str], order: str
) -> None:
    """They were written in the order of the parts, and that was called proven."""
    told = f"that the parts stand as {order} alone"
    asked = migrate(old, new)
    assert (asked.code, f"is possible, not sure; {told}: --choose" in asked.out) == (1, True)
    leaves = ["weight"] if "gate" in old else ["weight", "bias"]
    found = migrate(old, new, *(each.format(leaf, leaf) for each in choices for leaf in leaves))
    assert (found.code, found.same) == (0, True)
    assert re.search(rf"# in doubt: \S+: {told}", found.out)
    assert re.search(rf"in doubt: \S+: {told}", found.err)


def test_parts_in_the_usual_order_need_no_word(migrate: Migrate) -> None:
    for old, new in (("parts", "qkv"), ("qkv", "parts"), ("gate_and_up", "gate_up"), ("kv", "parts")):
        found = migrate(old, new)
        assert (found.code, found.same, "doubt" in found.out + found.err) == (0, True, False)


def test_an_order_that_no_name_tells_is_never_proven(migrate: Migrate) -> None:
    told = "the names do not say in which order the parts stand: here it is w1, w3"
    asked = migrate("w1_and_w3", "up_gate")
    assert f"is possible, not sure; {told}: --choose" in asked.out
    found = migrate("w1_and_w3", "up_gate", "w1.weight=up_gate.weight")
    assert (found.code, found.same) == (1, False)
    assert f"    # not proven: up_gate.weight: {told}\n" in found.out
    assert f"not proven: up_gate.weight: {told}\n" in found.err
    assert "0 of 1 step proven" in found.err


@pytest.mark.parametrize(("confidence", "proven"), [("likely", True), ("ambiguous", False)])
def test_the_order_of_the_model_is_said_where_no_name_tells_one(confidence: Any, proven: bool) -> None:
    """It makes the parts likely: accepted, they are in doubt, and not unproven."""
    part, whole = TensorSpec("float32", (4, 3)), TensorSpec("float32", (8, 3))
    old, new = Structure({"w1.weight": part, "w3.weight": part}), Structure({"gate_up.weight": whole})
    change = Change("fused", tuple(old.tensors), tuple(new.tensors), (part, part), (whole,), confidence)
    sides = Sides(old, new, None, Verdict((change,), old=old, new=new))
    found = migration.migration(sides, migration.planned(sides, ["w1.weight=gate_up.weight"]))
    told = "gate_up.weight: the names do not say in which order the parts stand: here it is w1, w3"
    assert found.complete == proven
    assert f"# {'in doubt' if proven else 'not proven'}: {told}" in unwrapped(found.code)


@pytest.mark.parametrize(("old", "new"), [("kqv", "qkv"), ("kv", "vk")])
def test_a_joint_layer_that_gets_a_name_of_another_order_is_never_proven(
    migrate: Migrate, old: str, new: str
) -> None:
    told = f"{old} and {new} name their parts in another order, and here the rows stay as they are"
    assert f"; {told}: --choose" in migrate(old, new).out
    found = migrate(old, new, f"blocks.*.attn.{old}=blocks.*.attn.{new}")
    assert (found.code, found.same) == (1, False)
    assert f"    # not proven: blocks.0.attn.{new}.weight: {told}, and 5 more\n" in found.out
    assert f"not proven: blocks.0.attn.{new}.weight: {told}, and so for 5 others\n" in found.err


@pytest.mark.parametrize("style", ["rules", "hook", "timm", "lightning"])
def test_each_style_says_where_the_order_is_from(migrate: Migrate, style: str) -> None:
    choice = "gate.weight=up_gate.weight"
    found = migrate("gate_and_up", "up_gate", choice, style=style)
    assert "# in doubt: up_gate.weight: that the parts stand as up, gate is told" in found.out
    found = migrate("w1_and_w3", "up_gate", "w1.weight=up_gate.weight", style=style)
    assert "# not proven: up_gate.weight: the names do not say in which order" in found.out


@pytest.mark.parametrize(
    ("parts", "whole", "wanted"),
    [
        (["q.w", "k.w", "v.w"], "kqv.w", ["k.w", "q.w", "v.w"]),
        (["q.w", "k.w", "v.w"], "joint.w", ["q.w", "k.w", "v.w"]),
        (["q.w", "k.w", "v.w"], "kq.w", ["q.w", "k.w", "v.w"]),
        (["a.gate.w", "a.up.w"], "up.gate_up.w", ["a.gate.w", "a.up.w"]),
        (
            ["0.gate.w", "0.up.w", "1.gate.w", "1.up.w"],
            "up_gate",
            ["0.up.w", "0.gate.w", "1.up.w", "1.gate.w"],
        ),
        (
            ["0.gate.w", "1.gate.w", "0.up.w", "1.up.w"],
            "up_gate",
            ["0.gate.w", "1.gate.w", "0.up.w", "1.up.w"],
        ),
        (["e.0.w", "e.1.w"], "e.w", ["e.0.w", "e.1.w"]),
    ],
)
def test_the_order_of_a_name(parts: list[str], whole: str, wanted: list[str]) -> None:
    assert by_name(parts, whole) == tuple(wanted)


# -- what a choice leaves --------------------------------------------------------------------------


def test_a_choice_rules_out_the_other_blocks() -> None:
    """What became of a block is known by what was said of a tensor in it."""
    spec, blocks = TensorSpec("float32", (3,)), range(3)
    old = Structure({f"blocks.{i}.{name}": spec for i in blocks for name in ("x", "y")})
    new = Structure({f"blocks.{i}.{name}": spec for i in blocks for name in ("a", "b")})
    changes = [
        Change(
            "renamed",
            (f"blocks.{i}.{one}",),
            (f"blocks.{i}.{other}",),
            (spec,),
            (spec,),
            "ambiguous",
            candidates=tuple(f"blocks.{n}.{name}" for n in blocks for name in ("a", "b")),
        )
        for i in blocks
        for one, other in (("x", "a"), ("y", "b"))
    ]
    plan = chosen(plan_of(changes, old, new), ["blocks.*.x=blocks.*.a"], old, new)
    assert [each.candidates for each in plan.doubtful] == [(f"blocks.{i}.b",) for i in blocks]
    assert not [line for line in remarks(plan) if "may also be" in line]


def test_a_commented_rule_takes_no_key_of_another() -> None:
    """Uncommented alone, it would have moved what the rules before it were for."""
    spec, blocks = TensorSpec("float32", (4, 4)), (1, 2, 3)
    pairs = {
        f"layer{i}.{n}.weight": f"stages.{i - 1}.{name}.weight"
        for i in blocks
        for n, name in ((0, "fc1"), (2, "fc2"))
    }
    old, new = Structure(dict.fromkeys(pairs, spec)), Structure(dict.fromkeys(pairs.values(), spec))
    changes = [Change("renamed", (a,), (b,), (spec,), (spec,), "likely") for a, b in pairs.items()]
    found = doubtful_rules(plan_of(changes, old, new), list(pairs))
    for each in found:
        (rename,) = (each.rule,)
        alone = applied(Rules(renames=(rename,)), list(pairs))  # type: ignore[arg-type]
        moved = {step.old[0]: step.new[0] for step in alone if step.old != step.new}
        assert moved == {step.old[0]: step.new[0] for step in rename.steps}
    assert {step.old[0] for each in found for step in each.rule.steps} == pairs.keys()


def uncommented(code: str) -> str:
    """Code with its first commented block as code."""
    lines = code.splitlines()
    first = next(i for i, line in enumerate(lines) if re.match("    # (import torch|for found in )", line))
    while re.match("    # (import torch|for found in |    )", lines[first]):
        lines[first] = lines[first].replace("# ", "", 1)
        first += 1
    return "\n".join(lines)


@pytest.mark.parametrize(("old", "new"), [("by_head", "three_rows"), ("three_rows", "by_head")])
def test_a_commented_block_runs_once_it_is_code(
    migrate: Migrate, command: Command, old: str, new: str
) -> None:
    """It called what was not there, where no other block needed that."""
    migrate(old, new)
    code = command("migrate", f"{old}.pt", f"stored:{new}").out
    state = torch.load(f"{old}.pt")
    assert proof.compiled(code, "migrate")(state).keys() == state.keys()
    assert proof.compiled(uncommented(code), "migrate")(state).keys() != state.keys()


# -- transposed, or not ----------------------------------------------------------------------------


@pytest.mark.parametrize(("new", "blocks"), [("gpt_linear", "h"), ("gpt_renamed", "blocks")])
def test_a_square_matrix_beside_transposed_ones_is_chosen_either_way(
    migrate: Migrate, new: str, blocks: str
) -> None:
    choice = f"h.*.attn.c_proj.weight={blocks}.*.attn.c_proj.weight"
    asked = migrate("gpt", new)
    named = "h.*.attn.c_proj.weight" if blocks == "h" else choice.replace("=", " -> ")
    assert (asked.code, asked.out.count("# decide")) == (1, 1)
    assert (
        f"# decide: {named} (3 tensors): it is square: whether it was transposed, as h.0.attn.c_attn.weight "
        f"was, the shapes do not show (--choose '{choice}.T' transposes them, --choose '{choice}' does not)"
    ) in asked.out
    assert f"--choose '{choice}.T'\n" in asked.err
    found = migrate("gpt", new, f"{choice}.T")
    assert (found.code, found.same, "doubt" in found.out) == (0, True, False)
    as_it_is = migrate("gpt", new, choice)
    told = f"in doubt: {blocks}.0.attn.c_proj.weight: it stays as it is, while h.0.attn.c_attn.weight is"
    assert (as_it_is.same, told in as_it_is.out, told in as_it_is.err) == (False, True, True)


def test_a_choice_of_a_module_says_nothing_of_its_square_matrix(migrate: Migrate) -> None:
    """It moved the matrix as it was, and that was called proven."""
    module = "h.*.attn=blocks.*.attn"
    found = migrate("gpt", "gpt_renamed", module)
    assert (found.code, "it is square" in found.out) == (1, True)
    both = migrate("gpt", "gpt_renamed", module, "h.*.attn.c_proj.weight=blocks.*.attn.c_proj.weight.T")
    assert (both.code, both.same) == (0, True)


def test_a_choice_of_one_square_matrix_leaves_the_others_open(migrate: Migrate) -> None:
    found = migrate("gpt", "gpt_linear", "h.1.attn.c_proj.weight=h.1.attn.c_proj.weight.T")
    decided = re.findall(r"# decide: (\S+):", found.out)
    assert (found.code, decided) == (1, ["h.0.attn.c_proj.weight", "h.2.attn.c_proj.weight"])


def test_two_answers_about_one_matrix_contradict_each_other() -> None:
    side = Structure({"a": TensorSpec("float32", (3, 3)), "b.weight": TensorSpec("float32", (4, 3))})
    plan = plan_of([], side, side)
    with pytest.raises(UsageError, match="contradicts another choice for a"):
        chosen(plan, ["a=a", "a=a.T"], side, side)
    with pytest.raises(UsageError, match="no matrix and its transpose"):
        chosen(plan, ["b.weight=b.weight.T"], side, side)


def test_a_bare_matrix_that_became_a_layers_is_transposed_by_a_choice(migrate: Migrate) -> None:
    """Only forward shows it; the code goes on saying so when the matrix is moved as it is."""
    told = "only forward shows which: --choose proj=proj.weight.T transposes it"
    assert told in migrate("bare", "layer").out
    found = migrate("bare", "layer", "proj=proj.weight.T")
    assert (found.code, found.same, "doubt" in found.out) == (0, True, False)
    found = migrate("bare", "layer", "proj=proj.weight")
    assert (found.same, told in found.out, told in found.err) == (False, True, True)


@pytest.mark.parametrize(("old", "new"), [("joint_columns", "three_rows"), ("three_rows", "joint_columns")])
def test_square_parts_in_the_columns_of_a_joint_matrix_are_never_proven(
    migrate: Migrate, old: str, new: str
) -> None:
    """GPT-2's joint Conv1D and three Linear: each part is to be transposed, and was not."""
    found = migrate(old, new)
    told = "the parts are square and stand in columns: whether each is to be transposed, the shapes"
    assert (found.code, found.same, told in found.out, told in found.err) == (1, False, True, True)


def test_square_parts_in_the_columns_stay_as_they_are_where_both_sides_do(migrate: Migrate) -> None:
    """The doubt is no refusal: the code is right for layers of one kind."""
    assert migrate("joint_columns", "three_columns").same is True


def test_square_parts_beside_transposed_matrices_are_never_proven() -> None:
    shapes = {"h.0.fc.weight": (3, 9), **{f"h.0.{name}.weight": (3, 3) for name in "qkv"}}
    old = Structure({key: TensorSpec("float32", shape) for key, shape in shapes.items()})
    wanted = {"h.0.fc.weight": (9, 3), "h.0.qkv.weight": (9, 3)}
    new = Structure({key: TensorSpec("float32", shape) for key, shape in wanted.items()})
    changes = [
        Change("transposed", ("h.0.fc.weight",), ("h.0.fc.weight",)),
        Change("fused", tuple(f"h.0.{name}.weight" for name in "qkv"), ("h.0.qkv.weight",)),
    ]
    (joined,) = (step for step in plan_of(changes, old, new).live if step.op.name == "cat")
    assert joined.doubt == (
        "the parts are square: whether they were transposed, as h.0.fc.weight was, the shapes do not show"
    )


def test_a_likely_move_of_a_square_matrix_says_that_it_may_be_transposed() -> None:
    """Made code by hand, the commented rule would have moved it as it is without a word."""
    shapes = {"h.0.fc.weight": (3, 9), "h.0.proj.weight": (3, 3)}
    old = Structure({key: TensorSpec("float32", shape) for key, shape in shapes.items()})
    wanted = {"h.0.fc.weight": (9, 3), "h.0.out.weight": (3, 3)}
    new = Structure({key: TensorSpec("float32", shape) for key, shape in wanted.items()})
    square = (TensorSpec("float32", (3, 3)),)
    changes = [
        Change("transposed", ("h.0.fc.weight",), ("h.0.fc.weight",)),
        Change("renamed", ("h.0.proj.weight",), ("h.0.out.weight",), square, square, "likely", ("similar",)),
    ]
    plan = plan_of(changes, old, new)
    (commented,) = doubtful_rules(plan, list(shapes))
    told = "it is square: whether it was transposed, as h.0.fc.weight was, the shapes do not show"
    assert commented.evidence == (told, "similar")
    by_module = chosen(plan, ["h.0.proj=h.0.out"], old, new)
    assert [each.text for each in by_module.decisions] == [told]
    assert chosen(plan, ["h.0.proj.weight=h.0.out.weight.T"], old, new).complete


# -- heads, ties, buffers, halves of a layer -------------------------------------------------------


def test_a_name_of_rows_head_by_head_that_goes_is_in_doubt(migrate: Migrate) -> None:
    """BLOOM's joint layer, renamed to one that is read part by part: certain, and said to be proven."""
    found = migrate("by_head", "one_by_one")
    told = (
        "models that name it query_key_value keep its rows head by head, query, key and value in turn, "
        "and here the rows of query_key_value stay as they are"
    )
    assert (found.same, f"# in doubt: Wqkv.weight: {told}" in found.out, told in found.err) == (
        *(False, True, True),
    )


def test_a_split_of_rows_head_by_head_is_not_proven_by_a_choice(migrate: Migrate) -> None:
    found = migrate("by_head", "three_rows", "query_key_value=q")
    told = "models that name it so keep its rows head by head"
    assert (found.code, found.same, told in found.out, told in found.err) == (1, False, True, True)


@pytest.mark.parametrize(
    ("new", "choices", "told"),
    [
        ("tied", (), "the load keeps lm_head.weight, and loses embed.weight if it differs"),
        ("tied_under_other_names", ("embed=tokens",), "the load keeps head.weight, and loses tokens.weight"),
    ],
)
def test_what_a_tie_loses_is_said(migrate: Migrate, new: str, choices: tuple[str, ...], told: str) -> None:
    """Two tensors of the file go into one of the model: "nothing to migrate", or all of it proven."""
    found = migrate("untied", new, *choices)
    assert (found.code, told in found.err) == (0, True)
    if choices:
        assert (found.same, f"# in doubt: head.weight: now tied: {told}" in found.out) == (False, True)


def test_a_buffer_that_the_code_leaves_out_is_named_beside_it(migrate: Migrate) -> None:
    """The old model multiplied by it."""
    found = migrate("scaled", "untied")
    assert (found.code, found.same) == (0, False)
    assert "left out, as the model has no use for it: scale\n" in found.err


def test_a_choice_that_tears_a_layer_says_so(migrate: Migrate) -> None:
    both = ("left.weight=first.weight", "right.weight=second.weight")
    torn = migrate(
        "left_and_right", "first_and_second", *both, "left.bias=second.bias", "right.bias=first.bias"
    )
    told = "in doubt: first.weight: left.bias of the same layer becomes second.bias"
    assert (torn.same, told in torn.out, told in torn.err) == (False, True, True)
    whole = migrate(
        "left_and_right", "first_and_second", *both, "left.bias=first.bias", "right.bias=second.bias"
    )
    assert (whole.code, whole.same, "doubt" in whole.out + whole.err) == (0, True, False)


def test_two_tensors_of_one_advice_share_a_line() -> None:
    spec = TensorSpec("float32", (4,))
    new = Structure({f"norm.running_{name}": spec for name in ("mean", "var")})
    changes = [
        Change("missing", new=(key,), new_specs=(spec,), advice="put the old layer back")
        for key in new.tensors
    ]
    assert remarks(plan_of(changes, Structure({}), new)) == (
        "norm.running_mean, norm.running_var (2 tensors): put the old layer back",
    )


def test_two_modules_are_offered_as_two_choices(migrate: Migrate) -> None:
    """One for each tensor was offered."""
    found = migrate("left_and_right", "first_and_second")
    assert found.err.endswith(" --choose left=first --choose right=second\n")
    assert "--choose 'left=first' --choose 'right=second' if it is so\n" in found.out


def test_a_conversion_says_what_is_in_doubt_and_writes_nothing_that_is_not_proven(
    migrate: Migrate, command: Command
) -> None:
    migrate("gate_and_up", "up_gate")
    words = ("convert", "gate_and_up.pt", "-o", "new.pt", "--model", "stored:up_gate")
    printed = command(*words, "--choose", "gate.weight=up_gate.weight")
    assert (printed.code, "in doubt: up_gate.weight: that the parts stand as up, gate" in printed.err) == (
        0,
        True,
    )
    migrate("joint_columns", "three_rows")
    printed = command("convert", "joint_columns.pt", "-o", "rows.pt", "--model", "stored:three_rows")
    assert (printed.code, "not proven: q.weight: the parts are square" in printed.err) == (1, True)
    migrate("scaled", "untied")
    printed = command("convert", "scaled.pt", "-o", "plain.pt", "--model", "stored:untied")
    assert (printed.code, "left out, as the model has no use for it: scale" in printed.err) == (0, True)
