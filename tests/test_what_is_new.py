"""What is new is asked of the merge base's own code and registration, by both commands alike."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.conftest import Filled, Net, Printed, save
from tests.repository import commit, edit, git, make_project

pytestmark = pytest.mark.long

ENTRIES = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"

[[tool.ckpt_compat.checkpoint]]
id = "wide"
path = "wide.pt"
model = "models:Net"
kwargs = { classes = 6 }

[[tool.ckpt_compat.checkpoint]]
id = "wrapped"
path = "wrapped.pt"
model = "models:Net"
strip_prefix = "module."

[[tool.ckpt_compat.checkpoint]]
id = "loose"
path = "loose.pt"
model = "models:Net"
strict = false
"""
OTHER = """

class Other(Net):
    def __init__(self):
        super().__init__(body="trunk")
"""

#: A line of ``Net`` that loads what has no ``scale``.
FILLING = (
    "        self._register_load_state_dict_pre_hook("
    "lambda state, prefix, *_: state.setdefault(prefix + 'scale', torch.ones(1)))\n"
)


@dataclass(frozen=True)
class Both:
    """``ckpt-compat check`` and ``pytest``, which must agree; ``-vv`` prints each checkpoint by itself."""

    pytester: pytest.Pytester
    command: Callable[..., Printed]

    def __call__(self, ref: str = "main") -> tuple[int, str]:
        printed = self.command("check", "-vv", "--against", ref)
        result = self.pytester.runpytest_inprocess("--ckpt-against", ref, "-q")
        assert int(result.ret) == min(printed.code, 1), (printed.out + printed.err, result.outlines)
        return printed.code, printed.out


@pytest.fixture
def both(
    pytester: pytest.Pytester,
    command: Callable[..., Printed],
    earlier_code: None,
    filled: Filled,
) -> Both:
    """A branch of a project with four checkpoints, all of which main loads."""

    def fill() -> None:
        root = make_project(pytester.path, ENTRIES)
        (root / "models.py").write_text((root / "models.py").read_text() + OTHER)
        save(root / "wide.pt", classes=6)
        torch.save({f"module.{key}": value for key, value in Net().state_dict().items()}, root / "wrapped.pt")
        torch.save({**Net().state_dict(), "old.weight": torch.ones(2)}, root / "loose.pt")
        pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=4)
        commit(root)
        git(root, "switch", "-q", "-c", "work")

    filled("branch with four checkpoints", fill)
    return Both(pytester, command)


def test_all_is_well(both: Both) -> None:
    code, out = both()
    assert code == 0, out
    assert "CK102 loose: loads 6 of 7 tensors, 1 of 7 tensors unexpected" in out


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("pyproject.toml", "kwargs = { classes = 6 }\n", "", "CK202 wide: head resized"),
        ("pyproject.toml", 'strip_prefix = "module."\n', "", "CK107 wrapped: every key begins with module."),
        ("pyproject.toml", "strict = false\n", "", "CK102 loose: 1 of 7 tensors unexpected"),
        (
            "pyproject.toml",
            '"net.pt"\nmodel = "models:Net"',
            '"net.pt"\nmodel = "models:Other"',
            "CK103 net-v1: ",
        ),
        ("models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes + 1)", "CK202 net-v1: head resized"),
    ],
)
def test_what_the_branch_breaks_is_new(both: Both, file: str, old: str, new: str, complaint: str) -> None:
    """Also by a registration, which the earlier code would not have loaded either."""
    edit(both.pytester.path / file, old, new)
    code, out = both()
    assert code == 1, out
    assert complaint in out
    assert "already on main" not in out


def test_a_new_registration_has_to_load(both: Both) -> None:
    root = both.pytester.path
    save(root / "late.pt", classes=9)
    entry = '\n[[tool.ckpt_compat.checkpoint]]\nid = "late"\npath = "late.pt"\nmodel = "models:Net"\n'
    edit(root / "pyproject.toml", ENTRIES, ENTRIES + entry)
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    code, out = both()
    assert code == 1
    assert "CK202 late: head resized" in out
    assert "note: it is not registered in main (merge base " in out
    edit(root / "pyproject.toml", entry, entry + "kwargs = { classes = 9 }\n")
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    assert both()[0] == 0


