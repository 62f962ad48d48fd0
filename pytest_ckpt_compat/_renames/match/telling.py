"""The words that tell layers from those beside them, and how far those of two layers agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.candidates import Candidates
from pytest_ckpt_compat._renames.match.groups import coded
from pytest_ckpt_compat._renames.units.paths import home, numbers
from pytest_ckpt_compat._renames.units.tokens import is_spelt, path_tokens, segment_tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]


def namesakes(old: Sequence[str], new: Sequence[str]) -> Ints:
    """Returns the index of the old path that each new one is; -1 if none is.

    Of those that the other side has not, a path is the one whose words tell it from the others in its module:
    ``mask`` is ``Mask``, and ``left`` and ``right`` are ``left_tower`` and ``right_tower``.
    """
    import numpy as np

    ours, theirs = set(old), set(new)
    told = _told_apart([path for path in old if path not in theirs])
    anew = _told_apart([path for path in new if path not in ours])
    same = {path: path for path in ours & theirs} | {anew[words]: told[words] for words in told.keys() & anew}
    indexes = {path: index for index, path in enumerate(old)}
    return np.array([indexes[same[path]] if path in same else -1 for path in new], dtype=np.intp)


def telling(old: Sequence[str], new: Sequence[str], pairs: Candidates) -> Floats:
    """Measures how far the words agree that tell two nodes from the others of their kind in their block."""
    import numpy as np

    found = np.zeros(len(pairs))
    for part, height, width in pairs.classes:
        if height > 1 and width > 1:
            ours = _own_words([old[row] for row in pairs.rows[part][::width].tolist()])
            theirs = _own_words([new[col] for col in pairs.cols[part][:width].tolist()])
            (olds, a), (news, b) = coded(ours), coded(theirs)
            table = np.array([[_common_share(one, other) for other in news] for one in olds])
            found[part] = table[np.ix_(a, b)].ravel()
    return found


def _common_share(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a and b else 0.0


def _own_words(paths: Sequence[str]) -> list[frozenset[str]]:
    """Returns the words of each path that not all paths in its block have.

    A module may be named after what it holds: of ``qkv.wk``, ``q`` and ``v`` are the words of others.
    """
    blocks: defaultdict[tuple[int, ...], list[frozenset[str]]] = defaultdict(list)
    inside: defaultdict[str, set[str]] = defaultdict(set)
    last = [set(segment_tokens(path.rpartition(".")[2])) for path in paths]
    for path, own in zip(paths, last, strict=True):
        inside[home(path)] |= own
    words = [
        frozenset(word for word, _ in path_tokens(path) if is_spelt(word)) - (inside[home(path)] - own)
        for path, own in zip(paths, last, strict=True)
    ]
    for path, each in zip(paths, words, strict=True):
        blocks[numbers(path)].append(each)
    common = {block: frozenset.intersection(*each) for block, each in blocks.items()}
    return [each - common[numbers(path)] for path, each in zip(paths, words, strict=True)]


def _told_apart(paths: Sequence[str]) -> dict[tuple[str, frozenset[str]], str]:
    """Returns module, words -> the only path in the module that these words tell from the others."""
    modules: defaultdict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)
    for path in paths:
        module, _, name = path.rpartition(".")
        modules[module].append((path, frozenset(segment_tokens(name))))
    found: defaultdict[tuple[str, frozenset[str]], list[str]] = defaultdict(list)
    for module, named in modules.items():
        common = frozenset.intersection(*(words for _, words in named)) if len(named) > 1 else frozenset()
        for path, words in named:
            found[module, words - common].append(path)
    # A number is a rank and no name: ff0 and ff1 may have become fc1 and fc2.
    named_by = {key: several[0] for key, several in found.items() if len(several) == 1}
    return {key: path for key, path in named_by.items() if not key[1] or not all(map(str.isdigit, key[1]))}
