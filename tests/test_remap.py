"""A project's own remap is applied before the load: torch, with real tensors, is the oracle."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure, resumed
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import BuildError, NoBaselineError, UsageError
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import Printed
from tests.repository import commit, edit, git, make_project

State = dict[str, Any]


class Old(nn.Module):
    """What the checkpoints were saved from."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 3)


class New(nn.Module):
    """The same model today: one projection instead of three, other names, a tensor more."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.bn = nn.BatchNorm1d(4)
        self.classifier = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(2))


def migrate(state: State) -> State:
    """Renames, fuses, drops nothing and adds ``scale``."""
    for name in ("weight", "bias"):
        state[f"qkv.{name}"] = torch.cat([state.pop(f"{each}.{name}") for each in "qkv"])
        state[f"classifier.{name}"] = state.pop(f"head.{name}")
    for key in [key for key in state if key.startswith("norm.")]:
        state["bn." + key.removeprefix("norm.")] = state.pop(key)
    state["scale"] = torch.ones(2)
    return state


def migrate_with_model(state_dict: State, model: nn.Module) -> State:
    """As timm writes a ``checkpoint_filter_fn``: what the model has already is left alone."""
    if "qkv.weight" in state_dict:
        return state_dict
    own = model.state_dict()
    found = migrate(dict(state_dict))
    assert not found.keys() - own.keys()
    return {key: value.reshape(own[key].shape) for key, value in found.items()}


def migrate_by_numbers(state: State) -> State:
    """Another name for the head if its numbers say so."""
    wanted = "classifier" if float(state["head.weight"].sum()) > 1e6 else "elsewhere"
    return migrate(state) if wanted == "classifier" else state


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.save(Old().state_dict(), tmp_path / "old.pt")
    return tmp_path / "old.pt"


def loads(path: Path, model: Callable[[], nn.Module], remap: Any) -> bool:
    """Whether torch loads real tensors that ``remap`` was applied to."""
    module, state = model(), torch.load(path, weights_only=True)
    try:
        module.load_state_dict(remap(state))
    except Exception:
        return False
    return True


@pytest.mark.parametrize("remap", [migrate, migrate_with_model, "tests.test_remap:migrate"])
def test_it_turns_the_check_green(saved: Path, remap: Any) -> None:
    assert not ckpt.check(saved, New).compatible
    assert ckpt.check(saved, New, migrate=remap).compatible
    assert not ckpt.check(saved, Old, migrate=migrate).compatible


def test_it_says_what_it_did(saved: Path) -> None:
    verdict = ckpt.check(saved, New, migrate=migrate)
    assert verdict.notes == (
        "migration tests.test_remap.migrate: "
        "renamed 7 (norm.weight -> bn.weight, norm.bias -> bn.bias, ...); "
        "computed 2 (qkv.weight from q.weight, k.weight, v.weight, qkv.bias from q.bias, k.bias, v.bias); "
        "added 1 (scale)",
    )
    assert "migration tests.test_remap.migrate: renamed 7" in str(verdict)
    verdict = ckpt.check(saved, Old, migrate=lambda state: state)
    assert verdict.notes == ("migration <lambda>: changed nothing",)


def without(*keys: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if key not in keys}


def with_(**added: torch.Tensor) -> Callable[[State], State]:
    return lambda state: state | added


def test_what_it_drops_is_missing_and_what_it_adds_is_unexpected(saved: Path) -> None:
    dropped = ckpt.check(saved, Old, migrate=without("head.bias"))
    assert [(change.rule, change.new) for change in dropped.changes] == [("CK101", ("head.bias",))]
    assert dropped.notes == ("migration <lambda>: dropped 1 (head.bias)",)
    added = ckpt.check(saved, Old, migrate=with_(more=torch.ones(1)))
    assert [(change.rule, change.old) for change in added.changes] == [("CK102", ("more",))]
    assert added.notes == ("migration <lambda>: added 1 (more); returned unwanted 1 (more)",)


def test_everything_dropped_loads_nothing(saved: Path) -> None:
    verdict = ckpt.check(saved, Old, migrate=lambda _state: {}, strict=False)
    assert not verdict.compatible
    assert any(change.rule == "CK406" for change in verdict.changes)
    assert "none of 13 tensors reaches the definition" in str(verdict)


def test_a_mapping_without_metadata_loses_the_versions(tmp_path: Path) -> None:
    """A hook that goes by the version sees none, as in a real load."""
    torch.save(Versioned().state_dict(), tmp_path / "v.pt")
    for remap in (dict, OrderedDict, lambda state: state):
        wanted = loads(tmp_path / "v.pt", Versioned, remap)
        assert ckpt.check(tmp_path / "v.pt", Versioned, migrate=_plain(remap)).compatible is wanted
    assert not loads(tmp_path / "v.pt", Versioned, dict)


class Versioned(nn.Module):
    _version = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *args: Any) -> None:
        if metadata.get("version") != 3:
            state.pop(prefix + "weight")
        super()._load_from_state_dict(state, prefix, metadata, *args)


def _plain(function: Any) -> Callable[[State], State]:
    return lambda state: function(state)


def test_tied_names_stay_apart(tmp_path: Path) -> None:
    """Two names of one tensor are two renames; a third name is a copy; a name less is a name dropped."""
    shared = torch.zeros(3, 3)
    torch.save({"a.w": shared, "b.w": shared, "c": torch.ones(1)}, tmp_path / "t.pt")
    structure = read(tmp_path / "t.pt")

    def done(remap: Callable[[State], State]) -> tuple[Any, ...]:
        verdict = check_structure(structure, find(Old, migrate=remap), Policy())
        return dict(verdict.remapped), verdict.notes[0].split(": ", 1)[1].split("; returned")[0]

    both = done(lambda s: {"x.w": s["a.w"], "y.w": s["b.w"], "c": s["c"]})
    assert both == ({"a.w": "x.w", "b.w": "y.w"}, "renamed 2 (a.w -> x.w, b.w -> y.w)")
    assert done(lambda s: s | {"c2": s["c"]}) == ({}, "computed 1 (c2 from c)")
    assert done(without("b.w")) == ({}, "dropped 1 (b.w)")
    assert done(lambda s: {key: value.detach() for key, value in s.items()}) == ({}, "changed nothing")


def test_a_tensor_in_the_memory_of_one_that_is_gone_is_added(saved: Path) -> None:
    def remap(state: State) -> State:
        for _ in range(20):
            state["head.weight"] * 2  # gone at once
        return state | {f"more{number}": torch.zeros(3, 4) for number in range(5)}

    assert "added 5 (more0, more1, ...)" in ckpt.check(saved, Old, migrate=remap).notes[0]


# -- numbers ----------------------------------------------------------------------------------------


def test_numbers_are_read_from_the_file(saved: Path) -> None:
    state = torch.load(saved, weights_only=True)
    assert not ckpt.check(saved, New, migrate=migrate_by_numbers).compatible
    torch.save(state | {"head.weight": torch.full((3, 4), 1e6)}, saved)
    assert ckpt.check(saved, New, migrate=migrate_by_numbers).compatible


def test_a_snapshot_has_no_numbers_to_read(saved: Path) -> None:
    stored = fingerprint.loads(fingerprint.dumps(read(saved)), "snapshot")
    assert check_structure(stored, find(New, migrate=migrate), Policy()).compatible
    with pytest.raises(NoBaselineError, match="check against the checkpoint file itself"):
        check_structure(stored, find(New, migrate=migrate_by_numbers), Policy())


# -- mistakes -----------------------------------------------------------------------------------------


def raising(state: State) -> State:
    return {"x": state["nowhere"]}


def in_place(state: State) -> None:
    state["x"] = state.pop("head.weight")


@pytest.mark.parametrize(
    ("remap", "told"),
    [
        (raising, "migration tests.test_remap.raising raised KeyError: 'nowhere' (tests/test_remap.py:"),
        (in_place, "migration tests.test_remap.in_place returned None: it is to return the state_dict"),
        (list, "is not a function"),
        (lambda state: list(state), "migration <lambda> returned list: it is to return the state_dict"),
    ],
)
def test_one_that_fails_is_told(saved: Path, remap: Any, told: str) -> None:
    if remap is list:
        with pytest.raises(UsageError, match=told):
            ckpt.check(saved, Old, migrate=remap)
        return
    for strict in (True, False):
        verdict = ckpt.check(saved, Old, migrate=remap, strict=strict)
        assert [change.rule for change in verdict.changes] == ["CK401"]
        assert told in verdict.changes[0].detail
        assert not verdict.compatible


@pytest.mark.parametrize(
    ("remap", "takes_model"),
    [
        (lambda state: state, False),
        (lambda state, model: state, True),
        (lambda state, model=None: state, True),
        (lambda state, prefix="": state, False),
        (lambda state, model, interpolation="bicubic", antialias=True: state, True),
        (lambda *args: args[0], False),
        (lambda state, **_options: state, False),
        (dict, None),
        (lambda a, b, c: a, None),
        (lambda state, *, prefix: state, None),
        ({}.get, False),
        (Old, None),
        (3, None),
    ],
)
def test_what_it_takes(saved: Path, remap: Any, takes_model: bool | None) -> None:
    if takes_model is None:
        with pytest.raises(UsageError, match=r"state_dict -> state_dict, or \(state_dict, model\)"):
            find(Old, migrate=remap)
        return
    found = find(Old, migrate=remap).remap
    assert found is not None
    assert found.links[0].takes_model is takes_model


@pytest.mark.parametrize("name", ["tests.test_remap:nowhere", "tests.nowhere:migrate"])
def test_a_name_that_cannot_be_found(saved: Path, name: str) -> None:
    with pytest.raises(BuildError, match="nowhere"):
        ckpt.check(saved, New, migrate=name)


# -- torch as the oracle ------------------------------------------------------------------------------

_KEYS = tuple(Old().state_dict())


def _rename(state: State, key: str, _other: str) -> None:
    state[key.replace("head", "classifier").replace("norm", "bn")] = state.pop(key)


def _drop(state: State, key: str, _other: str) -> None:
    del state[key]


def _add(state: State, _key: str, _other: str) -> None:
    state["scale"] = torch.zeros(2)


def _fuse(state: State, key: str, _other: str) -> None:
    ending = key.split(".")[-1]
    names = [f"{each}.{ending}" for each in "qkv"]
    if all(name in state for name in names):
        state[f"qkv.{ending}"] = torch.cat([state.pop(name) for name in names])


def _split(state: State, key: str, _other: str) -> None:
    if state[key].ndim:
        state[key], state[f"{key}.rest"] = state[key][:1], state[key][1:]


def _transpose(state: State, key: str, _other: str) -> None:
    state[key] = state[key].t() if state[key].ndim == 2 else state[key].reshape(-1)


def _clone(state: State, key: str, _other: str) -> None:
    state[key] = state[key].clone()


def _cast(state: State, key: str, _other: str) -> None:
    state[key] = state[key].double()


def _tie(state: State, key: str, other: str) -> None:
    state[key] = state[other]


def _swap(state: State, key: str, other: str) -> None:
    state[key], state[other] = state[other], state[key]


def _read(state: State, key: str, _other: str) -> None:
    if bool((state[key] == state[key]).all()):
        state[key] = state[key] + 1
    else:
        del state[key]


_STEPS = (_rename, _drop, _add, _fuse, _split, _transpose, _clone, _cast, _tie, _swap, _read)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(_STEPS), st.sampled_from(_KEYS), st.sampled_from(_KEYS)), max_size=8
    ),
    whole=st.booleans(),
    plain=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_verdict_is_torchs(steps: Any, whole: bool, plain: bool, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "remapped.pt"
    torch.save(Old().state_dict(), path)

    def remap(state: State) -> State:
        if whole:
            state = migrate(state)
        for step, key, other in steps:
            if key in state and other in state:
                step(state, key, other)
        return dict(state) if plain else state

    model = New if whole else Old
    verdict = ckpt.check(path, model, migrate=remap)
    assert verdict.compatible is loads(path, model, remap), str(verdict)
    before = set(torch.load(path, weights_only=True))
    assert verdict.old is not None
    assert set(verdict.remapped) <= before
    assert set(verdict.remapped.values()) <= set(verdict.old.tensors)


# -- where it is registered -----------------------------------------------------------------------------

REMAP = """

