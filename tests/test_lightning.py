"""LightningModules load as ``load_from_checkpoint`` loads them; Lightning itself is the oracle."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure, resumed
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.lightning import kept
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._snapshots import fingerprint

pl = pytest.importorskip("lightning.pytorch", reason="is the oracle")

pytestmark = pytest.mark.filterwarnings("ignore")


class Base(pl.LightningModule):  # type: ignore[misc,name-defined]
    """Trains for no step, so that a Trainer can save it."""

    def training_step(self, batch: Any, _number: int) -> Any:
        return self(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def body(width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, classes))


class Plain(Base):
    def __init__(self, width: int = 4, classes: int = 2, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = body(width, classes)


class Required(Base):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = body(width, classes)


class OtherDefault(Base):
    def __init__(self, width: int = 16, classes: int = 2, depth: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = body(width, classes)


class Fewer(Base):
    """Takes no ``lr`` any more: Lightning drops what the constructor does not take."""

    def __init__(self, width: int = 9, classes: int = 2) -> None:
        super().__init__()
        self.net = body(width, classes)


class Anything(Base):
    def __init__(self, width: int = 9, **others: Any) -> None:
        super().__init__()
        self.net = body(width, others["classes"])


class Resized(Base):
    def __init__(self, width: int = 4, classes: int = 2, lr: float = 0.1) -> None:
        super().__init__()
        self.net = body(width, classes + 1)


class Renamed(Base):
    def __init__(self, width: int = 4, classes: int = 2, lr: float = 0.1) -> None:
        super().__init__()
        self.trunk = body(width, classes)


class Renaming(Renamed):
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["state_dict"]
        for key in list(state):
            state[key.replace("net.", "trunk.")] = state.pop(key)


class Replacing(Renamed):
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        old = checkpoint["state_dict"]
        assert checkpoint["hyper_parameters"]["width"] > 0
        checkpoint["state_dict"] = {key.replace("net.", "trunk."): value for key, value in old.items()}


class Raising(Plain):
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        raise KeyError(checkpoint["epoch"])


class Changing(Plain):
    def __init__(self, width: list[int], classes: int = 2, lr: float = 0.1) -> None:
        super().__init__(width.pop(), classes, lr)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["hyper_parameters"]["width"].append(5)


class ByNumbers(Renamed):
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["state_dict"]
        new = "trunk." if float(state["net.0.weight"].abs().sum()) > 0 else "elsewhere."
        checkpoint["state_dict"] = {key.replace("net.", new): value for key, value in state.items()}


class Lenient(Plain):
    def __init__(self, width: int = 4, classes: int = 2, lr: float = 0.1) -> None:
        super().__init__(width, classes, lr)
        self.more = nn.Linear(2, 2)
        self.strict_loading = False


class Strict(Plain):
    def __init__(self, width: int = 4, classes: int = 2, lr: float = 0.1) -> None:
        super().__init__(width, classes, lr)
        self.strict_loading = True


class Configured(Base):
    def __init__(self, width: int = 4, classes: int = 2, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net: Any = None

    def configure_model(self) -> None:
        if self.net is None:
            self.net = body(self.hparams["width"], self.hparams["classes"])


class Whole(Base):
    """Takes its hyper-parameters as one argument, and saves them as such."""

    def __init__(self, hparams: Any) -> None:
        super().__init__()
        self.save_hyperparameters(hparams)
        self.net = body(self.hparams.width, self.hparams.classes)


class ByAttribute(Base):
    def __init__(self, args: Any, classes: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = body(args.width, classes)


class ByItem(ByAttribute):
    def __init__(self, args: Any, classes: int = 2) -> None:
        Base.__init__(self)
        self.save_hyperparameters()
        self.net = body(args["width"], classes)


class WholeByAttribute(Base):
    def __init__(self, hparams: Any) -> None:
        super().__init__()
        self.save_hyperparameters(hparams)
        self.net = body(hparams.width, hparams.classes)


class Given(Base):
    """Has a module among its hyper-parameters, and a function."""

    def __init__(self, net: nn.Module | None = None, optimizer: Any = None, width: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = net


class Doer(Plain):
    def __init__(self, width: int = 4, classes: int = 2, lr: float = 0.1, make: Any = None) -> None:
        super().__init__(width, classes, lr)
        self.save_hyperparameters()


def save(module: Any, path: Path) -> Path:
    """Writes what a Trainer writes."""
    trainer = pl.Trainer(
        max_steps=1, logger=False, enable_checkpointing=False, accelerator="cpu", barebones=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=path.parent,
    )  # fmt: skip
    trainer.strategy.connect(module)
    trainer.strategy._lightning_module = module
    module.trainer = trainer
    trainer.save_checkpoint(path)
    return path


def lightning_loads(path: Path, kind: Any, kwargs: dict[str, Any], strict: bool | None) -> bool:
    # What is around the method walks the stack, to see whether torch.jit calls it, for longer than it loads.
    load = kind.load_from_checkpoint.__func__
    try:
        load(kind, path, map_location="cpu", weights_only=False, strict=strict, **kwargs)
    except Exception:
        return False
    return True


SAVED: dict[str, Callable[[], Any]] = {
    "defaults": Plain,
    "wide": partial(Plain, width=8, classes=5),
    "required": partial(Required, 6, 3),
    "configured": lambda: _configured(width=7),
    "fewer": partial(Fewer, 4, 2),  # saves no hyper-parameters
    "whole": lambda: Whole({"width": 5, "classes": 3}),
    "namespace": lambda: Whole(Namespace(width=5, classes=3)),
    "argument": lambda: ByAttribute(Namespace(width=5), classes=4),
    "dictionary": lambda: ByItem({"width": 5}, classes=4),
}


def _configured(**kwargs: Any) -> Any:
    module = Configured(**kwargs)
    module.configure_model()
    return module


KINDS = (
    Plain, Required, OtherDefault, Fewer, Anything, Resized, Renamed, Renaming, Replacing, Raising, ByNumbers,
    Lenient, Strict, Configured, Whole, ByAttribute, ByItem, WholeByAttribute,
)  # fmt: skip

#: (keyword arguments, strict); None is what is checked without saying anything.
CALLS: tuple[tuple[dict[str, Any], bool | None], ...] = (
    ({}, None), ({"width": 8}, None), ({"classes": 9, "width": 4}, None), ({}, False),
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("lightning")
    return {name: save(make(), folder / f"{name}.ckpt") for name, make in SAVED.items()}


def our_verdict(path: Path, kind: Any, kwargs: dict[str, Any], strict: bool | None) -> Verdict | None:
    """The verdict, None if the class cannot be built."""
    try:
        return ckpt.check(path, kind, kwargs, strict=strict is not False)
    except BuildError:
        return None


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SAVED)
def test_the_verdict_is_lightnings(files: dict[str, Path], name: str, kind: Any) -> None:
    """Whatever Lightning loads is compatible, unless nothing arrives in the model; nothing else is."""
    for kwargs, strict in CALLS:
        wanted = lightning_loads(files[name], kind, kwargs, strict)
        verdict = our_verdict(files[name], kind, kwargs, strict)
        if verdict is None:
            assert not wanted
            continue
        nothing = any(change.rule == "CK406" for change in verdict.changes)
        assert verdict.compatible is (wanted and not nothing), (kwargs, strict, str(verdict))
        assert f"loaded as {kind.__name__}.load_from_checkpoint does" in verdict.notes[0]


@pytest.mark.parametrize(
    ("name", "kind", "kwargs", "loads"),
    [
        ("wide", Plain, {}, True),
        ("wide", Plain, {"width": 4}, False),
        ("wide", OtherDefault, {}, True),
        ("wide", Resized, {}, False),
        ("wide", Renamed, {}, False),
        ("wide", Renaming, {}, True),
        ("required", Required, {}, True),
        ("argument", ByAttribute, {}, True),
        ("dictionary", ByAttribute, {}, None),
    ],
)
def test_some_of_it_quickly(
    files: dict[str, Path], name: str, kind: Any, kwargs: dict[str, Any], loads: bool | None
) -> None:
    verdict = our_verdict(files[name], kind, kwargs, None)
    assert (verdict and verdict.compatible) is loads


@pytest.mark.long
@pytest.mark.parametrize("kind", [Plain, Required, Renaming, ByAttribute, Whole])
@pytest.mark.parametrize("name", SAVED)
def test_a_snapshot_says_the_same(files: dict[str, Path], name: str, kind: Any) -> None:
    structure = read(files[name])
    stored = fingerprint.loads(fingerprint.dumps(structure, kept(structure.values)), "snapshot")

    def verdict(of: Any) -> Any:
        try:
            return check_structure(of, find(kind), Policy()).compatible
        except BuildError as error:
            return error.problem

    assert verdict(stored) == verdict(structure)


def test_it_says_how_it_was_built(files: dict[str, Path]) -> None:
    verdict = ckpt.check(files["wide"], Required, {"classes": 5})
    assert verdict.compatible
    assert verdict.notes == (
        "loaded as Required.load_from_checkpoint does: built with its hyper-parameters width=8",
    )
    verdict = ckpt.check(files["defaults"], Renaming)
    assert verdict.notes[1] == (
        "Renaming.on_load_checkpoint: "
        "renamed 4 (net.0.weight -> trunk.0.weight, net.0.bias -> trunk.0.bias, ...)"
    )
    assert dict(verdict.remapped)["net.1.bias"] == "trunk.1.bias"
    verdict = ckpt.check(files["defaults"], Raising)
    assert "Raising.on_load_checkpoint raised KeyError: 0 (tests/test_lightning.py:" in str(verdict)


def test_arguments_are_as_they_were_after_a_check(files: dict[str, Path]) -> None:
    given = {"width": [8]}
    for _ in range(2):
        assert ckpt.check(files["wide"], Changing, {**given, "classes": 5}).compatible
    assert given == {"width": [8]}


def test_a_remap_comes_first(files: dict[str, Path]) -> None:
    def remap(state: dict[str, Any]) -> dict[str, Any]:
        return {key.replace("0.", "zero."): value for key, value in state.items()}

    verdict = ckpt.check(files["defaults"], Renaming, migrate=remap)
    assert not verdict.compatible
    assert "net.0.weight -> trunk.zero.weight" in verdict.notes[1]


@pytest.mark.parametrize("kind", [nn.Module, Plain])
def test_a_file_of_something_else_is_loaded_as_ever(tmp_path: Path, kind: Any) -> None:
    torch.save(Plain(width=8).state_dict(), tmp_path / "plain.pt")
    assert ckpt.check(tmp_path / "plain.pt", Plain, {"width": 8}).notes == ()
    assert not ckpt.check(tmp_path / "plain.pt", kind).compatible


def test_a_plain_model_is_no_business_of_lightnings(files: dict[str, Path]) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = body(8, 5)

    verdict = ckpt.check(files["wide"], Wrapped)
    assert (verdict.compatible, verdict.notes) == (True, ())


def test_an_object_that_is_not_read_is_asked_for_where_it_matters(tmp_path: Path) -> None:
    path = save(Given(body(4, 2), partial(torch.optim.SGD, lr=0.1)), tmp_path / "given.ckpt")
    with pytest.raises(BuildError, match=r"net \(torch.nn.modules.container.Sequential\).*give it in kwargs"):
        ckpt.check(path, Given)
    assert ckpt.check(path, Given, {"net": body(4, 2), "optimizer": None}).compatible
    path = save(Doer(make=partial(torch.optim.SGD, lr=0.1)), tmp_path / "doer.ckpt")
    assert ckpt.check(path, Doer).compatible


def test_omegaconf_hyperparameters(tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf", reason="holds the hyper-parameters")
    path = save(WholeByAttribute(omegaconf.OmegaConf.create({"width": 5, "classes": 3})), tmp_path / "o.ckpt")
    assert lightning_loads(path, WholeByAttribute, {}, None)
    assert ckpt.check(path, WholeByAttribute).compatible
    assert not ckpt.check(path, Plain, {"width": 6}).compatible


@pytest.mark.usefixtures("warm_libraries")
def test_pytorch_lightning_is_the_same_library(tmp_path: Path) -> None:
    script = f"""
