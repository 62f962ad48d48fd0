"""The state of an optimizer in a file of its own, as accelerate and the Trainer of transformers save it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._core.errors import ReadError
from tests.conftest import MODELS, SETTINGS, Net, Printed
from tests.repository import commit, edit, git
from tests.test_docs import blocks, section
from tests.test_levels import FACTORY, stepped

ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "step_100/net.pt"
model = "models:Net"
level = "resume"
optimizer = "models:optimizer"
optimizer_path = "optimizer.bin"
"""


def save(folder: Path, optimizer: str = "optimizer.bin") -> None:
    folder.mkdir(exist_ok=True)
    net = Net()
    torch.save(net.state_dict(), folder / "net.pt")
    torch.save(stepped(net).state_dict(), folder / optimizer)


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(models=MODELS + FACTORY)
    pytester.makepyprojecttoml(SETTINGS + ENTRY)
    save(pytester.path / "step_100")
    return pytester


def resumes(folder: Path, change: tuple[str, str]) -> bool:
    """Torch's own word: today's optimizer loads the file, and makes a step."""
    scope: dict[str, Any] = {}
    exec((MODELS + FACTORY).replace(*change), scope)
    model = scope["Net"]()
    optimizer = scope["optimizer"](model)
    try:
        optimizer.load_state_dict(torch.load(folder / "optimizer.bin"))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    except (ValueError, RuntimeError, KeyError):
        return False
    return True


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("", ""), ""),
        (("lr=0.1", "lr=0.2"), ""),
        (("model.parameters()", "list(model.parameters())[:2]"), "! head.*no longer has it"),
        (("model.parameters()", "[{'params': [p]} for p in model.parameters()]"), "*groups 1 -> 6*"),
        (("nn.Linear(8, classes)", "nn.Linear(8, classes, bias=False)"), "! head.bias *no longer has it"),
    ],
)
@pytest.mark.parametrize("there", [True, False], ids=["files", "snapshot"])
def test_the_verdict_is_torchs(
    project: pytest.Pytester, change: tuple[str, str], complaint: str, there: bool
) -> None:
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    wanted = resumes(project.path / "step_100", change)
    assert wanted is not bool(complaint)
    models = project.path / "models.py"
    models.write_text(models.read_text().replace(*change) + "\n# an edit\n" * 3)
    if not there:
        (project.path / "step_100" / "net.pt").unlink()
        (project.path / "step_100" / "optimizer.bin").unlink()
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=int(wanted), failed=int(not wanted))
    if complaint:
        result.stdout.fnmatch_lines([f"*{complaint}"])


@pytest.mark.parametrize("place", ["beside", "in it", "from the root"])
def test_where_it_is_looked_for(project: pytest.Pytester, place: str) -> None:
    entry = project.path / "pyproject.toml"
    if place == "in it":  # as the Trainer of transformers: weights in a directory, optimizer.pt in it
        folder = project.path / "step_100"
        (folder / "net.pt").rename(folder / "pytorch_model.bin")
        edit(entry, 'path = "step_100/net.pt"', 'path = "step_100"')
    elif place == "from the root":
        edit(entry, '"optimizer.bin"', '"step_100/optimizer.bin"')
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    result = project.runpytest_inprocess("-rA")
    result.assert_outcomes(passed=1)
    assert '"optimizers"' in (project.path / "ckpt_snapshots" / "net-v1.json").read_text()


def test_each_file_of_a_glob_has_its_own(project: pytest.Pytester) -> None:
    save(project.path / "step_200")
    entry = project.path / "pyproject.toml"
    edit(entry, 'path = "step_100/net.pt"', 'path = "step_*/net.pt"')
    edit(entry, 'id = "net-v1"\n', "")
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=2)
    torch.save({"epoch": 3}, project.path / "step_200" / "optimizer.bin")
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["CK905 step_200/net.pt: *step_200/optimizer.bin: it holds no state of an *"])