def test_a_parameter_that_is_new_with_its_checkpoint(both: Both) -> None:
    """Main's constructor does not know it, and has no checkpoint that needs it."""
    root = both.pytester.path
    edit(root / "models.py", "extra=False):", "extra=False, depth=1):")
    entry = '\n[[tool.ckpt_compat.checkpoint]]\nid = "deep"\npath = "net.pt"\nmodel = "models:Net"\n'
    entry += "kwargs = { depth = 2 }\n"
    edit(root / "pyproject.toml", ENTRIES, ENTRIES + entry)
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    assert both()[0] == 0


def test_main_only_warned(both: Both) -> None:
    """A lenient ``load_state_dict`` of the model's own goes: what was a warning is new as an error."""
    root = both.pytester.path
    lenient = (
        "    def load_state_dict(self, state, strict=True):\n"
        "        return super().load_state_dict(state, strict=False)\n\n"
    )
    git(root, "switch", "-q", "main")
    edit(root / "models.py", "    def forward", lenient + "    def forward")
    edit(root / "models.py", "extra=False", "extra=True")
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    commit(root)
    git(root, "switch", "-q", "-c", "stricter")
    assert both()[0] == 0
    edit(root / "models.py", lenient, "")
    code, out = both()
    assert code == 1
    assert "already on main" not in out


def test_a_break_on_main_stays_listed(both: Both) -> None:
    root = both.pytester.path
    git(root, "switch", "-q", "main")
    edit(root / "models.py", "        self.head", "        self.more = nn.Linear(2, 2)\n        self.head")
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    commit(root)
    git(root, "switch", "-q", "-c", "next")
    (root / "notes.txt").write_text("nothing to do with it")
    code, out = both()
    assert code == 0, out
    assert out.startswith("breaks already on main: ")
    assert "CK101 wrapped: already on main, 2 of 8 tensors missing" in out, "also through a prefix"
    edit(root / "models.py", "nn.Linear(2, 2)", "nn.Linear(2, 3)")
    assert both()[0] == 1, "the same keys, in another shape"


def test_a_change_that_main_did_not_record(both: Both) -> None:
    """Every branch reports it, and none is at fault."""
    root = both.pytester.path
    git(root, "switch", "-q", "main")
    edit(root / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes).half()")
    commit(root)
    git(root, "switch", "-q", "-c", "next")
    code, out = both()
    assert code == 0, out
    assert "CK907 net-v1: already on main, the definition differs from its snapshot" in out
    edit(root / "models.py", ".half()", ".double()")
    code, out = both()
    assert code == 1
    assert "CK907 net-v1: the definition differs from its snapshot" in out


@pytest.mark.parametrize("moved", [False, True])
def test_the_line_that_raises(both: Both, moved: bool) -> None:
    root = both.pytester.path
    raising = "    def _load_from_state_dict(self, *args):\n        raise KeyError('gone')\n\n"
    git(root, "switch", "-q", "main")
    edit(root / "models.py", "    def forward", raising + "    def forward")
    commit(root)
    git(root, "switch", "-q", "-c", "next")
    if moved:
        edit(root / "models.py", "import torch\n", "# a comment\nimport torch\n")
    code, out = both()
    assert code == 0, out
    assert "CK401 net-v1: already on main, KeyError: 'gone' (models.py:" in out


def test_snapshots_that_nothing_stands_for(both: Both) -> None:
    root = both.pytester.path
    edit(root / "pyproject.toml", ENTRIES.partition("\n[[")[2].partition("\n\n[[")[0], "")
    text = (root / "pyproject.toml").read_text()
    (root / "pyproject.toml").write_text(text.replace("\n[[\n", "\n"))
    code, out = both()
    assert code == 2
    assert "CK901 net-v1: main (merge base " in out
    edit(root / "models.py", "class Other", "class Another")
    printed = both.command("check", "--against", "main", "-k", "wide")
    assert printed.code == 0, "a selection cannot show what is missing"
    assert "did not look for unregistered checkpoints" in printed.out


