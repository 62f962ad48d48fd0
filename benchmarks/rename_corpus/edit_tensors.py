"""Edits after which the same numbers stand in other tensors: fused, split, transposed, parametrized."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.rename_corpus import words
from benchmarks.rename_corpus.draft import Draft, Slot, pattern
from pytest_ckpt_compat import TensorSpec

#: Layers that are made one: what each part may be called, and what the whole may.
_JOINED: tuple[tuple[tuple[tuple[str, ...], ...], tuple[str, ...]], ...] = (
    (
        (
            ("q", "q_proj", "query", "q_lin", "wq", "to_q"),
            ("k", "k_proj", "key", "k_lin", "wk", "to_k"),
            ("v", "v_proj", "value", "v_lin", "wv", "to_v"),
        ),
        ("qkv", "in_proj", "qkv_proj", "Wqkv", "c_attn", "query_key_value"),
    ),
    ((("k", "k_proj", "key"), ("v", "v_proj", "value")), ("kv", "kv_proj", "to_kv", "key_value")),
    ((("gate_proj", "wi_0", "w1"), ("up_proj", "wi_1", "w3")), ("gate_up_proj", "w12", "fc_gate_up")),
)


def _drawn(r: random.Random) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    return r.choices(_JOINED, weights=(4, 1, 2))[0]


def fuse(draft: Draft, r: random.Random) -> Draft | None:
    """Makes one layer of q, k, v, or of k and v, or of gate and up, in every module that has them."""
    parts, wholes = _drawn(r)
    names = {name: rank for rank, line in enumerate(parts) for name in line}
    whole = r.choice(wholes)
    in_proj = whole == "in_proj" and r.random() < 0.5
    groups: dict[tuple[str, str], dict[int, Slot]] = {}
    single = draft.whole
    for slot in draft.slots:
        place = slot.key.split(".")
        if len(place) > 1 and place[-2] in names and slot.key in single and slot.spec.shape:
            groups.setdefault((".".join(place[:-2]), place[-1]), {})[names[place[-2]]] = slot
    joined: dict[str, Slot] = {}
    gone: set[str] = set()
    for (parent, leaf), found in groups.items():
        if len(found) < len(parts) or len({slot.spec.shape[1:] for slot in found.values()}) > 1:
            continue
        several = [found[rank] for rank in range(len(parts))]
        first = min(several, key=draft.slots.index)
        rows = sum(slot.spec.shape[0] for slot in several)
        spec = TensorSpec(first.spec.dtype, (rows, *first.spec.shape[1:]))
        name = f"in_proj_{leaf}" if in_proj else f"{whole}.{leaf}"
        sources = tuple(source for slot in several for source in slot.sources)
        joined[first.key] = Slot(f"{parent}.{name}" if parent else name, spec, sources)
        gone |= {slot.key for slot in several} - {first.key}
    slots = tuple(joined.get(slot.key, slot) for slot in draft.slots if slot.key not in gone)
    return draft.with_slots(slots, f"fuse to {whole}")


def split(draft: Draft, r: random.Random) -> Draft | None:
    """Makes q, k and v of one layer, in every module that has it."""
    lines, wholes = _drawn(r)
    number = len(lines)
    style = r.randrange(min(len(line) for line in lines))
    names = [line[style] for line in lines]
    single = draft.whole

    def parted() -> Iterator[Slot]:
        for slot in draft.slots:
            parts = slot.key.split(".")
            rows = slot.spec.shape[0] if slot.spec.shape else 0
            fits = rows and rows % number == 0 and slot.key in single
            joint = parts[-1].removeprefix("in_proj_")
            if fits and len(parts) > 1 and parts[-2] in wholes and len(slot.spec.shape) < 3:
                before, after = parts[:-2], parts[-1:]
            elif fits and joint != parts[-1] and number == 3:
                before, after = parts[:-1], [joint]
            else:
                yield slot
                continue
            spec = TensorSpec(slot.spec.dtype, (rows // number, *slot.spec.shape[1:]))
            for name in names:
                yield replace(slot, key=".".join([*before, name, *after]), spec=spec)

    return draft.with_slots(tuple(parted()), f"split to {', '.join(names)}")


def transpose(draft: Draft, r: random.Random) -> Draft | None:
    """Makes 1x1 convolutions of linear layers, or linear layers of these, or turns linear ones round."""
    way = r.choice(("to convolutions", "to linear", "round"))
    paths = sorted({pattern(slot.key)[:-1] for slot in draft.slots if slot.key.endswith(".weight")})
    whole = r.random() < 0.6
    chosen = set(paths) if whole else {r.choice(paths)} if paths else set()
    embeddings = {"embed", "embedding", "embeddings", "wte", "wpe", "tokens", "positions", "codebook"}

    def turned(slot: Slot) -> Slot:
        shape, module = slot.spec.shape, pattern(slot.key)[:-1]
        if module not in chosen or not slot.key.endswith(".weight") or len(slot.sources) > 1:
            return slot
        if embeddings & {word for part in module for word in words.tokens(part)}:
            return slot
        if way == "to linear" and len(shape) in (3, 4) and set(shape[2:]) == {1}:
            shape = shape[:2]
        elif way == "to convolutions" and len(shape) == 2:
            shape = (*shape, 1, 1)
        elif way == "round" and len(shape) == 2:
            shape = (shape[1], shape[0])
        return replace(slot, spec=TensorSpec(slot.spec.dtype, shape))

    where = "everywhere" if whole else "in one class"
    return draft.with_slots(tuple(map(turned, draft.slots)), f"transpose {way} {where}")


def reparametrize(draft: Draft, r: random.Random) -> Draft | None:
    """Stores the weights of a class of layers in other terms: weight_norm, spectral_norm, old or new."""
    single = draft.whole
    weights = {
        slot.key: pattern(slot.key)[:-1]
        for slot in draft.slots
        if slot.key.endswith(".weight")
        and len(slot.spec.shape) > 1
        and slot.key in single
        and slot.spec == draft.old[slot.sources[0]]
    }
    if not weights:
        return None
    path = r.choice(sorted(set(weights.values())))
    by_name = r.random() < 0.5
    form = r.choice(("weight_norm", "weight_norm", "old weight_norm", "spectral_norm", "old spectral_norm"))
    chosen = {key for key, p in weights.items() if p == path or (by_name and p[-1] == path[-1])}
    slots = (new for slot in draft.slots for new in (_stored(slot, form) if slot.key in chosen else (slot,)))
    return draft.with_slots(slots, f"reparametrize {'.'.join(path)}: {form}")


def _stored(slot: Slot, form: str) -> Iterator[Slot]:
    """The tensors in which a parametrization keeps a weight."""
    before, shape, dtype = slot.key.removesuffix("weight"), slot.spec.shape, slot.spec.dtype
    if form.endswith("weight_norm"):
        length = TensorSpec(dtype, (shape[0], *(1 for _ in shape[1:])))
        names = ("weight_g", "weight_v") if form.startswith("old") else (
            "parametrizations.weight.original0", "parametrizations.weight.original1",
        )  # fmt: skip
        yield replace(slot, key=before + names[0], spec=length)
        yield replace(slot, key=before + names[1])
        return
    old = form.startswith("old")
    vectors = (
        ("weight_u", "weight_v") if old else ("parametrizations.weight.0._u", "parametrizations.weight.0._v")
    )
    yield replace(slot, key=before + ("weight_orig" if old else "parametrizations.weight.original"))
    for name, size in zip(vectors, (shape[0], math.prod(shape[1:])), strict=True):
        yield Slot(before + name, TensorSpec(dtype, (size,)))
