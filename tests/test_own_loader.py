"""``load=``: a project's own loader is run as it is, and the verdict is that of the loads in it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat import check, read
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import BuildError, NoBaselineError, ReadError, UsageError
from pytest_ckpt_compat._core.structure import SNAPSHOT
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.load import load_weights
from pytest_ckpt_compat._definition.loader import _run
from tests.conftest import save

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, classes)

class Own(Net):
    def load_state_dict(self, state, strict=True):
        return super().load_state_dict({key.removeprefix("module."): state[key] for key in state}, strict)

def bare(path):
    return {key.removeprefix("module."): value for key, value in torch.load(path)["model"].items()}

def whole(path, classes=3):
    model = Net(classes)
    model.load_state_dict(bare(path))
    return model.eval()

def by_file(path):
    model = Net()
    with open(path, "rb") as file:
        state = torch.load(file, map_location="cpu", weights_only=True)["model"]
    model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return model

def override(path):
    model = Own()
    model.load_state_dict(torch.load(path)["model"])
    return model

def parts(path):
    model, state = Net(), bare(path)
    for name in ("body", "norm"):
        part = {key.split(".", 1)[1]: state[key] for key in state if key.startswith(name + ".")}
        getattr(model, name).load_state_dict(part)
    return model

def twice(path):
    model, state = Net(), bare(path)
    head = {key: state.pop(key) for key in list(state) if key.startswith("head")}
    model.load_state_dict(state, strict=False)
    model.load_state_dict(head, strict=False)
    return model

def copies(path):
    model, state = Net(), bare(path)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            value.copy_(state[key])
    return model

def numbers(path):
    state = bare(path)
    if float(state["body.weight"].abs().sum()) == 0:
        raise ValueError("all zeros")
    model = Net()
    model.load_state_dict(state)
    return model

def lenient(path):
    model = Net()
    model.load_state_dict(torch.load(path)["model"], strict=False)
    return model

def second_try(path):
    model = Net()
    try:
        model.load_state_dict(torch.load(path)["model"])
    except RuntimeError:
        model.load_state_dict(bare(path))
    return model

def ignored(path):
    model = Net()
    try:
        model.load_state_dict(torch.load(path)["model"])
    except RuntimeError:
        pass
    return model

def fails(path):
    raise ValueError("no " + torch.load(path)["note"])

def average(path):
    model, other = Net(), Net(5)
    model.load_state_dict(bare(path))
    part = {key: value for key, value in bare(path).items() if "head" not in key}
    other.load_state_dict(part, strict=False)
    return model

def by_numpy(path):
    model, state = Net(), bare(path)
    arrays = {key: value.numpy() for key, value in state.items() if key != "head.bias"}
    model.load_state_dict({key: torch.as_tensor(value.copy()) for key, value in arrays.items()}, strict=False)
    return model

def by_hand(path):
    import zipfile
    with zipfile.ZipFile(path) as archive:
        archive.namelist()
    model = Net()
    model.load_state_dict({key: torch.zeros_like(value) for key, value in model.state_dict().items()})
    return model

def by_hand_alone(path):
    with open(path, "rb") as file:
        file.read(1)
    return Net()

def backbone_first(path):
    model = Net()
    model.body.load_state_dict({"weight": torch.zeros(4, 4)}, strict=False)
    model.load_state_dict(bare(path))
    return model

def wrapped(path):
    return nn.Sequential(whole(path))

def copied(path):
    import copy
    return copy.deepcopy(whole(path))

def script(path):
    return torch.jit.load(path)

def pair(path):
    return whole(path), 3

def other_way(path):
    with open(path, "rb") as file:
        file.read(1)
    return whole(path)

def late(path):
    import late_import
    return late_import.whole(path)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The module of loaders, and ``net.pt``, which the definition saved inside a wrapper."""
    (tmp_path / "loaders.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__("loaders")
    state = {f"module.{key}": value for key, value in module.Net().state_dict().items()}
    torch.save({"model": state, "note": "luck", "optimizer": {"lr": 0.1}}, tmp_path / "net.pt")
    yield module
    for name in ("loaders", "late_import"):
        sys.modules.pop(name, None)


def judged(tmp_path: Path, name: str, there: bool = True, **kwargs: Any) -> Verdict:
    """The verdict of a loader; with the file, or as a snapshot has it."""
    structure = read(tmp_path / "net.pt")
    if there:
        return check(tmp_path / "net.pt", load=f"loaders:{name}", kwargs=kwargs)
    path = str(tmp_path / "absent.pt")
    definition = find(None, kwargs, None, f"loaders:{name}", path)
    return check_structure(replace(structure, locations={}), definition, Policy())


#: Loader -> kinds of the changes that are found, and whether it is compatible.
VERDICTS = {
    "whole": ([], True),
    "override": ([], True),
    "parts": (["partial-load"], True),
    "twice": ([], True),
    "copies": ([], True),
    "lenient": (["renamed", "nothing-loaded"], False),
    "second_try": ([], True),
    "average": ([], True),
    "wrapped": ([], True),
    "copied": ([], True),
    "ignored": (["renamed", "nothing-loaded"], False),
}


@pytest.mark.parametrize("there", [True, False], ids=["file", "snapshot"])
@pytest.mark.parametrize("name", VERDICTS)
@pytest.mark.usefixtures("project")
def test_the_verdict_is_that_of_the_loads_in_it(name: str, there: bool, tmp_path: Path) -> None:
    verdict = judged(tmp_path, name, there)
    kinds, compatible = VERDICTS[name]
    assert list(dict.fromkeys(change.kind for change in verdict.changes)) == kinds, str(verdict)
    assert verdict.compatible == compatible
    assert f"loaded by loaders.{name}" in verdict.notes


@pytest.mark.usefixtures("project")
def test_agrees_with_the_loader_on_the_real_file(tmp_path: Path) -> None:
    for name in ("whole", "by_file", "override", "numbers", "second_try", "other_way"):
        module = load_weights(find(None, {}, None, f"loaders:{name}", str(tmp_path / "net.pt")), None)  # type: ignore[arg-type]
        saved = torch.load(tmp_path / "net.pt")["model"]
        assert all(torch.equal(value, saved[f"module.{key}"]) for key, value in module.state_dict().items())
        assert judged(tmp_path, name).compatible


@pytest.mark.parametrize("there", [True, False], ids=["file", "snapshot"])
@pytest.mark.usefixtures("project")
def test_kwargs_are_the_loaders(there: bool, tmp_path: Path) -> None:
    verdict = judged(tmp_path, "whole", there, classes=5)
    assert [(change.kind, change.new) for change in verdict.changes] == [
        ("head-resized", ("head.weight",)),
        ("head-resized", ("head.bias",)),
    ]
    assert "loaders.whole" in verdict.new_label


def test_no_data_is_read_and_no_parameter_is_real(project: Any, tmp_path: Path) -> None:
    definition = find(None, {}, None, project.whole, str(tmp_path / "net.pt"))
    assert definition.loader is not None
    run = _run(read(tmp_path / "net.pt"), definition, definition.loader, "meta")
    assert run.error is None
    assert all(value.is_meta for value in run.result.state_dict().values())
    assert torch.load.__module__ == "torch.serialization"
    assert "stand_ins" not in str(torch.load)
    assert nn.Module.load_state_dict.__module__ == "torch.nn.modules.module"


@pytest.mark.usefixtures("project")
def test_a_module_that_is_not_returned_is_noted(tmp_path: Path) -> None:
    notes = judged(tmp_path, "average").notes
    assert "loaders.average also loads into 1 module that it does not return: not judged" in notes


@pytest.mark.usefixtures("project")
def test_what_is_not_observed_is_no_break(tmp_path: Path) -> None:
    assert [change.new for change in judged(tmp_path, "by_numpy").changes] == [("head.bias",)]
    assert not judged(tmp_path, "by_hand").changes
    assert not judged(tmp_path, "backbone_first").changes
    with pytest.raises(BuildError, match="in a way that is not watched, and calls no load_state_dict"):
        judged(tmp_path, "by_hand_alone")


class Extra(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"format": 1}

    def set_extra_state(self, state: Any) -> None:
        if state["format"] != 1:
            raise ValueError(f"format {state['format']}")


def test_extra_state_is_the_files(tmp_path: Path) -> None:
    def load(path: str) -> Any:
        model = Extra(2, 2)
        model.load_state_dict(torch.load(path))
        return model

    path = tmp_path / "net.pt"
    for number, compatible in ((1, True), (2, False)):
        torch.save(Extra(2, 2).state_dict() | {"_extra_state": {"format": number}}, path)
        verdict = check(path, load=load)
        assert verdict.compatible == compatible, str(verdict)
    assert "format 2" in str(verdict)


def test_a_number_that_torch_fills_in_is_not_left_as_initialised(tmp_path: Path) -> None:
    def load(path: str) -> Any:
        model = nn.BatchNorm1d(2)
        model.load_state_dict(dict(torch.load(path).items()))  # without the versions
        return model

    state = {key: value for key, value in nn.BatchNorm1d(2).state_dict().items() if "num" not in key}
    torch.save(state, tmp_path / "net.pt")
    assert not check(tmp_path / "net.pt", load=load).changes


@pytest.mark.usefixtures("project")
def test_a_snapshot_stands_in_for_a_file_that_is_another(tmp_path: Path) -> None:
    structure = read(tmp_path / "net.pt")
    torch.save({"model": {"module.other": torch.zeros(1)}}, tmp_path / "net.pt")
    stored = replace(structure, source=replace(structure.source, format=SNAPSHOT), locations={})
    definition = find(None, {}, None, "loaders:whole", str(tmp_path / "net.pt"))
    assert check_structure(stored, definition, Policy()).compatible
    assert not check(tmp_path / "net.pt", load="loaders:whole").compatible


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantized_tensors_are_loaded_with_the_file(tmp_path: Path) -> None:
    def quantized() -> Any:
        quantize: Any = torch.ao.quantization.quantize_dynamic
        return quantize(nn.Sequential(nn.Linear(2, 3)), {nn.Linear})

    def load(path: str) -> Any:
        model = quantized()
        model.load_state_dict(torch.load(path, weights_only=False))
        return model

    torch.save(quantized().state_dict(), tmp_path / "net.pt")
    assert check(tmp_path / "net.pt", load=load).compatible


@pytest.mark.usefixtures("project")
def test_numbers_come_from_the_file_or_the_check_is_not_made(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "numbers")
    assert verdict.compatible
    assert any("checked with the real weights" in note for note in verdict.notes)
    for name in ("numbers", "by_file", "other_way", "fails"):
        with pytest.raises(NoBaselineError, match=f"load loaders.{name} could not be run without the file: "):
            judged(tmp_path, name, there=False)


@pytest.mark.usefixtures("project")
def test_what_it_raises_itself_is_a_break_with_its_line(tmp_path: Path) -> None:
    (change,) = judged(tmp_path, "fails").changes
    line = SOURCE.splitlines().index('    raise ValueError("no " + torch.load(path)["note"])') + 1
    assert change.kind == "load-raises"
    assert change.detail.startswith("load loaders.fails raised ValueError: no luck (")
    assert change.detail.endswith(f"loaders.py:{line})")


@pytest.mark.usefixtures("project")
def test_what_cannot_be_judged_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"is read with torch\.jit\.load, .*; register the definition"):
        judged(tmp_path, "script")
    with pytest.raises(BuildError, match=r"load loaders\.pair: gave tuple, not a torch\.nn\.Module; return"):
        judged(tmp_path, "pair")
    with pytest.raises(BuildError, match="has no attribute nowhere"):
        judged(tmp_path, "nowhere")
    path = tmp_path / "net.pt"
    for given, message in (
        ({"load": "mylib"}, "is neither a function nor a library that is known"),
        ({"load": "loaders:whole", "migrate": dict}, "was given with migrate"),
        ({"load": "loaders:whole", "strip_prefix": "module."}, "was given with strip_prefix"),
        ({}, "the model: is missing"),
    ):
        with pytest.raises(UsageError, match=message):
            check(path, **given)


