"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._cli import main as cli
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import MODELS, Net, Printed, save


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with ``models.py``, two checkpoints and a fingerprint."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(MODELS)
    save(tmp_path / "old.pt")
    save(tmp_path / "new.pt", classes=7)
    (tmp_path / "old.json").write_text(fingerprint.dumps(readers.read("old.pt")))
    before = list(sys.path)
    yield tmp_path
    assert sys.path == before
    sys.modules.pop("models", None)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("old.pt", "old.pt", 0),
        ("old.pt", "old.json", 0),
        ("old.pt", "new.pt", 1),
        ("old.json", "new.pt", 1),
        ("old.pt", "models:Net", 0),
        ("old.json", "models:Net", 0),
        ("new.pt", "models:Net", 1),
        ("models:Net", "old.pt", 0),
        ("models:Net", "models:Net", 0),
        ("nothing.pt", "models:Net", 2),
        ("old.pt", "models:Gone", 2),
        ("old.pt", "gone:Net", 2),
        ("old.pt", "models:broken", 2),
        (".", "old.pt", 2),
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_diff(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, code: int, form: str
) -> None:
    assert cli.main(["diff", old, new, "--format", form]) == code
    out, err = capsys.readouterr()
    if code == 2:
        assert out == ""
        assert err.startswith("ckpt-compat: ")
        assert err.count("\n") == 1
    elif form == "json":
        report = json.loads(out)
        assert report["compatible"] is (code == 0)
        assert report["counts"] == ({} if code == 0 else {"head-resized": 2})
        assert report["old"]["tensors"] == 6
        assert report["old"]["digest"].startswith("sha256:")
    else:
        assert out.startswith("OK " if code == 0 else "CK202 ")


def test_a_definition_may_have_any_name_that_python_takes(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "émodèle", raising=False)
    (folder / "émodèle.py").write_text(MODELS + "\n\nÉcran = Net\n", encoding="utf-8")
    assert cli.main(["diff", "old.pt", "émodèle:Écran"]) == 0
    assert cli.main(["show", "émodèle:Écran"]) == 2
    assert "émodèle:Écran: is a definition; " in capsys.readouterr().err


def test_diff_as_json_lists_every_change(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["diff", "old.pt", "new.pt", "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == 1
    assert report["changes"][0] == {
        "rule": "CK202",
        "kind": "head-resized",
        "severity": "error",
        "old": ["head.weight"],
        "new": ["head.weight"],
        "old_specs": ["float32[4, 8]"],
        "new_specs": ["float32[7, 8]"],
        "confidence": "certain",
        "detail": "outputs 4 -> 7",
    }


def test_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Net().state_dict(), "epoch": 3}, "deep.pt")
    assert cli.main(["show", "deep.pt"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "deep.pt: torch zip, state_dict at state_dict"
    assert out[1] == "also holds epoch"
    assert [line.split() for line in out[3:6]] == [
        ["body", "416", "B"],
        ["0", "128", "B"],
        ["weight", "float32[8,", "3]", "96", "B"],
    ]
    assert out[-1] == "6 tensors, 140 elements, 560 B (float32)"


def test_show_lists_the_classes_that_a_file_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Net().state_dict(), "args": argparse.Namespace(path=Path("a"))}, "run.pt")
    assert cli.main(["show", "run.pt"]) == 0
    assert capsys.readouterr().out.splitlines()[
        2
    ] == f"names argparse.Namespace, {type(Path()).__module__}." + (type(Path()).__name__)
    torch.save(Net().state_dict(), "plain.pt")
    assert cli.main(["show", "plain.pt"]) == 0
    assert "names" not in capsys.readouterr().out