def test_a_definition_is_no_twin_of_a_checkpoint(both: Both) -> None:
    """``net-v1`` goes and the class is renamed: two snapshots are missing, one is new."""
    root = both.pytester.path
    text = (root / "pyproject.toml").read_text()
    first = "[[tool" + ENTRIES.split("[[tool")[1]
    (root / "pyproject.toml").write_text(text.replace(first, "").replace("models:Net", "models:Network"))
    models = (root / "models.py").read_text()
    (root / "models.py").write_text(
        models.replace("class Net(", "class Network(").replace("(Net)", "(Network)")
    )
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    code, out = both()
    assert code == 2, out
    assert "CK901 net-v1: main " in out
    assert "renamed   ckpt_snapshots/definitions/models.Net.json" in out


def test_two_verdicts_on_one_definition(both: Both) -> None:
    """At level forward a break is only a warning; the other checkpoint of the class still fails."""
    root = both.pytester.path
    git(root, "switch", "-q", "main")
    edit(
        root / "pyproject.toml",
        '"net.pt"\nmodel = "models:Net"',
        '"net.pt"\nmodel = "models:Net"\nlevel = "forward"',
    )
    edit(root / "models.py", "extra=False", "extra=True")
    edit(root / "models.py", "        self.head", FILLING + "        self.head")
    both.pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=4)
    commit(root)
    git(root, "switch", "-q", "-c", "drop")
    edit(root / "models.py", "extra=True", "extra=False")
    edit(root / "models.py", FILLING, "")
    both.pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=4)
    code, out = both()
    assert code == 1
    assert "CK102 models.Net: 1 of 7 tensors unexpected" in out


def test_one_file_on_two_tests(both: Both) -> None:
    """Each with a model of its own; the id is that of the file."""
    root = both.pytester.path
    both.pytester.makepyfile(
        """
        import models, pytest

        @pytest.mark.checkpoint("wide.pt", model=models.Net, kwargs={"classes": 6})
        def test_one(): pass

        @pytest.mark.checkpoint("wide.pt", model=models.Net, kwargs={"classes": 7})
        def test_two(): pass
        """
    )
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    code, out = both()
    assert code == 1
    assert "CK202 wide.pt: head resized" in out
    assert "OK wide.pt: 6 tensors load" in out
    assert "compared  6 checkpoints" in out
    assert root


def test_the_old_tree_has_all_that_git_has(both: Both) -> None:
    """Files that ``git archive`` leaves out, and links within the tree."""
    root = both.pytester.path
    git(root, "switch", "-q", "main")
    (root / ".gitattributes").write_text("models.py export-ignore\n")
    (root / "real.py").write_text((root / "models.py").read_text())
    (root / "models.py").unlink()
    (root / "models.py").symlink_to("real.py")
    edit(root / "real.py", "        self.head", "        self.more = nn.Linear(2, 2)\n        self.head")
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    commit(root)
    git(root, "switch", "-q", "-c", "next")
    code, out = both()
    assert code == 0, out
    assert "CK101 net-v1: already on main" in out


