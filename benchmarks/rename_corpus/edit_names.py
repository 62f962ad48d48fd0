"""Edits after which the same modules have other names."""

from __future__ import annotations

import random

from benchmarks.rename_corpus import words
from benchmarks.rename_corpus.draft import Draft, Pattern, keys, matches, modules, shapes

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
    """Gives a module, or those of one class, with a content of its own a name that says nothing."""
    path = _named(draft, r)
    if not path:
        return None
    own = shapes(draft, path)
    beside = {p for p in modules(draft) if p[:-1] == path[:-1] and p != path}
    if len(own) < 3 or own.total() < 4 or any(shapes(draft, other) == own for other in beside):
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


def shift(draft: Draft, r: random.Random) -> Draft | None:
    """Uses a name again: ``norm2`` becomes another name, ``norm3`` becomes ``norm2``."""
    beside: dict[Pattern, list[str]] = {}
    for path in modules(draft):
        if path[-1][-1:].isdigit():
            beside.setdefault((*path[:-1], path[-1].rstrip("0123456789")), []).append(path[-1])
    lists = sorted((path, sorted(names)) for path, names in beside.items() if len(names) > 1)
    lists = [
        (path, names)
        for path, names in lists
        if len({tuple(shapes(draft, (*path[:-1], n)).items()) for n in names[-2:]}) == 1
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

    return draft.rekeyed(key_of, f"shift {'.'.join(path)}: {target}", lambda _: True)


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
    if any(name in key.split(".") if everywhere else matches(key.split("."), taken) for key in keys(draft)):
        return None
    return draft.rekeyed(key_of, f"{kind} {old} -> {name} {where}")


def _each_module(key: str, names: dict[str, str]) -> str:
    *parts, leaf = key.split(".")
    return ".".join([*(names.get(part, part) for part in parts), leaf])
