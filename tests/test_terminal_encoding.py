"""Terminals that cannot show every letter get escapes; files are UTF-8, under any locale."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.display import escape_what_cannot_be_shown, typed
from pytest_ckpt_compat._snapshots import store
from tests.conftest import MODELS, SETTINGS, save
from tests.repository import ENTRY, git

NAME, ESCAPED = "é日本", "\\xe9\\u65e5\\u672c"


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_streams(errors: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors=errors)
    escape_what_cannot_be_shown(stream, io.StringIO(), None)
    stream.write(NAME + "\U0001f600\n")
    stream.flush()
    assert raw.getvalue() == ESCAPED.encode() + b"\\U0001f600\n"


def test_a_stream_that_has_a_way_of_its_own_keeps_it() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    escape_what_cannot_be_shown(stream)
    assert stream.errors == "replace"


def test_snapshots_are_utf_8_on_the_disk(tmp_path: Path) -> None:
    store.save(tmp_path, store.checkpoint_name(NAME), "{}")
    assert list(store.names(tmp_path)) == [f"{NAME}.json"]
    if sys.platform != "win32":
        assert os.listdir(os.fsencode(tmp_path)) == [f"{NAME}.json".encode()]


def in_ascii(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Python in a locale that knows ASCII alone; the arguments are UTF-8, as a terminal sends them."""
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))
    }
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    package = str(Path(__file__).parent.parent)
    return subprocess.run(
        [sys.executable, *(each.encode() for each in arguments)],
        cwd=root, env=environment | ascii_only | {"PYTHONPATH": package}, capture_output=True, check=False,
    )  # fmt: skip


def registered(root: Path) -> None:
    """A project with a checkpoint of this name, whose head has another size."""
    (root / "models.py").write_text(MODELS, encoding="utf-8")
    entry = ENTRY.replace("net-v1", NAME) + "kwargs = { classes = 5 }\n"
    (root / "pyproject.toml").write_text(SETTINGS + entry, encoding="utf-8")
    save(root / "net.pt")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere arguments are text")
def test_what_is_typed_in_a_terminal_of_ascii_is_utf_8(tmp_path: Path) -> None:
    registered(tmp_path)
    words = ("accept", NAME, "--rule", "CK202", "--reason", "für é")
    done = in_ascii(tmp_path, "-m", "pytest_ckpt_compat", *words)
    assert done.returncode == 0, done.stderr
    assert f"accepted  CK202 * of {ESCAPED} ".encode() in done.stdout
    (written,) = (tmp_path / "ckpt_snapshots" / "accepted").iterdir()
    assert 'reason = "für é"' in written.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere arguments are text")
def test_a_command_that_is_printed_has_the_letters_that_were_typed(tmp_path: Path) -> None:
    registered(tmp_path)
    done = in_ascii(tmp_path, "-m", "pytest_ckpt_compat", "migrate", NAME)
    assert f"ckpt-compat migrate '{ESCAPED}' --choose ".encode() in done.stderr


def test_a_typed_argument_of_another_encoding_stays_as_it_is() -> None:
    assert [typed(each) for each in ("é", "\udcc3\udca9", "\udce9")] == ["é", "é", "\udce9"]


CODE = """
import subprocess
import pytest
from pytest_ckpt_compat._cli.main import main

def say(*argv):
    print("==", argv[0], main(argv), flush=True)

say("update")
say("check", "--report", "r.json")
say("check", "--report", "r.md")
print("==", "pytest", int(pytest.main(["-p", "no:cacheprovider", "-rA"])))
say("status")
say("show", "net.pt")
say("show", "\\u00e9.pt")
git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
subprocess.run([*git, "add", "-A"], check=True)
subprocess.run([*git, "commit", "-qm", "change"], check=True)
say("accept", "\\u00e9\\u65e5\\u672c2", "--rule", "CK202", "--reason", "\\u00e9")
say("check", "--against", "main")
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the names of files are always UTF-8")
def test_every_output_in_a_terminal_of_ascii(tmp_path: Path) -> None:
    """The failures and their lines, the reports whole, and the snapshots under their right names."""
    root = tmp_path / NAME
    root.mkdir()
    (root / "models.py").write_text(MODELS.replace('"body"', '"é"'), encoding="utf-8")
    entries = (
        ENTRY.replace("net-v1", NAME) + ENTRY.replace("net-v1", f"{NAME}2") + "kwargs = { classes = 5 }\n"
    )
    (root / "pyproject.toml").write_text(SETTINGS + entries, encoding="utf-8")
    save(root / "net.pt", body="é")
    git(root, "init", "-q", "-b", "main")
    done = in_ascii(root, "-c", CODE)
    out, err = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert "internal" not in out + err, out + err
    assert "Traceback" not in out + err, out + err
    update, check, _, tests, status, show, absent, accept, against = _parts(out)
    assert f"recorded  ckpt_snapshots/{ESCAPED}.json: 6 tensors" in update.splitlines()
    for each in (check, tests):
        assert f"CK202 {ESCAPED}2: head resized" in each.splitlines(), each
    assert f"OK {ESCAPED}: 6 tensors load" in check.splitlines()
    assert f"accepted  CK202 * of {ESCAPED}2 (2 changes) in ckpt_snapshots/accepted/CK202." in accept
    assert f"CK202 {ESCAPED}2: accepted, head resized" in against
    assert "compared  2 checkpoints, 12 tensors, with main (merge base " in against
    assert "no snapshots" not in against
    assert any(line.startswith(f"{ESCAPED}2 ") for line in status.splitlines())
    assert "\\xe9" in show
    assert absent == ""
    assert "ckpt-compat: \\xe9.pt: " in err
    assert f"FAILED pyproject.toml::{ESCAPED}2 - " in tests
    assert re.findall(r"^== \w+ (\d)$", out, re.MULTILINE) == list("111100200")
    names = {path.name for path in (root / "ckpt_snapshots").glob("*.json")}
    assert names == {f"{NAME}.json", f"{NAME}2.json"}
    report = json.loads((root / "r.json").read_bytes())
    assert [each["id"] for each in report["checkpoints"]] == [NAME, f"{NAME}2"]
    assert NAME in (root / "r.md").read_text(encoding="utf-8")


def _parts(out: str) -> list[str]:
    """What was printed before each mark."""
    parts: list[str] = []
    lines: list[str] = []
    for line in out.splitlines():
        if re.fullmatch(r"== \w+ \d", line):
            parts.append("\n".join(lines))
            lines = []
        else:
            lines.append(line)
    return parts
