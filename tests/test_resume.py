"""Optimizer states: resumed as torch resumes them, without a weight being read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat._core import prefixes
from pytest_ckpt_compat._core.errors import BuildError, NoBaselineError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.resume import Resumption, resume
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._snapshots import fingerprint


class Model(nn.Module):
    """Six parameters and a buffer; two layers of one shape."""

    def __init__(self, width: int = 3, order: str = "abc", bias: bool = True) -> None:
        super().__init__()
        layers = {"a": nn.Linear(4, 4), "b": nn.Linear(4, 4, bias=bias), "c": nn.Linear(4, width)}
        for name in order:
            self.add_module(name, layers[name])
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in "abc":
            x = self.get_submodule(name)(x)
        return x


Factory = Callable[[Any], Any]


def make(kind: Any, **options: Any) -> Factory:
    return lambda model: kind(model.parameters(), **options)


def adafactor(model: Any) -> torch.optim.Optimizer:
    if not hasattr(torch.optim, "Adafactor"):
        pytest.skip("torch has Adafactor since 2.5")
    return torch.optim.Adafactor(model.parameters())


def named(model: Any) -> torch.optim.Optimizer:
    try:
        return torch.optim.Adam(model.named_parameters())
    except TypeError:
        pytest.skip("torch takes named parameters since 2.6")


FACTORIES: dict[str, Factory] = {
    "Adam": make(torch.optim.Adam, lr=0.1),
    "Adam amsgrad": make(torch.optim.Adam, amsgrad=True),
    "Adam fused": make(torch.optim.Adam, fused=True),
    "Adam tensor lr": make(torch.optim.Adam, lr=torch.tensor(0.1)),
    "AdamW": make(torch.optim.AdamW),
    "SGD": make(torch.optim.SGD, lr=0.1),
    "SGD momentum": make(torch.optim.SGD, lr=0.1, momentum=0.9),
    "Adagrad": make(torch.optim.Adagrad),
    "Adafactor": adafactor,
    "ASGD": make(torch.optim.ASGD),
    "NAdam": make(torch.optim.NAdam),
    "RMSprop": make(torch.optim.RMSprop, centered=True),
    "Rprop": make(torch.optim.Rprop),
    "named": named,
}
pytestmark = pytest.mark.filterwarnings("ignore:.*named_parameters")


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()


def save(path: Path, factory: Factory, **model_options: Any) -> Structure:
    model = Model(**model_options)
    made = factory(model)
    optimizers = made if isinstance(made, list) else [made]
    for optimizer in optimizers:
        step(model, optimizer)
    states = [optimizer.state_dict() for optimizer in optimizers]
    torch.save({"model": model.state_dict(), "optimizers": states}, path)
    return read(path)


def found(
    structure: Structure, factory: Factory, renames: dict[str, str] | None = None, **options: Any
) -> Resumption:
    return resume(structure, find(Model, options), factory, renames or {})


def lines(resumption: Resumption) -> list[str]:
    return [f"{', '.join((*c.old, *c.new))}: {c.detail}" for c in resumption.changes]


def torch_resumes(path: Path, factory: Factory, **options: Any) -> bool:
    """Whether torch loads the state and takes a step."""
    model = Model(**options)
    optimizer = factory(model)
    try:
        optimizer.load_state_dict(torch.load(path, weights_only=False)["optimizers"][0])
        step(model, optimizer)
    except Exception:
        return False
    return True


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("options", [{}, {"width": 5}, {"bias": False}], ids=str)
@pytest.mark.parametrize("stored", [False, True], ids=["file", "snapshot"])
def test_agrees_with_torch(tmp_path: Path, name: str, options: dict[str, Any], stored: bool) -> None:
    factory = FACTORIES[name]
    structure = save(tmp_path / "run.pt", factory)
    if stored:
        structure = fingerprint.loads(fingerprint.dumps(structure, optimizers=True), "run.json")
    resumption = found(structure, factory, **options)
    assert not resumption.notes
    # The fused step does not look at shapes: it reads and writes beyond the end of the state.
    unsafe = name == "Adam fused" and "width" in options
    resumes = not unsafe and torch_resumes(tmp_path / "run.pt", factory, **options)
    assert (not resumption.changes) == resumes, lines(resumption)


def test_shapes_are_reported_by_key(tmp_path: Path) -> None:
    structure = save(tmp_path / "run.pt", FACTORIES["Adam"])
    changes = found(structure, FACTORIES["Adam"], width=5).changes
    assert {(c.old, str(c.old_specs[0]), str(c.new_specs[0])) for c in changes} == {
        (("c.weight",), "float32[3, 4]", "float32[5, 4]"),
        (("c.bias",), "float32[3]", "float32[5]"),
    }
    assert {c.detail for c in changes} == {"exp_avg of the optimizer", "exp_avg_sq of the optimizer"}


@pytest.mark.parametrize("name", ["Adam", "named"])
def test_parameters_that_come_in_another_order(tmp_path: Path, name: str) -> None:
    """The model loads, and torch resumes without a word: each layer with the momentum of the other."""
    structure = save(tmp_path / "run.pt", FACTORIES[name])
    assert torch_resumes(tmp_path / "run.pt", FACTORIES[name], order="bac")
    assert lines(found(structure, FACTORIES[name], order="bac")) == [
        f"{old}, {new}: their order changed: the second would resume from the state of the first"
        for old, new in (
            ("a.weight", "b.weight"),
            ("a.bias", "b.bias"),
            ("b.weight", "a.weight"),
            ("b.bias", "a.bias"),
        )
    ]


def test_an_order_that_does_not_matter(tmp_path: Path) -> None:
    """Without momentum there is nothing to go on with; a hook of the project's pairs by itself."""
    sgd = FACTORIES["SGD"]
    assert found(save(tmp_path / "sgd.pt", sgd), sgd, order="bac") == Resumption()

    def hooked(model: Any) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam(model.parameters())
        optimizer.register_load_state_dict_pre_hook(lambda optimizer, state: None)
        return optimizer

    assert found(save(tmp_path / "adam.pt", hooked), hooked, order="bac") == Resumption()


