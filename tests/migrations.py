"""Random refactors of random key lists, with the changes that tell what became of each key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from pytest_ckpt_compat import Change, Structure, TensorSpec

State = dict[str, torch.Tensor]

WORDS = ("conv", "norm1", "norm2", "norm3", "attn", "mlp", "fc", "proj", "stem", "encoder", "h", "blocks")
NEW_WORDS = ("stage", "ln", "norm3", "norm2", "norm1", "ff", "out", "entry", "layers", "blocks", "attn")
#: Names that no code may trip over.
HOSTILE = (
    'a"b',
    "it's",
    "'\"",
    "back\\slash",
    "new\nline",
    "tab\t",
    "{brace}",
    "}{",
    "class",
    "None",
    "größe",
    "日本",
    "a b",
    "(?P<x>",
    "[a-z]+",
    "$",
    "^",
    "\\1",
    "\\g<1>",
    "%s",
    "#no",
    '"""',
    "\x1b[31m",
    "\u202e",
    "٣",
    "01",
    "\\",
    "*",
    "|",
)


@dataclass(frozen=True)
class Refactor:
    """A key list, what became of it, and the tensors that a right migration gives.

    Attributes:
        old: tensors by old key, each number different from all others.
        changes: the truth, as a verdict tells it.
        wanted: tensors by new key.
    """

    old: State
    changes: tuple[Change, ...]
    wanted: State

    @property
    def sides(self) -> tuple[Structure, Structure]:
        """The structures of both sides."""
        return structure(self.old), structure(self.wanted)


def structure(state: Mapping[str, torch.Tensor]) -> Structure:
    specs = {
        key: TensorSpec(str(value.dtype).removeprefix("torch."), tuple(value.shape))
        for key, value in state.items()
    }
    return Structure(specs)


def _change(kind: str, old: State, new: State) -> Change:
    specs = (tuple(structure(side).tensors.values()) for side in (old, new))
    return Change(kind, tuple(old), tuple(new), *specs)  # type: ignore[arg-type]


@st.composite
def refactors(draw: st.DrawFn, words: tuple[str, ...] = WORDS, new: tuple[str, ...] = NEW_WORDS) -> Refactor:
    """Random modules in random blocks; each family of them has a fate that is the same in all blocks."""
    depth = draw(st.integers(1, 4))
    order = draw(st.permutations(range(depth)))
    shift = draw(st.integers(0, 2))
    moved = [number + shift for number in order]
    wrapper = draw(st.sampled_from(["", "module.", "net."]))
    families = draw(st.lists(st.sampled_from(words), min_size=1, max_size=5, unique=True))
    names = draw(st.permutations(new))
    old: State = {}
    wanted: State = {}
    changes: list[Change] = []
    counter = 0

    def tensor(*shape: int) -> torch.Tensor:
        nonlocal counter
        size = int(torch.tensor(shape).prod()) if shape else 1
        found = torch.arange(counter, counter + size, dtype=torch.float64).reshape(shape)
        counter += size
        return found

    for place, family in enumerate(families):
        in_blocks = draw(st.booleans())
        fate = draw(st.sampled_from(["stay", "move", "split", "fuse", "transpose", "squeeze", "drop"]))
        renamed = names[place]
        for number in range(depth) if in_blocks else [0]:
            before = f"{wrapper}blocks.{number}.{family}" if in_blocks else f"{wrapper}{family}"
            after = f"layers.{moved[number]}.{renamed}" if in_blocks else f"top.{renamed}"
            taken, made = _fate(fate, before, after, tensor)
            if made.keys() & (wanted.keys() | old.keys()) - taken.keys():
                continue
            for key, value in taken.items():
                old[key] = value
            wanted.update(made)
            kind = {"move": "renamed", "split": "split", "fuse": "fused", "drop": "unexpected"}.get(fate)
            if fate in ("transpose", "squeeze"):
                kind = "transposed"
            if kind is not None:
                changes += _changes(kind, taken, made)
    return Refactor(old, tuple(changes), wanted)


def _changes(kind: str, taken: State, made: State) -> list[Change]:
    if kind in ("split", "fused"):
        return [_change(kind, taken, made)]
    if kind == "unexpected":
        return [_change(kind, {key: value}, {}) for key, value in taken.items()]
    pairs = zip(taken.items(), made.items(), strict=True)
    return [_change(kind, dict([one]), dict([other])) for one, other in pairs]


def _fate(fate: str, before: str, after: str, make: Callable[..., torch.Tensor]) -> tuple[State, State]:
    one = make(4, 3)
    two = make(4)
    if fate == "stay":
        taken = {f"{before}.weight": one, f"{before}.bias": two}
        return taken, dict(taken)
    if fate == "move":
        return {f"{before}.weight": one, f"{before}.bias": two}, {
            f"{after}.weight": one,
            f"{after}.bias": two,
        }
    if fate == "split":
        return {f"{before}.weight": one}, {f"{after}.a.weight": one[:2], f"{after}.b.weight": one[2:]}
    if fate == "fuse":
        other = make(2, 3)
        return (
            {f"{before}.x.weight": one, f"{before}.y.weight": other},
            {f"{after}.weight": torch.cat([one, other])},
        )
    if fate == "transpose":
        return {f"{before}.weight": one}, {f"{after}.weight": one.t()}
    if fate == "squeeze":
        return {f"{before}.weight": one[:, :, None, None]}, {f"{after}.weight": one}
    return {f"{before}.weight": one, f"{before}.bias": two}, {}


hostile_names = st.lists(
    st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=4).filter(lambda text: "." not in text),
    min_size=12,
    max_size=12,
    unique=True,
)


@st.composite
def hostile_refactors(draw: st.DrawFn) -> Refactor:
    """The same with names that code, patterns and files of rules have to escape."""
    names = [name for name in draw(hostile_names) if name.encode("utf-8", "ignore").decode() == name]
    if len(names) < 8:
        names = list(HOSTILE[:12])
    half = len(names) // 2
    return draw(refactors(tuple(names[:half]), tuple(names[half : half + 5]) + NEW_WORDS[:6]))


def unwrapped(code: str) -> str:
    """Generated code with each of its comments on one line."""
    return re.sub(r"\n *#   ", " ", code)
