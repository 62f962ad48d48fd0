"""A prefix and renames together: every change names keys as they stand in the file and the definition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check import acceptance
from pytest_ckpt_compat._check.breaks import facts
from pytest_ckpt_compat._check.check import check_structure, resumed
from pytest_ckpt_compat._check.wrapper import Wrapper, composed
from pytest_ckpt_compat._core.changes import Acceptance, Change, Policy, Severity
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._report.json import as_data
from pytest_ckpt_compat._report.text import render
from pytest_ckpt_compat._snapshots.accepted import Entry
from tests.effort import examples

Shapes = Mapping[str, tuple[int, ...]]

#: They say something besides, about keys that another change accounts for.
BESIDE = ("retyped", "retied")


def structure(shapes: Shapes, dtype: str = "float32", **rest: Any) -> ckpt.Structure:
    return ckpt.Structure({key: TensorSpec(dtype, shape) for key, shape in shapes.items()}, **rest)


def module(shapes: Shapes) -> nn.Module:
    """A module whose state_dict has these keys, each the path of a parameter."""
    root = nn.Module()
    for key, shape in shapes.items():
        *path, name = key.split(".")
        owner = root
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]  # type: ignore[assignment]
        owner.register_parameter(name, nn.Parameter(torch.zeros(shape)))
    return root


def by_diff(old: Shapes, new: Shapes) -> ckpt.Verdict:
    return ckpt.diff(structure(old), structure(new))


def by_check(old: Shapes, new: Shapes) -> ckpt.Verdict:
    return check_structure(structure(old, versions={}), find(lambda: module(new)), Policy())


def net(prefix: str = "", blocks: str = "blocks", attn: str = "attn", classes: int = 10) -> Shapes:
    """Four blocks of several shapes between a stem and a head."""
    shapes: dict[str, tuple[int, ...]] = {"stem.weight": (8, 3)}
    for number in range(4):
        block = f"{blocks}.{number}"
        shapes |= {f"{block}.norm.weight": (8,), f"{block}.{attn}.qkv.weight": (24, 8)}
        shapes |= {f"{block}.{attn}.proj.weight": (8, 8), f"{block}.mlp.weight": (32, 8)}
    shapes |= {"head.weight": (classes, 8), "head.bias": (classes,)}
    return {prefix + key: shape for key, shape in shapes.items()}


def fits(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Whether torch copies one into the other, without a word."""
    return old == new or (old, new) == ((1,), ())


def assert_accounts_for(verdict: ckpt.Verdict, old: Shapes, new: Shapes) -> None:
    """Only real keys are named, none twice, and each that differs once."""
    for change in verdict.changes:
        assert set(change.old) <= old.keys()
        assert set(change.new) <= new.keys()
        assert set(change.candidates) <= new.keys()
    told = [change for change in verdict.changes if change.kind not in BESIDE]
    used_old = Counter(key for change in told for key in change.old)
    used_new = Counter(key for change in told for key in change.new)
    assert max([*used_old.values(), *used_new.values()], default=1) == 1
    differ = {key for key in old.keys() & new.keys() if not fits(old[key], new[key])}
    assert (old.keys() - new.keys()) | differ <= used_old.keys()
    assert (new.keys() - old.keys()) | differ <= used_new.keys()
    for rule in as_data(verdict)["rules"]:
        for before, after in rule["matches"]:
            assert before in old
            assert after in new


# Any structures -------------------------------------------------------------------------------------

_NAMES = st.sampled_from(["module", "stem", "block", "attn", "norm", "fc", "0", "1", "2"])
_LEAVES = st.sampled_from(["weight", "bias", "scale"])
_SHAPES = st.sampled_from([(), (1,), (2,), (3,), (2, 3), (3, 2), (4, 3), (6, 3)])
_KEYS = st.builds(lambda path, leaf: ".".join([*path, leaf]), st.lists(_NAMES, max_size=3), _LEAVES)


@st.composite
def wrapped(draw: st.DrawFn) -> tuple[Shapes, Shapes]:
    """Both sides: one carries a prefix; names changed, sizes, and some keys are on one side only."""
    old = draw(st.dictionaries(_KEYS, _SHAPES, min_size=1, max_size=10))
    table = draw(st.dictionaries(_NAMES, _NAMES, max_size=2))
    new: dict[str, tuple[int, ...]] = {}
    for key, shape in old.items():
        edit = draw(st.sampled_from(["", "", "", "", "rename", "resize", "remove"]))
        name = ".".join(table.get(part, part) for part in key.split(".")) if edit == "rename" else key
        if edit != "remove":
            new.setdefault(name, draw(_SHAPES) if edit == "resize" else shape)
    new |= draw(st.dictionaries(_KEYS, _SHAPES, max_size=2))
    prefix = draw(st.sampled_from(["module.", "module.", "a.b.", "module.module.", ""]))
    moved = {prefix + key: shape for key, shape in old.items()}
    return (moved, new) if draw(st.booleans()) else (new, moved)


@settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
@given(wrapped())
def test_a_comparison_accounts_for_every_key(sides: tuple[Shapes, Shapes]) -> None:
    verdict = by_diff(*sides)
    assert_accounts_for(verdict, *sides)
    assert verdict.notes == ()
    assert render(verdict)
    assert render(verdict, full=True)


def is_a_tree(shapes: Shapes) -> bool:
    """Whether no key is also the path of a module."""
    return not any(key.startswith(f"{other}.") for key in shapes for other in shapes)


@pytest.mark.long
@settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
@given(wrapped().filter(lambda sides: all(map(is_a_tree, sides)) and all(sides)))
def test_a_check_accounts_for_every_key_and_agrees_with_torch(sides: tuple[Shapes, Shapes]) -> None:
    old, new = sides
    verdict = by_check(old, new)
    assert_accounts_for(verdict, old, new)
    try:
        module(new).load_state_dict({key: torch.zeros(shape) for key, shape in old.items()})
        loads = True
    except RuntimeError:
        loads = False
    assert verdict.compatible is loads


# What each key's story is ---------------------------------------------------------------------------

JUDGES = pytest.mark.parametrize("judge", [by_diff, by_check])
BOTH_WAYS = pytest.mark.parametrize(("before", "after"), [("module.", ""), ("", "module.")])


@JUDGES
def test_a_key_that_has_the_prefix_already_may_have_another_size(
    judge: Callable[[Shapes, Shapes], ckpt.Verdict],
) -> None:
    """As it is, the load finds it; below the prefix, it would not."""
    old: Shapes = {"weight": (3,), "scale": (4,), "module.bias": (2,)}
    new: Shapes = {"module.weight": (3,), "module.bias": (5,), "module.scale": (4,)}
    prefixed, resized = judge(old, new).changes
    assert prefixed.old == ("weight", "scale")
    assert prefixed.detail == "not every key begins with module. as the definition's do"
    assert (resized.kind, resized.old, resized.new) == ("resized", ("module.bias",), ("module.bias",))


@JUDGES
@BOTH_WAYS
def test_a_key_that_was_renamed_besides_is_renamed(
    judge: Callable[[Shapes, Shapes], ckpt.Verdict], before: str, after: str
) -> None:
    old = net(before)
    new = net(after, attn="attention")
    verdict = judge(old, new)
    assert_accounts_for(verdict, old, new)
    names = {before + key: after + other for key, other in zip(net(), net(attn="attention"), strict=True)}
    found = {(c.kind, a, b) for c in verdict.changes for a, b in zip(c.old, c.new, strict=True)}
    assert found == {("renamed" if ".attn." in a else "prefixed", a, b) for a, b in names.items()}
    assert [change.kind for change in verdict.changes].count("prefixed") == 1
    groups = {change.group for change in verdict.changes}
    assert groups == {
        f"{before}blocks.{{0..3}}.attn.* -> {after}blocks.{{0..3}}.attention.*",
        f"{before}* -> {after}*",
    }


@JUDGES
@BOTH_WAYS
def test_what_was_resized_added_and_removed_besides(
    judge: Callable[[Shapes, Shapes], ckpt.Verdict], before: str, after: str
) -> None:
    old = {**net(before), f"{before}aux.scale": (7, 7)}
    new = {**net(after, classes=12), f"{after}extra.gate": (5,)}
    verdict = judge(old, new)
    assert_accounts_for(verdict, old, new)
    others = {(c.kind, c.old, c.new) for c in verdict.changes if c.kind != "prefixed"}
    assert others == {
        ("head-resized", (f"{before}head.weight",), (f"{after}head.weight",)),
        ("head-resized", (f"{before}head.bias",), (f"{after}head.bias",)),
        ("missing", (), (f"{after}extra.gate",)),
        ("unexpected", (f"{before}aux.scale",), ()),
    }


