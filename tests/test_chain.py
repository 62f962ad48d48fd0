"""Several migrations: a list applied in order, or one for each version of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_saved
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.migrated import Origin
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._migrate import toml_file
from pytest_ckpt_compat._migrate.rules import applied, usage
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._registry import chain

State = dict[str, Any]


class Net(nn.Module):
    """The model after ``steps`` renames of its layer."""

    def __init__(self, steps: int = 3) -> None:
        super().__init__()
        self.add_module(f"layer{steps}", nn.Linear(2, 2))
        self.head = nn.Linear(2, 2)


def step(number: int) -> Any:
    """The migration that leads to version ``number``."""

    def migrate(state: State) -> State:
        assert f"layer{number - 1}.weight" in state, "applied to a file of another version"
        return {key.replace(f"layer{number - 1}.", f"layer{number}."): value for key, value in state.items()}

    migrate.__name__ = f"to_{number}"
    return migrate


STEPS = {number: step(number) for number in (1, 2, 3)}


def saved(folder: Path, steps: int, **others: Any) -> Path:
    state = Net(steps).state_dict()
    torch.save({"model": state, **others} if others else state, folder / "net.pt")
    return folder / "net.pt"


# -- a list -------------------------------------------------------------------------------------------


def test_a_list_is_applied_in_order(tmp_path: Path) -> None:
    path = saved(tmp_path, 0)
    verdict = ckpt.check(path, Net, migrate=list(STEPS.values()))
    assert verdict.compatible
    assert verdict.notes == (
        "migrations to_1, to_2, to_3: renamed 2 (layer0.weight -> layer3.weight, layer0.bias -> layer3.bias)",
    )
    assert not ckpt.check(path, Net, migrate=list(STEPS.values())[::-1]).compatible


def test_what_went_where_is_told_over_the_whole_list(tmp_path: Path) -> None:
    def fuse(state: State) -> State:
        weight = torch.cat([state.pop("layer1.weight"), state.pop("head.weight")])
        return {**state, "all": weight, "half": weight[:2]}

    verdict = ckpt.check(saved(tmp_path, 0), Net, migrate=[STEPS[1], fuse])
    assert verdict.migrated is not None
    origins = verdict.migrated.origins
    assert origins["layer1.bias"] == Origin(("layer0.bias",))
    assert origins["all"].keys == ("layer0.weight", "head.weight")
    assert origins["all"].how
    assert origins["half"].keys == ("layer0.weight", "head.weight")
    assert origins["half"].how != origins["all"].how
    assert "head.bias" not in origins
    assert verdict.migrated.dropped == ()


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_what_was_saved_on_the_way_needs_the_rest_of_it_alone(tmp_path: Path, steps: int) -> None:
    """A definition's snapshot from between two migrations loads by those that came after it."""
    definition = find(Net, migrate=list(STEPS.values()))
    assert check_saved(read(saved(tmp_path, steps)), definition, Policy()).compatible
    versions = find(Net, migrate=STEPS, version=1)
    assert check_saved(read(saved(tmp_path, steps)), versions, Policy()).compatible


# -- by version -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("place", ["version", "meta.version"])
def test_a_file_gets_the_migrations_that_are_newer_than_it(tmp_path: Path, steps: int, place: str) -> None:
    others = {"version": steps} if place == "version" else {"meta": {"version": steps}}
    path = saved(tmp_path, steps, **others)
    verdict = ckpt.check(path, Net, migrate=STEPS, version=place)
    assert verdict.compatible, str(verdict)
    assert verdict.migrated is not None
    assert verdict.migrated.names == tuple(f"to_{number}" for number in range(steps + 1, 4))
    assert [each.changed for each in verdict.migrated.applied] == [number > steps for number in (1, 2, 3)]
    assert ("no migration is for a file of version 3" in verdict.notes) == (steps == 3)
    assert ckpt.check(path, Net, migrate=STEPS, version=steps).compatible
    if steps:
        assert not ckpt.check(path, Net, migrate=STEPS, version=steps - 1).compatible


def test_a_file_without_a_version_is_taken_for_the_oldest(tmp_path: Path) -> None:
    path = saved(tmp_path, 0)
    verdict = ckpt.check(path, Net, migrate=STEPS, version="version")
    assert verdict.compatible
    assert "the file has no version: taken for the oldest" in verdict.notes


