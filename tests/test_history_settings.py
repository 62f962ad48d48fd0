"""``history`` and ``record`` whatever git's settings, the arguments and the cache hold."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from pytest_ckpt_compat._cli.models import model_of
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._history import commits
from pytest_ckpt_compat._history.builder import Builder
from pytest_ckpt_compat._history.cache import Cache
from pytest_ckpt_compat._history.code import code_of
from pytest_ckpt_compat._history.questions import Model
from pytest_ckpt_compat._history.record import name_of
from pytest_ckpt_compat._premerge import git as repository
from tests.repository import commit, git


@pytest.mark.parametrize("setting", ["", "off", "dense-combined", "combined", "separate", "first-parent"])
def test_what_a_merge_brings_is_listed_whatever_the_user_has_set(tmp_path: Path, setting: str) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "config", "user.name", "t")
    git(tmp_path, "config", "user.email", "t@example.com")
    (tmp_path / "net.py").write_text("width = 1\n")
    commit(tmp_path, "Begin")
    git(tmp_path, "switch", "-q", "-c", "side")
    (tmp_path / "net.py").write_text("width = 2\n")
    commit(tmp_path, "Widen")
    git(tmp_path, "switch", "-q", "main")
    (tmp_path / "other.py").write_text("depth = 1\n")
    commit(tmp_path, "Deepen")
    git(tmp_path, "merge", "-q", "--no-ff", "-m", "Merge side", "side")
    if setting:
        git(tmp_path, "config", "log.diffMerges", setting)
    head = repository.commit_at(tmp_path, "HEAD", "HEAD")
    code = code_of(head, tmp_path / "ckpt_snapshots", ["net:Net"])
    assert [each.subject for each in commits.that_touched(code, None)] == ["Begin", "Deepen", "Merge side"]


@pytest.mark.parametrize(
    ("one", "other"), [(4, "4"), (True, "True"), (None, "None"), (1.5, "1.5"), (4, " 4"), (1e5, "1e5")]
)
def test_arguments_that_read_alike_have_names_of_their_own(one: object, other: object) -> None:
    assert name_of(Model("m:K", {"n": one})) != name_of(Model("m:K", {"n": other}))


def test_plain_words_stand_in_names() -> None:
    assert name_of(Model("m:K", {"size": "small", "n": 4})) == "m.K(n=4,size=small)"


@pytest.mark.parametrize(
    "table", ["{d = 2020-01-01}", "{d = nan}", "{d = [inf]}", '{"d": NaN}', "{t = 07:00:00}"]
)
def test_arguments_that_no_snapshot_can_hold_are_refused(table: str) -> None:
    with pytest.raises(UsageError, match="has a date, a time, nan or inf in it"):
        model_of("m:K", table)


@pytest.mark.parametrize(
    "kept", [{"definition": 5}, {"error": "gone"}, {"definition": "{}"}, {"definition": [1]}]
)
def test_a_damaged_answer_of_the_cache_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: object
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = Cache()
    key = cache.key("code")
    cache.put(key, {"definition": "", "verdict": None})
    (path,) = tmp_path.rglob(key)
    path.write_bytes(zlib.compress(json.dumps(kept).encode()))
    builder = Builder()
    try:
        assert builder._kept([key, key], None) is None
    finally:
        builder.close()