def test_a_split_beneath_a_prefix_names_the_keys_of_the_file() -> None:
    rest: Shapes = {"head.weight": (4, 8), **{f"norm{n}.weight": (8,) for n in range(9)}}
    old = {
        **{f"module.{n}.qkv.weight": (24, 8) for n in range(3)},
        **{f"module.{k}": s for k, s in rest.items()},
    }
    new = {**{f"{n}.{part}.weight": (8, 8) for n in range(3) for part in "qkv"}, **rest}
    verdict = by_diff(old, new)
    assert_accounts_for(verdict, old, new)
    splits = [change for change in verdict.changes if change.kind == "split"]
    assert {change.old for change in splits} == {(f"module.{n}.qkv.weight",) for n in range(3)}
    assert {change.group for change in splits} == {"module.{0..2}.qkv.weight -> {0..2}.{q,k,v}.weight"}


@JUDGES
def test_a_key_of_both_sides_is_no_rename(judge: Callable[[Shapes, Shapes], ckpt.Verdict]) -> None:
    """``module.a`` loads as it is; only the others lost the prefix."""
    old = {"module.a": (2, 3), "module.b": (3,), "module.c": (4,)}
    new = {"module.a": (2, 3), "b": (3,), "c": (4,)}
    verdict = judge(old, new)
    assert {key for change in verdict.changes for key in change.old} == {"module.b", "module.c"}
    assert {key for change in verdict.changes for key in change.new} == {"b", "c"}


def test_dtypes_and_ties_are_told_besides() -> None:
    ties = (("module.stem.weight", "module.head.weight"),)
    old, new = structure(net("module."), "float16", aliases=ties), structure(net())
    verdict = ckpt.diff(old, new)
    (prefixed,) = [change for change in verdict.changes if change.kind == "prefixed"]
    assert prefixed.old == tuple(old.tensors)
    retyped = {(c.old, c.new) for c in verdict.changes if c.kind == "retyped"}
    assert retyped == {((f"module.{key}",), (key,)) for key in new.tensors}
    (retied,) = [change for change in verdict.changes if change.kind == "retied"]
    assert (retied.old, retied.new) == (
        ("module.head.weight", "module.stem.weight"),
        ("head.weight", "stem.weight"),
    )
    assert retied.group == ""
    text = render(verdict)
    assert "  * head.weight = stem.weight " in text
    norms = "module.blocks.{0..3}.norm.weight -> blocks.{0..3}.norm.weight"
    assert f"  * {norms}   4 tensors   float16[8] -> float32[8]" in text
    assert "stays at random initialisation" not in text
    assert [rule["old"] for rule in as_data(verdict)["rules"]] == ["module.*"]


def test_a_key_that_an_explanation_passes_over_is_told() -> None:
    """``a`` took the place of ``b``, which the load finds on both sides; and ``a`` left a place."""
    wrapper = Wrapper("module.", on_checkpoint=True)
    spec = TensorSpec("float32", (2, 3))
    moved = Change("renamed", ("a",), ("b",), (spec,), (spec,))
    old, new = {"module.a": (2, 3), "module.b": (2, 3)}, {"b": (2, 3)}
    found = composed(wrapper, [moved], structure(old), structure(new))
    assert [(c.kind, c.old, c.new) for c in found] == [
        ("renamed", ("module.a",), ("b",)),
        ("unexpected", ("module.b",), ()),
    ]
    old, new = {"module.a": (2, 3)}, {"a": (2, 3), "b": (2, 3)}
    found = composed(wrapper, [moved], structure(old), structure(new))
    assert [(c.kind, c.old, c.new) for c in found] == [
        ("renamed", ("module.a",), ("b",)),
        ("missing", (), ("a",)),
    ]


def test_a_lenient_load_counts_what_is_resized_beneath_a_prefix() -> None:
    old = {f"module.{name}": (2, 3) for name in "abcd"}
    new = {"module.a": (2, 3), "b": (2, 3), "c": (4, 3), "d": (2, 3)}
    verdict = check_structure(structure(old, versions={}), find(lambda: module(new)), Policy(strict=False))
    assert verdict.compatible
    assert "loads 1 of 4 tensors" in render(verdict)


# Hooks ----------------------------------------------------------------------------------------------