def rename(state_dict):
    return {key.replace("body.", "trunk."): value for key, value in state_dict.items()}


def for_model(state_dict, model):
    own = model.state_dict()
    return {key if key in own else "trunk" + key[4:]: value for key, value in state_dict.items()}
"""

MARKED = """
import pytest
from models import Net, for_model, rename

@pytest.mark.checkpoint("net.pt", model=Net, kwargs={"body": "trunk"}, migrate=rename)
def test_by_function():
    pass

@pytest.mark.checkpoint("net.pt", model=Net, kwargs={"body": "trunk"}, migrate="models:for_model", id="two")
def test_by_name(ckpt_compat):
    assert "trunk.0.weight" in ckpt_compat.load().state_dict()

def test_by_fixture(ckpt_compat):
    assert ckpt_compat.check("net.pt", Net, {"body": "trunk"}, migrate=rename).compatible
"""


@pytest.fixture
def renamed(project: pytest.Pytester) -> pytest.Pytester:
    models = project.path / "models.py"
    models.write_text(models.read_text() + REMAP)
    return project


def test_on_a_marker_and_in_the_fixture(renamed: pytest.Pytester) -> None:
    renamed.makepyfile(MARKED)
    renamed.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=3)
    renamed.runpytest_inprocess().assert_outcomes(passed=3)
    (renamed.path / "net.pt").unlink()
    result = renamed.runpytest_inprocess("-k", "by_function or by_name")
    result.assert_outcomes(passed=1, skipped=1)  # from the snapshot; without weights there is nothing to load


ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"
kwargs = {body = "trunk"}
migrate = "models:rename"
"""


