"""What the classes of modules say where both sides are definitions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pytest

from pytest_ckpt_compat import Change, TensorSpec
from pytest_ckpt_compat._renames import infer, owners_of
from pytest_ckpt_compat._renames.match import alignment
from pytest_ckpt_compat._renames.match.evidence import Weights

WIDTH = 32
LINEAR, NORM, EMBEDDING = "torch.nn.Linear", "torch.nn.LayerNorm", "torch.nn.Embedding"
GROUP, OWN_NORM, MOVED_NORM = "torch.nn.GroupNorm", "project.FastNorm", "project.layers.LayerNorm"
#: A layer of its own shape.
SIZED = "torch.nn.Conv1d"
CONTAINERS = {"layers": "torch.nn.ModuleList", "even": "torch.nn.ModuleList", "odd": "torch.nn.ModuleList"}
#: Class -> the shapes of its tensors.
SHAPES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    **{norm: {"weight": (WIDTH,), "bias": (WIDTH,)} for norm in (NORM, GROUP, OWN_NORM, MOVED_NORM)},
    EMBEDDING: {"weight": (WIDTH, WIDTH)},
}
SQUARE = {"weight": (WIDTH, WIDTH), "bias": (WIDTH,)}

#: Path of each layer, or of each module around, in order of registration -> its class.
Modules = Mapping[str, str]


def specs(modules: Modules) -> dict[str, TensorSpec]:
    holding = {path.rpartition(".")[0] for path in modules}
    return {
        f"{path}.{leaf}": TensorSpec("float32", shape)
        for path, kind in modules.items()
        if path not in holding
        for leaf, shape in _shapes(path, kind).items()
    }


def _shapes(path: str, kind: str) -> Mapping[str, tuple[int, ...]]:
    size = 8 * int(path.rpartition("_")[2]) if kind == SIZED else 0
    return {"weight": (size, WIDTH, 3), "bias": (size,)} if size else SHAPES.get(kind, SQUARE)


def found(old: Modules, new: Modules, known: bool = True) -> dict[str, tuple[str, Change]]:
    """Old key of each weight -> its new key, and the change."""
    before, after = specs(old), specs(new)
    owners = owners_of(before, old, {}), owners_of(after, new, {})
    changes = infer(before, after, owners if known else None)
    return {
        one: (other, change)
        for change in changes
        if change.kind == "renamed"
        for one, other in zip(change.old, change.new, strict=True)
        if one.endswith("weight")
    }


def pairs(old: Modules, new: Modules, known: bool = True) -> dict[str, str]:
    """Old layer -> new layer, of those that have another name."""
    return {
        one.removesuffix(".weight"): other.removesuffix(".weight")
        for one, (other, _) in found(old, new, known).items()
    }


def confidence(old: Modules, new: Modules, known: bool = True) -> dict[str, str]:
    return {one: change.confidence for one, (_, change) in found(old, new, known).items()}


SIZES = {f"conv_{number}": SIZED for number in range(1, 25)}
BODY = {"": "net.Net", **SIZES}


def test_siblings_of_other_classes_that_got_new_names() -> None:
    old = {**BODY, "left": "net.Pool", "left.proj": LINEAR, "right": "net.Mix", "right.proj": LINEAR}
    new = {**BODY, "alpha": "net.Mix", "alpha.proj": LINEAR, "beta": "net.Pool", "beta.proj": LINEAR}
    assert pairs(old, new, known=False) == {"left.proj": "alpha.proj", "right.proj": "beta.proj"}
    assert pairs(old, new) == {"left.proj": "beta.proj", "right.proj": "alpha.proj"}


def test_layers_of_other_classes_that_got_new_names() -> None:
    old = {**BODY, "first": "net.Column", "second": "net.Row"}
    new = {**BODY, "zephyr": "net.Row", "marble": "net.Column"}
    assert pairs(old, new) == {"first": "marble", "second": "zephyr"}
    assert pairs(old, new, known=False) == {"first": "zephyr", "second": "marble"}
    assert "certain" not in confidence(old, new).values()


@pytest.mark.parametrize("evidence", ["classes", "ancestry"])
def test_each_evidence_of_classes_decides(evidence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes of layers, and of the modules around: without either, the pairs that it tells go by order."""
    layers = {"first": "net.Column", "second": "net.Row"}, {"zephyr": "net.Row", "marble": "net.Column"}
    around = (
        {"left": "net.Pool", "left.proj": LINEAR, "right": "net.Mix", "right.proj": LINEAR},
        {"alpha": "net.Mix", "alpha.proj": LINEAR, "beta": "net.Pool", "beta.proj": LINEAR},
    )
    old, new = ({**BODY, **side} for side in (layers if evidence == "classes" else around))
    known = pairs(old, new)
    monkeypatch.setattr(alignment, "Weights", partial(Weights, **{evidence: 0.0}))
    assert known != pairs(old, new) == pairs(old, new, known=False)


