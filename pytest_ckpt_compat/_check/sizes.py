"""Which sizes changed between a checkpoint and a definition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.heads import WORD
from pytest_ckpt_compat._core.structure import Structure

#: Words that name an embedding of tokens.
_EMBEDDINGS = frozenset({"emb", "embs", "wte", "word", "words", "token", "tokens", "tok", "vocab", "shared"})


@dataclass(frozen=True)
class Vocabulary:
    """An embedding and a head of which the number of rows changed together.

    Attributes:
        changes: those of the two, or of the one tensor that both are.
        before: rows in the checkpoint.
        detail: a clause in words.
    """

    changes: tuple[Change, ...]
    before: int
    detail: str


def pairs(change: Change) -> Iterator[tuple[int, int]]:
    """The (old, new) sizes of the dimensions that differ; none where the number of dimensions does."""
    before, after = change.old_specs[0].shape, change.new_specs[0].shape
    if len(before) == len(after):
        yield from ((a, b) for a, b in zip(before, after, strict=True) if a != b)


def _one_width(changes: Iterable[Change]) -> str:
    """``64 became 96 (and 192 became 288)``, if all sizes grew alike; "" if they did not."""
    found = sorted({pair for change in changes for pair in (*pairs(change),) or ((0, 0),)})
    if not found or (0, 0) in found or len({_ratio(*pair) for pair in found if pair[0]}) != 1:
        return ""
    first, *others = [f"{old} became {new}" for old, new in found]
    return f"{first} (and {', '.join(others)})" if others else first


def _ratio(old: int, new: int) -> tuple[int, int]:
    """``(2, 3)`` of 64 and 96."""
    common = gcd(old, new)
    return old // common, new // common


def everywhere(changes: Sequence[Change]) -> tuple[Change, ...]:
    """The changes; where one size accounts for all that are resized, with this as their advice."""
    resized = [each for each in changes if each.kind in ("resized", "head-resized")]
    told = _one_width(resized)
    if not told or len(resized) < 2 or any(each.advice or each.kind != "resized" for each in resized):
        return tuple(changes)
    advice = f"{told} in all of them: build the model with the old size, or restore it"
    return tuple(replace(each, advice=advice) if each.kind == "resized" else each for each in changes)


def vocabulary(changes: Sequence[Change], old: Structure, new: Structure) -> Vocabulary | None:
    """The embedding and the head that grew or shrank by the same rows; None if there are none."""
    rows = [each for each in changes if only_rows(each)]
    heads = [each for each in rows if each.kind == "head-resized" and len(each.new_specs[0].shape) == 2]
    for head in heads:
        same = tuple(
            each
            for each in rows
            if (each.old_specs, each.new_specs) == (head.old_specs, head.new_specs) and each.old == each.new
        )
        others = [each for each in same if each.kind == "resized" and embeds(each, new)]
        if not others or head not in same:
            continue
        same = tuple(each for each in same if each is head or each in others)
        biases = tuple(
            each
            for each in changes
            if each.kind == "head-resized"
            and each.new[0].rpartition(".")[0] == head.new[0].rpartition(".")[0]
        )
        before, after = head.old_specs[0].shape[0], head.new_specs[0].shape[0]
        keys = {key for each in same for key in each.new}
        olds = {key for each in same for key in each.old}
        tied = any(map(len, (old.aliases, new.aliases))) and _is_one(old, olds) and _is_one(new, keys)
        words = f"one tied tensor, rows {before} -> {after}" if tied else f"vocabulary {before} -> {after}"
        return Vocabulary(tuple(dict.fromkeys((*same, *biases))), before, words)
    return None


def _is_one(structure: Structure, keys: set[str]) -> bool:
    """Whether keys are of one tensor."""
    return len(keys) < 2 or any(keys <= set(group) for group in structure.aliases)


def embeds(change: Change, new: Structure) -> bool:
    """Whether a tensor is that of an embedding: by its class, or by its name where that is not known."""
    module = change.new[0].rpartition(".")[0]
    kind = new.modules.get(module, "")
    if kind.startswith("torch.nn.") and "Embedding" not in kind:
        return False
    if "embed" in kind.lower():
        return True
    words = {word.lower() for segment in change.new[0].split(".")[-2:] for word in WORD.findall(segment)}
    return bool(words & _EMBEDDINGS) or any("embed" in word for word in words)


def only_rows(change: Change) -> bool:
    """Whether a matrix got another number of rows, and nothing else."""
    before, after = change.old_specs[0].shape, change.new_specs[0].shape
    return len(before) == len(after) == 2 and before[1:] == after[1:]