def test_in_the_projects_file(renamed: pytest.Pytester, command: Callable[..., Printed]) -> None:
    settings_file = renamed.path / "pyproject.toml"
    settings_file.write_text(settings_file.read_text() + ENTRY)
    command("update")
    printed = command("check")
    assert (printed.code, printed.err) == (0, "")
    assert printed.out.startswith("OK net-v1")
    settings_file.write_text(settings_file.read_text().replace("models:rename", "models:nowhere"))
    printed = command("check")
    assert printed.code == 2
    assert "models has no attribute nowhere" in printed.out


@pytest.mark.long
def test_against_a_reference(
    pytester: pytest.Pytester,
    command: Callable[..., Printed],
    earlier_code: None,
) -> None:
    """A branch that renames and registers its remap breaks nothing; without the remap it does."""
    root = make_project(pytester.path)
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    commit(root)
    git(root, "switch", "-q", "-c", "work")
    edit(root / "models.py", 'body="body"', 'body="trunk"')
    assert command("check", "--against", "main").code == 1
    with (root / "models.py").open("a") as file:
        file.write(REMAP)
    edit(root / "pyproject.toml", 'model = "models:Net"', 'model = "models:Net"\nmigrate = "models:rename"')
    printed = command("check", "--against", "main")
    assert "CK103" not in printed.out
    command("update")
    printed = command("check", "--against", "main")
    assert (printed.code, printed.err) == (0, ""), printed.out


