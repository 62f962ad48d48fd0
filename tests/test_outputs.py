"""Values drawn from keys, digests of tensors, the inputs of a forward, and one run of it (CK501)."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from pytest_ckpt_compat._check import outputs
from pytest_ckpt_compat._core.errors import CkptCompatError, SnapshotError
from pytest_ckpt_compat._core.outputs import Call, Digest, Outputs, drift
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.confirm import defined
from pytest_ckpt_compat._definition.digests import digest, tensors_by_path, together
from pytest_ckpt_compat._definition.drawn import draw, weight
from pytest_ckpt_compat._definition.filling import NotFilledError, NotRunError, fill
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.forward import Setup, exercised, run
from pytest_ckpt_compat._definition.inputs import factory_of, inputs_of
from pytest_ckpt_compat._snapshots import fingerprint
from tests.outputs_cases import registered

BUDGET = 2_000_000_000
Point = namedtuple("Point", "x y")


def setup(model: Any, given: Any = None, **others: Any) -> Setup:
    """One run of a model on three rows, or on what ``given`` returns."""
    inputs = inputs_of(factory_of(given or (lambda: torch.linspace(-1, 1, 12).reshape(3, 4))))
    return Setup(find(model), {}, inputs, **{"budget": BUDGET, **others})


def outputs_of(model: Any, given: Any = None, seed: int = 0) -> Outputs:
    """What a model computes."""
    return run(setup(model, given), defined(find(model)), seed=seed)


def called(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a layer gives."""
    found: torch.Tensor = layer(x)
    return found


# Values ---------------------------------------------------------------------------------------------


def splitmix(seed: int) -> Iterator[int]:
    """SplitMix64 as its authors write it, on integers of Python."""
    most = (1 << 64) - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & most
        mixed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & most
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & most
        yield mixed ^ (mixed >> 31)


