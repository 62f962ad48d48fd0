"""The classes of a definition's modules: found, recorded in its snapshot, read back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core import prefixes
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.structure import Source
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._snapshots import fingerprint
from pytest_ckpt_compat._snapshots.module_classes import fold, unfold
from tests.test_snapshots import TEST, change_model, stored

_T = TypeVar("_T")
HERE = __name__


class Block(nn.Module):
    """Some layers, one of them without tensors."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU())


class Net(nn.Module):
    """Blocks that are alike, between a stem and a head."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))
        self.head = nn.Linear(4, 2)


class Shared(nn.Module):
    """One module under two names, one of them inside of another."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Block()
        self.act = nn.ReLU()
        self.decoder = nn.ModuleDict({"first": self.encoder, "act": self.act})


class Typed(nn.Module, Generic[_T]):
    """A generic class."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))


def recorded(structure: ckpt.Structure) -> ckpt.Structure:
    """The structure as its snapshot gives it."""
    return fingerprint.loads(fingerprint.dumps(structure), "net.json")


NET = {
    "": f"{HERE}.Net()",
    "stem": (
        "torch.nn.Conv2d(dilation=(1, 1), groups=1, in_channels=1, kernel_size=(3, 3), out_channels=4, "
        "output_padding=(0, 0), padding=(0, 0), padding_mode='zeros', stride=(1, 1), transposed=False)"
    ),
    "blocks": "torch.nn.ModuleList()",
    "blocks.{0..2}": f"{HERE}.Block()",
    "blocks.{0..2}.norm": "torch.nn.LayerNorm(elementwise_affine=True, eps=1e-05, normalized_shape=(4,))",
    "blocks.{0..2}.mlp": "torch.nn.Sequential()",
    "blocks.{0..2}.mlp.0": "torch.nn.Linear(in_features=4, out_features=4)",
    "blocks.{0..2}.mlp.1": "torch.nn.GELU(approximate='none')",
    "head": "torch.nn.Linear(in_features=4, out_features=2)",
}


def test_a_definition_knows_its_modules_and_its_snapshot_keeps_them() -> None:
    structure = ckpt.define(Net)
    module = Net()
    assert list(structure.modules) == [name for name, _ in module.named_modules()]
    assert json.loads(fingerprint.dumps(structure))["modules"] == NET
    again = recorded(structure)
    assert list(again.modules.items()) == list(structure.modules.items())
    assert again == structure


def test_a_shared_module_has_every_path_that_its_keys_have() -> None:
    structure = ckpt.define(Shared)
    module = Shared()
    assert list(structure.modules) == [n for n, _ in module.named_modules(remove_duplicate=False)]
    assert {key.rpartition(".")[0] for key in module.state_dict()} <= structure.modules.keys()
    assert structure.modules["decoder.first"] == structure.modules["encoder"] == f"{HERE}.Block"
    assert list(recorded(structure).modules.items()) == list(structure.modules.items())


def test_classes_of_every_kind_have_names() -> None:
    class Local(nn.Linear):
        pass

    def outermost(model: Callable[[], nn.Module]) -> str:
        structure = ckpt.define(model)
        assert recorded(structure).modules == structure.modules
        return structure.modules[""]

    assert outermost(lambda: Local(2, 3)) == (f"{HERE}.test_classes_of_every_kind_have_names.<locals>.Local")
    assert outermost(lambda: Typed[int]()) == f"{HERE}.Typed"
    assert outermost(lambda: nn.Linear(2, 3)) == "torch.nn.Linear"
    assert outermost(lambda: type("Mädchen\n", (nn.Linear,), {"__module__": None})(2, 3)) == "Mädchen\n"
    normed = torch.nn.utils.parametrizations.weight_norm
    assert outermost(lambda: normed(nn.Linear(2, 3))) == "torch.nn.utils.parametrize.ParametrizedLinear"


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is")
def test_an_instance_a_lazy_layer_and_a_script_have_modules() -> None:
    assert ckpt.define(Net(1)).modules[""] == f"{HERE}.Net"
    assert ckpt.define(lambda: nn.Sequential(nn.LazyLinear(2))).modules["0"] == "torch.nn.LazyLinear"
    script = torch.jit.script(nn.Sequential(nn.Linear(2, 3)))
    assert list(ckpt.define(lambda: nn.Sequential(script)).modules) == ["", "0", "0.0"]


def test_a_module_in_itself_is_named_once() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)
            self.inner.add_module("outer", self)

        def state_dict(self, *_: Any, **__: Any) -> Any:
            return {"weight": self.inner.weight}

    assert list(ckpt.define(Loop).modules) == ["", "inner", "inner.outer"]


def test_a_checkpoint_has_no_modules(tmp_path: Path) -> None:
    torch.save(Net().state_dict(), tmp_path / "net.pt")
    structure = ckpt.read(tmp_path / "net.pt")
    assert structure.modules == {}
    assert "modules" not in json.loads(fingerprint.dumps(structure))


# The lines of a snapshot ----------------------------------------------------------------------------


def test_ten_thousand_modules_are_a_few_lines() -> None:
    layer = {"": "m.Layer", "attn": "m.Attention", "attn.q": "torch.nn.Linear", "act": "torch.nn.GELU"}
    modules = {"": "m.Net", "layers": "torch.nn.ModuleList"}
    for number in range(2_500):
        modules |= {f"layers.{number}.{name}".rstrip("."): kind for name, kind in layer.items()}
    assert fold(modules) == {
        "": "m.Net",
        "layers": "torch.nn.ModuleList",
        **{f"layers.{{0..2499}}.{name}".rstrip("."): kind for name, kind in layer.items()},
    }
    assert unfold(fold(modules)) == modules


def test_blocks_that_differ_have_lines_of_their_own() -> None:
    kinds = ["A", "A", "B", "A", "A", "A"]
    modules = {f"{n}": kind for n, kind in enumerate(kinds)} | {"07": "A", "8": "A"}
    assert fold(modules) == {"{0..1}": "A", "2": "B", "{3..5}": "A", "07": "A", "8": "A"}


_paths = st.lists(
    st.sampled_from(["a", "b", "0", "1", "2", "3", "10", "01", "{0", "é", "{0..3}"]), max_size=3
)
_modules = st.dictionaries(_paths.map(".".join), st.sampled_from(["m.A", "m.B"]), max_size=12)


@settings(deadline=None)
@given(_modules)
def test_what_is_folded_is_read_back_in_its_order(modules: dict[str, str]) -> None:
    """Any paths at all: lines say them exactly, or there are none."""
    lines = fold(modules)
    assert not lines or list(unfold(lines).items()) == list(modules.items())


@settings(deadline=None)
@given(
    st.recursive(st.just({}), lambda inside: st.dictionaries(st.sampled_from("abc0123"), inside, max_size=4))
)
def test_any_tree_of_modules_is_folded(tree: dict[str, Any]) -> None:
    def walk(path: str, node: dict[str, Any]) -> dict[str, str]:
        found = {path: f"m.Of{len(node)}"}
        for name, child in node.items():
            found |= walk(f"{path}.{name}" if path else name, child)
        return found

    modules = walk("", tree)
    assert list(unfold(fold(modules)).items()) == list(modules.items())


def test_a_name_that_no_line_can_say_leaves_the_section_out() -> None:
    def odd() -> nn.Module:
        module = nn.Module()
        module.fc = nn.Linear(2, 2)
        module._modules["{0..3}"] = nn.ReLU()
        return module

    structure = ckpt.define(odd)
    assert "{0..3}" in structure.modules
    assert "modules" not in json.loads(fingerprint.dumps(structure))
    assert recorded(structure) == structure


@pytest.mark.parametrize(
    ("modules", "complaint"),
    [
        ({"a.{0..999999999}": "m.A"}, "more than 250,000 modules"),
        ({"{0..999}.{0..999}": "m.A"}, "more than 250,000 modules"),
        ({".".join(["{0..999999999}"] * 90): "m.A"}, "more than 250,000 modules"),
        ({"{3..1}": "m.A"}, "in which there is no number"),
        ({"{0..3}": "m.A", "2": "m.A"}, "names '2' twice"),
        ({f"{'a' * 1000}.{{0..200000}}": "m.A"}, "are too long"),
        ({".".join("a" * 1000): "m.A"}, "nested deeper than 100"),
        ({"a": 3}, "not the name of a class"),
        (["a"], "is not a fingerprint"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(modules: Any, complaint: str) -> None:
    text = json.dumps({"tensors": {"a.weight": "float32[2]"}, "modules": modules})
    with pytest.raises(SnapshotError) as error:
        fingerprint.loads(text, "net.json")
    assert complaint in str(error.value)


def test_a_range_is_a_whole_segment() -> None:
    names = {"{0..3}x": "m.A", "x{0..3}": "m.A", "{03..5}": "m.A"}
    assert unfold(names) == names


def test_as_many_modules_as_keys_can_be_read() -> None:
    assert len(unfold({f"{{1..{limits.KEYS}}}": "m.A"})) == limits.KEYS


# Snapshots with the section, and without ------------------------------------------------------------


def test_the_digest_does_not_depend_on_classes() -> None:
    """So that a reader of an earlier version, which knows no classes, reads the file."""
    structure = ckpt.define(Net)
    data = json.loads(fingerprint.dumps(structure))
    assert data["version"] == 1
    del data["modules"]
    before = fingerprint.loads(json.dumps(data), "net.json")
    assert before.modules == {}
    assert before == structure
    assert fingerprint.digest(before) == fingerprint.digest(structure)
    assert not fingerprint.same(before, structure)


def test_a_prefix_goes_with_the_modules() -> None:
    bare = ckpt.define(Net)
    wrapped = ckpt.define(lambda: nn.DataParallel(Net()))
    assert wrapped.modules["module.head"] == "torch.nn.Linear"
    assert prefixes.strip(wrapped, "module.").modules == bare.modules
    assert prefixes.prepend(bare, "module.").modules == {
        path: kind for path, kind in wrapped.modules.items() if path
    }


def test_an_update_records_the_classes_and_a_check_asks_for_none(project: pytest.Pytester) -> None:
    """A snapshot from before has none; a layer without tensors may change its class."""
    project.makepyfile(TEST)
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    path = project.path / "ckpt_snapshots" / "definitions" / "models.Net.json"
    full = json.loads(path.read_text())
    assert full["modules"]["body.1"] == "torch.nn.ReLU()"
    del full["modules"]
    path.write_text(json.dumps(full))
    before = stored(project)
    project.runpytest_inprocess().assert_outcomes(passed=1)
    assert stored(project) == before
    updated = "updated   ckpt_snapshots/definitions/models.Net.json: the classes of modules"
    project.runpytest_inprocess("--ckpt-update").stdout.fnmatch_lines([updated])
    change_model(project, "nn.ReLU()", "nn.GELU()")
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*CK907*")
    project.runpytest_inprocess("--ckpt-update").stdout.fnmatch_lines([updated])
    assert json.loads(path.read_text())["modules"]["body.1"] == "torch.nn.GELU(approximate='none')"
    project.runpytest_inprocess("--ckpt-update").stdout.fnmatch_lines(["every snapshot is up to date"])


def test_two_branches_that_update_one_snapshot_merge(tmp_path: Path) -> None:
    class Deeper(Net):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))  # type: ignore[assignment]

    class Wider(Net):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2, bias=False)
            self.tail = nn.Identity()

    class Both(Deeper):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2, bias=False)
            self.tail = nn.Identity()

    texts = {}
    for name, model in {"ours": Deeper, "base": Net, "theirs": Wider, "both": Both}.items():
        text = fingerprint.dumps(replace(ckpt.define(model), source=Source("m.Net")), whole=False)
        texts[name] = text.replace(f"{model.__module__}.{model.__qualname__}", "m.Net")
        (tmp_path / name).write_text(texts[name])
    sides = ["ours", "base", "theirs"]
    merged = subprocess.run(
        ["git", "merge-file", "-p", *sides], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert merged.stdout == texts["both"]
