"""The parts of ``history`` and ``record`` that need no process: search, walk, cache, tables."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ckpt_compat._core import toml
from pytest_ckpt_compat._core.errors import SnapshotError, UsageError
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._history import cache, questions, released
from pytest_ckpt_compat._history.bisect import Break, State, first_bad
from pytest_ckpt_compat._history.cache import Cache
from pytest_ckpt_compat._history.commits import Code, Commit
from pytest_ckpt_compat._history.lines import change_of, summary, table
from pytest_ckpt_compat._history.questions import Answer, Load, Model
from pytest_ckpt_compat._history.record import glob_of, name_of
from pytest_ckpt_compat._history.walk import walk
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._snapshots import project_tables

STATES = st.sampled_from(["good", "bad", "unknown"])


@given(st.lists(STATES, max_size=30))
def test_a_break_is_between_what_is_known(states: list[State]) -> None:
    states = [*states, "bad"]
    asked: list[int] = []

    def probe(place: int) -> State:
        asked.append(place)
        return states[place]

    found = first_bad(len(states), probe)
    if found is None:
        assert "good" not in states
        return
    assert states[found.good] == "good"
    assert states[found.bad] == "bad"
    assert found.unknown == tuple(range(found.good + 1, found.bad))
    assert all(states[place] == "unknown" for place in found.unknown)


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_single_break_is_found_by_halves(good: int, bad: int) -> None:
    asked: set[int] = set()

    def probe(place: int) -> State:
        asked.add(place)
        return "good" if place < good else "bad"

    assert first_bad(good + bad, probe) == Break(good - 1, good)
    assert len(asked) <= (good + bad).bit_length() + 2


def test_without_a_good_end_the_last_break_is_found() -> None:
    states: list[State] = ["bad", "good", "bad", "good", "bad", "bad"]
    assert first_bad(len(states), states.__getitem__) == Break(3, 4)
    assert first_bad(1, lambda _: "bad") is None


def structure(*keys: str) -> Structure:
    return Structure({key: TensorSpec("float32", (2,)) for key in keys}, versions={})


def told(answers: Mapping[str, Answer]) -> list[tuple[str, str, tuple[str, ...]]]:
    """State, commit and gap of each step."""

    def ask(commit: Commit, load: Load | None) -> Answer:
        found = answers[commit.id]
        if load is None or load.structure == found.definition or found.definition is None:
            return found
        return Answer(found.definition, Verdict(old=load.structure, new=found.definition))

    steps = walk([Commit(name) for name in answers], ask)
    return [(step.state, step.commit.id, tuple(each.id for each in step.unsure)) for step in steps]


def test_a_walk_tells_every_state() -> None:
    one, two, gone, bad = structure("a"), structure("b"), Answer(absent="no"), Answer(problem="broken")
    answers = {
        "0": gone,
        "1": Answer(one),
        "2": Answer(one),
        "3": bad,
        "4": bad,
        "5": Answer(two),
        "6": gone,
        "7": gone,
        "8": Answer(two),
        "9": bad,
        "A": gone,
        "B": Answer(one),
    }
    assert told(answers) == [
        ("first", "1", ()),
        ("unbuildable", "3", ()),
        ("unbuildable", "4", ()),
        ("changed", "5", ("3", "4")),
        ("absent", "6", ()),
        ("back", "8", ()),
        ("unbuildable", "9", ()),
        ("absent", "A", ("9",)),
        ("changed", "B", ()),
    ]


def test_an_unbuildable_commit_is_never_no_change() -> None:
    assert told({"0": Answer(problem="x"), "1": Answer(problem="x")}) == [
        ("unbuildable", "0", ()),
        ("unbuildable", "1", ()),
    ]


def test_the_same_failure_is_told_once() -> None:
    commits = [Commit(f"{number}" * 40, "2026-01-01", "t", "s\x1b[31m") for number in range(4)]
    bad = Answer(problem="it raised \x1b[31m")
    steps = list(walk(commits, lambda commit, _: bad if commit.id[0] in "12" else Answer(structure("a"))))
    rows = table(steps)
    assert len(rows) == 3
    assert "cannot be built, nor can 1 more, up to 22222222: it raised \\x1b[31m" in rows[2]
    assert "\x1b" not in "".join(rows)
    assert (
        summary(steps, commits)
        == "0 changes in 4 commits that touched the code; 2 commits could not be built"
    )
    assert change_of(steps[0]) == "there for the first time: 1 tensor"


def test_an_order_of_tensors_that_changed_is_told() -> None:
    one, two = structure("a", "b"), structure("b", "a")
    answers = [Answer(one), Answer(two, Verdict(old=one, new=two))]
    steps = list(walk([Commit("1"), Commit("2")], lambda commit, _: answers[int(commit.id) - 1]))
    assert [change_of(step) for step in steps][1] == "order of keys"
    assert steps[1].loads is True


def test_an_answer_is_read_as_it_was_given() -> None:
    one, two = structure("a"), structure("b")
    data = questions.as_data(two, Verdict(old=one, new=two, where="m.py:1", notes=("n",)))
    found = questions.read(data)
    assert found.definition == two
    assert found.verdict is not None
    assert (found.verdict.old, found.verdict.new, found.verdict.notes) == (one, two, ("n",))
    assert questions.read({"error": "x"}) == Answer(problem="x")
    assert questions.read({"absent": "x"}) == Answer(absent="x")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setattr(cache, "private_cache", lambda: tmp_path)
    return Cache()


def test_the_cache_keeps_and_is_private(kept: Cache, tmp_path: Path) -> None:
    key = kept.key("code", {"width": 2})
    assert key != kept.key("code", {"width": 3})
    assert kept.get(key) is None
    kept.put(key, {"definition": "x" * 10_000})
    assert kept.get(key) == {"definition": "x" * 10_000}
    assert stat.S_IMODE((tmp_path / "history").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "history").iterdir()] == [key]


def test_what_is_installed_is_part_of_the_key(
    tmp_path: Path, kept: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "lib-2.0.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    assert Cache().key("code") != kept.key("code")


@pytest.mark.parametrize("text", [b"", b"nonsense", b"x\x9c", b"\x00" * 100])
def test_a_damaged_entry_counts_as_none(kept: Cache, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "history" / "k").write_bytes(text)
    assert kept.get("k") is None


def test_two_writers_leave_one_whole_entry(kept: Cache, tmp_path: Path) -> None:
    found = [{"writer": number, "text": str(number) * 50_000} for number in range(4)]

    def write(data: dict[str, object]) -> None:
        for _ in range(20):
            kept.put("k", data)

    threads = [threading.Thread(target=write, args=(data,)) for data in found]
    for thread in threads:
        thread.start()
    seen: list[Any] = [kept.get("k") for _ in range(50)]
    for thread in threads:
        thread.join()
    assert all(each is None or each in found for each in (*seen, kept.get("k")))
    assert [path.name for path in (tmp_path / "history").iterdir()] == ["k"]


def test_the_cache_is_bounded(kept: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        kept.put(f"k{number}", {"noise": os.urandom(500).hex()})
        os.utime(tmp_path / "history" / f"k{number}", (number, number))
    kept.get("k0")  # used just now
    size = (tmp_path / "history" / "k0").stat().st_size
    monkeypatch.setattr(cache, "MOST_BYTES", 3 * size + size // 2)
    kept.close()
    assert sorted(path.name for path in (tmp_path / "history").iterdir()) == ["k0", "k4", "k5"]


def test_without_a_private_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "private_cache", lambda: None)
    found = Cache()
    found.put("k", {})
    assert found.get("k") is None
    found.close()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("pkg/net.py", True),
        ("pkg/sizes.yaml", True),
        ("pkg/vocab.txt", True),
        ("README.md", False),
        (".github/workflows/x.py", False),
        ("weights/v1.pt", False),
        ("snaps/net.json", False),
        ("snaps2/net.json", True),
    ],
)
def test_what_counts_as_code(name: str, counts: bool) -> None:
    base = git.Base("HEAD", "0" * 40, "", Path(), "", Path())
    assert Code(base, (".",), "snaps").has(name) is counts
    assert Code(base, ("src",)).has(name) is False
    assert Code(base, ("src",)).has(f"src/{name}") is (counts or name.startswith("snaps/"))


TABLE = {
    "path": "pkg.Net(width=2)@*",
    "model": "pkg:Net",
    "kwargs": {"width": 2, "a b": ["x", True, 1.5, {}]},
}


@pytest.mark.parametrize(
    ("file", "before"),
    [
        ("", None),
        ("ckpt_compat.toml", "[tool.ckpt_compat]\nlevel = 'backward'"),
        ("pyproject.toml", "[project]\r\nname = 'x'\r\n\r\n[tool.ckpt_compat]\r\n# kept\r\n"),
        ("pyproject.toml", "[[tool.ckpt_compat.checkpoint]]\npath = 'x.pt'\nmodel = 'm:N'\n"),
    ],
)
def test_a_table_is_added_at_the_end(tmp_path: Path, file: str, before: str | None) -> None:
    if before is not None:
        (tmp_path / file).write_bytes(before.encode())
    name = project_tables.add(tmp_path, file, [TABLE])
    assert name == (file or "ckpt_compat.toml")
    text = (tmp_path / name).read_bytes().decode()
    assert text.startswith(before or "")
    assert ("\r\n" in text) == ("\r\n" in (before or ""))
    assert text.count("\n") == text.count("\r\n") or "\r\n" not in text
    assert toml.parse(text)["tool"]["ckpt_compat"]["checkpoint"][-1] == TABLE


@pytest.mark.parametrize(
    "before", ["[tool.ckpt_compat]\ncheckpoint = []\n", "tool.ckpt_compat = {}\n", "not = = toml"]
)
def test_a_file_that_takes_no_table_stays(tmp_path: Path, before: str) -> None:
    (tmp_path / "pyproject.toml").write_text(before)
    wanted = (
        r"add by hand, a line each: \[\[tool.ckpt_compat.checkpoint\]\], path = \"pkg.Net\(width=2\)@\*\", "
    )
    with pytest.raises(SnapshotError, match=wanted):
        project_tables.add(tmp_path, "pyproject.toml", [TABLE])
    assert (tmp_path / "pyproject.toml").read_text() == before


def test_names_of_recorded_pasts() -> None:
    plain, odd = Model("pkg:Net", {"width": 2}), Model("pkg:Net", {"sizes": [1, 2]})
    assert name_of(plain) == "pkg.Net(width=2)"
    assert name_of(odd).startswith("pkg.Net(")
    assert name_of(odd) != name_of(Model("pkg:Net", {"sizes": [1, 3]}))
    assert glob_of(plain, "pkg.Net(width=2)@v1.0") == "pkg.Net(width=2)@*"
    assert glob_of(plain, "pkg.Net(width=2)@rel/1.0") == "pkg.Net(width=2)@rel/*"
    odd = Model("pkg:Net", {"name": "a[b]"})
    assert glob_of(odd, "pkg.Net(name=a[b])@v1") == "pkg.Net(name=a[[]b])@*"


@pytest.mark.parametrize("text", ["net", "net>=1", "-r==1", "net==", "net==1;x", "a b==1", "git+x==1"])
def test_a_release_is_pinned(text: str) -> None:
    with pytest.raises(UsageError, match=r"write it as name==1\.0"):
        released.pinned(text)
    assert released.pinned("x-transformers==1.0.0rc1") == ("x-transformers", "1.0.0rc1")
