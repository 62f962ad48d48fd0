"""What is the same of several checkpoints is printed once, with all ids; what differs is never folded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_ckpt_compat._report import alike
from pytest_ckpt_compat._report.summary import Entry
from tests.conftest import Filled, Printed
from tests.repository import make_project

Command = Callable[..., Printed]


def broken(identifier: str, key: str = "head.weight", note: str = "") -> Entry:
    """A checkpoint that lacks a key, and what its report says, with its names in it."""
    change = {"rule": "CK101", "severity": "error", "old": [], "new": [key], "detail": ""}
    text = (
        f"CK101 {identifier}: 1 tensor missing\n\n  runs/{identifier}.pt -> models.Net\n\n  + {key}\n"
        f"  note: {note}recorded in ckpt_snapshots/{identifier}.json\n\n  CK101: train it\n"
        f'  accept: ckpt-compat accept {identifier} --rule CK101 --reason "..."'
    )
    data = {"old": {"source": f"runs/{identifier}.pt"}, "changes": [change], "notes": []}
    return Entry(identifier, "broken", text.partition("\n")[0], text, data=data)


def test_a_break_that_several_share_is_one_block() -> None:
    (text,) = alike.blocks(broken(f"run-{at}") for at in range(3))
    assert text == (
        "CK101 run-0 and 2 more: 1 tensor missing\n\n  runs/run-0.pt -> models.Net\n\n  + head.weight\n"
        "  note: recorded in ckpt_snapshots/run-0.json\n\n  CK101: train it\n"
        '  accept: ckpt-compat accept run-0 run-1 run-2 --rule CK101 --reason "..."\n'
        "  same:   run-1, run-2"
    )


def test_a_file_that_sorts_its_keys_breaks_as_the_one_that_does_not() -> None:
    one, other = broken("a"), broken("b")
    changes = [*one.data["changes"], *broken("a", "head.bias").data["changes"]]
    one = replace(one, data={**one.data, "changes": changes})
    other = replace(other, data={**other.data, "changes": changes[::-1]})
    assert alike.groups([one, other]) == [(one, other)]


def unread(identifier: str, problem: str = "HTTP 503") -> Entry:
    """A checkpoint whose server gives no answer."""
    detail = f"https://hub/{identifier}.pt: it cannot be fetched ({problem}); check the address"
    change = {"rule": "CK905", "kind": "unreadable", "old": [], "new": [], "detail": detail}
    line = f"CK905 {identifier}: {detail}"
    data = {"old": {"source": ""}, "changes": [change], "notes": []}
    return Entry(identifier, "unknown", line, line, data=data)


def test_many_that_cannot_be_read_for_one_cause_are_one_block() -> None:
    found = alike.blocks([unread("a"), unread("b", "HTTP 500"), *(unread(f"run-{at}") for at in range(2))])
    assert found == [
        "CK905 a and 2 more: https://hub/a.pt: it cannot be fetched (HTTP 503); check the address\n"
        "  same:   run-0, run-1",
        unread("b", "HTTP 500").text,
    ]


@pytest.mark.parametrize(
    "problem",
    [
        "it ends at byte {0:,}, before the data it announces",
        "its header describes 5,000 bytes of data, but the file has {0:,}",
        "its format is unknown: it has {0:,} bytes and begins with 00",
    ],
)
def test_many_that_are_cut_off_anywhere_are_one_block(problem: str) -> None:
    found = alike.blocks([unread(f"run-{at}", problem.format(at)) for at in (10, 2_000)])
    assert found == [
        f"CK905 run-10 and 1 more{unread('run-10', problem.format(10)).text[12:]}\n  same:   run-2000"
    ]


def test_one_alone_is_as_it_was() -> None:
    entries = [broken("a"), broken("b", "tail.weight")]
    assert alike.blocks(entries) == [each.text for each in entries]
    same = [broken("a"), broken("b")]
    assert alike.blocks(same, full=True) == [each.text for each in same]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (broken("a", "a.weight"), broken("b", "b.weight")),
        (broken("5", note="5 rows are "), broken("6", note="6 rows are ")),
        (broken("a", note="of a "), broken("b", note="of b ")),
        (broken("a"), replace(broken("b"), state="unknown")),
        (broken("a"), replace(broken("b"), hints=("open: elsewhere",))),
    ],
    ids=["keys named as the ids are", "numbers as ids", "names in prose", "states", "hints"],
)
def test_what_differs_in_more_than_names_stays_apart(one: Entry, other: Entry) -> None:
    assert alike.blocks([one, other]) == [one.text, other.text]


def test_every_id_is_named_where_no_command_has_them() -> None:
    def plain(entry: Entry) -> Entry:
        return replace(entry, text=entry.text.rpartition("\n")[0])

    many = [broken(f"run-{at}") for at in range(40)]
    (text,) = alike.blocks(map(plain, many))
    assert text.endswith("  same:   " + ", ".join(f"run-{at}" for at in range(1, 40)))
    (text,) = alike.blocks(many)
    assert "accept run-0 run-1 run-2 " in text
    assert text.endswith(", run-7, run-8, and 31 more")


@pytest.fixture
def forty(pytester: pytest.Pytester, filled: Filled) -> Path:
    """Forty checkpoints of two definitions, of which one does not load them any more."""
    entry = '[[tool.ckpt_compat.checkpoint]]\nid = "net-{at}"\npath = "net.pt"\nmodel = "models:Net"\n'
    entries = [entry.format(at=at) for at in range(40)]

    def fill() -> None:
        make_project(pytester.path, "".join(entries))
        pytester.inline_run("--ckpt-update", "-q")

    filled("forty", fill)
    settings = pytester.path / "pyproject.toml"
    text = settings.read_text()
    for at in range(0, 40, 2):
        text = text.replace(entries[at], entries[at] + "kwargs = { classes = 7 }\n")
    settings.write_text(text)
    return pytester.path


def test_a_check_of_many_fits_a_screen(forty: Path, command: Command) -> None:
    printed = command("check", "--report", "all.json", "--report", "all.md")
    assert printed.out.startswith("breaks: 20\n\nCK202 net-0 and 19 more: head resized\n")
    assert printed.out.count("head.weight") == 1
    assert printed.out.count("ckpt-compat accept net-0 net-2 net-4 ") == 1
    assert "OK net-1 and 19 more: 6 tensors load\n  same:   net-3, net-5, " in printed.out
    assert len(printed.out.splitlines()) < 25, printed.out
    found = json.loads((forty / "all.json").read_text())["checkpoints"]
    assert {each["id"] for each in found if each["state"] == "broken"} >= {"net-0", "net-38"}
    page = (forty / "all.md").read_text(encoding="utf-8")
    assert page.count("<details>") == 1
    assert page.count("| ❌ | net-") == 20
    printed = command("report", "merge", "all.json")
    assert printed.out.startswith("breaks: 20\n\nCK202 net-0 and 19 more: head resized\n")
    assert command("check", "-vv").out.count("head.weight   ") == 20


def test_what_it_offers_accepts_them_all(forty: Path, command: Command) -> None:
    out = command("check").out
    (line,) = [line for line in out.splitlines() if line.startswith("  accept: ")]
    words = line.partition("ckpt-compat ")[2].partition(" --key")[0].split()
    assert command(*words, "--reason", "seven classes").code == 0
    assert command("update").code == 0
    assert command("check").code == 0