import torch, pytorch_lightning as pl, pytest_ckpt_compat as ckpt

class Net(pl.LightningModule):
    def __init__(self, width):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(width, 2)

torch.save({{"state_dict": Net(5).state_dict(), "pytorch-lightning_version": "2.6.0",
            "hyper_parameters": {{"width": 5}}}}, {str(tmp_path / "net.ckpt")!r})
assert ckpt.check({str(tmp_path / "net.ckpt")!r}, Net).compatible
"""
    pytest.importorskip("pytorch_lightning", reason="is the library")
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


@pytest.mark.usefixtures("warm_python")
def test_lightning_is_not_imported_for_other_models(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    code = f"""
import sys, torch, pytest_ckpt_compat as ckpt
sizes = {{"in_features": 2, "out_features": 2}}
assert ckpt.check({str(tmp_path / "net.pt")!r}, torch.nn.Linear, sizes).compatible
assert not {{"lightning", "pytorch_lightning", "omegaconf"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_is_resumed_with_the_models_own_sizes(tmp_path: Path) -> None:
    """The optimizer is made for the model that the hyper-parameters build; the hook's renames hold for it."""
    module = Plain(width=8)
    optimizer = torch.optim.Adam(module.parameters())
    module.net(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    path = save(module, tmp_path / "run.ckpt")
    saved = torch.load(path, weights_only=False)
    torch.save(saved | {"optimizer_states": [optimizer.state_dict()]}, path)
    structure = read(path)
    for kind, compatible in ((Plain, True), (Renaming, True), (Resized, False)):
        definition = find(kind)
        verdict = check_structure(structure, definition, Policy())
        found = resumed(verdict, definition, torch.optim.Adam, Policy())
        assert found.compatible is compatible, str(found)
        rules = {change.rule for change in found.changes}
        assert ("CK403" in rules) is not compatible
