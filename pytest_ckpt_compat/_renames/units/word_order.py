"""Names whose words stand in another order.

The name of a joint layer says in which order its parts stand: ``kqv`` and ``qkv``, ``scale_shift`` and
``shift_scale``. Other names have the same words in another order and mean the same: ``text_encoder`` is
``encoder_text``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

from pytest_ckpt_compat._core.heads import WORD
from pytest_ckpt_compat._renames.units.paths import is_number
from pytest_ckpt_compat._renames.units.tokens import ALTERNATIVES, OPPOSITES, SYNONYMS, segment_tokens

#: Groups of words that parts of one joint layer have for names, beside those that exclude each other.
_PARTS: frozenset[frozenset[str]] = frozenset(
    (
        *ALTERNATIVES,
        *OPPOSITES,
        *(
            frozenset(words.split())
            for words in (
                "scale shift gate",
                "mu sigma",
                "real imag",
                "sin cos",
                "row col",
                "height width",
                "min max",
                "attn mlp",
                "v mlp",
                "first second third fourth",
                "zero one two three four",
            )
        ),
    )
)

#: Words that lead from one to another: ``image_to_token``, ``a2b``.
_LEADING = frozenset({"to", "2", "from", "into"})

#: Words for a kind of layer, which say nothing of an order: ``time_embed`` is ``embed_time``.
_KINDS = frozenset({"attn", "block", "conv", "embed", "head", "linear", "mlp", "norm", "proj"})


@lru_cache(maxsize=1 << 16)
def crossed(a: str, b: str) -> bool:
    """Whether two paths hold a name that says another order of its parts in the other one.

    Parts are words of which a name holds several for what stands in one layer, single letters (``x_z``),
    letters without a separator (``zx``, ``w13``), the numbers behind one word (``w1_w3``), and what a word
    leads from and to (``image_to_token``).
    """
    return any(
        one != other and _in_another_order(one, other) for one in a.split(".") for other in b.split(".")
    )


@lru_cache(maxsize=1 << 16)
def turned(a: str, b: str) -> bool:
    """Whether the own names of two layers have any words in another order, except for kinds of layers."""
    ours, theirs = segment_tokens(_own(a)), segment_tokens(_own(b))
    words = {word for word in ours if not word.isdigit()} - _KINDS
    return _reordered(ours, theirs, words)


def _own(path: str) -> str:
    return next((name for name in reversed(path.split(".")) if not is_number(name)), "")


def _in_another_order(one: str, other: str) -> bool:
    ours, theirs = segment_tokens(one), segment_tokens(other)
    if any(_reordered(ours, theirs, group) for group in _PARTS):
        return True
    words, others = ([word.lower() for word in WORD.findall(name)] for name in (one, other))
    return (
        _letters_exchanged(words, others)
        or _numbers_exchanged(words, others)
        or _is_led_back(ours, theirs)
        or _is_anagram(words, others)
    )


def _reordered(ours: Sequence[str], theirs: Sequence[str], group: frozenset[str] | set[str]) -> bool:
    """Whether the words of a group that both have stand in another order."""
    common = group.intersection(ours, theirs)
    one, other = ([word for word in dict.fromkeys(words) if word in common] for words in (ours, theirs))
    return one != other


def _letters_exchanged(words: Sequence[str], others: Sequence[str]) -> bool:
    """Whether both have letters for parts, at least two, and these or the words beside in another order."""
    letters = {word for word in words if len(word) == 1 and word.isalpha() and word in others}
    if len(letters) < 2:
        return False
    named = {word for word in words if not word.isdigit() and SYNONYMS.get(word, word) not in _KINDS}
    return _reordered(words, others, letters | named)


def _numbers_exchanged(words: Sequence[str], others: Sequence[str]) -> bool:
    """Whether one word has the same numbers behind it in another order: ``w1_w3`` and ``w3_w1``."""
    ours, theirs = _counted(words), _counted(others)
    return any(
        numbers != theirs[word] and sorted(numbers) == sorted(theirs[word])
        for word, numbers in ours.items()
        if word in theirs
    )


def _counted(words: Sequence[str]) -> dict[str, list[str]]:
    """Word -> the numbers behind it."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    named = ""
    for word in words:
        if word.isdigit():
            found[named].append(word)
        else:
            named = word
    return found


def _is_led_back(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether both lead from one to another, and the words of these stand in another order."""
    if not (_LEADING.intersection(ours[1:-1]) and _LEADING.intersection(theirs[1:-1])):
        return False
    return _reordered(ours, theirs, set(ours) - _KINDS - _LEADING)


def _is_anagram(words: Sequence[str], others: Sequence[str]) -> bool:
    """Whether the one word in which the names differ has the same letters: ``zxbcdt`` and ``xzbcdt``.

    Digits are such letters behind a single letter alone, as in ``w13``: block 12 may well become block 21.
    """
    ours, theirs = list(_without(words, others)), list(_without(others, words))
    if len(ours) != 1 or len(theirs) != 1 or sorted(ours[0]) != sorted(theirs[0]):
        return False
    before = words[: words.index(ours[0])][-1:]
    return not ours[0].isdigit() or (len(before) == 1 and len(before[0]) == 1)


def _without(words: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    return (word for word in words if word not in others)
