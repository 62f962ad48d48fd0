"""What a check does not pay for: imports that nothing needs, and a fold of keys that are all there are."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import types
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat import _renames as renames
from pytest_ckpt_compat._check import causes, compare
from pytest_ckpt_compat._check.compare import retyped
from pytest_ckpt_compat._core import patterns
from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import stand_ins, walk, watch
from pytest_ckpt_compat._definition.empty import empty
from pytest_ckpt_compat._definition.empty_state import empty_state, with_metadata
from pytest_ckpt_compat._definition.entries import storage_identity
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.load import attempt
from pytest_ckpt_compat._definition.walk import named_tensors
from pytest_ckpt_compat._renames.match.assignment import assigned
from tests.counting import calls


@pytest.mark.parametrize("values", [2, 5, 1000])
def test_an_assignment_is_that_of_scipy(values: int) -> None:
    random = np.random.default_rng(0)
    asked = 0
    for _ in range(500):
        table = random.integers(values, size=random.integers(1, 6, size=2)) / 7
        rows, cols = assigned(table)
        expected = linear_sum_assignment(table, maximize=True)
        assert (rows.tolist(), cols.tolist()) == tuple(map(np.ndarray.tolist, expected))
        fewer = table if table.shape[0] <= table.shape[1] else table.T
        asked += len(set(fewer.argmax(axis=1))) < len(fewer)
    assert asked  # of some, scipy had to be


def test_an_assignment_of_nothing() -> None:
    assert [each.tolist() for each in assigned(np.empty((0, 3)))] == [[], []]


_KEY = st.lists(st.sampled_from(["a", "b", "0", "1", "layers", ""]), min_size=1, max_size=4).map(".".join)


@given(st.lists(_KEY, unique=True, max_size=12))
def test_all_keys_fold_to_what_they_would_with_a_look_at_each(keys: list[str]) -> None:
    slowly = patterns._fold([(key, key) for key in keys], keys, keys, True)
    found = patterns.fold(keys, keys)
    assert [(each.pattern, each.keys) for each in found] == [
        (each.old_pattern, tuple(old for old, _ in each.pairs)) for each in slowly
    ]


@pytest.mark.parametrize(("rows", "asked"), [((5, 6), False), ((8, 4), True)])
def test_tensors_that_only_grew_are_not_looked_for_elsewhere(
    rows: tuple[int, int], asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 4 and 8 rows became others; or each has those that the other had."""
    calls: list[bool] = []
    infer = renames.infer

    def noted(*given: Any) -> Any:
        calls.append(True)
        return infer(*given)

    monkeypatch.setattr(renames, "infer", noted)
    old = {"a.weight": ckpt.TensorSpec("float32", (4, 3)), "b.weight": ckpt.TensorSpec("float32", (8, 3))}
    new = {key: ckpt.TensorSpec("float32", (number, 3)) for key, number in zip(old, rows, strict=True)}
    verdict = ckpt.diff(ckpt.Structure(old), ckpt.Structure(new))
    assert not verdict.compatible
    assert verdict.notes == ()
    assert bool(calls) == asked


def test_the_names_of_a_module_that_reads_no_files_are_not_looked_at_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    several = {f"name_{number}": object() for number in range(10_000)}
    reading, other = types.ModuleType("reading"), types.ModuleType("other")
    vars(reading).update(load=torch.load)
    vars(other).update(several)
    modules = {"reading": reading, "other": other}
    monkeypatch.setattr(stand_ins, "sys", types.SimpleNamespace(modules=modules))
    stand_in = object()
    with calls() as counted:
        stand_ins._exchange({id(torch.load): stand_in})
        made = counted()
    assert vars(reading)["load"] is stand_in
    assert several.items() <= vars(other).items()
    assert made < 1_000


_SHOWN = """
import sys
from pytest_ckpt_compat._cli.main import main
main(["show", sys.argv[1]])
print(*sorted(sys.modules), file=sys.stderr)
"""