@pytest.mark.parametrize("key", ["layer.weight", "", "ключ"])
def test_values_are_those_of_the_published_generator(key: str) -> None:
    numbers = splitmix(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
    expected = [(next(numbers) >> 11) * 2.0**-52 - 1 for _ in range(70)]
    assert draw(key, 70).tolist() == expected
    assert draw(key, 5, start=60).tolist() == expected[60:65]


def test_values_come_again_after_a_prime_number_of_them() -> None:
    values = draw("a", 200_000)
    assert values.shape == (200_000,)
    assert torch.equal(values[65_521 : 65_521 * 2], values[:65_521])
    assert torch.equal(draw("a", 70_000, start=130_000), values[130_000:200_000])
    rows = values[: 64 * 3000].reshape(3000, 64)
    assert len({tuple(row) for row in rows.tolist()}) == len(rows)


def test_values_stay_in_range() -> None:
    matrix = weight("a.weight", (64, 400))
    assert matrix.var().item() == pytest.approx(1 / 400, rel=0.05)
    assert weight("a.running_var", (100,)).min() >= 0.5
    assert weight("a.weight", (100,)).max() <= 1.5
    assert weight("a.bias", (100,)).abs().max() <= 0.25
    assert 0.5 <= weight("scale", ()).item() <= 1.5
    assert not torch.equal(weight("a.weight", (4, 4)), weight("b.weight", (4, 4)))


# Digests --------------------------------------------------------------------------------------------


def test_a_digest_holds_the_norm_and_dot_products() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    found = digest(tensor)
    assert (found.dtype, found.shape) == ("float32", (2, 3))
    assert found.norm == pytest.approx(math.sqrt(55))
    products = [float(tensor.double().flatten() @ draw(f"projection {n}", 6)) for n in range(5)]
    assert found.projections == pytest.approx([each / found.norm for each in products])
    read = Digest.parse(str(found))
    assert read.distance(found) < 1e-10
    assert str(read) == str(found)


@pytest.mark.parametrize(
    "other",
    [
        torch.tensor([2.0, 1.0, 3.0]),
        torch.tensor([1.0, 2.0, 3.001]),
        torch.tensor([1.0, math.nan, 3.0]),
        torch.tensor([1.0, math.inf, 3.0]),
        torch.tensor([[1.0, 2.0, 3.0]]),
        torch.tensor([1, 2, 3]),
    ],
)
def test_another_tensor_has_another_digest(other: torch.Tensor) -> None:
    assert digest(torch.tensor([1.0, 2.0, 3.0])).distance(digest(other)) > 1e-5


def test_the_places_of_what_is_no_number_matter() -> None:
    one, other = torch.ones(8), torch.ones(8)
    one[1] = other[2] = -math.inf
    assert digest(one).distance(digest(other)) > 1e-3
    assert digest(one).distance(digest(one.clone())) == 0


def test_every_kind_of_tensor_has_a_digest() -> None:
    for tensor in (
        torch.zeros(0, 3),
        torch.zeros(3),
        torch.tensor(True),
        torch.ones(3, dtype=torch.complex64) * 1j,
        torch.eye(3).to_sparse(),
        torch.ones(3, dtype=torch.float8_e4m3fn),
    ):
        assert Digest.parse(str(digest(tensor))).distance(digest(tensor)) < 1e-10
    assert digest(torch.zeros(3)).distance(digest(torch.ones(3))) == 1


def test_several_tensors_together_are_one_row_of_numbers() -> None:
    long = draw("long", 2_300_000)
    whole, parts = together([long]), together([long[:1000], long[1000:1_500_000], long[1_500_000:]])
    assert whole.distance(parts) < 1e-12
    assert together([]) == together([torch.zeros(0)])


@dataclass
class Made:
    """What a forward may return."""

    logits: torch.Tensor
    states: tuple[torch.Tensor, ...]
    loss: torch.Tensor | None = None


def test_tensors_are_found_by_path() -> None:
    one = torch.ones(1)
    value = OrderedDict(a=one, b=[one, {"c": Point(one, None)}], d=Made(one, (one,)), e=2.5, f="text", g=True)
    assert list(tensors_by_path(value)) == ["a", "b.0", "b.1.c.x", "d.logits", "d.states.0", "e"]
    assert list(tensors_by_path(one)) == [""]
    assert tensors_by_path(object()) == {}
    inside: list[Any] = []
    inside.append(inside)
    assert tensors_by_path(inside) == {}


# Inputs ---------------------------------------------------------------------------------------------


def test_inputs_are_a_tensor_a_tuple_or_a_dict() -> None:
    one = torch.ones(2, 2)
    found = inputs_of(factory_of(lambda: one))
    assert (len(found.args), dict(found.kwargs), list(found.digests)) == (1, {}, ["0"])
    assert list(inputs_of(factory_of(lambda: (one, {"mask": one}))).digests) == ["0", "1.mask"]
    assert list(inputs_of(factory_of(lambda: [one, one])).digests) == ["0.0", "0.1"]
    found = inputs_of(factory_of(lambda: {"x": one, "flag": True}))
    assert (found.args, found.kwargs["flag"], list(found.digests)) == ((), True, ["x"])
    assert found.kwargs["x"].dtype == torch.float64


def test_random_inputs_are_the_same_each_time() -> None:
    def given() -> Any:
        return torch.randn(3), torch.randint(0, 9, (5,)), torch.rand(4), torch.tensor([0.5, -1.0])

    state = torch.get_rng_state()
    one, other = inputs_of(factory_of(given)), inputs_of(factory_of(given))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.digests == other.digests
    torch.manual_seed(5)
    assert inputs_of(factory_of(given)).digests == one.digests
    drawn, whole, rand, plain = one.args
    assert torch.equal(drawn, draw("inputs 0", 3) * 3**0.5)  # normal ones differ from processor to processor
    assert whole.dtype == torch.int64
    assert torch.equal(rand, rand.float().double())
    assert plain.tolist() == [0.5, -1.0]


def no_inputs() -> Any:
    raise ValueError("no images here")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (no_inputs, "inputs tests.test_outputs:no_inputs: raised ValueError: no images here "),
        (lambda: "text", "gave str without a tensor; give a function without arguments"),
        (lambda x: x, "cannot be called without arguments; give a function"),
        (3, "is not a function; give"),
        (nn.Linear(2, 2), "is not a function; give"),
        ("nowhere:inputs", "nowhere:inputs: importing nowhere raised ModuleNotFoundError"),
        ("tests.test_outputs:nothing", "has no attribute nothing"),
    ],
)
def test_inputs_that_cannot_be_had_are_one_line(given: Any, message: str) -> None:
    with pytest.raises(CkptCompatError) as error:
        inputs_of(factory_of(given))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# Runs -----------------------------------------------------------------------------------------------