def test_a_rename_is_followed(tmp_path: Path) -> None:
    """``x`` became ``a`` in the same position; the state of ``a`` is at home in ``b``'s."""
    structure = save(tmp_path / "run.pt", named)
    renames = {
        f"{old}.{p}": f"{new}.{p}" for old, new in (("a", "b"), ("b", "a")) for p in ("weight", "bias")
    }
    assert found(structure, named, renames, order="bac") == Resumption()
    assert len(found(structure, named, renames).changes) == 4


def test_parameters_that_one_side_lacks(tmp_path: Path) -> None:
    factory = FACTORIES["Adam"]
    structure = save(tmp_path / "run.pt", factory)
    assert lines(found(structure, factory, bias=False)) == ["b.bias: the optimizer no longer has it"]
    less = save(tmp_path / "less.pt", factory, bias=False)
    assert lines(found(less, factory)) == ["b.bias: new in the optimizer: the checkpoint has no state for it"]


def test_frozen_parameters(tmp_path: Path) -> None:
    def head(model: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.c.parameters())

    assert found(save(tmp_path / "head.pt", head), head) == Resumption()
    assert lines(found(save(tmp_path / "all.pt", FACTORIES["Adam"]), head)) == [
        f"{key}: the optimizer no longer has it" for key in ("a.weight", "a.bias", "b.weight", "b.bias")
    ]


def groups(model: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        [{"params": model.a.parameters()}, {"params": [*model.b.parameters(), *model.c.parameters()]}]
    )


def test_groups(tmp_path: Path) -> None:
    structure = save(tmp_path / "run.pt", groups)
    assert found(structure, groups) == Resumption()
    assert lines(found(structure, FACTORIES["Adam"])) == [
        ": parameter groups 2 -> 1: the file's hold 2 (a.weight, a.bias) and 4 (b.weight, b.bias, c.weight, "
        "...), today's hold 6 (a.weight, a.bias, b.weight, ...) parameters"
    ]
    assert lines(found(structure, groups, bias=False)) == [
        ": parameters in group 1 (b.weight, c.weight, c.bias): 4 -> 3"
    ]


def test_another_optimizer(tmp_path: Path) -> None:
    structure = save(tmp_path / "run.pt", FACTORIES["SGD momentum"])
    assert not torch_resumes(tmp_path / "run.pt", FACTORIES["Adam"])
    assert lines(found(structure, FACTORIES["Adam"])) == [
        ": the file holds momentum_buffer: another optimizer (SGD) than Adam"
    ]
    plain = save(tmp_path / "plain.pt", FACTORIES["SGD"])
    assert not torch_resumes(tmp_path / "plain.pt", FACTORIES["Adam"])
    told = ": the file holds dampening, momentum, nesterov: another optimizer (SGD) than Adam"
    assert lines(found(plain, FACTORIES["Adam"])) == [told]