def test_code_that_is_installed(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the package in site-packages is today's; the tree has the commit's."""
    root = both.pytester.path
    git(root, "switch", "-q", "main")
    (root / "src").mkdir()
    shutil.move(root / "models.py", root / "src" / "models.py")
    edit(root / "pyproject.toml", 'pythonpath = ["."]\n', "")
    installed = root / "venv" / "site-packages"
    installed.mkdir(parents=True)
    (root / ".gitignore").write_text("__pycache__/\nvenv/\n.pytest_cache/\n")
    shutil.copy(root / "src" / "models.py", installed)
    monkeypatch.syspath_prepend(str(installed))
    both.pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=4)
    commit(root)
    git(root, "switch", "-q", "-c", "wider")
    edit(root / "src" / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes + 1)")
    shutil.copy(root / "src" / "models.py", installed)
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    code, out = both()
    assert code == 1, out
    assert "already on main" not in out


def test_a_hook_of_a_linked_worktree(both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git tells its hooks where the repository is, in variables that override the folder."""
    root = both.pytester.path
    edit(root / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes + 1)")
    monkeypatch.setenv("GIT_DIR", str(root / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(root / ".git" / "index"))
    assert both()[0] == 1


@pytest.mark.parametrize("folder", [".cache", "relative"])
def test_a_cache_inside_of_the_repository(both: Both, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    root = both.pytester.path
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / folder) if folder == ".cache" else folder)
    edit(root / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes + 1)")
    code, out = both()
    assert code == 1, out


def test_code_outside_of_the_repository_has_changed(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that the earlier code imports and that is none of its tree: each run asks anew."""
    root, library = both.pytester.path, tmp_path / "library"
    library.mkdir()
    (library / "widths.py").write_text("MORE = 1\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(library), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(library))
    git(root, "switch", "-q", "main")
    edit(root / "models.py", "import torch\n", "import torch\nimport widths\n")
    edit(root / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes + widths.MORE)")
    commit(root)
    git(root, "switch", "-q", "-c", "next")
    assert both.command("check", "--against", "main").code == 0
    sys.modules.pop("widths", None)
    edit(library / "widths.py", "MORE = 1", "MORE = 0")
    edit(root / "models.py", "classes + widths.MORE", "classes + 1")
    printed = both.command("check", "--against", "main")
    assert printed.code == 1, "main loads it now"
    sys.modules.pop("widths", None)


def test_snapshots_in_a_submodule(both: Both, tmp_path: Path) -> None:
    root = both.pytester.path
    snapshots = tmp_path / "snapshots"
    shutil.move(root / "ckpt_snapshots", snapshots)
    commit(root)
    git(snapshots, "init", "-q", "-b", "main")
    commit(snapshots)
    git(root, "submodule", "add", "-q", str(snapshots), "ckpt_snapshots")
    commit(root)
    printed = both.command("check", "--against", "work")
    assert printed.code == 2
    assert printed.err == (
        "ckpt-compat: --against work: the snapshots are in the submodule ckpt_snapshots, which has commits "
        "of its own; keep them in the repository of the code they describe\n"
    )


def test_an_empty_reference_is_a_mistake(both: Both) -> None:
    """``--against "$UNSET"`` would compare with nothing."""
    printed = both.command("check", "--against", "")
    assert printed.code == 2
    assert "is not a reference" in printed.err
    assert both.pytester.runpytest_inprocess("--ckpt-against", "").ret == pytest.ExitCode.USAGE_ERROR


def test_recording_and_comparing_at_once(both: Both) -> None:
    result = both.pytester.runpytest_inprocess("--ckpt-update", "--ckpt-against", "main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --ckpt-update: records, and --ckpt-against compares; record first*"])


def test_from_a_folder_below(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole project is checked, wherever one stands in it."""
    folder = both.pytester.path / "tests"
    folder.mkdir()
    (folder / "test_one.py").write_text("def test_one(): pass\n")
    package = str(Path(__file__).parent.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]))
    for argv in (["check", "--against", "main"], ["check"], ["status"]):
        done = subprocess.run(
            [sys.executable, "-m", "pytest_ckpt_compat", *argv],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(name in done.stdout for name in ("net-v1", "wide", "wrapped", "loose")), done.stdout


def test_a_new_id_is_not_taken_for_another(both: Both) -> None:
    """Two registrations of one file: only the one whose snapshot is missing can have been renamed."""
    root = both.pytester.path
    git(root, "switch", "-q", "main")
    bad = '\n[[tool.ckpt_compat.checkpoint]]\nid = "bad"\npath = "wrapped.pt"\nmodel = "models:Net"\n'
    edit(root / "pyproject.toml", ENTRIES, ENTRIES + bad)
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    commit(root)
    git(root, "switch", "-q", "-c", "next")
    assert both()[0] == 0
    edit(root / "pyproject.toml", bad, bad + bad.replace('"bad"', '"third"'))
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    code, out = both()
    assert code == 1, out
    assert "CK107 bad: already on main" in out
    assert "CK107 third: every key begins with module." in out
    git(root, "checkout", "-q", "--", "pyproject.toml")
    (root / "ckpt_snapshots" / "third.json").unlink()
    edit(root / "pyproject.toml", 'id = "wrapped"', 'id = "unwrapped"')
    edit(root / "pyproject.toml", 'strip_prefix = "module."\n', "")
    shutil.move(root / "ckpt_snapshots" / "wrapped.json", root / "ckpt_snapshots" / "unwrapped.json")
    code, out = both()
    assert code == 1, out
    assert "CK107 unwrapped: every key begins with module." in out


def test_a_broken_checkpoint_that_is_moved_is_no_new_break(both: Both) -> None:
    root = both.pytester.path
    git(root, "switch", "-q", "main")
    edit(root / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes + 1)")
    edit(root / "pyproject.toml", 'id = "net-v1"\n', "")
    shutil.move(root / "ckpt_snapshots" / "net-v1.json", root / "ckpt_snapshots" / "net.pt.json")
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    commit(root)
    git(root, "switch", "-q", "-c", "next")
    (root / "files").mkdir()
    (root / "ckpt_snapshots" / "files").mkdir()
    for folder, name in ((root, "net.pt"), (root / "ckpt_snapshots", "net.pt.json")):
        shutil.move(folder / name, folder / "files" / name)
    edit(root / "pyproject.toml", '"net.pt"', '"files/net.pt"')
    code, out = both()
    assert code == 0, out
    assert "CK202 files/net.pt: already on main, head resized" in out


def test_an_acceptance_of_one_direction(both: Both) -> None:
    """That the earlier code need not read a layer says nothing of a later removal of it."""
    root = both.pytester.path
    git(root, "switch", "-q", "main")
    edit(
        root / "pyproject.toml",
        '"net.pt"\nmodel = "models:Net"',
        '"net.pt"\nmodel = "models:Net"\nlevel = "full"',
    )
    commit(root)
    git(root, "switch", "-q", "-c", "gain")
    edit(root / "models.py", "        self.head", FILLING + "        self.head")
    edit(root / "models.py", "extra=False", "extra=True")
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    printed = both.command("check", "--against", "main")
    assert printed.code == 1
    line = next(line for line in printed.out.splitlines() if "ckpt-compat accept models.Net@forward" in line)
    words = shlex.split(line.partition("ckpt-compat ")[2])
    assert both.command(*(word.replace("...", "the old code is retired") for word in words)).code == 0
    assert both()[0] == 0
    commit(root)
    git(root, "switch", "-q", "main")
    git(root, "merge", "-q", "gain")
    git(root, "switch", "-q", "-c", "lose")
    edit(root / "models.py", "extra=True", "extra=False")
    edit(root / "models.py", FILLING, "")
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    code, out = both()
    assert code == 1, out


def test_what_is_accepted_is_not_asked(both: Both) -> None:
    """Main's code need not even be importable from what is committed."""
    root = both.pytester.path
    git(root, "switch", "-q", "main")
    edit(root / "models.py", "import torch\n", "import torch\nimport generated\n")
    (root / "generated.py").write_text("")
    (root / ".gitignore").write_text((root / ".gitignore").read_text() + "generated.py\n")
    edit(root / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes + 1)")
    for name in ("net-v1", "wide", "wrapped", "loose"):
        assert both.command("accept", name, "--rule", "CK202", "--reason", "five").code == 0
    both.pytester.runpytest_inprocess("--ckpt-update", "-q")
    commit(root)
    git(root, "switch", "-q", "-c", "next")
    assert both()[0] == 0
    edit(root / "models.py", "classes + 1", "classes + 2")
    code, out = both()
    assert code == 2
    assert "importing models raised ModuleNotFoundError: No module named 'generated'" in out


@pytest.mark.parametrize("options", ["--ff", "--ckpt-against=main --ckpt-report=r.md --junitxml=j.xml"])
def test_options_of_the_project(both: Both, options: str) -> None:
    """The tree is collected, and no more is done in it, whatever ``addopts`` says."""
    root = both.pytester.path
    git(root, "switch", "-q", "main")
    text = (root / "pyproject.toml").read_text()
    added = re.sub(r"^addopts = .*$", f'addopts = "{options}"', text, count=1, flags=re.MULTILINE)
    assert added != text
    (root / "pyproject.toml").write_text(added)
    commit(root)
    git(root, "switch", "-q", "-c", "next")
    edit(root / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes + 1)")
    printed = both.command("check", "--against", "main")
    assert printed.code == 1, printed.out + printed.err
    assert not list(root.glob("*.md"))
    assert not list(root.glob("*.xml"))