def test_layers_of_one_class_and_other_settings() -> None:
    old = {**BODY, "first": LINEAR, "second": LINEAR}
    new = {**BODY, "zephyr": LINEAR, "marble": LINEAR}
    owners = (
        owners_of(specs(old), old, {"first": {"groups": "1"}, "second": {"groups": "2"}}),
        owners_of(specs(new), new, {"zephyr": {"groups": "2"}, "marble": {"groups": "1"}}),
    )
    changes = infer(specs(old), specs(new), owners)
    moved = {change.old[0]: change.new[0] for change in changes}
    assert (moved["first.weight"], moved["second.weight"]) == ("marble.weight", "zephyr.weight")


def stack(kinds: list[str], path: str = "layers") -> dict[str, str]:
    inside = {f"{path}.{number}": kind for number, kind in enumerate(kinds)}
    return {path: CONTAINERS[path]} | {
        name: kind for at, each in inside.items() for name, kind in ((at, each), (f"{at}.proj", LINEAR))
    }


def test_blocks_of_two_classes_that_were_sorted_out() -> None:
    """Eight blocks alike in their shapes become two lists: their classes say which is which."""
    old = BODY | stack(["net.Local", "net.Global"] * 4)
    new = BODY | stack(["net.Global"] * 4, "odd") | stack(["net.Local"] * 4, "even")
    expected = {f"layers.{2 * n}.proj": f"even.{n}.proj" for n in range(4)}
    expected |= {f"layers.{2 * n + 1}.proj": f"odd.{n}.proj" for n in range(4)}
    assert pairs(old, new) == expected
    assert pairs(old, new, known=False) != expected


def renamed_body(norm: str) -> tuple[dict[str, str], dict[str, str]]:
    """A model in which all has a new name, the norm one of this class."""
    old = {"": "net.Net", "embed": EMBEDDING, "norm": NORM, "mlp": "net.Mlp", "mlp.fc": LINEAR, **SIZES}
    new = {"": "net.Net", "embedding": EMBEDDING, "ln": norm, "ffn": "net.Mlp", "ffn.fc1": LINEAR}
    return old, new | {f"layer_{path}": kind for path, kind in SIZES.items()}


def test_another_class_forbids_certainty() -> None:
    same, other = renamed_body(NORM), renamed_body(GROUP)
    assert confidence(*same)["norm.weight"] == confidence(*other, known=False)["norm.weight"] == "certain"
    assert confidence(*other)["norm.weight"] == "likely"


def test_a_class_that_was_renamed_everywhere_forbids_nothing() -> None:
    assert confidence(*renamed_body(OWN_NORM))["norm.weight"] == "certain"
    assert confidence(*renamed_body(MOVED_NORM))["norm.weight"] == "certain"


def test_a_class_that_was_renamed_in_one_place_does() -> None:
    old, new = renamed_body(OWN_NORM)
    assert confidence(old | {"last_norm": NORM}, new | {"last_norm": NORM})["norm.weight"] == "likely"


def test_parametrized_layers_are_of_the_class_without_it() -> None:
    old, new = renamed_body(NORM)
    parametrized = {
        **{key: spec for key, spec in specs(new).items() if key != "ffn.fc1.weight"},
        "ffn.fc1.parametrizations.weight.original0": TensorSpec("float32", (WIDTH, 1)),
        "ffn.fc1.parametrizations.weight.original1": TensorSpec("float32", (WIDTH, WIDTH)),
    }
    modules = {
        **new,
        "ffn.fc1": "torch.nn.utils.parametrize.ParametrizedLinear",
        "ffn.fc1.parametrizations": "torch.nn.ModuleDict",
        "ffn.fc1.parametrizations.weight": "torch.nn.utils.parametrize.ParametrizationList",
    }
    owners = owners_of(parametrized, modules, {})
    assert {owners[key].kind for key in parametrized if key.startswith("ffn")} == {
        "torch.nn.utils.parametrize.ParametrizedLinear"
    }
    changes = infer(specs(old), parametrized, (owners_of(specs(old), old, {}), owners))
    kinds = {change.old: (change.kind, change.confidence) for change in changes}
    assert kinds["mlp.fc.weight",] == ("reparametrized", confidence_alone(old, parametrized))


def confidence_alone(old: Modules, new: Mapping[str, TensorSpec]) -> str:
    changes = infer(specs(old), new)
    return next(change.confidence or "" for change in changes if change.old == ("mlp.fc.weight",))


def test_the_order_of_registration_is_known_however_the_names_sort() -> None:
    """``a`` to ``d`` stand in order by name: with two lists alone that is no order of a model."""
    old = BODY | dict.fromkeys("abcd", EMBEDDING)
    new = BODY | dict.fromkeys(("zephyr", "quartz", "marble", "basalt"), EMBEDDING)
    assert pairs(old, new) == {"a": "zephyr", "b": "quartz", "c": "marble", "d": "basalt"}
    assert set(confidence(old, new).values()) <= {"likely", "ambiguous"}


@pytest.mark.parametrize("known", [False, True])
def test_nothing_is_said_where_nothing_differs(known: bool) -> None:
    model = BODY | stack(["net.Local"] * 4)
    assert found(model, model, known) == {}


def test_a_tensor_whose_module_is_not_known_has_no_say() -> None:
    old, new = renamed_body(NORM)
    owners = owners_of(specs(old), {}, {}), owners_of(specs(new), {}, {})
    assert infer(specs(old), specs(new), owners) == infer(specs(old), specs(new))