class Small(nn.Module):
    """Tied layers, buffers of every kind, and a batch norm."""

    def __init__(self, table: float = 1.0, number: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("kept", torch.full((4,), 7.0))
        self.register_buffer("table", torch.full((4,), table), persistent=False)
        self.register_buffer("number", torch.tensor(number))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        buffers = dict(self.named_buffers())
        x = self.norm(self.first(x)) * buffers["table"] + buffers["kept"] * buffers["number"]
        return called(self.second, x)


def test_a_run_depends_on_keys_alone_not_on_how_it_is_initialised() -> None:
    def other() -> nn.Module:
        module = Small()
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
        dict(module.named_buffers())["kept"].zero_()
        return module

    one = outputs_of(Small)
    assert one.precision == "float64"
    assert drift(one, outputs_of(other)) is None
    assert drift(one, outputs_of(Small, seed=7)) is None
    assert drift(one, outputs_of(Small())) is None
    assert list(one.calls) == ["first", "norm", "second"]
    first = one.calls["first"]
    assert (first.gave, one.calls["second"].gave.norm) == (one.calls["norm"].given, one.results[""].norm)


@pytest.mark.parametrize("kwargs", [{"table": 2.0}, {"number": 4}])
def test_what_is_no_weight_counts_as_it_is_built(kwargs: Any) -> None:
    assert drift(outputs_of(Small), outputs_of(lambda: Small(**kwargs))) is not None


def test_a_run_computes_what_torch_computes() -> None:
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
    given = F.linear(x, weight("weight", (2, 4)), weight("bias", (2,)))
    known = outputs_of(lambda: nn.Linear(4, 2), lambda: x).results[""]
    assert known.distance(digest(given)) < 1e-14


def test_a_run_leaves_the_process_as_it_was() -> None:
    model = Small()
    state, python = torch.get_rng_state(), random.getstate()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    outputs_of(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(value.dtype == before[key].dtype for key, value in model.state_dict().items())


class Writing(nn.Module):
    """Changes its input."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return called(self.act, x) * self.calls


def test_a_forward_may_change_its_input_and_itself() -> None:
    one = outputs_of(Writing)
    assert drift(one, outputs_of(Writing)) is None
    assert one.calls["act"].given.norm > one.calls["act"].gave.norm


class Low(nn.Module):
    """Computes a part in a lower dtype, or builds a table in one."""

    def __init__(self, dtype: torch.dtype | None = None, table: torch.Tensor | None = None) -> None:
        super().__init__()
        self.dtype = dtype
        self.layer = nn.Linear(4, 4)
        if table is not None:
            self.register_buffer("table", table, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x) + getattr(self, "table", 0)
        return x if self.dtype is None else x.to(self.dtype).softmax(-1).to(x)


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        (Low, "float64"),
        (lambda: Low(torch.float32), "float32"),
        (lambda: Low(torch.bfloat16), "bfloat16"),
        (lambda: Low(table=torch.tensor(0.5, dtype=torch.float32)), "float64"),
        (lambda: Low(table=torch.tensor(0.1, dtype=torch.float32)), "float32"),
        (lambda: Low(table=torch.tensor(0.1)), "float64"),
    ],
)
def test_the_lowest_dtype_decides_the_tolerance(model: Callable[[], nn.Module], precision: str) -> None:
    assert outputs_of(model).precision == precision


class Float32Only(nn.Module):
    """Insists on its dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return called(self.layer, x.float())


def test_what_insists_on_its_dtype_is_run_in_it() -> None:
    found = outputs_of(Float32Only)
    assert (found.precision, found.results[""].dtype) == ("float32", "float32")


class Looped(nn.Module):
    """Calls one layer many times, with keyword arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x := self.layer(input=x) for _ in range(9)]


def test_the_first_calls_of_a_module_are_noted() -> None:
    found = outputs_of(Looped)
    assert list(found.calls) == ["layer", "layer#2", "layer#3"]
    assert found.calls["layer"].given.norm > 0
    assert len(found.results) == 9


def test_modules_whose_parameters_have_no_part_in_the_outputs_are_known() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.ignored, self.idle = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.ignored(x)
            return called(self.used, x)

        def without(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return called(self.used, x)

    assert exercised(setup(Idle), defined(find(Idle)), None) == {"used"}

    class Without(Idle):
        forward = Idle.without

    assert exercised(setup(Without), defined(find(Without)), None) == frozenset()


# What is not run ------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """Random in eval mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.layer(x), 0.5)


class RandomTable(nn.Module):
    """Another table at each build, which is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.randn(4)
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return called(self.layer, x * self.table)


class Raising(nn.Module):
    """Raises in its forward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("labels")


class Silent(nn.Module):
    """Gives no tensor."""

    def forward(self, x: torch.Tensor) -> dict[str, str]:
        return {"a": "b"}


def rows() -> torch.Tensor:
    """Three rows."""
    return torch.ones(3, 4)


@pytest.mark.parametrize("model", [Noisy, RandomTable])
def test_what_is_not_deterministic_is_said_so_and_never_flagged(model: type[nn.Module]) -> None:
    registration, definition = registered(rows), find(model)
    structure = defined(definition)
    ran = outputs.recorded(registration, definition, {}, structure)
    assert (ran.outputs, ran.changes) == ({}, ())
    assert ran.notes[0].endswith("not compared: in eval mode, two runs with the same values differ")
    calm = outputs.recorded(
        registration, find(lambda: nn.Sequential(OrderedDict(layer=nn.Linear(4, 4)))), {}, structure
    )
    was = replace(structure, outputs=calm.outputs)
    assert outputs.compared(registration, definition, {}, (was, structure)) == ran


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Raising, "its forward raised KeyError: 'labels'"),
        (Silent, "its forward gave dict, and no tensor in it"),
    ],
)
def test_a_forward_that_fails_is_one_line_and_could_not_be_checked(model: Any, message: str) -> None:
    ran = outputs.recorded(registered(rows), find(model), {}, defined(find(model)))
    (change,) = ran.changes
    assert change.kind == "unbuildable"
    assert message in change.detail
    assert change.detail.endswith("; make it run on what inputs gives, or correct inputs")
    assert "\n" not in change.detail