def test_where_it_is_absent(project: pytest.Pytester) -> None:
    optimizer = project.path / "step_100" / "optimizer.bin"
    moved = optimizer.rename(project.path / "elsewhere")
    result = project.runpytest_inprocess("--ckpt-update")
    result.stdout.fnmatch_lines(
        [
            "CK901 net-v1: step_100/net.pt: holds no optimizer state; *name its file with optimizer_path*",
            "*note: optimizer.bin is absent, and no snapshot has its state",
        ]
    )
    moved.rename(optimizer)
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    for pointer in ("", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"):
        optimizer.unlink(missing_ok=True)
        if pointer:
            optimizer.write_text(pointer)
        result = project.runpytest_inprocess()
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["net-v1: optimizer.bin *: its state is the snapshot's"])
    edit(project.path / "models.py", "model.parameters()", "list(model.parameters())[:2]")
    project.runpytest_inprocess().assert_outcomes(failed=1)


def test_another_state_is_noticed(project: pytest.Pytester) -> None:
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    optimizer = torch.optim.SGD(Net().parameters())
    torch.save(optimizer.state_dict(), project.path / "step_100" / "optimizer.bin")
    result = project.runpytest_inprocess()
    result.stdout.fnmatch_lines(["*differs from its snapshot * (the state of the optimizer)*"])


def test_several_files(project: pytest.Pytester) -> None:
    edit(project.path / "pyproject.toml", '"optimizer.bin"', '["optimizer.bin", "optimizer_1.bin"]')
    models = project.path / "models.py"
    both = "return [torch.optim.Adam(each.parameters()) for each in (model.body, model.head)]"
    models.write_text(f"{MODELS}\n\ndef optimizer(model):\n    {both}\n")
    net = Net()
    folder = project.path / "step_100"
    torch.save(stepped(net.body).state_dict(), folder / "optimizer.bin")  # type: ignore[arg-type]
    torch.save(stepped(net.head).state_dict(), folder / "optimizer_1.bin")
    torch.save(net.state_dict(), folder / "net.pt")
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    edit(models, "(model.body, model.head)", "(model.head, model.body)")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "CK403 net-v1: the optimizer's state does not fit",
            "  ! [*]   6 tensors   the optimizer no longer has it   (body.0.weight, *)",
            "  ! [*]   6 tensors   new in the optimizer: the checkpoint has no state for it   (head.*",
            "  CK403: group 0 has 4 parameters in the file and 2 here: *",
        ]
    )


def test_a_distributed_checkpoint_of_the_state_alone(tmp_path: Path) -> None:
    optimizer = stepped(Net())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"optimizer": optimizer.state_dict()}, checkpoint_id=tmp_path / "optimizer_0")  # type: ignore[attr-defined]
    for path in (tmp_path / "optimizer_0", tmp_path / "optimizer_0" / ".metadata"):
        (name,) = readers.read_optimizers(path)
        assert name == "optimizer"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "there is no such file"),
        (b"nonsense", "it is not a file that torch.save wrote"),
        ("directory", "it is a directory without a distributed checkpoint; give the file in it"),
    ],
)
def test_what_is_no_optimizer(tmp_path: Path, content: Any, complaint: str) -> None:
    path = tmp_path / "optimizer.bin"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ReadError, match=complaint):
        readers.read_optimizers(path)


def test_the_page_works_as_it_is_printed(project: pytest.Pytester) -> None:
    (code,) = blocks(section("your_library.md", "An optimizer in a file of its own"), "toml")
    project.makepyprojecttoml(SETTINGS + code)
    models = project.path / "models.py"
    models.write_text(models.read_text() + "\n\nClassifier = Net\n")
    folder = project.path / "runs" / "3" / "checkpoint-500"
    folder.parent.mkdir(parents=True)
    save(folder, "optimizer.pt")
    (folder / "net.pt").rename(folder / "pytorch_model.bin")
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    edit(models, "model.parameters()", "list(model.parameters())[:2]")
    result = project.runpytest_inprocess()
    result.stdout.fnmatch_lines(["CK403 run-3: the optimizer's state does not fit"])


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_resume_that_was_broken_before(project: pytest.Pytester, command: Callable[..., Printed]) -> None:
    (project.path / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    git(project.path, "init", "-q", "-b", "main")
    project.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    commit(project.path)
    git(project.path, "switch", "-q", "-c", "work")
    edit(project.path / "models.py", "model.parameters()", "list(model.parameters())[:2]")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out
    assert printed.out.startswith("breaks introduced here: 1\n\nCK403 net-v1: ")
    commit(project.path)
    git(project.path, "branch", "-f", "main")
    git(project.path, "switch", "-q", "-c", "next")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "CK403 net-v1: already on main" in printed.out, printed.out