def test_show_imports_no_other_command_and_no_rule(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "a.pt")
    command = [sys.executable, "-c", _SHOWN, str(tmp_path / "a.pt")]
    imported = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stderr.split()
    package = "pytest_ckpt_compat"
    assert {f"{package}._cli.show", f"{package}._readers"} <= set(imported)
    unwanted = {"hashlib", "decimal", "pytest", f"{package}._core.rules", f"{package}._registry.registration"}
    unwanted |= {
        f"{package}.{name}" for name in ("_snapshots.fingerprint", "_core.migrated", "_core.outputs")
    }
    assert not unwanted & set(imported)
    commands = {"diff", "migrate", "convert", "update", "accept", "review", "retire", "check", "history"}
    assert not {f"{package}._cli.{name}" for name in commands} & set(imported)


_HOOKED = """
import sys, torch
from pytest_ckpt_compat import check

torch.save(torch.nn.Linear(2, 3).state_dict(), sys.argv[1])
sys.addaudithook = print  # what it is given stays for good, and Python calls it at each id()
assert check(sys.argv[1], lambda: torch.nn.Linear(2, 3)).compatible
"""


def test_a_check_leaves_no_audit_hook(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOOKED, str(tmp_path / "a.pt")]
    assert subprocess.run(command, check=True, timeout=120, stdout=subprocess.PIPE, text=True).stdout == ""


_RESIZED = """
import sys, torch
from safetensors.torch import save_file
from pytest_ckpt_compat import check

save_file(torch.nn.Linear(2, 3).state_dict(), sys.argv[1])
verdict = check(sys.argv[1], lambda: torch.nn.Linear(4, 6))
assert "2 became 4 (and 3 became 6) in all of them" in str(verdict), str(verdict)
print(*sorted(sys.modules))
"""


#: In the same process.
_RENAMED = """
from torch import nn

class Layers(nn.Module):
    def __init__(self, out="out"):
        super().__init__()
        parts = ({"inner": nn.Linear(4, 5), out: nn.Linear(5, 4)} for _ in range(2))
        self.layers = nn.ModuleList(nn.ModuleDict(each) for each in parts)

torch.save(Layers(out="dense").state_dict(), sys.argv[2])
verdict = check(sys.argv[2], Layers)
assert [change.kind for change in verdict.changes] == ["renamed"] * 4, str(verdict)
print(*sorted({"scipy", "numpy.ma", "torch._dynamo"} & sys.modules.keys()))
"""


def test_a_check_imports_nothing_for_what_it_is_not_given(tmp_path: Path) -> None:
    """Migrations, parts, a loader, a pickle, snapshots, and outputs or modules of a definition as it was.

    And no scipy for a plain rename.
    """
    paths = [str(tmp_path / "a.safetensors"), str(tmp_path / "old.pt")]
    command = [sys.executable, "-c", _RESIZED + _RENAMED, *paths]
    printed = subprocess.run(command, check=True, timeout=120, stdout=subprocess.PIPE, text=True).stdout
    imported, for_the_rename = printed.splitlines()
    assert for_the_rename == ""
    unwanted = {
        *("_core.migrated", "_core.outputs", "_core.training_runs", "_check.parts", "_check.settings"),
        *("_definition.loader", "_definition.opening", "_definition.constructor_advice"),
        *("_registry.registration", "_snapshots.fingerprint", "_snapshots.accepted"),
    }
    assert not {"fractions", *(f"pytest_ckpt_compat.{name}" for name in unwanted)} & set(imported.split())


def _nested(levels: int) -> torch.nn.Module:
    whole = part = torch.nn.Module()
    for _ in range(levels):
        part.layer, part.inner = torch.nn.Linear(1, 1), torch.nn.Module()
        part = part.inner
    return whole


def test_the_metadata_of_nested_modules_are_not_joined_key_by_key() -> None:
    counted = []
    for levels in (50, 200):
        with torch.device("meta"):
            structure = ckpt.define(_nested(levels))
        with calls() as counter:
            metadata = with_metadata(dict.fromkeys(structure.tensors), structure)._metadata  # type: ignore[attr-defined]
            counted.append(counter())
        assert len(metadata) == 2 * levels  # an empty one has no key
    assert counted[1] <= 5 * counted[0]