def test_a_size_that_is_not_known_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    state = {"body.adj": torch.eye(4).to_sparse(), "body.weight": torch.zeros(3), "head": torch.zeros(2)}
    torch.save(state, "sparse.pt")
    assert cli.main(["show", "sparse.pt"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    sizes = {line[0]: line[-1] for line in lines[1:5]}
    assert sizes == {"body": "unknown", "adj": "unknown", "weight": "B", "head": "B"}
    assert " ".join(lines[-1]).endswith("unknown size (sparse_coo_float32, float32)")


def test_show_and_diff_take_an_index_of_shards(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = Net().state_dict()
    names = {key: f"model-0000{number % 2 + 1}-of-00002.bin" for number, key in enumerate(state)}
    for name in {*names.values()}:
        torch.save({key: value for key, value in state.items() if names[key] == name}, name)
    index = {"metadata": {"total_size": 560}, "weight_map": names}
    (folder / "model.bin.index.json").write_text(json.dumps(index))
    torch.save(state, "whole.pt")
    assert cli.main(["show", "model.bin.index.json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "model.bin.index.json: sharded torch zip"
    assert out[-1] == "6 tensors, 140 elements, 560 B (float32)"
    assert cli.main(["diff", "model.bin.index.json", "whole.pt"]) == 0
    (folder / names["body.0.weight"]).unlink()
    assert cli.main(["show", "model.bin.index.json"]) == 2
    assert "1 of its 2 parts are missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": 1}', "it is JSON, and neither a snapshot nor an index of shards"),
        (b'{"architectures": ["Bert"]}', "it is the configuration of a model, which has no weights"),
        (b'{"tensors": {"a": 3}}', "is not a fingerprint: "),
        (b'{"format": "ckpt-compat fingerprint"}', 'is not a fingerprint: it has no "tensors"'),
        (b"{\0\0\0", "its format is unknown"),
    ],
)
def test_show_says_what_begins_like_a_snapshot(
    folder: Path, capsys: pytest.CaptureFixture[str], content: bytes, problem: str
) -> None:
    (folder / "a.json").write_bytes(content)
    assert cli.main(["show", "a.json"]) == 2
    assert problem in capsys.readouterr().err


def test_show_prints_each_of_several_state_dicts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Net().state_dict(), "ema": Net().state_dict()}, "two.pt")
    assert cli.main(["show", "two.pt"]) == 0
    out = capsys.readouterr().out
    assert "state_dict at model\nalso holds ema\n" in out
    assert "\n\ntwo.pt: torch zip, state_dict at ema\nalso holds model\n" in out
    assert cli.main(["show", "two.pt", "--key", "ema"]) == 0
    assert "state_dict at model" not in capsys.readouterr().out


