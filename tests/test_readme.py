"""The README tells the truth: its diff is a real one, its rules are the rule table."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_ckpt_compat._core.rules import RULES
from pytest_ckpt_compat._registry.options import OPTIONS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_diff_is_what_the_refactor_prints() -> None:
    shown = re.search(r"<!-- (tests/golden/\w+\.txt) -->\n```\n(.*?)```", README, re.DOTALL)
    assert shown
    assert shown[2] == (ROOT / shown[1]).read_text(encoding="utf-8")


def test_the_rules_are_the_rule_table() -> None:
    lines = ["| id | kind | severity | meaning |", "|---|---|---|---|"]
    for rule in sorted(RULES, key=lambda rule: rule.id):
        lenient = f" (`strict=False`: {rule.lenient.value})" if rule.lenient else ""
        lines.append(f"| {rule.id} | {rule.kind} | {rule.severity.value}{lenient} | {rule.meaning} |")
    table = "\n".join(lines)
    assert table in README, f"the README should hold:\n{table}"


def test_every_marker_option_is_documented() -> None:
    for option in OPTIONS:
        assert f"| `{option.name}` |" in README


def test_every_rule_is_seen_in_some_test() -> None:
    folder = Path(__file__).parent
    files = [*folder.rglob("*.py"), *folder.rglob("*.txt")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    unseen = [rule.id for rule in RULES if not any(rule.id in text for text in texts)]
    assert not unseen


def test_ci_runs_the_readmes_test_command() -> None:
    commands = re.search(r"```sh\n(.*)\n(.*)\n```", README)
    assert commands
    assert commands[2] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_first_screen_has_the_two_commands_and_the_diff() -> None:
    first = README.split("## Use it")[0]
    assert first.count("\n") < 45
    assert first.count("python3 -m venv") == 2