def test_a_release_is_a_version(tmp_path: Path) -> None:
    """1.10 comes after 1.9, as releases are counted, and the order in which they are written is no matter."""
    by_release = {"1.10": STEPS[2], "1.9": STEPS[1], "2": STEPS[3]}
    for steps, release in enumerate(("1.8.2", "1.9", "1.10.1", "2.0")):
        path = saved(tmp_path, steps, release=release)
        assert ckpt.check(path, Net, migrate=by_release, version="release").compatible, release
    assert ckpt.check(saved(tmp_path, 1), Net, migrate=by_release, version="1.9.3").compatible


class Versioned(nn.Module):
    """A model that bumps torch's own ``_version``."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.new = nn.Parameter(torch.zeros(2))


def test_the_version_may_be_that_of_a_module(tmp_path: Path) -> None:
    def rename(state: State) -> State:
        return {"new": state["old"]}

    state = Versioned().state_dict()
    options: dict[str, Any] = {"migrate": {2: rename}, "version": "_version"}
    torch.save(state, tmp_path / "two.pt")
    assert ckpt.check(tmp_path / "two.pt", Versioned, **options).compatible
    state["old"] = state.pop("new")
    state._metadata[""]["version"] = 1  # type: ignore[attr-defined]
    torch.save(state, tmp_path / "one.pt")
    assert ckpt.check(tmp_path / "one.pt", Versioned, **options).compatible
    torch.save({"old": state["old"]}, tmp_path / "none.pt")  # as torch: no version is an old one
    assert ckpt.check(tmp_path / "none.pt", Versioned, **options).compatible


@pytest.mark.parametrize("version", [True, "two", 1.5, None, [1]])
def test_what_is_no_version_in_a_file(tmp_path: Path, version: Any) -> None:
    path = saved(tmp_path, 0, version=version)
    if version is None:
        assert ckpt.check(path, Net, migrate=STEPS, version="version").compatible
        return
    with pytest.raises(UsageError, match=r"^version version: is .*net\.pt; it must be a whole number, or"):
        ckpt.check(path, Net, migrate=STEPS, version="version")


@pytest.mark.parametrize(
    ("migrate", "version", "told"),
    [
        ({2: "models:a"}, None, "option migrate: is by version, and the file's is not known; give it as"),
        ("models:a", 2, "option version: is given, and migrate is not by version; write migrate={2:"),
        ({}, 1, "migrate: is {}; "),
        ([], None, "migrate: is []; "),
        ({"2": "models:a", 2: "models:b"}, 1, "migrate: is {'2'"),
        ({"two": "models:a"}, 1, "migrate: is {'two'"),
        ({True: "models:a"}, 1, "migrate: is {True"),
        ({2: ["models:a"]}, 1, "migrate: is {2: ['models:a']}"),
        (["models"], None, "migrate: is ['models']; "),
        ("models", None, "migrate: is 'models'; "),
        (3, None, "migration int: is not a function"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, migrate: Any, version: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        ckpt.check(saved(tmp_path, 0), Net, migrate=migrate, version=version)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.lists(st.integers(0, 30), min_size=1, unique=True),
    st.one_of(st.integers(0, 40), st.lists(st.integers(0, 40), min_size=1, max_size=4)),
)
def test_versions_are_compared_as_numbers(links: list[int], version: Any) -> None:
    """Those that are applied are the newer ones, in order: tuples of numbers are the oracle."""
    text = ".".join(map(str, version)) if isinstance(version, list) else version
    found = find(Net, migrate=dict.fromkeys(links, len), version=text).remap
    assert found is not None
    names = [link.to for link in found.for_file(ckpt.define(Net)).chain.links]
    parts = tuple(version) if isinstance(version, list) else (version,)
    padded = parts + (0,) * (4 - len(parts))
    assert names == [str(each) for each in sorted(links) if (each, 0, 0, 0) > padded]


# -- what rules do ----------------------------------------------------------------------------------------

#: They insert and take nothing away, so that no two keys become one.
_PATTERNS = ("^(?=a)", "^(?=b)", "(?=a)", r"(?=\d+)", r"^(?=a\.1)", "(?<=c)$", "^")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(_PATTERNS), max_size=5), st.sets(st.sampled_from(["a.1", "a.2", "b.1", "c"])))
def test_a_rule_is_used_where_the_result_is_another_without_it(patterns: list[str], keys: set[str]) -> None:
    """Each rename ends a key in a sign of its own, which is there where the rule was used."""
    tables = (f"[[rename]]\nfrom = '{p}'\nto = '{n}_'\n" for n, p in enumerate(patterns))
    rules = toml_file.rules_in("ckpt_compat_rules = 1\n" + "".join(tables))
    ordered = sorted(keys)
    made = {key for step in applied(rules, ordered) for key in step.new}
    uses, takes = usage(rules, ordered)
    assert [use.used for use in uses] == [any(f"{n}_" in key for key in made) for n in range(len(patterns))]
    assert all(use.taken_by in patterns for use in uses if use.taken_by)
    assert set(takes) <= keys
    for use in uses:
        assert not (use.used and use.taken_by)


def test_a_rule_whose_keys_an_operation_takes_is_told() -> None:
    rules = toml_file.rules_in(
        "ckpt_compat_rules = 1\n[[drop]]\nfrom = 'aux\\..*'\n[[rename]]\nfrom = '^aux'\nto = 'other'\n"
    )
    (drop, rename), takes = usage(rules, ["aux.a", "b"])
    assert drop.used
    assert str(rename) == r"^aux matches no key that aux\..* before it leaves"
    assert takes == {"aux.a": r"aux\..*"}


def test_a_rule_that_takes_too_much_is_told(tmp_path: Path) -> None:
    """The pattern is not anchored: it takes a key, too, that the definition wants as it is."""
    rules = tmp_path / "rules.toml"
    rules.write_text("ckpt_compat_rules = 1\n[[rename]]\nfrom = 'r'\nto = 'r3'\n")

    class Real(Net):
        def __init__(self) -> None:
            super().__init__()
            self.err = nn.Linear(2, 2)

    state = {key.replace("layer3", "layer"): value for key, value in Real().state_dict().items()}
    torch.save(state, tmp_path / "net.pt")
    verdict = ckpt.check(tmp_path / "net.pt", Real, migrate=str(rules))
    assert not verdict.compatible
    note = "rules.toml: r takes too much: the definition wants err.weight, err.bias as the file has it"
    assert note in verdict.notes


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict({"norm": nn.LayerNorm(2), "fc": nn.Linear(2, 2)})


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([("gamma$", "weight"), ("beta$", "bias"), ("^body", "trunk")], True),
        ([("^body\\.norm\\.gamma$", "trunk.norm.weight"), ("beta$", "bias"), ("^body", "trunk")], True),
        (
            [
                ("^body\\.norm\\.gamma$", "trunk.norm.weight"),
                ("^body\\.norm\\.beta$", "trunk.norm.bias"),
                ("^body", "trunk"),
            ],
            False,
        ),
    ],
)
def test_two_rules_of_which_one_takes_some_keys_of_the_other_are_named(
    tmp_path: Path, rules: list[tuple[str, str]], told: bool
) -> None:
    """A rule for a few keys above one for many takes some on purpose: what comes of them is wanted."""
    tables = (f"[[rename]]\nfrom = '{old}'\nto = '{new}'\n" for old, new in rules)
    (tmp_path / "rules.toml").write_text("ckpt_compat_rules = 1\n" + "".join(tables))
    names = {"trunk.norm.weight": "body.norm.gamma", "trunk.norm.bias": "body.norm.beta"}
    state = {
        names.get(key, key.replace("trunk", "body")): value for key, value in Trunk().state_dict().items()
    }
    torch.save(state, tmp_path / "net.pt")
    verdict = ckpt.check(tmp_path / "net.pt", Trunk, migrate=str(tmp_path / "rules.toml"))
    assert verdict.compatible is not told
    note = (
        "rules.toml: beta$ takes body.norm.beta, so ^body after it does not, though it matches; the "
        "definition wants no key that comes of that: write one rule that makes both changes, above these"
    )
    assert (note in verdict.notes) is told, verdict.notes


def test_the_former_name_is_understood() -> None:
    from pytest_ckpt_compat._registry import options

    assert options.named("here", {"remap": "models:a"}) == {"migrate": "models:a"}
    with pytest.raises(UsageError, match="option migrate: is given, and so is remap"):
        options.named("here", {"remap": "models:a", "migrate": "models:b"})
    assert chain.links(None) == ()
