"""Edits after which the same modules stand elsewhere: wrapped, in lists, in stages."""

from __future__ import annotations

import random

from benchmarks.rename_corpus import words
from benchmarks.rename_corpus.draft import (
    Draft,
    Pattern,
    families,
    join,
    keys,
    matches,
    modules,
    pattern,
    shapes,
)


def wrap(draft: Draft, r: random.Random) -> Draft | None:
    """Puts a module around everything, around some children of a module, or around the inside of one."""
    name = r.choice(words.WRAPPERS)
    way = r.choice(("everything", "some", "some", "inside"))
    if way == "everything":
        return draft.rekeyed(lambda key: f"{name}.{key}", f"wrap everything in {name}")
    parents = sorted({p[:-1] for p in modules(draft) if p[-1] != "*"})
    parent = r.choice(parents) if parents else ()
    children = list(
        dict.fromkeys(
            p[len(parent)] for p in modules(draft) if p[: len(parent)] == parent and len(p) > len(parent)
        )
    )
    children = [child for child in children if child != "*"]
    if not children:
        return None
    start = r.randrange(len(children))
    chosen = set(children[start : start + r.randint(1, 3)]) if way == "some" else {r.choice(children)}
    place = len(parent) + (way == "inside")

    def key_of(key: str) -> str:
        parts = key.split(".")
        if matches(parts, parent) and len(parts) > len(parent) + 1 and parts[len(parent)] in chosen:
            return ".".join([*parts[:place], name, *parts[place:]])
        return key

    return draft.rekeyed(key_of, f"wrap {way} of {'.'.join(parent) or 'the root'} in {name}")


def unwrap(draft: Draft, r: random.Random) -> Draft | None:
    """Takes one module off: its children move up to where it was."""
    paths = sorted(p for p in modules(draft) if p[-1] != "*")
    path = r.choice(paths) if paths else ()
    if not path or any(matches(list(p), path) and p[len(path)] == "*" for p in map(pattern, keys(draft))):
        return None
    place = len(path) - 1

    def key_of(key: str) -> str:
        parts = key.split(".")
        return ".".join(parts[:place] + parts[place + 1 :]) if matches(parts, path) else key

    return draft.rekeyed(key_of, f"unwrap {'.'.join(path)}")


def offset(draft: Draft, r: random.Random) -> Draft | None:
    """Counts a list from 1 instead of from 0, and calls it otherwise.

    With its old name, it would look like a list that lost its first block and has one more at its end.
    """
    path, numbers = _list(draft, r)
    if not numbers or numbers[0] != 0:
        return None
    parent, _, old = path.rpartition(".")
    name = join(parent, r.choice([one for one in ("blocks", "layers", "units", "levels") if one != old]))
    return _list_rekeyed(draft, path, {n: f"{name}.{n + 1}" for n in numbers}, f"offset {path} to {name}.1")


def unlist(draft: Draft, r: random.Random) -> Draft | None:
    """Makes attributes with numbers in their names of a list (``stages.0`` -> ``stage1``)."""
    path, numbers = _list(draft, r)
    if not numbers:
        return None
    parent, _, name = path.rpartition(".")
    first, name = r.choice((0, 1)), r.choice((name.rstrip("s") or "m", r.choice(words.NUMBERED)))
    gap = r.choice(("", "", "_"))
    target = {n: join(parent, f"{name}{gap}{n + first}") for n in numbers}
    return _list_rekeyed(draft, path, target, f"unlist {path} to {name}{gap}{numbers[0] + first}")


def enlist(draft: Draft, r: random.Random) -> Draft | None:
    """Makes a list of attributes with numbers in their names (``layer1`` -> ``stages.0``)."""
    found: dict[tuple[str, str], set[int]] = {}
    for key in keys(draft):
        parts = key.split(".")
        for place, part in enumerate(parts[:-1]):
            stem = part.rstrip("0123456789")
            if stem and part != stem and not part.isdigit():
                found.setdefault((".".join(parts[:place]), stem), set()).add(int(part[len(stem) :]))
    lists = sorted((where, numbers) for where, numbers in found.items() if len(numbers) > 1)
    if not lists:
        return None
    (parent, stem), numbers = r.choice(lists)
    name = r.choice((stem.rstrip("_") + "s", *words.NUMBERED[:4]))
    ranks = {number: rank for rank, number in enumerate(sorted(numbers))}

    def key_of(key: str) -> str:
        for number, rank in ranks.items():
            before = join(parent, f"{stem}{number}") + "."
            if key.startswith(before):
                return join(parent, name, str(rank), key[len(before) :])
        return key

    return draft.rekeyed(key_of, f"enlist {join(parent, stem)} to {name}")