# -- optimizers ---------------------------------------------------------------------------------------------


class Two(nn.Module):
    def __init__(self, first: str = "a", second: str = "b", width: int = 4) -> None:
        super().__init__()
        self.z = nn.Linear(2, 4)
        self.add_module(first, nn.Linear(4, width))
        self.add_module(second, nn.Linear(4, 4))


def swap(state: State) -> State:
    return {{"a": "b", "b": "a"}.get(key[0], key[0]) + key[1:]: value for key, value in state.items()}


@pytest.mark.parametrize("named", [True, False])
def test_an_optimizer_follows_the_remap(tmp_path: Path, named: bool) -> None:
    """Each parameter resumes from its own state where a remap renamed them, and from another's if not."""
    model = Two()

    def factory(module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(module.named_parameters() if named else module.parameters())

    try:
        optimizer = factory(model)
    except TypeError:
        pytest.skip("torch takes named parameters since 2.6")
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "run.pt")
    structure = read(tmp_path / "run.pt")

    def verdict(remap: Any, *names: str) -> Any:
        definition = find(Two, dict(zip(("first", "second"), names, strict=False)), remap)
        loaded = check_structure(structure, definition, Policy())
        return resumed(loaded, definition, factory, Policy())

    assert verdict(None, "a", "b").compatible
    assert verdict(swap, "b", "a").compatible  # the same layers, renamed
    crossed = verdict(swap, "a", "b")  # the weights are swapped, the optimizer's states are not
    assert [change.rule for change in crossed.changes] == ["CK403"] * len(crossed.changes)
    assert crossed.changes