def test_state_that_is_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save(path, FACTORIES["Adam"])
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["optimizers"][0]["state"][4]["exp_avg"]
    torch.save(checkpoint, path)
    assert lines(found(read(path), FACTORIES["Adam"])) == [
        "c.weight, c.weight: the optimizer's state lacks exp_avg"
    ]


def test_settings_for_a_device_that_is_not_here(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save(path, FACTORIES["Adam"])
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["optimizers"][0]["param_groups"][0]["capturable"] = True
    torch.save(checkpoint, path)
    assert found(read(path), FACTORIES["Adam"]) == Resumption()
    assert len(found(read(path), FACTORIES["Adam"], width=5).changes) == 4


def test_an_optimizer_whose_step_needs_more(tmp_path: Path) -> None:
    path, factory = tmp_path / "run.pt", make(torch.optim.LBFGS)
    model = Model()
    torch.save({"model": model.state_dict(), "optimizer": factory(model).state_dict()}, path)
    resumption = found(read(path), factory)
    assert resumption.changes == ()
    [note] = resumption.notes
    assert note.startswith("the optimizer cannot make a step here (TypeError: ")


def several(model: Any) -> list[torch.optim.Optimizer]:
    return [torch.optim.Adam(model.a.parameters()), torch.optim.SGD(model.c.parameters(), lr=1, momentum=0.5)]


def test_several_optimizers(tmp_path: Path) -> None:
    model = Model()
    states = []
    for optimizer in several(model):
        step(model, optimizer)
        states.append(optimizer.state_dict())
    torch.save({"model": model.state_dict(), "optimizers": states}, tmp_path / "run.pt")
    structure = read(tmp_path / "run.pt")
    assert found(structure, several) == Resumption()
    assert {c.old for c in found(structure, several, width=5).changes} == {("c.weight",), ("c.bias",)}
    with pytest.raises(BuildError, match=r"gives 1 where 2 were saved \(optimizers\.0, optimizers\.1\)"):
        found(structure, FACTORIES["Adam"])


def test_by_name(tmp_path: Path) -> None:
    """As ``torch.distributed.checkpoint`` names them; the order does not matter."""
    path, factory = tmp_path / "run.pt", FACTORIES["Adam"]
    save(path, factory)
    checkpoint = torch.load(path, weights_only=False)
    [state] = checkpoint["optimizers"]
    names = [name for name, _ in Model().named_parameters()]
    state["state"] = {names[number]: fields for number, fields in state["state"].items()}
    state["param_groups"][0]["params"] = names
    torch.save(checkpoint, path)
    assert found(read(path), factory, order="bac") == Resumption()
    assert found(read(path), factory, bias=False) == Resumption(), "what is there besides is left alone"
    assert len(found(read(path), factory, width=5).changes) == 4
    state["param_groups"][0]["params"] = [name for name in names if name != "b.bias"]
    torch.save(checkpoint, path)
    assert lines(found(read(path), factory)) == [
        "b.bias: new in the optimizer: the checkpoint has no state for it"
    ]
    state["param_groups"] *= 2
    torch.save(checkpoint, path)
    assert lines(found(read(path), factory, bias=False)) == [
        ": parameter groups 2 -> 1: the file's hold 5 (a.weight, a.bias, b.weight, ...) "
        "and 5 (a.weight, a.bias, b.weight, ...), today's hold 5 (a.weight, a.bias, b.weight, ...) parameters"
    ]


def decayed(model: Any) -> torch.optim.Optimizer:
    """Groups as a weight decay makes them."""
    split = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim < 2]
    return torch.optim.AdamW([{"params": params, "weight_decay": 0.1} for params in split])


@pytest.mark.parametrize("name", ["Adafactor", "decay"])
def test_the_order_within_groups(tmp_path: Path, name: str) -> None:
    """Also where the state has no tensor of the parameter's shape."""
    factory = decayed if name == "decay" else FACTORIES[name]
    structure = save(tmp_path / "run.pt", factory)
    assert found(structure, factory) == Resumption()
    assert torch_resumes(tmp_path / "run.pt", factory, order="bac")
    swapped = [f"{c.old[0]} {c.new[0]}" for c in found(structure, factory, order="bac").changes]
    pairs = [f"{one}.{part} {other}.{part}" for part in ("weight", "bias") for one, other in ("ab", "ba")]
    assert sorted(swapped) == sorted(pairs)


