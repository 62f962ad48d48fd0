"""A file that holds one state_dict a part, and a model that is a mapping of parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.errors import CkptCompatError, ReadError, UsageError
from tests.conftest import SETTINGS, Printed
from tests.repository import commit, edit, git
from tests.test_docs import blocks, section

GAN = """
import torch
from torch import nn

class G(nn.Module):
    def __init__(self, width=4, name="net"):
        super().__init__()
        self.add_module(name, nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2)))

class D(nn.Module):
    def __init__(self, classes=2):
        super().__init__()
        self.body = nn.Linear(5, 5)
        self.head = nn.Linear(5, classes)

def optimizers(parts):
    return [torch.optim.Adam(part.parameters()) for part in parts.values()]
"""
_SCOPE: dict[str, Any] = {}
exec(GAN, _SCOPE)
G, D = _SCOPE["G"], _SCOPE["D"]
PARTS = {"generator": G, "discriminator": D}
torch.optim.Adam(D().parameters())  # imports much of torch, which pytester would take back after a test


class OwnLoad(nn.Module):
    """Its override is called for the outermost module alone, so a part must be loaded by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.new = nn.Linear(2, 2)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        renamed = {key.replace("old.", "new."): value for key, value in state_dict.items()}
        return super().load_state_dict(renamed, strict)


def states() -> dict[str, Any]:
    return {name: make().state_dict() for name, make in PARTS.items()}


def saved(path: Path, checkpoint: Any) -> Path:
    torch.save(checkpoint, path)
    return path


def really_loads(path: Path, models: Mapping[str, Any], kwargs: Mapping[str, Any]) -> bool:
    """Torch's own word: each part loaded into its model."""
    file = torch.load(path)
    try:
        for name, model in models.items():
            model(**kwargs.get(name, {})).load_state_dict(file[name])
    except (RuntimeError, KeyError):
        return False
    return True


OLD = {"old.weight": torch.zeros(2, 2), "old.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    ("checkpoint", "models", "kwargs"),
    [
        (states(), PARTS, {}),
        (states(), PARTS, {"generator": {"width": 5}}),
        (states(), PARTS, {"generator": {"name": "layers"}}),
        (states(), PARTS, {"discriminator": {"classes": 3}}),
        (states(), PARTS, {"generator": {"width": 5}, "discriminator": {"classes": 3}}),
        (states(), {"generator": G}, {}),
        (states(), {"generator": D, "discriminator": G}, {}),
        (states(), PARTS | {"other": D}, {}),
        ({**states(), "epoch": 3, "ema": G().state_dict()}, PARTS, {}),
        ({"generator": dict(G().state_dict()), "discriminator": D().state_dict()}, PARTS, {}),
        ({"a": OLD, "b": D().state_dict()}, {"a": OwnLoad, "b": D}, {}),
        ({"a.b": G().state_dict(), "c": D().state_dict()}, {"a.b": G, "c": D}, {}),
        ({"0": G().state_dict(), "1": D().state_dict()}, {"0": G, "1": D}, {}),
        ({"generator": G().state_dict(), "empty": {}}, {"generator": G, "empty": nn.ReLU}, {}),
    ],
)
def test_the_verdict_is_torchs_on_every_part(
    tmp_path: Path, checkpoint: Any, models: Any, kwargs: Any
) -> None:
    path = saved(tmp_path / "gan.pt", checkpoint)
    verdict = ckpt.check(path, models, kwargs)
    assert verdict.compatible is really_loads(path, models, kwargs), str(verdict)


def test_every_key_names_its_part(tmp_path: Path) -> None:
    path = saved(tmp_path / "gan.pt", {**states(), "ema": G().state_dict()})
    verdict = ckpt.check(path, PARTS, {"generator": {"name": "layers"}, "discriminator": {"classes": 3}})
    assert verdict.old is not None
    assert verdict.new is not None
    assert list(verdict.old.tensors)[:2] == ["generator.net.0.weight", "generator.net.0.bias"]
    assert list(verdict.new.tensors)[-1] == "discriminator.head.bias"
    text = str(verdict)
    assert "  ~ generator.net.* -> generator.layers.*   9 tensors\n" in text
    assert "  ! discriminator.head.bias                 float32[2] -> float32[3]   outputs 2 -> 3\n" in text
    assert verdict.notes == ("the file also holds ema, for which model= has no part",)


