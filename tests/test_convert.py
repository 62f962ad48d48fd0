"""``ckpt-compat convert``: torch and safetensors read from its files what they would have written."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._check.migration_styles import WRITERS
from pytest_ckpt_compat._cli import main as cli
from pytest_ckpt_compat._convert import convert as converting
from pytest_ckpt_compat._convert import safetensors_file
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._migrate.plan import plan_of
from tests.migrations import Refactor, refactors
from tests.test_migrate_code import sides_of

Run = Callable[..., tuple[int, str]]

RULES = r"""
ckpt_compat_rules = 1

[[cat]]
from = ['layers\.(\d+)\.q\.weight', 'layers.{1}.k.weight']
to = 'blocks.{1}.qk.weight'
dim = 0

[[chunk]]
from = 'joint'
to = ['left', 'right']
dim = 1

[[drop]]
from = 'unused\..*'

[[rename]]
from = '^norm\.'
to = 'ln.'

[[rename]]
from = '^layers\.(\d+)\.'
to = 'blocks.{1}.'
"""


def old_state() -> Any:
    torch.manual_seed(0)
    state: Any = OrderedDict()
    for block in range(2):
        state[f"layers.{block}.q.weight"] = torch.randn(4, 3)
        state[f"layers.{block}.k.weight"] = torch.randn(2, 3)
        state[f"layers.{block}.out"] = torch.randn(3, 4).t()
    state["joint"] = torch.randn(3, 6)
    state["norm.weight"] = torch.randn(3).bfloat16()
    state["norm.count"] = torch.tensor(7)
    state["flag"] = torch.tensor([True, False, True])
    state["embed"] = torch.randn(5, 3)
    state["tied"] = state["embed"]
    state["unused.weight"] = torch.randn(3)
    state["empty"] = torch.zeros(0, 3)
    state._metadata = OrderedDict({"": {"version": 1}, "norm": {"version": 2}})
    return state


def wanted(state: Any) -> dict[str, torch.Tensor]:
    found = {
        key.replace("norm.", "ln.").replace("layers.", "blocks."): value
        for key, value in state.items()
        if ".q." not in key and ".k." not in key and key != "joint" and not key.startswith("unused")
    }
    for block in range(2):
        parts = [state[f"layers.{block}.{name}.weight"] for name in "qk"]
        found[f"blocks.{block}.qk.weight"] = torch.cat(parts)
    found["left"], found["right"] = state["joint"].chunk(2, dim=1)
    return found


def same(found: Any, state: dict[str, torch.Tensor]) -> bool:
    return found.keys() == state.keys() and all(
        torch.equal(found[key], state[key]) and found[key].dtype == state[key].dtype for key in state
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``convert`` in a folder with ``old.pt`` and ``rules.toml``; gives its exit code and messages."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.toml").write_text(RULES)
    torch.save(old_state(), "old.pt")

    def run(*words: str) -> tuple[int, str]:
        code = cli.main(["convert", *words])
        out, err = capsys.readouterr()
        assert out == ""
        return code, err

    return run


def test_a_file_of_torch_is_written_as_torch_reads_it(run: Run) -> None:
    code, said = run("old.pt", "-o", "new.pt", "--rules", "rules.toml")
    assert (code, said) == (0, "ckpt-compat: wrote new.pt: 12 tensors, 449 bytes, read back\n")
    for mapped in (False, True):
        new = torch.load("new.pt", weights_only=True, mmap=mapped)
        assert same(new, wanted(torch.load("old.pt")))
    assert new["tied"] is new["embed"] or new["tied"].data_ptr() == new["embed"].data_ptr()
    assert new._metadata["ln"] == {"version": 2}
    assert new["left"].untyped_storage().nbytes() == new["left"].numel() * 4
    assert new["blocks.0.out"].stride() == (1, 4)
    assert zipfile.ZipFile("new.pt").testzip() is None
    assert readers.read("new.pt").aliases == (("embed", "tied"),)
    assert sorted(path.name for path in Path().iterdir()) == ["new.pt", "old.pt", "rules.toml"]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_every_kind_of_tensor_arrives(run: Run) -> None:
    storage = torch.randn(10)
    state: Any = {
        "norm.sparse": torch.eye(3).to_sparse(),
        "norm.quantized": torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8),
        "norm.parameter": nn.Parameter(torch.randn(2)),
        "norm.complex": torch.randn(2, dtype=torch.complex64),
        "norm.float8": torch.randn(4).to(torch.float8_e4m3fn),
        "norm.uint16": torch.zeros(3, dtype=torch.uint16),
        "norm.view": storage[:4],
        "norm.overlapping": storage[2:8],
    }
    for old_format in (False, True):
        if old_format:  # torch.load opens none of these in it
            del state["norm.uint16"], state["norm.float8"]
        torch.save(state, "odd.pt", _use_new_zipfile_serialization=not old_format)
        code, said = run("odd.pt", "-o", "odd_new.pt", "--rules", "rules.toml")
        assert code == 0, said
        assert ("old format" in said) == old_format
        new = torch.load("odd_new.pt", weights_only=True)
        Path("odd_new.pt").unlink()
        assert [key.replace("norm.", "ln.") for key in state] == list(new)
        assert torch.equal(new["ln.sparse"].to_dense(), torch.eye(3))
        assert torch.equal(new["ln.quantized"].int_repr(), state["norm.quantized"].int_repr())
        assert isinstance(new["ln.parameter"], nn.Parameter)
        assert old_format or torch.equal(new["ln.float8"].float(), state["norm.float8"].float())
        assert torch.equal(new["ln.overlapping"], storage[2:8])
        views = new["ln.view"], new["ln.overlapping"]
        assert len({view.untyped_storage().data_ptr() for view in views}) == 1
        assert all(new[key.replace("norm.", "ln.")].dtype == state[key].dtype for key in state)


def test_everything_else_in_the_file_stays(run: Run) -> None:
    state = old_state()
    model = nn.Linear(3, 4)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    whole: dict[str, Any] = {
        "epoch": 3,
        "model": {"net": state},
        "optimizer": optimizer.state_dict(),
        "lr": [0.1, None, "x"],
    }
    torch.save(whole, "whole.pt")
    code, said = run("whole.pt", "-o", "new.ckpt", "--rules", "rules.toml", "--key", "model.net")
    assert code == 0, said
    new = torch.load("new.ckpt", weights_only=True)
    assert list(new) == list(whole)
    assert same(new["model"]["net"], wanted(state))
    assert (new["epoch"], new["lr"]) == (3, [0.1, None, "x"])
    again = torch.optim.Adam(nn.Linear(3, 4).parameters())
    again.load_state_dict(new["optimizer"])
    assert torch.equal(new["optimizer"]["state"][0]["exp_avg"], whole["optimizer"]["state"][0]["exp_avg"])
    assert "numbered as before" in said


def test_an_optimizer_that_names_its_parameters_gets_their_new_names(run: Run) -> None:
    state = {
        "layers.0.q.weight": torch.randn(4, 3),
        "layers.0.k.weight": torch.randn(2, 3),
        "norm.bias": torch.ones(3),
    }
    moments = {key: {"exp_avg": value * 2, "step": torch.tensor(5.0)} for key, value in state.items()}
    named = {"state": moments, "param_groups": [{"lr": 0.1, "params": list(state)}]}
    numbered = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0], "param_names": ["norm.bias"]}]}
    torch.save({"model": state, "optimizer": named, "optimizer_2": numbered}, "whole.pt")
    code, said = run("whole.pt", "-o", "new.pt", "--rules", "rules.toml")
    assert code == 0, said
    new = torch.load("new.pt", weights_only=True)
    joint = torch.cat([state["layers.0.q.weight"], state["layers.0.k.weight"]])
    found = new["optimizer"]
    assert found["param_groups"] == [{"lr": 0.1, "params": ["blocks.0.qk.weight", "ln.bias"]}]
    assert found["state"].keys() == {"blocks.0.qk.weight", "ln.bias"}
    assert torch.equal(found["state"]["blocks.0.qk.weight"]["exp_avg"], joint * 2)
    assert found["state"]["blocks.0.qk.weight"]["step"] == 5
    assert new["optimizer_2"]["param_groups"][0]["param_names"] == ["ln.bias"]


def test_safetensors_is_written_as_its_library_reads_it(run: Run) -> None:
    code, said = run("old.pt", "-o", "new.safetensors", "--rules", "rules.toml")
    assert code == 0
    assert "embed and tied are stored each" in said
    assert same(load_file("new.safetensors"), wanted(torch.load("old.pt")))


def test_safetensors_keeps_its_metadata(run: Run) -> None:
    state = {"norm.weight": torch.randn(3), "b": torch.randn(2, 2)}
    save_file(state, "old.safetensors", {"license": "MIT", "format": "pt"})
    code, _ = run("old.safetensors", "-o", "new.safetensors", "--rules", "rules.toml")
    assert code == 0
    with safe_open("new.safetensors", "pt") as file:
        assert file.metadata() == {"license": "MIT", "format": "pt"}
        assert torch.equal(file.get_tensor("ln.weight"), state["norm.weight"])
    code, _ = run("new.safetensors", "-o", "back.pt", "--rules", "rules.toml")
    assert code == 0
    assert same(torch.load("back.pt"), {"ln.weight": state["norm.weight"], "b": state["b"]})


def test_shards_have_an_index(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = safetensors_file.shards
    monkeypatch.setattr(safetensors_file, "shards", lambda specs: whole(specs, 100))
    code, said = run("old.pt", "-o", "model.safetensors.index.json", "--rules", "rules.toml")
    assert code == 0, said
    names = set(json.loads(Path("model.safetensors.index.json").read_text())["weight_map"].values())
    assert len(names) > 2
    found = {key: value for name in names for key, value in load_file(name).items()}
    assert same(found, wanted(torch.load("old.pt")))
    assert len(readers.read("model.safetensors.index.json").tensors) == 12
    code, said = run("model.safetensors.index.json", "-o", "one.safetensors", "--rules", "rules.toml")
    assert code == 0, said
    assert same(load_file("one.safetensors"), wanted(torch.load("old.pt")))


def test_a_function_of_the_project_may_say_what_becomes_of_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own_remap.py").write_text(
        "def migrate(state_dict):\n    joint = state_dict.pop('joint')\n"
        "    state_dict['twice'] = joint * 2\n    state_dict['first'] = state_dict.pop('flag')\n"
        "    return state_dict\n\n\ndef broken(state_dict):\n    return state_dict['nothing']\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    code, _ = run("old.pt", "-o", "new.pt", "--remap", "own_remap:migrate")
    assert code == 0
    old, new = torch.load("old.pt"), torch.load("new.pt")
    assert torch.equal(new["twice"], old["joint"] * 2)
    assert torch.equal(new["first"], old["flag"])
    assert new._metadata["norm"] == {"version": 2}
    assert new["tied"].data_ptr() == new["embed"].data_ptr()
    code, said = run("old.pt", "-o", "other.pt", "--remap", "own_remap:broken")
    assert code == 2
    assert "raised KeyError" in said
    assert not Path("other.pt").exists()


MODELS = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)


class Renamed(nn.Module):
    def __init__(self):
        super().__init__()
        self.entry = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)
"""