def number(draft: Draft, r: random.Random) -> Draft | None:
    """Puts the numbers of a list in a list into one name (``stages.2.blocks.3`` -> ``block3-4``)."""
    nested = sorted({pattern(path) for path in families(draft) if pattern(path).count("*") == 1})
    if not nested:
        return None
    path = r.choice(nested)
    place, depth = path.index("*"), len(path)
    first = r.choice((0, 1))
    name = r.choice(("block{}-{}", "block{}_{}", "res{}.{}", "s{}.b{}", "layer_{}_{}", "stage{}.block{}"))

    def key_of(key: str) -> str:
        parts = key.split(".")
        if not matches(parts, (*path, "*")):
            return key
        outer, inner = int(parts[place]) + first, int(parts[depth]) + first
        return ".".join([*parts[: place - 1], name.format(outer, inner), *parts[depth + 1 :]])

    return draft.rekeyed(key_of, f"number {'.'.join(path)} as {name}")


def flatten(draft: Draft, r: random.Random) -> Draft | None:
    """Makes one list of the lists in the stages of another (``stages.1.blocks.0`` -> ``blocks.3``)."""
    nested = sorted({path for path in families(draft) if any(part.isdigit() for part in path.split("."))})
    outer = sorted({pattern(path) for path in nested if pattern(path).count("*") == 1})
    if not outer:
        return None
    chosen = r.choice(outer)
    order = [path for path in families(draft) if pattern(path) == chosen]
    order.sort(key=lambda path: [int(part) for part in path.split(".") if part.isdigit()])
    name = r.choice(("blocks", "layers", "units", "cells"))
    rank, target = 0, {}
    for path in order:
        for number in families(draft)[path]:
            target[f"{path}.{number}."] = f"{join('.'.join(chosen[: chosen.index('*') - 1]), name)}.{rank}."
            rank += 1

    def key_of(key: str) -> str:
        for before, after in target.items():
            if key.startswith(before):
                return after + key[len(before) :]
        return key

    return draft.rekeyed(key_of, f"flatten {'.'.join(chosen)} to {name}")


def nest(draft: Draft, r: random.Random) -> Draft | None:
    """Divides a list into stages of lists (``blocks.7`` -> ``stages.1.blocks.3``)."""
    path, numbers = _list(draft, r)
    if len(numbers) < 4:
        return None
    parent, _, name = path.rpartition(".")
    cuts = sorted(r.sample(range(1, len(numbers)), r.randint(1, 3)))
    target = {}
    for rank, number in enumerate(numbers):
        stage = sum(cut <= rank for cut in cuts)
        start = max((cut for cut in cuts if cut <= rank), default=0)
        target[number] = join(parent, "stages", str(stage), name, str(rank - start))
    return _list_rekeyed(draft, path, target, f"nest {path} at {cuts}")


def sequence(draft: Draft, r: random.Random) -> Draft | None:
    """Puts the children of a module into a Sequential (``mlp.fc1``, ``mlp.fc2`` -> ``mlp.0``, ``mlp.2``)."""
    parents = sorted({p[:-1] for p in modules(draft) if p[-1] != "*" and len(p) > 1})
    parents = [p for p in parents if 1 < len(_children(draft, p)) < 7 and "*" not in _children(draft, p)]
    if not parents:
        return None
    parent = r.choice(parents)
    children = _children(draft, parent)
    step = r.choice((1, 1, 2))
    target = {child: str(rank * step) for rank, child in enumerate(children)}
    unclear = {child for child in children if _unclear(draft, parent, child, children)}

    def key_of(key: str) -> str:
        parts = key.split(".")
        if matches(parts, parent) and len(parts) > len(parent) + 1:
            parts[len(parent)] = target.get(parts[len(parent)], parts[len(parent)])
        return ".".join(parts)

    def by_order(key: str) -> bool:
        return key.split(".")[len(parent)] in unclear

    return draft.rekeyed(key_of, f"sequence {'.'.join(parent)}", by_order)


def _unclear(draft: Draft, parent: Pattern, child: str, children: list[str]) -> bool:
    """Whether children have equal tensors, and no numbers in their names that tell their order."""
    own = shapes(draft, (*parent, child))
    equal = [other for other in children if shapes(draft, (*parent, other)) == own]
    numbers = [other[len(other.rstrip("0123456789")) :] for other in equal]
    in_order = all(numbers) and sorted(numbers, key=int) == numbers and len(set(numbers)) == len(numbers)
    return len(equal) > 1 and not in_order


def _list(draft: Draft, r: random.Random) -> tuple[str, list[int]]:
    found = sorted((path, numbers) for path, numbers in families(draft).items() if path)
    return r.choice(found) if found else ("", [])


def _list_rekeyed(draft: Draft, path: str, target: dict[int, str], edit: str) -> Draft | None:
    def key_of(key: str) -> str:
        rest = key[len(path) + 1 :] if key.startswith(f"{path}.") else ""
        number, _, tail = rest.partition(".")
        return f"{target[int(number)]}.{tail}" if number.isdigit() and tail else key

    return draft.rekeyed(key_of, edit)


def _children(draft: Draft, parent: Pattern) -> list[str]:
    """The names under a module, in order; a tensor of its own is one of them."""
    parts = (pattern(slot.key) for slot in draft.slots)
    return list(
        dict.fromkeys(p[len(parent)] for p in parts if p[: len(parent)] == parent and len(p) > len(parent))
    )