class Renames(nn.Module):
    """Its hook renames ``body`` to ``trunk``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 8)
        self.trunk = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
        self.register_load_state_dict_pre_hook(self._rename)  # type: ignore[no-untyped-call]

    @staticmethod
    def _rename(_module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        for key in [key for key in state if key.startswith(f"{prefix}body.")]:
            state[f"{prefix}trunk.{key.removeprefix(f'{prefix}body.')}"] = state.pop(key)


def test_what_a_hook_renames_beneath_a_prefix_is_not_paired() -> None:
    """Nothing shows which key became which, only that the prefix stands in the way."""
    new = {key: tuple(value.shape) for key, value in Renames().state_dict().items()}
    old = {f"module.{key.replace('trunk', 'body')}": shape for key, shape in new.items()}
    verdict = check_structure(structure(old, versions={}), find(Renames), Policy())
    assert_accounts_for(verdict, old, new)
    assert {change.kind for change in verdict.changes} == {"prefixed"}
    pairs = [pair for change in verdict.changes for pair in zip(change.old, change.new, strict=False)]
    assert pairs == [("module.stem.weight", "stem.weight"), ("module.stem.bias", "stem.bias")]
    assert "  ~ module.* -> *   6 tensors" in render(verdict)


class Reshapes(nn.Module):
    """Its hook makes a tensor of another one, in a shape that does not fit."""

    def __init__(self, name: str = "fc") -> None:
        super().__init__()
        self.add_module(name, nn.Linear(3, 5))
        self.weight = nn.Parameter(torch.zeros(4))
        self.register_load_state_dict_pre_hook(self._reshape)  # type: ignore[no-untyped-call]

    @staticmethod
    def _reshape(_module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        state[f"{prefix}weight"] = state.pop(f"{prefix}w").reshape(2, 3)


def test_a_tensor_that_a_hook_makes_is_no_key_of_the_file() -> None:
    saved = structure({"fc.weight": (5, 3), "fc.bias": (5,), "w": (6,)}, versions={})
    verdict = check_structure(saved, find(Reshapes), Policy())
    (change,) = verdict.changes
    assert (change.kind, change.old, change.new) == ("resized", (), ("weight",))
    assert "  ! weight   any[2, 3] -> any[4]   the shape after a load_state_dict hook" in render(verdict)
    renamed = check_structure(saved, find(lambda: Reshapes("proj")), Policy())
    assert change in renamed.changes  # whatever explains the others


# Acceptance, comparison with a merge base, the optimizer --------------------------------------------


def accepted(verdict: ckpt.Verdict, rule: str, key: str) -> Entry:
    wanted = Entry("net", rule, key, "meant")
    return acceptance.accept(verdict, (), wanted, date(2026, 1, 1))


def named(old: Shapes, new: Shapes) -> ckpt.Verdict:
    return replace(by_diff(old, new), name="net")


def test_an_accepted_prefix_stays_accepted_where_a_layer_goes() -> None:
    entry = accepted(named(net("module."), net()), "CK107", "*")
    shorter = {key: shape for key, shape in net().items() if not key.startswith("stem")}
    (applied,) = acceptance.cover([named(net("module."), shorter)], [entry], date(2026, 1, 1))
    assert {(c.kind, c.severity) for c in applied.changes} == {
        ("prefixed", Severity.ACCEPTED),
        ("unexpected", Severity.ERROR),
    }
    (applied,) = acceptance.cover(
        [named({**net("module."), "module.new": (3,)}, {**net(), "new": (3,)})], [entry], date(2026, 1, 1)
    )
    assert {(c.kind, c.severity) for c in applied.changes} == {("prefixed", Severity.ERROR)}


@pytest.mark.parametrize("key", ["head.*", "module.head.*"])
def test_a_break_beneath_a_prefix_is_accepted_by_the_keys_of_either_side(key: str) -> None:
    verdict = named(net("module."), net(classes=12))
    entry = accepted(verdict, "CK202", key)
    assert entry.changes == (
        "module.head.weight float32[10, 8] -> head.weight float32[12, 8]",
        "module.head.bias float32[10] -> head.bias float32[12]",
    )
    policy = Policy(accepted=(Acceptance("CK202", key, "meant"),))
    found = check_structure(
        structure(net("module."), versions={}), find(lambda: module(net(classes=12))), policy
    )
    assert {c.severity for c in found.changes if c.kind == "head-resized"} == {Severity.ACCEPTED}


def test_the_commands_name_the_keys_of_the_definition() -> None:
    commands = list(acceptance.commands(named(net("module."), net(classes=12, blocks="blocks"))))
    assert commands == [
        'ckpt-compat accept net --rule CK107 --key "{stem,blocks}.*" --reason "..."',
        'ckpt-compat accept net --rule CK202 --key "head.*" --reason "..."',
    ]


def test_a_rename_on_a_branch_makes_no_new_break_of_the_prefix() -> None:
    def errors(kind: str, changes: tuple[Change, ...]) -> set[tuple[str, str]]:
        return facts(change for change in changes if change.kind == kind)

    before = by_diff(net("module."), net()).changes
    now = by_diff(net("module."), net(attn="attention")).changes
    assert errors("prefixed", now) < errors("prefixed", before)
    assert not errors("renamed", now) & facts(before)


class Net(nn.Module):
    """Two layers around numbered blocks."""

    def __init__(self, blocks: str = "blocks", classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 8)
        self.add_module(blocks, nn.Sequential(*(nn.Linear(8, 8) for _ in range(3))))
        self.head = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.get_submodule("blocks")(self.stem(x)))


def test_an_optimizer_resumes_beneath_a_prefix_and_renames(tmp_path: Path) -> None:
    model = nn.DataParallel(Net())
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "net.pt")
    saved = ckpt.read(tmp_path / "net.pt")

    def found(*args: Any, optimizer: Any = torch.optim.Adam) -> list[Change]:
        definition = find(lambda: Net(*args))
        verdict = check_structure(saved, definition, Policy())
        verdict = resumed(verdict, definition, optimizer, Policy())
        return [change for change in verdict.changes if change.kind == "optimizer-mismatch"]

    assert found() == []
    assert found("layers") == []
    keys = {(change.old, change.new) for change in found("blocks", 6)}
    assert keys == {(("module.head.weight",), ("head.weight",)), (("module.head.bias",), ("head.bias",))}
    [another] = found(optimizer=torch.optim.Adamax)
    assert (
        another.detail == "the file holds exp_avg, exp_avg_sq: another optimizer (Adam or AdamW) than Adamax"
    )


def test_a_hook_that_names_a_key_of_neither_side_beneath_a_prefix(tmp_path: Path) -> None:
    """The old spectral norm asks for the weight itself where it finds no original of it."""

    def ask(state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        if "body.weight" not in state:
            rest[2].append("body.of_no_one")

    def model() -> nn.Module:
        net = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 3)})
        net._register_load_state_dict_pre_hook(ask)  # type: ignore[no-untyped-call]
        return net

    path = tmp_path / "net.pt"
    torch.save({f"module.{key}": value for key, value in model().state_dict().items()}, path)
    verdict = ckpt.check(path, model)
    assert verdict.exit_code == 1
    assert [change.kind for change in verdict.changes] == ["prefixed", "missing"]
    assert verdict.changes[1].new == ("body.of_no_one",)


def test_a_prefix_adds_nothing_that_torch_does_not_miss(tmp_path: Path) -> None:
    """Under its own prefix the file would say that this batch norm counts; torch looks for no such thing."""

    class Net(nn.Module):
        def __init__(self, tracked: bool) -> None:
            super().__init__()
            self.body, self.head, self.norm = (nn.Linear(2, 2) for _ in range(3))
            self.stem = nn.BatchNorm1d(2, track_running_stats=tracked)

    wrapped = nn.ModuleDict({"module": Net(tracked=True)})
    path = tmp_path / "a.pt"
    torch.save(Net(tracked=False).state_dict(), path)
    verdict = ckpt.check(path, lambda: nn.ModuleDict({"module": Net(tracked=True)}))
    gained = {key for change in verdict.changes for key in change.new}
    assert gained == set(wrapped.load_state_dict(torch.load(path), strict=False).missing_keys)


@pytest.mark.parametrize(
    ("prefix", "named"),
    [
        ("net.", "model.net"),
        ("0.", "model[0]"),
        ("net.0.", "model.net[0]"),
        (".", ""),
        ("a..b.", ""),
        ("a-b.", ""),
    ],
)
def test_the_module_under_a_prefix_is_named_as_code_names_it(prefix: str, named: str) -> None:
    wrapped, bare = ckpt.Structure({f"{prefix}w": TensorSpec("float32", (2,))}), structure({"w": (2,)})
    taken = str(Wrapper(prefix, on_checkpoint=True).repairs(bare))
    put = str(Wrapper(prefix, on_checkpoint=False).repairs(wrapped))
    for text in (taken, put):
        assert f'"{prefix}"' in text
        assert (f"{named}" in text) if named else ("model" not in text)
    assert (f"save {named}.state_dict(), or take" in taken) == bool(named)
    assert (f"load it into {named}, or put" in put) == bool(named)