def test_show_prints_names_safely(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a\x1b[31m.b\n::error::": torch.ones(2), "\u202eevil": torch.ones(1)}, "odd.pt")
    assert cli.main(["show", "odd.pt"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\n::error" not in out
    assert "\\x1b[31m" in out


def test_show_imports_no_torch_and_reads_no_weights(folder: Path) -> None:
    big = {f"layers.{n}.weight": torch.empty(1000, 1000, dtype=torch.bfloat16) for n in range(20)}
    torch.save(big, "big.pt")
    code = """
import sys
from pytest_ckpt_compat._cli.main import main
from pytest_ckpt_compat._readers.source.files import Blob

sizes, read_at = [], Blob.read_at
Blob.read_at = lambda blob, offset, size: sizes.append(size) or read_at(blob, offset, size)
main(["show", "big.pt"])
print(sum(sizes))
print(sorted({"torch", "numpy", "scipy", "pytest", "safetensors", "rich"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, read, imported = done.stdout.splitlines()
    assert 1_000 < int(read) < 100_000, "of 40,000,000 bytes"
    assert imported == "[]"


def test_a_bug_of_ours_is_never_taken_for_a_break(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(readers, "read", fail)
    assert cli.main(["show", "old.pt"]) == 2
    assert "internal error: KeyError" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
def test_update_records_snapshots(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from models import Net

        @pytest.mark.checkpoint("net.pt", model=Net)
        def test_net():
            pass

        def test_other():
            raise AssertionError("only checkpoint tests run")
        """
    )
    result = project.run(sys.executable, "-m", "pytest_ckpt_compat", "update", "-q")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["recorded  ckpt_snapshots/net.pt.json: 6 tensors"])


def test_show_names_the_command_for_definitions(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "models:Net"]) == 2
    assert capsys.readouterr().err == (
        "ckpt-compat: models:Net: is a definition; show reads files; to see a definition's keys: "
        "ckpt-compat diff FILE models:Net\n"
    )


@pytest.mark.usefixtures("warm_python")
def test_update_without_any_marker_names_the_problem(project: pytest.Pytester) -> None:
    project.makepyfile("def test_other(): pass")
    result = project.run(sys.executable, "-m", "pytest_ckpt_compat", "update")
    assert result.ret == 2
    result.stderr.fnmatch_lines(["ckpt-compat: *: no checkpoint is registered; add *"])


@pytest.mark.parametrize("argv", [[], ["diff", "one"], ["nonsense"], ["diff", "a", "b", "--format", "xml"]])
def test_a_command_line_that_cannot_be_meant(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2


def test_show_folds_blocks_that_are_alike(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = {f"blocks.{n}.weight": torch.ones(2 if n < 3 else 4) for n in range(5)}
    torch.save({**blocks, "head.weight": torch.ones(1)}, "deep.pt")
    assert cli.main(["show", "deep.pt"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[2:-2]]
    assert lines == [
        *(
            "blocks 56 B",
            "{0..2} x 3 24 B",
            "weight float32[2] 8 B",
            "{3..4} x 2 32 B",
            "weight float32[4] 16 B",
        ),
        *("head 4 B", "weight float32[1] 4 B"),
    ]


def test_mistakes_that_pytest_finds(project: pytest.Pytester, command: Callable[..., Printed]) -> None:
    project.makepyfile("import sys\nsys.exit(0)")
    done = command("check")
    assert done.code == 2
    assert "SystemExit" in done.err
    done = command("check", "--nonsense")
    assert done.code == 2
    assert "unrecognized arguments: --nonsense" in done.err


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["status"], "usage: ckpt-compat status [-h]\n"),
        (["report", "merge", "a.json"], "usage: ckpt-compat report"),
    ],
)
def test_an_option_that_a_command_lacks_is_refused_with_its_own_usage(
    words: list[str], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.main([*words, "--against", "main"])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(usage)
    assert error.endswith("error: unrecognized arguments: --against main\n")


def test_an_error_of_syntax_is_told_with_its_own_place(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    """It is seldom in the test that imports the file."""
    project.path.joinpath("broken.py").write_text("width = 3\nheight = (3\nclass Net: pass\n")
    project.makepyfile(test_net="import broken")
    done = command("check")
    assert done.code == 2
    assert "collection: test_net.py: broken.py:2: SyntaxError: '(' was never closed; " in done.err


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"test_net": "import models", "models": "\nimport not_there"},
            "test_net.py: models.py:2: ModuleNotFoundError: No module named 'not_there'; ",
        ),
        (
            {"test_net": "import models", "models": "import inner", "inner": "import torch.not_there"},
            "test_net.py: inner.py:1: ModuleNotFoundError: No module named 'torch.not_there'; ",
        ),
        (
            {"test_net": "import models", "models": "raise ValueError('two\\nlines')"},
            "test_net.py: models.py:1: ValueError: two; ",
        ),
        ({"test_net": "import json\nimport not_there"}, "collection: test_net.py:2: ModuleNotFoundError: "),
        (
            {"conftest": "import models", "models": "import json\nimport not_there"},
            "collection: models.py:2: ModuleNotFoundError: No module named 'not_there'; ",
        ),
    ],
)
def test_an_error_of_an_import_is_told_with_the_line_that_met_it(
    project: pytest.Pytester, command: Callable[..., Printed], files: dict[str, str], told: str
) -> None:
    """The innermost one of the project: not in what is installed, whatever --tb the project has."""
    project.makeini("[pytest]\npythonpath = .\naddopts = --tb=no\n")
    for name, text in files.items():
        project.path.joinpath(f"{name}.py").write_text(text + "\n")
    done = command("check")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert told in done.err