def test_a_model_says_what_becomes_of_it_only_where_that_is_certain(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("convert_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    save_file(
        {
            f"module.{k}": v
            for k, v in nn.ModuleDict({"backbone": nn.Linear(3, 4), "head": nn.Linear(4, 2)})
            .state_dict()
            .items()
        },
        "wrapped.safetensors",
    )
    code, said = run("wrapped.safetensors", "-o", "bare.pt", "--model", "convert_models:Net")
    assert code == 0, said
    assert list(torch.load("bare.pt")) == ["backbone.bias", "backbone.weight", "head.bias", "head.weight"]
    code, said = run("bare.pt", "-o", "new.pt", "--model", "convert_models:Renamed")
    assert code == 1
    assert "--choose" in said
    assert "nothing was written" in said
    assert not Path("new.pt").exists()
    code, said = run(
        "bare.pt", "-o", "new.pt", "--model", "convert_models:Renamed", "--choose", "backbone=entry"
    )
    assert code == 0, said
    assert set(torch.load("new.pt")) == {"entry.bias", "entry.weight", "head.bias", "head.weight"}


def test_its_own_input_is_replaced_only_if_that_is_said(run: Run) -> None:
    before = Path("old.pt").read_bytes()
    for words, problem in [
        (("-o", "old.pt"), "is the checkpoint itself"),
        (("-o", "./../" + Path.cwd().name + "/old.pt"), "is the checkpoint itself"),
        (("-o", "new.txt"), "has no suffix of a format"),
        (("-o", "nowhere/new.pt"), "is in a folder that is not there"),
        ((), "needs one target"),
    ]:
        code, said = run("old.pt", *words, "--rules", "rules.toml")
        assert code == 2
        assert problem in said
    Path("there.pt").write_text("mine")
    assert "is there already" in run("old.pt", "-o", "there.pt", "--rules", "rules.toml")[1]
    assert Path("there.pt").read_text() == "mine"
    assert Path("old.pt").read_bytes() == before
    state = torch.load("old.pt")
    assert run("old.pt", "--in-place", "--rules", "rules.toml")[0] == 0
    assert same(torch.load("old.pt"), wanted(state))


def test_what_would_have_to_be_run_is_refused(run: Run) -> None:
    torch.save({"state_dict": old_state(), "args": Path("x")}, "with_class.pt")
    torch.save(nn.Linear(2, 2), "module.pt")
    for name in ("with_class.pt", "module.pt"):
        code, said = run(name, "-o", "new.pt", "--rules", "rules.toml")
        assert code == 2
        assert "torch.load(weights_only=True) does not open it" in said
        assert not Path("new.pt").exists()


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("[[rename]]\nfrom = '^norm'\nto = 'ln'\n", "is no file of rules"),
        ("ckpt_compat_rules = 99\n", "is of format 99"),
        ("ckpt_compat_rules = 1\n[[rename]]\nfrom = '('\nto = ''\n", "no regular expression"),
        ("ckpt_compat_rules = 1\n[[rename]]\nfrom = 'a'\nto = '{1}'\n", "its pattern has 0 groups"),
        ("ckpt_compat_rules = 1\n[[rename]]\nfrom = 'a'\nto = '{'\n", "belongs to no group"),
        ("ckpt_compat_rules = 1\n[[explode]]\nfrom = 'a'\n", "has a table 'explode'"),
        ("ckpt_compat_rules = 1\n[[chunk]]\nfrom = 'joint'\nto = ['a', 'b']\n", "a number is wanted"),
        ("ckpt_compat_rules = 1\n[[rename]]\nfrom = '^.*'\nto = 'one'\n", "would both become one"),
        ("ckpt_compat_rules = 1\n[[cat]]\nfrom = ['joint', 'absent']\nto = 'x'\ndim = 0\n", "takes absent"),
        (
            "ckpt_compat_rules = 1\n[[chunk]]\nfrom = 'joint'\nto = ['a', 'b']\ndim = 7\n",
            "does not fit its shapes",
        ),
        (
            "ckpt_compat_rules = 1\n[[split]]\nfrom = 'joint'\nto = ['a', 'b']\ndim = 0\nsizes = [9, 9]\n",
            "fit its shapes",
        ),
        ("not toml", "is not TOML"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(run: Run, rules: str, problem: str) -> None:
    Path("rules.toml").write_text(rules)
    code, said = run("old.pt", "-o", "new.pt", "--rules", "rules.toml")
    assert code == 2
    assert problem in said
    assert not Path("new.pt").exists()


def test_rules_that_match_nothing_are_named(run: Run) -> None:
    with Path("rules.toml").open("a") as file:
        file.write("\n[[rename]]\nfrom = '^decoder'\nto = 'x'\n")
    code, said = run("old.pt", "-o", "new.pt", "--rules", "rules.toml")
    assert code == 0
    assert "rules.toml: ^decoder matches no key\n" in said


def test_what_reads_back_differently_is_removed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ReadError("new.pt", "its record reads back differently", "check the disk")

    monkeypatch.setattr(converting, "_check_torch", refuse)
    code, said = run("old.pt", "-o", "new.pt", "--rules", "rules.toml")
    assert code == 2
    assert "reads back differently" in said
    assert sorted(path.name for path in Path().iterdir()) == ["old.pt", "rules.toml"]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@given(refactors())
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=25)
def test_random_refactors_arrive(
    suffix: str, tmp_path_factory: pytest.TempPathFactory, refactor: Refactor
) -> None:
    folder = tmp_path_factory.mktemp("random")
    sides = sides_of(refactor)
    plan = plan_of(refactor.changes, sides.old, sides.new)
    writer = WRITERS["rules"](sides, plan)
    if not refactor.old or not plan.complete or not refactor.wanted:
        return
    (folder / "rules.toml").write_text(writer.source(writer.written({})), encoding="utf-8")
    torch.save(refactor.old, folder / "old.pt")
    words = [
        str(folder / "old.pt"),
        "-o",
        str(folder / f"new{suffix}"),
        "--rules",
        str(folder / "rules.toml"),
    ]
    assert cli.main(["convert", *words]) == 0
    path = folder / f"new{suffix}"
    assert same(torch.load(path) if suffix == ".pt" else load_file(path), refactor.wanted)


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux, where ru_maxrss begins with the parent's")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_memory_stays_below_the_largest_tensor_and_a_little(tmp_path: Path, suffix: str) -> None:
    """Eight tensors of 32 MB, joined two by two: 256 MB in all, 64 MB the largest."""
    state = {f"a.{i}.{name}": torch.full((8, 2**20), float(i)) for i in range(4) for name in "qk"}
    torch.save(state, tmp_path / "old.pt")
    rules = "ckpt_compat_rules = 1\n[[cat]]\nfrom = ['a\\.(\\d+)\\.q', 'a.{1}.k']\nto = 'b.{1}'\ndim = 0\n"
    (tmp_path / "rules.toml").write_text(rules)
    del state
    script = (
        "import torch\nfrom pathlib import Path\nfrom pytest_ckpt_compat._cli import main\n"
        "def peak():\n    status = Path('/proc/self/status').read_text()\n"
        "    return int(status.partition('VmHWM:')[2].split()[0])\n"
        "before = peak()\n"
        f"code = main.main(['convert', 'old.pt', '-o', 'new{suffix}', '--rules', 'rules.toml'])\n"
        "print(code, (peak() - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    code, megabytes = map(int, done.stdout.split())
    assert code == 0, done.stderr
    assert megabytes < 64 + 100