def test_an_order_that_cannot_be_known(tmp_path: Path) -> None:
    def reverse(model: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(list(model.parameters())[::-1])

    resumption = found(save(tmp_path / "run.pt", reverse), reverse)
    assert resumption.changes == ()
    once = ("the file does not name the optimizer's parameters: a change of their order cannot be detected",)
    assert resumption.notes == once

    def two(model: Any) -> list[torch.optim.Optimizer]:
        parameters = list(model.parameters())[::-1]
        return [torch.optim.Adam(parameters[:4]), torch.optim.Adam(parameters[4:])]

    assert found(save(tmp_path / "two.pt", two), two).notes == once


def test_names_with_the_prefix_of_a_wrapper(tmp_path: Path) -> None:
    """``strip_prefix`` holds for the names in the optimizer's state as well."""
    path, factory = tmp_path / "run.pt", FACTORIES["named"]
    wrapped = nn.Sequential()
    wrapped.add_module("module", Model())
    optimizer = named(wrapped)
    step(wrapped, optimizer)
    torch.save({"model": wrapped.state_dict(), "optimizer": optimizer.state_dict()}, path)
    structure = prefixes.strip(read(path), "module.")
    assert found(structure, factory) == Resumption()
    assert len(found(structure, factory, order="bac").changes) == 4


class Odd(torch.optim.Optimizer):
    """Keeps numbers, lists and tensors in a list; makes what it lacks."""

    def __init__(self, params: Any, mode: str = "new", betas: tuple[float, ...] = (0.9, 0.99)) -> None:
        super().__init__(params, {"lr": 0.1, "mode": mode, "betas": betas})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            first, second = group["betas"]
            if group["mode"] not in ("new", "newer"):
                raise ValueError(f"unknown mode {group['mode']}")
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state |= {"count": 0, "m": torch.zeros_like(p), "sizes": [1, 2], "GG": [torch.zeros(2)]}
                state.setdefault("ema", torch.zeros_like(p))
                state["count"] += 1
                state["m"].mul_(first).add_(p.grad, alpha=second)
                assert state["sizes"]
                assert state["GG"]


@pytest.mark.parametrize("stored", [False, True], ids=["file", "snapshot"])
@pytest.mark.parametrize(
    ("today", "edit", "complaint"),
    [
        ({}, {}, ""),
        ({}, {"ema": None}, ""),
        ({"mode": "newer"}, {}, ""),
        (
            {},
            {"mode": "old"},
            "step() with the settings of the checkpoint raises ValueError: unknown mode old",
        ),
        ({}, {"betas": (1, 2, 3)}, "step() with the settings of the checkpoint raises ValueError: too many"),
    ],
)
def test_an_optimizer_of_ones_own(
    tmp_path: Path, today: dict[str, Any], edit: dict[str, Any], complaint: str, stored: bool
) -> None:
    path = tmp_path / "run.pt"
    save(path, make(Odd))
    checkpoint = torch.load(path, weights_only=False)
    group = checkpoint["optimizers"][0]["param_groups"][0]
    group.update({name: value for name, value in edit.items() if name in group})
    for fields in checkpoint["optimizers"][0]["state"].values():
        if "ema" in edit:
            del fields["ema"]
    torch.save(checkpoint, path)
    structure = read(path)
    if stored:
        structure = fingerprint.loads(fingerprint.dumps(structure, optimizers=True), "run.json")
    found_lines = lines(found(structure, make(Odd, **today)))
    assert torch_resumes(path, make(Odd, **today)) == (not complaint)
    assert [line.startswith(f": {complaint}") for line in found_lines] == ([True] if complaint else []), (
        found_lines
    )


def test_a_step_that_the_loaded_state_breaks(tmp_path: Path) -> None:
    """Numbers where tensors are wanted: no shape tells."""
    path, factory = tmp_path / "run.pt", FACTORIES["Adagrad"]
    save(path, factory)
    checkpoint = torch.load(path, weights_only=False)
    for fields in checkpoint["optimizers"][0]["state"].values():
        fields["sum"] = 0.0
    torch.save(checkpoint, path)
    assert not torch_resumes(path, factory)
    [line] = lines(found(read(path), factory))
    assert line.startswith(": the step after the load raises ")


def test_settings_that_today_has_besides(tmp_path: Path) -> None:
    """A scheduler that the factory makes adds one; a group may have a name."""

    def scheduled(model: Any) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam([{"params": model.parameters(), "name": "all"}])
        torch.optim.lr_scheduler.StepLR(optimizer, 3)
        return optimizer

    save(tmp_path / "run.pt", FACTORIES["Adam"])
    assert found(read(tmp_path / "run.pt"), scheduled) == Resumption()


def test_a_parameter_that_is_not_the_models(tmp_path: Path) -> None:
    """A loss may have some; they are real, and the model's are on meta."""

    def with_loss(model: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam([{"params": model.parameters()}, {"params": [nn.Parameter(torch.ones(3))]}])

    model = Model()
    optimizer = with_loss(model)
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    path = tmp_path / "run.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    assert found(read(path), with_loss).changes == ()


def test_code_that_reads_numbers(tmp_path: Path) -> None:
    def hooked(model: Any) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam(model.parameters())
        optimizer.register_load_state_dict_pre_hook(
            lambda optimizer, state: state["state"][0]["exp_avg"].sum().item() and None
        )
        return optimizer

    resumption = found(save(tmp_path / "run.pt", FACTORIES["Adam"]), hooked)
    assert resumption.changes == ()
    [note] = resumption.notes
    assert note.startswith("load_state_dict reads numbers (RuntimeError: Tensor.item()")


def test_copies_that_lie_deeper(tmp_path: Path) -> None:
    path, factory = tmp_path / "run.pt", FACTORIES["Adam"]
    save(path, factory)
    checkpoint = torch.load(path, weights_only=False)
    [state] = checkpoint["optimizers"]
    best = OrderedDict(optimizer=dict(state))
    torch.save({"model": checkpoint["model"], "optimizer": OrderedDict(state), "best": best}, path)
    resumption = found(read(path), factory)
    assert resumption.changes == ()
    assert resumption.notes == ("best.optimizer: this optimizer state was not checked",)


def test_a_whole_optimizer_that_was_pickled(tmp_path: Path) -> None:
    path, model = tmp_path / "run.pt", Model()
    optimizer = groups(model)
    step(model, optimizer)
    torch.save({"model": model.state_dict(), "optimizer": optimizer}, path)
    assert found(read(path), groups) == Resumption()
    assert {c.old for c in found(read(path), groups, width=5).changes} == {("c.weight",), ("c.bias",)}


@pytest.mark.parametrize(
    ("factory", "complaint"),
    [
        (lambda model: 3, "gave int; return a torch.optim.Optimizer, or a list of them"),
        (lambda model: [], "gave nothing; return"),
        (lambda model: 1 / 0, "raised ZeroDivisionError: division by zero"),
        ("nowhere:optimizer", "importing nowhere raised ModuleNotFoundError"),
    ],
)
def test_factories_that_give_none(tmp_path: Path, factory: Any, complaint: str) -> None:
    with pytest.raises(BuildError, match=complaint):
        found(save(tmp_path / "run.pt", FACTORIES["SGD"]), factory)


def test_a_class_is_given_the_parameters(tmp_path: Path) -> None:
    assert found(save(tmp_path / "run.pt", FACTORIES["Adam"]), torch.optim.Adam) == Resumption()


def test_no_state(tmp_path: Path) -> None:
    torch.save(Model().state_dict(), tmp_path / "run.pt")
    structure = read(tmp_path / "run.pt")
    with pytest.raises(NoBaselineError, match="holds no optimizer state; save optimizer"):
        found(structure, FACTORIES["Adam"])
    stored = fingerprint.loads(fingerprint.dumps(structure), "run.json")
    with pytest.raises(NoBaselineError, match="its snapshot holds no optimizer state; fetch the file"):
        found(stored, FACTORIES["Adam"])


def test_random_numbers_are_as_they_were(tmp_path: Path) -> None:
    structure = save(tmp_path / "run.pt", FACTORIES["Adafactor"])
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    found(structure, FACTORIES["Adafactor"])
    assert torch.equal(torch.rand(1), first)


class DrawsASize(nn.Module):
    """Its second layer is as wide as a random number that is drawn after the first is initialised."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, int(torch.randint(2, 99, (1,))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.b(self.a(x))
        return y


def test_a_model_that_meta_tensors_get_wrong_is_resumed_for_real(tmp_path: Path) -> None:
    factory = FACTORIES["Adam"]
    model = DrawsASize()
    optimizer = factory(model)
    step(model, optimizer)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "run.pt")
    structure = read(tmp_path / "run.pt")

    assert resume(structure, find(DrawsASize), factory, {}) == Resumption()
    assert resume(structure, find(DrawsASize), factory, {}, budget=0).changes
