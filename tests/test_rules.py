"""The rules: one record each, complete, and with a page whose examples work."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.changes import Change, Kind, Policy, Severity
from pytest_ckpt_compat._core.pages import markdown
from pytest_ckpt_compat._core.rule import Rule
from pytest_ckpt_compat._core.rules import BY_ID, RULES, judge
from pytest_ckpt_compat._report.text import headline

TESTS = Path(__file__).parent

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


def blocks(rule: Rule, language: str) -> list[str]:
    """The code blocks of a language in a rule's page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", markdown(rule), re.DOTALL | re.MULTILINE)


def test_every_kind_has_one_rule_and_every_rule_its_own_id() -> None:
    assert sorted(rule.kind for rule in RULES) == sorted(get_args(Kind))
    assert len(BY_ID) == len(RULES)


@each_rule
def test_the_record_is_complete(rule: Rule) -> None:
    assert re.fullmatch(r"CK\d{3}", rule.id)
    assert rule.severity in (Severity.ERROR, Severity.WARNING, Severity.INCOMPLETE)
    assert rule.lenient in (None, Severity.WARNING)
    assert rule.phrase.format(tensors="", detail="", settings="") != rule.phrase or "{" not in rule.phrase
    for line in (rule.meaning, rule.advice, rule.phrase, rule.consequence):
        assert line == line.strip()
        assert "\n" not in line
        assert not line.endswith(".")


@each_rule
def test_its_page_explains_it(rule: Rule) -> None:
    assert markdown(rule).count(" ") > 50
    assert markdown(rule).count("\n```") % 2 == 0
    assert {*re.findall(r"CK\d{3}", markdown(rule))} <= BY_ID.keys()
    headlines = [line for block in blocks(rule, "") for line in block.splitlines() if line.startswith("CK")]
    assert {line.split()[0] for line in headlines} <= {rule.id}
    rows = [
        line.strip() for block in blocks(rule, "") for line in block.splitlines() if "   " in line.strip()
    ]
    assert {row[0] for row in rows if not row.startswith(("fix:", "then:"))} <= {rule.sign}
    prose = "\n".join((rule.what, rule.why, rule.mend, rule.accept))
    assert all(len(line) <= 105 for line in prose.splitlines())
    assert rule.mend
    assert rule.example


@each_rule
def test_some_test_expects_it(rule: Rule) -> None:
    here = Path(__file__)
    files = [path for path in (*TESTS.rglob("*.py"), *TESTS.rglob("*.txt")) if path != here]
    assert any(rule.id in path.read_text(encoding="utf-8") for path in files)


class Now(nn.Module):
    """A module of linear layers, given inputs and outputs, and of norms, given a width; with a hook."""

    def __init__(self, layers: dict[str, tuple[int, ...]], hook: Callable[..., None]) -> None:
        super().__init__()
        for name, sizes in layers.items():
            norm = len(sizes) == 1
            self.add_module(name, nn.LayerNorm(sizes) if norm else nn.Linear(sizes[0], sizes[1], bias=False))
        self._register_load_state_dict_pre_hook(hook, with_module=True)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("rule", "hook", "old", "now"),
    [
        ("CK101", "default_norm", {}, {"norm": (4,)}),
        ("CK102", "drop_aux_head", {"aux_head": (4, 9)}, {}),
        ("CK103", "rename_blocks", {"blocks": (4, 8)}, {"stages": (4, 8)}),
        ("CK104", "split_qkv", {"qkv": (4, 12)}, {"q": (4, 4), "k": (4, 4), "v": (4, 4)}),
        ("CK105", "fuse_qkv", {"q": (4, 4), "k": (4, 4), "v": (4, 4)}, {"qkv": (4, 12)}),
    ],
)
def test_the_hook_on_its_page_repairs_the_load(
    tmp_path: Path, rule: str, hook: str, old: dict[str, tuple[int, ...]], now: dict[str, tuple[int, ...]]
) -> None:
    stem: dict[str, tuple[int, ...]] = {"first": (3, 4), "last": (4, 2)}
    torch.save(Now({**stem, **old}, lambda *_: None).state_dict(), tmp_path / "old.pt")
    names: dict[str, Any] = {"nn": nn, "torch": torch}
    (code,) = blocks(BY_ID[rule], "python")
    exec(compile(code, rule, "exec"), names)
    broken = ckpt.check(tmp_path / "old.pt", model=lambda: Now({**stem, **now}, lambda *_: None))
    assert rule in {change.rule for change in broken.changes}
    assert not broken.compatible
    assert ckpt.check(tmp_path / "old.pt", model=lambda: Now({**stem, **now}, names[hook])).changes == ()


def test_a_headline_quotes_a_change_that_fails_and_not_one_that_was_accepted() -> None:
    first, second = judge([Change("load-raises", detail=f"{name} failed") for name in "AB"], Policy())
    accepted = replace(first, severity=Severity.ACCEPTED, reason="known")
    assert headline(ckpt.Verdict((accepted, second), name="v1")) == "CK401 v1: B failed"


def test_a_headline_begins_with_a_load_that_fails_and_not_with_what_is_to_be_recorded() -> None:
    (changed,) = judge([Change("definition-changed", detail="it differs")], Policy())
    (missing,) = judge([Change("missing", new=("a",))], Policy())
    both = (replace(changed, severity=Severity.ERROR), missing)
    assert headline(ckpt.Verdict(both, name="v1")) == "CK101 v1: 1 tensor missing, it differs"


def test_a_judgement_leaves_all_else_of_a_change() -> None:
    texts: dict[str, Any] = {each.name: (each.name,) for each in fields(Change)}
    change = Change(**texts)
    judged = change.judged("CK101", Severity.ERROR)
    assert judged == replace(change, rule="CK101", severity=Severity.ERROR)
