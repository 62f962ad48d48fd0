"""The similarity of many pairs of names at once: what ``Names`` measures, as tables.

A kind of layer of which a model has hundreds makes a hundred thousand pairs, of few different words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.units.tokens import (
    ALTERNATIVES,
    CONTRADICTION,
    PREFIX,
    SIMILAR,
    SPELT_ALIKE,
    Names,
    bigrams,
    is_spelt,
    path_tokens,
    unknown_share,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

#: Most entries of a table of words that is kept at once.
_MOST = 1 << 21


def similarities(names: Names, old: Sequence[str], new: Sequence[str], rows: Ints, cols: Ints) -> Floats:
    """Returns ``names.similarity(old[row], new[col])`` of each pair.

    Args:
        names: the words of both sides.
        old: paths of the old side.
        new: paths of the new side.
        rows: index of the old path of each pair, rising.
        cols: index of the new path of each pair.
    """
    import numpy as np

    theirs = _Paths(names, new)
    found = np.empty(len(rows))
    for first, last in _portions(old, len(theirs.words), rows):
        start, stop = np.searchsorted(rows, (first, last)).tolist()
        ours = _Paths(names, old[first:last])
        table = _of_words(ours.words, theirs.words)
        found[start:stop] = _measured(ours, theirs, table, rows[start:stop] - first, cols[start:stop])
    return found


def _portions(old: Sequence[str], words: int, rows: Ints) -> Iterator[tuple[int, int]]:
    """Yields ranges of the old paths that have so few words and pairs that their tables stay small."""
    import numpy as np

    pairs = np.bincount(rows, minlength=len(old)).tolist()
    start, held, many = 0, 0, 0
    for index, path in enumerate(old):
        held, many = held + len(path_tokens(path)), many + pairs[index]
        if index > start and max(held * (words + 1), many) > _MOST:
            yield start, index
            start, held, many = index, len(path_tokens(path)), pairs[index]
    yield start, len(old)


class _Paths:
    """Paths of one side, word by word; those with fewer words than others end in an empty word.

    Attributes:
        words: the words of the paths, each once.
        at: path, place -> the word there.
        worth: path, place -> the weight of the word.
        strange: path, place -> how far a word counts that the other path does not have.
        groups: path, group of words that exclude each other -> the words of it, as bits.
    """

    def __init__(self, names: Names, paths: Sequence[str]) -> None:
        import numpy as np

        known: dict[str, int] = {}
        tokens = [path_tokens(path) for path in paths]
        shape = len(paths), max(map(len, tokens), default=0)
        self.at = np.full(shape, -1, dtype=np.intp)
        self.worth, self.strange = np.zeros(shape), np.zeros(shape)
        for index, words in enumerate(tokens):
            for place, (word, weight) in enumerate(words):
                self.at[index, place] = known.setdefault(word, len(known))
                self.worth[index, place] = weight * names.weight[word]
                self.strange[index, place] = unknown_share(names, word)
        self.words = list(known)
        self.groups = np.zeros((len(paths), len(ALTERNATIVES)), dtype=np.intp)
        bits = [{word: 1 << bit for bit, word in enumerate(sorted(group))} for group in ALTERNATIVES]
        for index, words in enumerate(tokens):
            for number, group in enumerate(bits):
                self.groups[index, number] = sum(group.get(word, 0) for word, _ in words)


def _measured(ours: _Paths, theirs: _Paths, table: Floats, rows: Ints, cols: Ints) -> Floats:
    import numpy as np

    total, found = np.zeros(len(rows)), np.zeros(len(rows))
    for here, there, alike, one, other in (
        (ours, theirs, table, rows, cols),
        (theirs, ours, table.T, cols, rows),
    ):
        others = [there.at[other, place] for place in range(there.at.shape[1])]
        for place in range(here.at.shape[1]):
            word = here.at[one, place]
            best = np.zeros(len(rows))
            for each in others:
                np.maximum(best, alike[word, each], out=best)
            worth = here.worth[one, place]
            found += worth * best
            total += worth * (best + (1 - best) * here.strange[one, place])
    contradictions = np.zeros(len(rows), dtype=np.intp)
    for group in range(len(ALTERNATIVES)):
        a, b = ours.groups[rows, group], theirs.groups[cols, group]
        contradictions += (a > 0) & (b > 0) & (a & b == 0)
    share: Floats = np.divide(found, total, out=np.zeros(len(rows)), where=total != 0)
    return share - CONTRADICTION * contradictions


def _of_words(old: Sequence[str], new: Sequence[str]) -> Floats:
    """Returns ``token_similarity`` of each old and new word; the last row and column are no word's."""
    import numpy as np

    table = np.zeros((len(old) + 1, len(new) + 1))
    ours, theirs = ([(i, word) for i, word in enumerate(words) if is_spelt(word)] for words in (old, new))
    if ours and theirs:
        places = [np.array([index for index, _ in side], dtype=np.intp) for side in (ours, theirs)]
        dice = _dice([word for _, word in ours], [word for _, word in theirs])
        table[np.ix_(*places)] = np.where(dice > SPELT_ALIKE, SIMILAR * dice, 0.0)
    for cells, shorter, longer in ((table, ours, theirs), (table.T, theirs, ours)):
        whole = {word: index for index, word in shorter}
        for index, word in longer:
            for end in range(PREFIX, len(word)):
                if word[:end] in whole:
                    cells[whole[word[:end]], index] = SIMILAR
    numbers = {word: index for index, word in enumerate(new)}
    for index, word in enumerate(old):
        if word in numbers:
            table[index, numbers[word]] = 1.0
    return table


def _dice(old: Sequence[str], new: Sequence[str]) -> Floats:
    """Returns the share of common pairs of letters of each old and new word."""
    import numpy as np

    letters: dict[str, int] = {}
    sides = [
        [[letters.setdefault(pair, len(letters)) for pair in bigrams(word)] for word in words]
        for words in (old, new)
    ]
    held = [np.zeros((len(side), len(letters)), dtype=np.float32) for side in sides]
    for table, side in zip(held, sides, strict=True):
        for index, pairs in enumerate(side):
            table[index, pairs] = 1
    ours, theirs = (np.array(list(map(len, side)), dtype=np.intp) for side in sides)
    common = (held[0] @ held[1].T).astype(np.float64)
    share: Floats = 2 * common / np.maximum(ours[:, None] + theirs[None, :], 1)
    return share