def test_other_files_pass_through(project: Any, tmp_path: Path) -> None:
    torch.save(torch.arange(4.0), tmp_path / "scale.pt")

    def load(path: str) -> Any:
        model = project.whole(path)
        model.scale = torch.load(tmp_path / "scale.pt").tolist()
        return model

    verdict = check(tmp_path / "net.pt", load=load)
    assert verdict.compatible
    definition = find(None, {}, None, load, str(tmp_path / "net.pt"))
    assert definition.loader is not None
    run = _run(read(tmp_path / "net.pt"), definition, definition.loader, "meta")
    assert run.result.scale == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.usefixtures("project")
def test_a_module_imported_meanwhile_keeps_the_real_functions(tmp_path: Path) -> None:
    (tmp_path / "late_import.py").write_text("from torch import load\nfrom loaders import whole\n")
    assert judged(tmp_path, "late").compatible
    assert sys.modules["late_import"].__dict__["load"] is torch.load


def _all_at_once(path: str, net: Callable[[], nn.Module]) -> nn.Module:
    from safetensors.torch import load_file

    model = net()
    model.load_state_dict(load_file(path))
    return model


def _one_by_one(path: str, net: Callable[[], nn.Module]) -> nn.Module:
    from safetensors import safe_open

    model = net()
    with safe_open(path, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    model.load_state_dict(state)
    return model


def _by_slices(path: str, net: Callable[[], nn.Module]) -> nn.Module:
    from safetensors import safe_open

    model = net()
    with safe_open(path, framework="pt") as file:
        state = {key: file.get_slice(key)[...] for key in file.keys()}  # noqa: SIM118
    model.load_state_dict(state)
    return model


def _into_the_model(path: str, net: Callable[[], nn.Module]) -> nn.Module:
    from safetensors.torch import load_model

    model = net()
    load_model(model, path)
    return model


@pytest.mark.parametrize("way", [_all_at_once, _one_by_one, _by_slices, _into_the_model])
@pytest.mark.parametrize("there", [True, False], ids=["file", "snapshot"])
def test_safetensors(way: Callable[..., nn.Module], there: bool, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="writes the checkpoint")
    path = tmp_path / "net.safetensors"
    safetensors.save_file(nn.Linear(2, 3).state_dict(), path)
    structure = read(path)
    if not there:
        structure = replace(structure, locations={})
        path = tmp_path / "absent.safetensors"
    for net, found in ((nn.Linear(2, 3), []), (nn.Linear(2, 4), ["resized", "resized"])):
        kwargs = {"net": lambda net=net: type(net)(net.in_features, net.out_features)}
        verdict = check_structure(structure, find(None, kwargs, None, way, str(path)), Policy())
        kinds = [change.kind.removeprefix("head-") for change in verdict.changes]
        assert kinds == found, str(verdict)


LOADERS = """
import torch
from models import Net

def load(path, **kwargs):
    model = Net(**kwargs)
    model.load_state_dict(torch.load(path))
    return model
"""


@pytest.mark.parametrize("model", ["", 'model="models:Net", '])
def test_marker_snapshot_and_fixture(pytester: pytest.Pytester, model: str) -> None:
    from tests.conftest import MODELS

    pytester.makepyfile(models=MODELS, loading=LOADERS)
    pytester.syspathinsert()
    save(pytester.path / "net.pt")
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.checkpoint("net.pt", {model}load="loading:load")
        def test_net(ckpt_compat):
            pass

        def test_other(ckpt_compat):
            ckpt_compat.check("net.pt", load="loading:load", kwargs={{"classes": 4}})
        """
    )
    pytester.runpytest_inprocess("--ckpt-update", "-q")
    pytester.runpytest_inprocess().assert_outcomes(passed=2)
    (pytester.path / "net.pt").unlink()
    result = pytester.runpytest_inprocess("-k", "test_net")
    result.assert_outcomes(passed=1)