def test_named_tensors_are_those_of_torch() -> None:
    module = _nested(3)
    module.again = module.inner
    module.register_buffer("mean", torch.zeros(1))
    named = dict(module.named_parameters(remove_duplicate=False)) | dict(
        module.named_buffers(remove_duplicate=False)
    )
    found = dict(named_tensors(module))
    assert found.keys() == named.keys()
    assert all(found[name] is named[name] for name in named)
    module.get_submodule("inner").add_module("whole", module)
    with pytest.raises(RecursionError, match="a module is in itself"):
        list(named_tensors(module))


def test_a_check_visits_the_modules_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(_nested(5).state_dict(), tmp_path / "a.pt")
    walks = []
    own = walk.parts_of

    def counted(module: torch.nn.Module) -> Any:
        walks.append(module)
        return own(module)

    for name, each in list(sys.modules.items()):
        if name.startswith("pytest_ckpt_compat.") and getattr(each, "parts_of", None) is own:
            monkeypatch.setattr(each, "parts_of", counted)
    assert ckpt.check(tmp_path / "a.pt", lambda: _nested(5)).compatible
    assert len(walks) <= 2  # four before


@given(st.lists(st.integers(0, 5), max_size=5))
def test_the_strides_that_a_contiguous_tensor_gets_are_torchs(shape: list[int]) -> None:
    assert empty(ckpt.TensorSpec("float32", tuple(shape)), "meta").stride() == torch.empty(shape).stride()


@pytest.mark.parametrize("inner", [5, 6])
def test_no_module_waits_for_the_garbage_collector(tmp_path: Path, inner: int) -> None:
    torch.save(_nested(5).state_dict(), tmp_path / "a.pt")
    built: list[weakref.ref[torch.nn.Module]] = []

    def model() -> torch.nn.Module:
        module = _nested(inner)
        built.append(weakref.ref(module))
        return module

    gc.disable()
    try:
        verdict = ckpt.check(tmp_path / "a.pt", model)
        assert verdict.compatible == (inner == 5)
        assert built
        assert not any(each() is not None for each in built)
    finally:
        gc.enable()


