"""Edits of real models as people make them: what became of a tensor is known.

A tensor keeps its identity through an edit, so the truth of a case is read off the two models.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

from benchmarks.rename_classes.trees import (
    PROJECT,
    Module,
    another_name,
    classes,
    drawn,
    kind_of,
    recast,
    renamed,
    subclass,
)
from benchmarks.rename_corpus import words

#: Changes a model in place and says how, or says nothing where it does not apply.
Edit = Callable[[Module, random.Random], str]

#: Attributes that hold layers divided by columns, and by rows.
_COLUMNS = words.listed("q q_proj query q_lin k k_proj key k_lin v v_proj value v_lin fc1 wi up_proj c_fc")
_ROWS = words.listed("o o_proj out_proj out_lin c_proj dense fc2 wo down_proj")


def attribute(model: Module, r: random.Random) -> str:
    """Renames one attribute of a class."""
    return _attributes(model, r, 1)


def attributes(model: Module, r: random.Random) -> str:
    """Renames most attributes of a class."""
    return _attributes(model, r, 9)


def _attributes(model: Module, r: random.Random, most: int) -> str:
    known = classes(model)
    kind = r.choice([*known, ""])
    parts = known.get(kind, [model])
    names = sorted({name for part in parts for name in part._modules if not name.isdigit()})
    done = []
    for name in r.sample(names, min(most, len(names))):
        other = another_name(r, name)
        if sum([renamed(part, name, other) for part in parts]):
            done.append(f"{name} -> {other}")
    return f"attributes of {kind}: {', '.join(done)}" if done else ""


def everywhere(model: Module, r: random.Random) -> str:
    """Renames one attribute wherever it stands."""
    names = sorted({name for part in model.modules() for name in part._modules if not name.isdigit()})
    name = r.choice(names)
    other = another_name(r, name)
    done = sum([renamed(part, name, other) for part in model.modules()])
    return f"everywhere {name} -> {other}" if done else ""


def wrap(model: Module, r: random.Random) -> str:
    """Puts a module of the project around a child of each module of a class."""
    import torch

    known = classes(model)
    kind = r.choice([*known, "", ""])
    parts = known.get(kind, [model])
    names = sorted({name for part in parts for name in part._modules if not name.isdigit()})
    if not names:
        return ""
    name, inner = r.choice(names), r.choice(words.WRAPPERS)
    for part in parts:
        if name in part._modules and part._modules[name] is not None:
            outer = subclass(torch.nn.Module, "Wrapper")()
            outer._modules[inner] = part._modules[name]
            part._modules[name] = outer
    return f"wrap {kind}.{name} in {inner}"


def unwrap(model: Module, r: random.Random) -> str:
    """Takes away a module that holds nothing but others: its children stand in its place."""
    known = classes(model)
    places = [
        (part, name)
        for parts in (*known.values(), [model])
        for part in parts
        for name, child in part._modules.items()
        if child is not None and child._modules and not child._parameters and not name.isdigit()
        and not any(inner.isdigit() or inner in part._modules for inner in child._modules)
    ]  # fmt: skip
    if not places:
        return ""
    wanted = r.choice(sorted({(kind_of(part), name) for part, name in places}))
    for part, name in places:
        if (kind_of(part), name) == wanted and name in part._modules:
            items: list[tuple[str, Module]] = []
            for key, child in part._modules.items():
                items += child._modules.items() if key == name else [(key, child)]
            part._modules.clear()
            part._modules.update(items)
    return f"unwrap {'.'.join(wanted)}"


def class_renamed(model: Module, r: random.Random) -> str:
    """Gives one, several or all classes of the model new names."""
    own = sorted({kind_of(p) for p in model.modules() if not type(p).__module__.startswith("torch.")})
    chosen = own if r.random() < 0.4 else r.sample(own, min(len(own), r.choice((1, 1, 2, 3))))
    style = r.choice(("My{}", "{}V2", "New{}", "{}Module"))
    for part in list(model.modules()):
        if kind_of(part) in chosen and type(part).__module__ != PROJECT:
            recast(part, style.format(kind_of(part)))
    return f"classes {', '.join(chosen)}"


def own_layers(model: Module, r: random.Random) -> str:
    """Replaces a layer of torch by one of the project that computes the same: everywhere."""
    return _own_layers(model, r, 1.0)


def own_layers_partly(model: Module, r: random.Random) -> str:
    """The same in some places, as each attribute has its own line of code."""
    return _own_layers(model, r, 0.5)


def _own_layers(model: Module, r: random.Random, share: float) -> str:
    leaves = [(name, part) for name, part in model.named_modules() if _is_leaf(part)]
    kinds = sorted({kind_of(part) for _, part in leaves if type(part).__module__.startswith("torch.")})
    if not kinds:
        return ""
    kind = r.choice(kinds)
    chosen: dict[str, bool] = {}
    for path, part in leaves:
        name = path.rpartition(".")[2]
        if kind_of(part) == kind and chosen.setdefault(name, r.random() < share):
            recast(part, f"Fast{kind}")
    return f"own {kind} {share}" if any(chosen.values()) else ""


def _is_leaf(part: Module) -> bool:
    return not part._modules and bool(part._parameters)


def parallel(model: Module, _: random.Random) -> str:
    """Layers that are divided by columns, or by rows, as in training on several devices."""
    done = 0
    for part in list(model.modules()):
        for name, child in part._modules.items():
            if child is not None and kind_of(child) == "Linear" and name in (*_COLUMNS, *_ROWS):
                recast(child, "ColumnParallelLinear" if name in _COLUMNS else "RowParallelLinear")
                done += 1
    return "parallel" if done else ""


def typed(model: Module, r: random.Random) -> str:
    """Layers of one class become ones of two: half of the attributes that hold it."""
    return _own_layers(model, r, 0.5).replace("own", "typed")


def stranger(model: Module, r: random.Random) -> str:
    """Takes a layer away while an unrelated one of the same class and shapes comes."""
    return _stranger(model, r, same_class=True)


def other_class(model: Module, r: random.Random) -> str:
    """Takes a layer away while one of another class with the same shapes comes."""
    return _stranger(model, r, same_class=False)


def _stranger(model: Module, r: random.Random, same_class: bool) -> str:
    places = [
        (part, name)
        for part in model.modules()
        for name, child in part._modules.items()
        if child is not None and _is_leaf(child) and not name.isdigit()
    ]
    if not places:
        return ""
    kind, name = r.choice(sorted({(kind_of(part), name) for part, name in places}))
    strange = r.choice(words.STRANGERS)
    # Of one class and under a synonym, nobody could tell a new layer from the old one.
    other = strange if same_class or r.random() < 0.4 else another_name(r, name)
    home = "" if r.random() < 0.7 else "root"
    seed, done = r.random(), ""
    for part, each in places:
        if (kind_of(part), each) != (kind, name) or (home and done):
            continue
        fresh = _fresh(part._modules[name], random.Random(seed), same_class)
        target = model if home else part
        if fresh is None or other in {*target._modules, *target._parameters, *target._buffers}:
            return done
        if home or r.random() < 0.5:
            del part._modules[name]
            target._modules[other] = fresh
        else:
            renamed(part, name, other)
            part._modules[other] = fresh
        done = f"stranger {kind}.{name} -> {home}.{other} {kind_of(fresh)}"
    return done


def _fresh(layer: Module, r: random.Random, same_class: bool) -> Module | None:
    """A layer of the same shapes with tensors of its own."""
    import torch
    from torch import nn

    if same_class:
        return copy.deepcopy(layer)
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    shape = tuple(weight.shape) if isinstance(weight, torch.Tensor) else ()
    adapter = copy.deepcopy(layer)
    recast(adapter, "Adapter")
    made: list[Module] = [adapter]
    with torch.device("meta"):
        if len(shape) == 2 and bias is None:
            made += [nn.Embedding(*shape), nn.Linear(shape[1], shape[0], bias=False)]
        elif len(shape) == 2:
            made.append(nn.Linear(shape[1], shape[0]))
        elif len(shape) == 1 and bias is not None:
            made += [
                nn.LayerNorm(shape[0]),
                nn.GroupNorm(1, shape[0]),
                nn.InstanceNorm1d(shape[0], affine=True),
            ]
        elif len(shape) == 1:
            made += [nn.RMSNorm(shape[0]), nn.LayerNorm(shape[0], bias=False), nn.PReLU(shape[0])]
        elif len(shape) == 4:
            made.append(nn.ConvTranspose2d(shape[0], shape[1], shape[2:], bias=bias is not None))
    return r.choice([each for each in made if kind_of(each) != kind_of(layer)] or [None])


def replaced(model: Module, r: random.Random) -> str:
    """Puts a part of another model in the place of a child of each module of a class."""
    known = classes(model)
    kind = r.choice([*known, ""])
    parts = known.get(kind, [model])
    names = sorted({n for p in parts for n, c in p._modules.items() if c is not None and c._modules})
    if not names:
        return ""
    name = r.choice(names)
    wanted = _sizes(parts[0]._modules.get(name))
    others = [part for _ in range(2) for part in drawn(r)[2].modules() if part._modules][:400]
    others = [part for part in others if 2 <= len(part.state_dict()) <= 3 * len(wanted) + 4]
    if not others:
        return ""
    most = max(len(wanted & _sizes(part)) for part in others)
    part_of = r.choice([part for part in others if len(wanted & _sizes(part)) >= 0.6 * most])
    other = name if r.random() < 0.5 else r.choice(words.REPLACEMENTS)
    for part in parts:
        if name in part._modules and (other == name or renamed(part, name, other)):
            part._modules[other] = copy.deepcopy(part_of)
    return f"replace {kind}.{name} by {other}: {kind_of(part_of)}"


def _sizes(part: Module) -> set[tuple[int, ...]]:
    return {tuple(tensor.shape) for tensor in part.state_dict().values()} if part is not None else set()


def reorder(model: Module, r: random.Random) -> str:
    """Registers the children of each module of a class in another order."""
    known = classes(model)
    kind = r.choice([*known, ""])
    seed = r.random()
    for part in known.get(kind, [model]):
        items = list(part._modules.items())
        random.Random(seed).shuffle(items)
        part._modules.clear()
        part._modules.update(items)
    return f"reorder {kind}"


def longer(model: Module, r: random.Random) -> str:
    """Adds a block at the end of a list of blocks, or takes one away."""
    lists = [
        p for p in model.modules() if kind_of(p) == "ModuleList" and len(p) > 1 and len(p[-1].state_dict())
    ]
    if not lists:
        return ""
    chosen = r.choice(lists)
    if r.random() < 0.5:
        chosen.append(copy.deepcopy(chosen[-1]))
        return "append"
    del chosen[-1]
    return "drop"


def resized(model: Module, r: random.Random) -> str:
    """Gives an embedding other words."""
    import torch

    tables = [part for part in model.modules() if kind_of(part) == "Embedding"]
    if not tables:
        return ""
    part = r.choice(tables)
    rows, width = part.weight.shape
    part.weight = torch.nn.Parameter(torch.empty(rows + r.choice((1, 2, 64)), width, device="meta"))
    return "resize"