def test_a_part_that_the_file_lacks(tmp_path: Path) -> None:
    path = saved(tmp_path / "gan.pt", {"generator": G().state_dict(), "netD": D().state_dict()})
    for strict in (True, False):
        verdict = ckpt.check(path, PARTS, strict=strict)
        assert not verdict.compatible
        assert "discriminator: the file has no state_dict of this name; it also holds netD" in str(verdict)
        missing = [key for change in verdict.changes for key in change.new]
        assert missing == [f"discriminator.{key}" for key in D().state_dict()]


@pytest.mark.parametrize(
    ("checkpoint", "places"),
    [
        ({"state": states()}, ["state.generator", "state.discriminator"]),
        (
            {"nets": [{"generator": G().state_dict()}], "discriminator": D().state_dict()},
            ["nets.0.generator", "discriminator"],
        ),
        (
            {name: {"model": each, "epoch": 1} for name, each in states().items()},
            ["generator.model", "discriminator.model"],
        ),
        (
            {name: {"d": D().state_dict(), "g": G().state_dict()} for name in PARTS},
            ["generator.g", "discriminator.d"],
        ),
    ],
)
def test_a_nested_part_is_found(tmp_path: Path, checkpoint: Any, places: list[str]) -> None:
    verdict = ckpt.check(saved(tmp_path / "gan.pt", checkpoint), PARTS)
    assert verdict.compatible, str(verdict)
    assert verdict.old is not None
    assert [place for _, place in verdict.old.source.parts] == places
    assert verdict.notes[0].startswith("read generator from "), verdict.notes


def test_key_names_the_mapping_of_parts(tmp_path: Path) -> None:
    path = saved(tmp_path / "gan.pt", {"best": states(), "last": {**states(), "generator": D().state_dict()}})
    assert ckpt.check(path, PARTS, key="best").compatible
    assert not ckpt.check(path, PARTS, key="last").compatible


def test_strip_prefix_and_remap_apply_to_each_part(tmp_path: Path) -> None:
    wrapped = {name: {f"module.{k}": v for k, v in each.items()} for name, each in states().items()}
    path = saved(tmp_path / "gan.pt", wrapped)
    verdict = ckpt.check(path, PARTS)
    assert "~ generator.module.* -> generator.*" in str(verdict)
    assert "~ discriminator.module.* -> discriminator.*" in str(verdict)
    assert ckpt.check(path, PARTS, strip_prefix="module.").compatible

    def bare(state: Any) -> Any:
        return {key.removeprefix("module."): value for key, value in state.items()}

    verdict = ckpt.check(path, PARTS, remap=bare)
    assert verdict.compatible, str(verdict)
    assert verdict.remapped["discriminator.module.head.bias"] == "discriminator.head.bias"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"model": {}}, "model: is a mapping whose keys are not names of parts; write model="),
        ({"model": {1: G}}, "model: is a mapping whose keys are not names"),
        ({"model": {"generator": None}}, "model, part generator: is no model"),
        ({"model": {"g": G, "g.x": D}}, "'g', and 'g.x' inside it: their keys cannot be told apart"),
        (
            {"kwargs": {"width": 3}},
            "kwargs: has 'width', which is no part: .*; the parts are generator",
        ),
        ({"kwargs": {"generator": 3}}, "kwargs, part generator: is 3; give a dict for each part"),
        ({"load": "loading:load"}, "load: was given with a model of several parts"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, arguments: Any, complaint: str) -> None:
    path = saved(tmp_path / "gan.pt", states())
    with pytest.raises(UsageError, match=complaint):
        ckpt.check(path, **{"model": PARTS} | arguments)


@pytest.mark.parametrize(
    ("checkpoint", "complaint"),
    [
        (G().state_dict(), "it holds one state_dict, and none for each of the parts 'generator', 'discrim"),
        (
            {"netG": G().state_dict(), "netD": D().state_dict()},
            "it holds netG, netD; name the parts in",
        ),
        ({"epoch": 3}, "it holds no state_dict"),
    ],
)
def test_a_file_without_any_of_the_parts(tmp_path: Path, checkpoint: Any, complaint: str) -> None:
    with pytest.raises(ReadError, match=complaint):
        ckpt.check(saved(tmp_path / "gan.pt", checkpoint), PARTS)


def test_define_names_the_parts() -> None:
    structure = ckpt.define(PARTS, {"discriminator": {"classes": 7}})
    assert structure.tensors["discriminator.head.bias"].shape == (7,)
    with pytest.raises(CkptCompatError, match="kwargs: has 'nobody'"):
        ckpt.define(PARTS, {"nobody": {}})


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
    optimizers = _SCOPE["optimizers"](parts)
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