def test_a_load_makes_one_tensor_of_a_key_and_looks_at_few_storages(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = ckpt.Structure(
        {f"{number}.weight": ckpt.TensorSpec("float32", (2, 2)) for number in range(9)}
    )
    made: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("empty", "empty_strided"):
            patch.setattr(torch, name, _noted(getattr(torch, name), made))
        state = empty_state(structure, "meta")
    assert made == ["empty_strided"] * 9  # and no other for its strides
    looked: list[str] = []
    monkeypatch.setattr(watch, "storage_identity", _noted(storage_identity, looked))
    module = torch.nn.Sequential(*(torch.nn.Linear(2, 2, bias=False, device="meta") for _ in range(9)))
    definition = find(torch.nn.Sequential)
    found = attempt(module, state, structure, definition, True, module.state_dict(keep_vars=True))
    assert found.outcome.complete
    assert len(looked) == 3 * 9  # before the load, of what it was given, and of what was written to


def _noted(function: Any, calls: list[str]) -> Any:
    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append(function.__name__)
        return function(*args, **kwargs)

    return noted


_NAMES = ("up.weight", "up.weight_scale", "down.bias", "norm.running_mean", "0.weight_g", "lora_A.weight")
_DTYPES = ("float32", "bfloat16", "float8_e4m3fn", "int8", "uint8", "complex64", "bool", "object")
_SIDE = st.dictionaries(st.sampled_from(_NAMES), st.sampled_from(_DTYPES), min_size=1)


@given(_SIDE, _SIDE)
def test_casts_have_the_causes_that_every_step_finds(before: dict[str, str], after: dict[str, str]) -> None:
    old, new = (
        ckpt.Structure({key: ckpt.TensorSpec(dtype, (4, 4)) for key, dtype in side.items()})
        for side in (before, after)
    )
    casts = tuple(retyped(old, new))
    slowly: Sequence[Change] = casts
    for step in causes._STEPS if casts else ():
        slowly = step(slowly, old, new)
    assert causes.with_causes(casts, old, new) == tuple(slowly)


def test_a_cast_is_looked_at_a_few_times() -> None:
    """A model in another dtype has one a tensor: 39 calls of functions for each, when every step looked."""
    made = []
    for number in (100, 200):
        keys = [f"layers.{each}.weight" for each in range(number)]
        old, new = (
            ckpt.Structure({key: ckpt.TensorSpec(dtype, (4, 4)) for key in keys})
            for dtype in ("bfloat16", "float32")
        )
        with calls() as counted:
            assert len(causes.with_causes(tuple(retyped(old, new)), old, new)) == number
            made.append(counted())
    assert (made[1] - made[0]) / 100 < 15


def _of_dtypes(dtypes: Sequence[str]) -> ckpt.Structure:
    shapes = itertools.cycle([(4, 4), (4,)])
    specs = map(ckpt.TensorSpec, dtypes, shapes)
    return ckpt.Structure({f"layers.{number}.weight": spec for number, spec in enumerate(specs)})


def _calls_of_report(number: int, *before: str) -> int:
    """Calls of functions that a report of casts to int8 or float32 makes, of a number of keys."""
    old = [*itertools.islice(itertools.cycle(before), number)]
    new = ["int8" if dtype == "float32" else "float32" for dtype in old]
    verdict = ckpt.diff(_of_dtypes(old), _of_dtypes(new))
    with calls() as counted:
        assert f"{number:,} tensors" in str(verdict)
        return counted()


def test_a_report_looks_at_each_cast_a_few_times() -> None:
    """A row stands for all of them: 9 calls of functions for each, when each severity was looked for."""
    assert (_calls_of_report(200, "bfloat16") - _calls_of_report(100, "bfloat16")) / 100 < 3


@given(st.lists(st.sampled_from(Severity)), st.sets(st.sampled_from(Severity)))
def test_changes_of_severities_are_in_report_order(judged: list[Severity], asked: set[Severity]) -> None:
    changes = [Change("missing", new=(str(number),), severity=each) for number, each in enumerate(judged)]
    slowly = [change for change in changes if change.severity in asked]
    assert [*Verdict(tuple(changes)).of(*asked)] == slowly


def test_casts_that_lose_something_are_not_looked_for_among_those_that_do_not() -> None:
    """Of n casts of which half lose something, a headline compared each with each."""
    dtypes = "float32", "bfloat16"
    assert _calls_of_report(1600, *dtypes) < 4.5 * _calls_of_report(400, *dtypes)


class _Key(str):
    """A key that counts how often it is compared with one that it is not."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        _Key.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_tensors_tied_in_one_group_are_not_compared_with_each_other() -> None:
    """For each of n missing keys, each of its n aliases was looked for in a list of n."""
    spec = ckpt.TensorSpec("float32", (2,))
    keys = tuple(_Key(f"layers.{number}.weight") for number in range(100))
    new = ckpt.Structure(dict.fromkeys(keys, spec), aliases=(keys,))
    _Key.compared = 0
    changes = compare.compare(ckpt.Structure({}), new)
    assert [change.new[0] for change in changes if change.kind == "missing"] == [*keys]
    assert _Key.compared < 10 * len(keys)


def test_a_missing_key_names_the_first_of_its_tensor_that_is_there() -> None:
    spec = ckpt.TensorSpec("float32", (2,))
    groups = (("a", "b", "c"), ("d", "e"))
    new = ckpt.Structure(dict.fromkeys("abcdef", spec), aliases=groups)
    assert compare.tied_to(new, frozenset("ab")) == {"a": "c", "b": "c", "d": "e", "e": "d"}
    assert compare.tied_to(new, frozenset("ade")) == {"a": "b", "b": "c", "c": "b"}
