"""Registered checkpoints of several parts: marker, table and hook, snapshots, resume, a merge base."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.conftest import SETTINGS, Printed
from tests.repository import commit, edit, git
from tests.test_docs import blocks, section
from tests.test_parts import GAN, SCOPE, D, G, saved

TABLE = """
[[tool.ckpt_compat.checkpoint]]
id = "gan-v1"
path = "gan.pt"
kwargs = {discriminator = {classes = 2}}
allow = [["CK202", "discriminator.head.*", "other classes"]]

[tool.ckpt_compat.checkpoint.model]
generator = "gan:G"
discriminator = "gan:D"
"""
MARKED = """
import pytest
from gan import D, G

@pytest.mark.checkpoint("gan.pt", id="gan-v1", model={"generator": "gan:G", "discriminator": D})
def test_gan(ckpt_compat):
    parts = ckpt_compat.load()
    assert list(parts) == ["generator", "discriminator"]
    assert isinstance(parts["generator"], G) and isinstance(parts["discriminator"], D)
    assert parts["generator"].net[0].weight.sum() == 12
    ckpt_compat.check("gan.pt", {"generator": G, "discriminator": D})
"""
HOOKED = """
from gan import D, G

def pytest_ckpt_compat_checkpoints(config):
    return [{"path": "gan.pt", "id": "gan-v1", "model": {"generator": G, "discriminator": D}}]
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(gan=GAN)
    pytester.makepyprojecttoml(SETTINGS)
    ones = {key: torch.ones_like(value) for key, value in G().state_dict().items()}
    saved(pytester.path / "gan.pt", {"generator": ones, "discriminator": D().state_dict()})
    return pytester


def register(project: pytest.Pytester, way: str) -> None:
    if way == "table":
        project.makepyprojecttoml(SETTINGS + TABLE)
    elif way == "marker":
        project.makepyfile(test_gan=MARKED)
    else:
        project.makeconftest(HOOKED)


@pytest.mark.parametrize("way", ["table", "marker", "hook"])
@pytest.mark.parametrize("there", [True, False], ids=["file", "snapshot"])
def test_registered(project: pytest.Pytester, way: str, there: bool) -> None:
    register(project, way)
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    snapshots = project.path / "ckpt_snapshots"
    assert (snapshots / "gan-v1.json").exists()
    if way == "marker":
        assert (snapshots / "definitions" / "generator=gan.G,discriminator=gan.D.json").exists()
    if not there:
        (project.path / "gan.pt").unlink()
    counts = {"skipped": 1} if way == "marker" and not there else {"passed": 1}
    project.runpytest_inprocess().assert_outcomes(**counts)
    edit(project.path / "gan.py", 'name="net"', 'name="layers"')
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*~ generator.net.* -> generator.layers.*   9 tensors"])


@pytest.mark.parametrize("mapping", ["{}", "{generator = 3}", '{generator = "gan"}', '{g = {d = "gan:D"}}'])
def test_a_mapping_that_cannot_be_meant(project: pytest.Pytester, mapping: str) -> None:
    entry = f'\n[[tool.ckpt_compat.checkpoint]]\npath = "gan.pt"\nmodel = {mapping}\n'
    project.makepyprojecttoml(SETTINGS + entry)
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    wanted = 'it must be text, "package.module:attr", or a mapping of parts to such'
    result.stdout.fnmatch_lines([f"CK906 *gan.pt, option model: is *; {wanted}"])


def test_a_table_accepts_by_keys_that_name_the_part(project: pytest.Pytester) -> None:
    register(project, "table")
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    edit(project.path / "pyproject.toml", "classes = 2", "classes = 3")
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    project.runpytest_inprocess().assert_outcomes(passed=1)
    edit(project.path / "gan.py", "width=4", "width=6")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK201 gan-v1: *of 13 tensors resized"])


def test_a_snapshot_keeps_where_each_part_was(project: pytest.Pytester) -> None:
    nested = {"generator": {"a": G().state_dict()}, "discriminator": {"model": D().state_dict()}}
    saved(project.path / "gan.pt", nested)
    register(project, "hook")
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    # Another one that fits as well: without the snapshot, the check would ask.
    nested["generator"]["b"] = G().state_dict()
    saved(project.path / "gan.pt", nested)
    project.runpytest_inprocess().assert_outcomes(passed=1)
    (project.path / "ckpt_snapshots" / "gan-v1.json").unlink()
    result = project.runpytest_inprocess()
    result.stdout.fnmatch_lines(["CK905 *2 state_dicts that fit gan.G equally well: 'generator.a'*"])


