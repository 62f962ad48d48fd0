"""What the page on libraries says of Lightning and timm works as it is printed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

import pytest_ckpt_compat as ckpt
from tests.conftest import SETTINGS
from tests.repository import edit
from tests.test_docs import blocks, section

pytestmark = pytest.mark.filterwarnings("ignore")


def _imported(name: str) -> Any:
    """A library, or why it is not there. Imported here, it stays after a run of pytest in this process."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # timm imports torchvision, which may not fit the installed torch
        return f"{name} is the oracle, and cannot be imported: {error}"


LIBRARIES = {
    name: _imported(name) for name in ("lightning.pytorch", "timm", "timm.models.vision_transformer")
}


def library(name: str) -> Any:
    if isinstance(LIBRARIES[name], str):
        pytest.skip(LIBRARIES[name])
    return LIBRARIES[name]


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyprojecttoml(SETTINGS)
    (pytester.path / "checkpoints").mkdir()
    pytester.syspathinsert()
    return pytester


def write(project: pytest.Pytester, title: str) -> None:
    """Writes the files that a section of the page shows; each begins with its name."""
    for code in blocks(section("your_library.md", title), "python"):
        name, _, rest = code.partition("\n")
        (project.path / name.removeprefix("# ")).write_text(rest)


def run(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:asyncio", "-rA", *args)


@pytest.mark.long
@pytest.mark.usefixtures("warm_libraries")
def test_lightning(project: pytest.Pytester) -> None:
    pl = library("lightning.pytorch")
    write(project, "Lightning")
    kind = importlib.import_module("lit").LitClassifier
    module = kind(width=6, num_classes=3)
    old = {key.replace("net.", "model."): value for key, value in module.state_dict().items()}
    checkpoint = {"state_dict": old, "hyper_parameters": dict(module.hparams), "epoch": 9}
    checkpoint["pytorch-lightning_version"] = pl.__version__
    path = project.path / "checkpoints" / "epoch_9.ckpt"
    torch.save(checkpoint, path)
    assert kind.load_from_checkpoint(path)
    run(project, "--ckpt-update").assert_outcomes(passed=1)
    path.unlink()  # from here on, from the snapshot
    run(project).assert_outcomes(passed=1)
    edit(project.path / "lit.py", "nn.Linear(8, width)", "nn.Linear(9, width)")
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK201 checkpoints/epoch_9.ckpt: 1 of 4 tensors resized"])
    result.stdout.fnmatch_lines(["*loaded as LitClassifier.load_from_checkpoint does: *width=6*"])


@pytest.mark.long
@pytest.mark.usefixtures("warm_libraries")
def test_timm(project: pytest.Pytester) -> None:
    timm = library("timm")
    write(project, "timm")
    smaller = timm.create_model("vit_tiny_patch16_224", img_size=16, num_classes=5)
    torch.save(smaller.state_dict(), project.path / "checkpoints" / "vit.pt")
    run(project, "--ckpt-update").assert_outcomes(passed=1)
    run(project).assert_outcomes(passed=1)
    edit(project.path / "test_vit.py", '"num_classes": 5', '"num_classes": 6')
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK202 checkpoints/vit.pt: head resized*"])


@pytest.mark.long
@pytest.mark.parametrize("change", ["same", "other image size", "other head", "older names"])
@pytest.mark.parametrize("filtered", [True, False])
def test_the_verdict_is_timms(tmp_path: Path, change: str, filtered: bool) -> None:
    timm = library("timm")
    convert = library("timm.models.vision_transformer").checkpoint_filter_fn
    load = timm.models.load_checkpoint
    sizes = {"model_name": "vit_tiny_patch16_224", "img_size": 32, "num_classes": 5}
    other = {"other image size": {"img_size": 64}, "other head": {"num_classes": 6}}.get(change, {})
    state = timm.create_model(**sizes | other).state_dict()
    if change == "older names":
        state = {key.replace("patch_embed.proj", "patch_embed.0"): value for key, value in state.items()}
    path = tmp_path / "vit.pt"
    torch.save({"state_dict": state}, path)
    try:
        load(timm.create_model(**sizes), str(path), filter_fn=convert if filtered else None)
        wanted = True
    except Exception:
        wanted = False
    verdict = ckpt.check(path, timm.create_model, sizes, migrate=convert if filtered else None)
    assert verdict.compatible is wanted, str(verdict)
    if filtered:
        assert verdict.notes[0].startswith("migration timm.models.vision_transformer.checkpoint_filter_fn: ")