def test_the_order_is_that_of_the_files(project: pytest.Pytester, command: Callable[..., Printed]) -> None:
    """Whatever shuffles the tests."""
    project.makeconftest("def pytest_collection_modifyitems(items):\n    items.reverse()")
    names = [f"net-{number}" for number in range(5)]
    entry = '\n[[tool.ckpt_compat.checkpoint]]\nid = "{}"\npath = "net.pt"\nmodel = "models:Net"\n'
    file = project.path / "pyproject.toml"
    file.write_text(file.read_text() + "".join(map(entry.format, names)) + entry.format("net-0"))
    rows = [line.split() for line in command("status").out.splitlines()[1:]]
    assert [row[0] for row in rows] == names
    assert [row[1] for row in rows] == ["unknown", "yes", "yes", "yes", "yes"]


def test_nothing_is_pruned_while_a_registration_is_a_mistake(project: pytest.Pytester) -> None:
    file = project.path / "pyproject.toml"
    entry = '\n[[tool.ckpt_compat.checkpoint]]\nid = "net"\npath = "net.pt"\nmodle = "models:Net"\n'
    file.write_text(file.read_text() + entry)
    result = project.runpytest_inprocess("--ckpt-prune")
    result.stdout.fnmatch_lines(["pruned nothing: the snapshots in use are not all known; correct the *"])


def test_show_diff_and_migrate_take_the_id_of_a_recorded_checkpoint(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    """Its snapshot, which is read as any file: nothing of the project is imported."""
    entry = '[[tool.ckpt_compat.checkpoint]]\nid = "net-v1"\npath = "net.pt"\nmodel = "models:Net"\n'
    project.makepyprojecttoml(f'[tool.ckpt_compat]\nsnapshot_dir = "kept"\n{entry}')
    assert command("update").code == 0
    project.makeconftest("raise SystemExit('imported')")
    shown = command("show", "net-v1")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == command("show", "kept/net-v1.json").out
    assert command("diff", "net-v1", "net.pt").code == 0
    assert command("diff", "net-v1", "models:Net").code == 0
    assert "it loads as it is" in command("migrate", "net-v1", "models:Net").err
    for words in (("show", "net-v9"), ("diff", "net-v9", "net.pt"), ("diff", "net.pt", "net-v9")):
        printed = command(*words)
        assert (printed.code, printed.out) == (2, "")
        assert printed.err == (
            "ckpt-compat: net-v9: there is no such file, nor kept/net-v9.json, its snapshot if it is an id; "
            "check the path, or give the file of the checkpoint\n"
        )
    for words in (("show", "net*"), ("diff", "net*", "net.pt"), ("migrate", "net*", "models:Net")):
        printed = command(*words)
        assert (printed.code, printed.out) == (2, "")
        complaint = "net*: is a glob, and this command takes one file or id; name the one that is meant"
        assert printed.err == f"ckpt-compat: {complaint}\n"


def test_an_interrupt_while_the_command_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The modules of a command are imported then."""

    def interrupted(_words: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parsed", interrupted)
    assert cli.main(["check"]) == 2
    assert capsys.readouterr().err == "ckpt-compat: interrupted: not everything was checked; run it again\n"


def test_two_files_of_equal_structure_are_not_said_to_load(
    tmp_path: Path, command: Callable[..., Printed]
) -> None:
    for name in ("a.pt", "b.pt"):
        torch.save({"x.weight": torch.zeros(2)}, tmp_path / name)
    done = command("diff", str(tmp_path / "a.pt"), str(tmp_path / "b.pt"))
    assert done.code == 0
    assert done.out.endswith("a.pt: 1 tensor fits by keys and shapes\n")