def test_a_snapshot_of_one_state_dict_is_none_of_parts(project: pytest.Pytester) -> None:
    one = {"path": "gan.pt", "id": "gan-v1", "model": "gan:D", "key": "discriminator"}
    project.makeconftest(f"def pytest_ckpt_compat_checkpoints(config):\n    return [{one!r}]\n")
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    (project.path / "gan.pt").unlink()
    register(project, "hook")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK901 gan-v1: *its snapshot * was recorded for a model of other parts*"])


def test_resume_of_parts(project: pytest.Pytester) -> None:
    parts = {"generator": G(), "discriminator": D()}
    optimizers = SCOPE["optimizers"](parts)
    for part, optimizer in zip(parts.values(), optimizers, strict=True):
        for parameter in part.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    both = dict(zip(("opt_g", "opt_d"), (each.state_dict() for each in optimizers), strict=True))
    saved(project.path / "gan.pt", {**{name: each.state_dict() for name, each in parts.items()}, **both})
    resume = ', "level": "resume", "optimizer": "gan:optimizers"}'
    project.makeconftest(HOOKED.replace("}}", "}" + resume))
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    project.runpytest_inprocess().assert_outcomes(passed=1)
    edit(project.path / "gan.py", "nn.Linear(5, classes)", "nn.Linear(5, classes, bias=False)")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*discriminator.head.bias*the optimizer no longer has it*"])


GAN_OF_THE_PAGE = """
import torch
from torch import nn

class Generator(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = nn.Linear(width, 5)

    def sample(self, number):
        return self.net(torch.zeros(number, self.net.in_features))

class Discriminator(nn.Linear):
    def __init__(self):
        super().__init__(5, 1)
"""


def test_the_page_works_as_it_is_printed(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(SETTINGS)
    pytester.makepyfile(gan=GAN_OF_THE_PAGE)
    (code,) = blocks(section("your_library.md", "Several models in one file"), "python")
    name, _, rest = code.partition("\n")
    (pytester.path / name.removeprefix("# ")).write_text(rest)
    (pytester.path / "checkpoints").mkdir()
    checkpoint = {"generator": {"net.weight": torch.ones(5, 8), "net.bias": torch.ones(5)}}
    checkpoint["discriminator"] = nn.Linear(5, 1).state_dict()
    saved(pytester.path / "checkpoints" / "gan.pt", checkpoint)
    pytester.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    edit(pytester.path / "test_gan.py", '"width": 8', '"width": 9')
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*! generator.net.weight   float32[[]5, 8] -> float32[[]5, 9]*"])


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
@pytest.mark.parametrize("there", [True, False], ids=["file", "snapshot"])
def test_new_and_old_breaks(project: pytest.Pytester, command: Callable[..., Printed], there: bool) -> None:
    register(project, "table")
    (project.path / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    git(project.path, "init", "-q", "-b", "main")
    project.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    if not there:
        (project.path / "gan.pt").unlink()
    commit(project.path)
    git(project.path, "switch", "-q", "-c", "work")
    printed = command("check", "--against", "main")
    assert (printed.code, printed.out.splitlines()[0][:10]) == (0, "OK gan-v1:"), printed.out
    edit(project.path / "gan.py", "width=4", "width=6")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out
    assert printed.out.startswith("breaks introduced here: 1\n\nCK201 gan-v1: "), printed.out
    assert "generator.net.0.weight" in printed.out
    project.runpytest_inprocess("--ckpt-update", "-q")
    commit(project.path)
    git(project.path, "branch", "-f", "main")
    git(project.path, "switch", "-q", "-c", "next")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "CK201 gan-v1: already on main" in printed.out


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_parts_that_the_merge_base_did_not_know(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    one = 'model = "gan:G"\nkey = "generator"\n'
    project.makepyprojecttoml(
        f'{SETTINGS}\n[[tool.ckpt_compat.checkpoint]]\nid = "gan-v1"\npath = "gan.pt"\n{one}'
    )
    (project.path / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    git(project.path, "init", "-q", "-b", "main")
    project.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    commit(project.path)
    git(project.path, "switch", "-q", "-c", "work")
    register(project, "table")
    assert command("update", "gan-v1").code == 0
    project.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    printed = command("check", "--against", "main")
    assert "registered with other parts: not compared with what it recorded" in printed.out, printed.out
    assert "CK4" not in printed.out, printed.out