def test_a_budget_of_memory_and_of_time() -> None:
    structure = defined(find(Small))
    with pytest.raises(
        NotRunError, match=r"its \d+ elements and .* take \d+ bytes as float64, memory_budget is 100 "
    ):
        run(setup(Small, budget=100), structure)
    seconds = iter(range(0, 1000, 40))
    with pytest.raises(NotRunError, match="it takes more than 60 seconds"):
        run(setup(Small, clock=lambda: next(seconds)), structure)


def test_outputs_that_are_no_numbers_are_not_compared() -> None:
    class Lost(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) / 0 * 0

    ran = outputs.recorded(registered(rows), find(lambda: Lost(4, 4)), {}, defined(find(lambda: Lost(4, 4))))
    assert ran.outputs == {}
    assert ran.notes[0].endswith("with drawn values, its outputs are NaN or infinite throughout")


def test_a_lazy_layer_is_not_run() -> None:
    lazy = defined(find(lambda: nn.LazyLinear(3)))
    with pytest.raises(NotRunError, match="the shape of weight is decided by the first batch"):
        run(setup(lambda: nn.LazyLinear(3)), lazy)


def test_every_tensor_must_get_a_value() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    state = {"0.weight": torch.ones(4, 4), "0.bias": torch.ones(4), "1.weight": torch.ones(4, 4)}
    with pytest.raises(NotFilledError, match=r"nothing is known to become 1\.bias$"):
        fill(module, state)
    module.load_state_dict = lambda state: nn.Module.load_state_dict(module, state)  # type: ignore[method-assign,assignment,misc]
    with pytest.raises(NotFilledError, match=r"Missing key\(s\) in state_dict: "):
        fill(module, state)
    with pytest.raises(NotFilledError, match=r"size mismatch for 0\.weight"):
        fill(module, {"0.weight": torch.ones(5, 4)})


