"""Edits after which the same modules have other names or stand elsewhere."""

from __future__ import annotations

import random
from collections import Counter

from benchmarks.rename_corpus import words
from benchmarks.rename_corpus.draft import (
    Draft,
    Pattern,
    content,
    families,
    join,
    matches,
    modules,
    pattern,
)

#: Names of norms, by a word in them.
_NORM_WORDS = {"norm", "ln", "bn", "layernorm"}


def rename(draft: Draft, r: random.Random) -> Draft | None:
    """Gives one attribute another name for the same thing: in one class, or wherever it stands."""
    path = _named(draft, r)
    name = words.synonym(r, path[-1]) if path else ""
    return _renamed(draft, r, path, name, "rename") if name else None


def restyle(draft: Draft, r: random.Random) -> Draft | None:
    """Writes one attribute, or every one, in another way: camel case, clipped, initials."""
    path = _named(draft, r)
    name = words.restyled(r, path[-1]) if path else ""
    if name and r.random() < 0.25:
        pairs = {p: words.restyled(random.Random(p), p) or p for p in {q[-1] for q in modules(draft)}}
        return draft.rekeyed(lambda key: _each_module(key, pairs), "restyle every module")
    return _renamed(draft, r, path, name, "restyle") if name else None


def affix(draft: Draft, r: random.Random) -> Draft | None:
    """Adds a word to the name of one attribute, or takes one off."""
    path = _named(draft, r)
    return _renamed(draft, r, path, words.affixed(r, path[-1]), "affix") if path else None


def strange(draft: Draft, r: random.Random) -> Draft | None:
    """Gives a module with a content of its own a name that says nothing."""
    path = _named(draft, r)
    if not path or "*" in path:
        return None
    own = content(draft, ".".join(path))
    beside = {".".join(p) for p in modules(draft) if p[:-1] == path[:-1] and p != path}
    shapes = Counter(spec.shape for _, spec in own)
    if len(own) < 4 or len(shapes) < 3:
        return None
    if any(Counter(spec.shape for _, spec in content(draft, other)) == shapes for other in beside):
        return None
    return _renamed(draft, r, path, r.choice(words.STRANGE), "strange", everywhere=False)


def leaves(draft: Draft, r: random.Random) -> Draft | None:
    """Renames the tensors of all norms of one name (``norm.weight`` -> ``norm.gamma``)."""
    norms = sorted({p for p in modules(draft) if _NORM_WORDS & set(words.tokens(p[-1]))})
    if not norms:
        return None
    chosen = r.choice(norms)[-1]
    names = dict(zip(("weight", "bias"), r.choice(words.NORM_LEAVES), strict=True))

    def key_of(key: str) -> str:
        parts = key.split(".")
        if len(parts) > 1 and parts[-2] == chosen:
            parts[-1] = names.get(parts[-1], parts[-1])
        return ".".join(parts)

    return draft.rekeyed(key_of, f"leaves of {chosen}: {names['weight']}, {names['bias']}")


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
    if not path or any(matches(list(p), path) and p[len(path)] == "*" for p in map(pattern, _keys(draft))):
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
    for key in _keys(draft):
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
    shapes = {child: _shapes(draft, (*parent, child)) for child in children}
    unclear = len({tuple(sorted(one.items())) for one in shapes.values()}) < len(children)

    def key_of(key: str) -> str:
        parts = key.split(".")
        if matches(parts, parent) and len(parts) > len(parent) + 1:
            parts[len(parent)] = target.get(parts[len(parent)], parts[len(parent)])
        return ".".join(parts)

    return draft.rekeyed(key_of, f"sequence {'.'.join(parent)}", by_order=unclear)


def shift(draft: Draft, r: random.Random) -> Draft | None:
    """Uses a name again: ``norm2`` becomes another name, ``norm3`` becomes ``norm2``."""
    beside: dict[Pattern, list[str]] = {}
    for path in modules(draft):
        if path[-1][-1:].isdigit():
            beside.setdefault((*path[:-1], path[-1].rstrip("0123456789")), []).append(path[-1])
    lists = sorted((path, sorted(names)) for path, names in beside.items() if len(names) > 2)
    lists = [
        (path, names)
        for path, names in lists
        if len({tuple(_shapes(draft, (*path[:-1], n)).items()) for n in names[-2:]}) == 1
    ]
    if not lists:
        return None
    path, names = r.choice(lists)
    place = len(path) - 1
    target = {
        names[-2]: f"{path[-1].rstrip('_')}_{r.choice(('cross', 'extra', 'mid'))}",
        names[-1]: names[-2],
    }

    def key_of(key: str) -> str:
        parts = key.split(".")
        if matches(parts, path[:-1]) and len(parts) > place + 1:
            parts[place] = target.get(parts[place], parts[place])
        return ".".join(parts)

    return draft.rekeyed(key_of, f"shift {'.'.join(path)}: {target}", by_order=True)


def _named(draft: Draft, r: random.Random) -> Pattern:
    """A module with a name, at any depth; () if there is none. Each depth is as likely."""
    found: dict[int, list[Pattern]] = {}
    for path in modules(draft):
        if path[-1] != "*":
            found.setdefault(len(path), []).append(path)
    return r.choice(sorted(found[r.choice(sorted(found))])) if found else ()


def _renamed(
    draft: Draft, r: random.Random, path: Pattern, name: str, kind: str, everywhere: bool | None = None
) -> Draft | None:
    """The draft in which a module has another name, in its class or wherever the name stands."""
    old, place = path[-1], len(path) - 1
    everywhere = r.random() < 0.4 if everywhere is None else everywhere

    def key_of(key: str) -> str:
        parts = key.split(".")
        if everywhere:
            return ".".join([*(name if part == old else part for part in parts[:-1]), parts[-1]])
        return ".".join([*parts[:place], name, *parts[place + 1 :]]) if matches(parts, path) else key

    where = "everywhere" if everywhere else f"in {'.'.join(path[:-1]) or 'the root'}"
    taken = (*path[:-1], name)
    if any(name in key.split(".") if everywhere else matches(key.split("."), taken) for key in _keys(draft)):
        return None
    return draft.rekeyed(key_of, f"{kind} {old} -> {name} {where}")


def _each_module(key: str, names: dict[str, str]) -> str:
    *parts, leaf = key.split(".")
    return ".".join([*(names.get(part, part) for part in parts), leaf])


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


def _shapes(draft: Draft, path: Pattern) -> Counter[str]:
    """The shapes under all modules of a pattern."""
    found: Counter[str] = Counter()
    for slot in draft.slots:
        if matches(slot.key.split("."), path):
            found[str(slot.spec)] += 1
    return found


def _keys(draft: Draft) -> list[str]:
    return [slot.key for slot in draft.slots]
