"""Edits after which a model has other layers: more blocks, another width, a part of another design."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from benchmarks.rename_corpus import words
from benchmarks.rename_corpus.architectures import drawn
from benchmarks.rename_corpus.draft import (
    Draft,
    Pattern,
    Slot,
    alike,
    families,
    join,
    matches,
    modules,
    pattern,
)
from pytest_ckpt_compat import TensorSpec

#: A part of which this share has the shapes of what was there before could as well be that, renamed.
_SAME_SHAPES = 0.7


def append(draft: Draft, r: random.Random) -> Draft | None:
    """Adds blocks like the last one to the end of a list."""
    path, numbers = _blocks(draft, r)
    if not numbers:
        return None
    more = r.randint(1, 4)
    slots: list[Slot] = []
    last = join(path, str(numbers[-1])) + "."
    own = [slot for slot in draft.slots if slot.key.startswith(last)]
    for slot in draft.slots:
        slots.append(slot)
        if own and slot is own[-1]:
            for number in range(numbers[-1] + 1, numbers[-1] + 1 + more):
                slots += [Slot(join(path, str(number), s.key[len(last) :]), s.spec) for s in own]
    return draft.with_slots(tuple(slots), f"append {more} to {path}")


def drop(draft: Draft, r: random.Random) -> Draft | None:
    """Takes blocks off the end of a list."""
    path, numbers = _blocks(draft, r)
    if len(numbers) < 3:
        return None
    gone = numbers[-r.randint(1, max(1, len(numbers) // 3)) :]
    before = tuple(join(path, str(number)) + "." for number in gone)
    slots = tuple(slot for slot in draft.slots if not slot.key.startswith(before))
    return draft.with_slots(slots, f"drop {len(gone)} at the end of {path}")


def insert(draft: Draft, r: random.Random) -> Draft | None:
    """Puts a block in front of others that are like it: nobody can know which one is new."""
    path, numbers = _blocks(draft, r)
    if not numbers or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return None
    if not alike(draft, path, numbers):
        return None
    place = r.choice(numbers)
    inside = f"{path}." if path else ""
    slots: list[Slot] = []
    model = join(path, str(place)) + "."
    fresh = [Slot(slot.key, slot.spec, blind=True) for slot in draft.slots if slot.key.startswith(model)]
    for slot in draft.slots:
        number, _, rest = slot.key[len(inside) :].partition(".")
        if not slot.key.startswith(inside) or not number.isdigit():
            slots.append(slot)
            continue
        if int(number) == place and fresh:
            slots += fresh
            fresh = []
        moved = int(number) + (int(number) >= place)
        slots.append(replace(slot, key=join(path, str(moved), rest), blind=True))
    return draft.with_slots(tuple(slots), f"insert one into {path} at {place}")


def resize(draft: Draft, r: random.Random) -> Draft | None:
    """Changes the number of classes or words: the first size of an embedding or of the last layer."""
    tables = [
        slot.key.rpartition(".")[0]
        for slot in draft.slots
        if len(slot.spec.shape) == 2
        and len(slot.sources) == 1
        and {
            "embed",
            "embeddings",
            "wte",
            "wpe",
            "head",
            "fc",
            "classifier",
            "tokens",
            "position",
            "positions",
        }
        & set(words.tokens(slot.key.rpartition(".")[0].rpartition(".")[2]))
        and not any(part.isdigit() for part in slot.key.split("."))
    ]
    if not tables:
        return None
    module = r.choice(tables)
    more = r.choice((-1, 1, 2, 10, 64))
    slots = tuple(
        _resized(slot, 0, slot.spec.shape[0] + more)
        if slot.key in (f"{module}.weight", f"{module}.bias")
        and slot.spec.shape
        and slot.spec.shape[0] + more > 0
        else slot
        for slot in draft.slots
    )
    return draft.with_slots(slots, f"resize {module} by {more}")


def widen(draft: Draft, r: random.Random) -> Draft | None:
    """Changes the inner width of every module of one class (``mlp`` 3072 -> 2048)."""
    paths = sorted(p for p in modules(draft) if "*" in p and p[-1] != "*")
    if not paths:
        return None
    path = r.choice(paths)
    inside = [slot for slot in draft.slots if matches(slot.key.split("."), path)]
    outside = {size for slot in draft.slots if slot not in inside for size in slot.spec.shape}
    sizes = sorted({size for slot in inside for size in slot.spec.shape if size > 8} - outside)
    if not sizes:
        return None
    size = r.choice(sizes)
    other = r.choice((size // 2, size * 2, size + 64))
    slots = tuple(
        replace(
            slot, spec=TensorSpec(slot.spec.dtype, tuple(other if n == size else n for n in slot.spec.shape))
        )
        if slot in inside and len(slot.sources) < 2
        else slot
        for slot in draft.slots
    )
    return draft.with_slots(slots, f"widen {'.'.join(path)} {size} -> {other}")


def replaced(draft: Draft, r: random.Random) -> Draft | None:
    """Puts a part of another model in the place of one module, or of every module of one class."""
    counts = modules(draft)
    paths = sorted(p for p in counts if p[-1] != "*" and 2 <= counts[p] <= 0.5 * len(draft.slots))
    if not paths:
        return None
    path = r.choice(paths)
    name = path[-1] if r.random() < 0.5 else r.choice(words.REPLACEMENTS)
    _, _, other = drawn(r)
    parts = sorted({key.rpartition(".")[0] for key in other if "." in key})
    place = r.choice([part for part in parts if part] or [""])
    place = ".".join(place.split(".")[: r.randint(1, place.count(".") + 1)])
    most = max(4, counts[path] // max(1, len(_instances(draft, path))) * 2)
    inner = {key[len(place) + 1 :]: spec for key, spec in other.items() if key.startswith(f"{place}.")}
    slots: list[Slot] = []
    done: set[str] = set()
    for slot in draft.slots:
        parts_of = slot.key.split(".")
        if not matches(parts_of, path):
            slots.append(slot)
            continue
        instance = ".".join([*parts_of[: len(path) - 1], name])
        if instance not in done:
            done.add(instance)
            slots += [Slot(f"{instance}.{key}", spec) for key, spec in list(inner.items())[:most]]
    found = draft.with_slots(tuple(slots), f"replace {'.'.join(path)} by {name} of {place}")
    return _told_apart(draft, found) if found else None


def stranger(draft: Draft, r: random.Random) -> Draft | None:
    """Removes a small layer while an unrelated one of the same shape comes: nobody can know that."""
    layers: dict[str, list[Slot]] = {}
    for slot in draft.slots:
        if not any(part.isdigit() for part in slot.key.split(".")) and "." in slot.key:
            layers.setdefault(slot.key.rpartition(".")[0], []).append(slot)
    small = sorted(
        module
        for module, slots in layers.items()
        if len(slots) < 3
        and any(len(slot.spec.shape) == 2 for slot in slots)
        and all(len(slot.sources) == 1 and slot.spec == draft.old[slot.sources[0]] for slot in slots)
    )
    if not small:
        return None
    module = r.choice(small)
    name = r.choice(words.STRANGERS)
    target = join(module.rpartition(".")[0] if r.random() < 0.5 else "", name)
    gone = layers[module]
    kept = [slot for slot in draft.slots if slot not in gone]
    fresh = [Slot(f"{target}.{slot.key.rpartition('.')[2]}", slot.spec, blind=True) for slot in gone]
    found = draft.with_slots((*kept, *fresh), f"stranger {target} while {module} went")
    lost = {source for slot in gone for source in slot.sources}
    return replace(found, blind=draft.blind | lost) if found else None


def reorder(draft: Draft, r: random.Random) -> Draft | None:
    """Registers the children of one module, or of every module of a class, in another order."""
    paths = sorted({p[:-1] for p in modules(draft)})
    path = r.choice(paths)
    parts = [slot.key.split(".") for slot in draft.slots]
    children = list(dict.fromkeys(p[len(path)] for p in parts if matches(p, path)))
    if len(children) < 2 or len(children) > 12 or children[0].isdigit():
        return None
    rank = {child: number for number, child in enumerate(r.sample(children, len(children)))}
    groups: dict[str, list[Slot]] = {}
    for slot, key in zip(draft.slots, parts, strict=True):
        if matches(key, path):
            groups.setdefault(".".join(key[: len(path)]), []).append(slot)
    turn = {
        instance: iter(sorted(slots, key=lambda slot: rank[slot.key.split(".")[len(path)]]))
        for instance, slots in groups.items()
    }
    slots = tuple(
        next(turn[".".join(key[: len(path)])]) if matches(key, path) else slot
        for slot, key in zip(draft.slots, parts, strict=True)
    )
    return draft.with_slots(slots, f"reorder the children of {'.'.join(path) or 'the root'}")


def buffers(draft: Draft, r: random.Random) -> Draft | None:
    """Adds a buffer to every module of one class, or drops one that they have."""
    names = sorted({slot.key.rpartition(".")[2] for slot in draft.slots if slot.spec.dtype == "int64"})
    if names and r.random() < 0.5:
        name = r.choice(names)
        slots = tuple(slot for slot in draft.slots if slot.key.rpartition(".")[2] != name)
        return draft.with_slots(slots, f"buffers {name} dropped")
    paths = sorted(p for p in modules(draft) if p[-1] != "*")
    if not paths:
        return None
    path = r.choice(paths)
    name, spec = r.choice(
        (
            ("position_ids", TensorSpec("int64", (1, 512))),
            ("inv_freq", TensorSpec("float32", (32,))),
            ("steps", TensorSpec("int64")),
            ("running_scale", TensorSpec("float32", (1,))),
            ("mask", TensorSpec("bool", (1, 1, 128, 128))),
        )
    )
    added: list[Slot] = []
    done: set[str] = set()
    for slot in draft.slots:
        parts = slot.key.split(".")
        instance = ".".join(parts[: len(path)])
        if matches(parts, path) and instance not in done:
            done.add(instance)
            added.append(Slot(f"{instance}.{name}", spec))
        added.append(slot)
    return draft.with_slots(tuple(added), f"buffers {name} added to {'.'.join(path)}")


def biases(draft: Draft, r: random.Random) -> Draft | None:
    """Takes the biases away from every layer of one class."""
    ends = sorted(
        {pattern(s.key)[:-1] for s in draft.slots if s.key.endswith(".bias") and len(s.sources) == 1}
    )
    if not ends:
        return None
    path = r.choice(ends)
    slots = tuple(
        slot for slot in draft.slots if not (slot.key.endswith(".bias") and pattern(slot.key)[:-1] == path)
    )
    return draft.with_slots(slots, f"biases of {'.'.join(path)} gone")


def _told_apart(before: Draft, after: Draft) -> Draft:
    """Marks what went and what came as unknowable where most of it has the same shapes."""
    gone = [slot for slot in before.slots if slot not in after.slots]
    came = [slot for slot in after.slots if slot not in before.slots]
    shapes = [Counter(slot.spec.shape for slot in slots) for slots in (gone, came)]
    if (shapes[0] & shapes[1]).total() < _SAME_SHAPES * max(len(gone), len(came)):
        return after
    lost = {source for slot in gone for source in slot.sources}
    slots = tuple(replace(slot, blind=True) if slot in came else slot for slot in after.slots)
    return replace(after, slots=slots, blind=after.blind | lost)


def retype(draft: Draft, r: random.Random) -> Draft | None:
    """Keeps every number in half the bits."""
    dtype = r.choice(("float16", "bfloat16"))
    slots = (
        replace(slot, spec=TensorSpec(dtype, slot.spec.shape)) if slot.spec.dtype == "float32" else slot
        for slot in draft.slots
    )
    return draft.with_slots(slots, f"retype to {dtype}")


def _blocks(draft: Draft, r: random.Random) -> tuple[str, list[int]]:
    """A numbered list that is in no other, and its numbers."""
    found = sorted(
        (path, numbers)
        for path, numbers in families(draft).items()
        if not any(part.isdigit() for part in path.split("."))
    )
    return r.choice(found) if found else ("", [])


def _instances(draft: Draft, path: Pattern) -> set[str]:
    keys = (slot.key.split(".") for slot in draft.slots)
    return {".".join(parts[: len(path)]) for parts in keys if matches(parts, path)}


def _resized(slot: Slot, dimension: int, size: int) -> Slot:
    shape = list(slot.spec.shape)
    shape[dimension] = size
    return replace(slot, spec=TensorSpec(slot.spec.dtype, tuple(shape)))