def test_a_model_of_parts_and_a_loader_are_not_run() -> None:
    parts = find({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    ran = outputs.recorded(registered(rows), parts, {}, defined(parts))
    assert ran.notes == ("outputs of the model not compared: a model of several parts is not run",)


def test_nothing_is_run_without_inputs() -> None:
    definition, registration = find(Raising), registered(None)
    structure = defined(definition)
    assert outputs.recorded(registration, definition, {}, structure) == outputs.Compared()
    assert outputs.compared(registration, definition, {}, (structure, structure)) == outputs.Compared()


# Snapshots ------------------------------------------------------------------------------------------


def test_outputs_are_read_back_as_they_were() -> None:
    structure = replace(defined(find(Small)), outputs={"a:b": outputs_of(Small), "c:d": outputs_of(Low)})
    text = fingerprint.dumps(structure)
    read = fingerprint.loads(text, "snapshot")
    assert fingerprint.dumps(read) == text
    assert drift(read.outputs["a:b"], structure.outputs["a:b"]) is None
    assert list(read.outputs["a:b"].calls) == list(structure.outputs["a:b"].calls)
    assert fingerprint.digest(read) == fingerprint.digest(replace(structure, outputs={}))
    assert '"outputs"' not in fingerprint.dumps(replace(structure, outputs={}))


@pytest.mark.parametrize(
    "section",
    [
        [],
        {"a": 1},
        {"a": {"precision": "float65"}},
        {"a": {"precision": "float64", "results": {"": "float64[2] nan 0 0 0 0 0"}}},
        {"a": {"precision": "float64", "results": {"": "float64[2] x"}}},
        {"a": {"precision": "float64", "results": {"": 3}}},
        {"a": {"precision": "float64", "results": {"": ""}}},
        {"a": {"precision": "float64", "modules": {"a": "1 2 3"}}},
        {"a": {"precision": "float64", "results": {"": "9" * 2000}}},
    ],
)
def test_a_section_that_is_none_is_refused(section: Any) -> None:
    data = {"tensors": {}, "outputs": section}
    if section == []:
        assert fingerprint.loads(json.dumps(data), "x").outputs == {}
        return
    with pytest.raises(SnapshotError, match="is not a fingerprint"):
        fingerprint.loads(json.dumps(data), "x")


def test_a_call_is_text_and_back() -> None:
    call = Call(together([torch.ones(3)]), together([torch.ones(2)]))
    assert str(Call.parse(str(call))) == str(call)


def test_an_empty_structure_has_no_outputs() -> None:
    assert Structure({}).outputs == {}
