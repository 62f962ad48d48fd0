"""Which modules are heads: the layers that give a model's outputs."""

from __future__ import annotations

import re

#: Each names a head wherever it occurs in the last two segments of a path (``bbox_head.fc_cls``).
_WORDS = frozenset(
    [
        "head",
        "heads",
        "cls",
        "class",
        "classes",
        "classifier",
        "logits",
        "score",
        "predictor",
        "prediction",
        "predictions",
    ]
)
#: These name a head only on their own at a model's top level (``fc``, ``out_proj``): any layer further
#: down may be called so.
_TOP_WORDS = frozenset(
    ["fc", "lin", "linear", "dense", "out", "output", "o", "proj", "projection", "projector"]
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def is_head(path: str, is_last: bool, rank: int) -> bool:
    """Whether a module gives the outputs of its model: it comes last, or has the name of a head.

    Args:
        path: dotted path of the module (``classifier.1``).
        is_last: whether no module comes after it.
        rank: the most dimensions of a tensor in it; a norm, which holds vectors only, is not a head.
    """
    if rank < 2:
        return False
    segments = [{word.lower() for word in _WORD.findall(segment)} for segment in path.split(".")]
    named = any(segment & _WORDS for segment in segments[-2:])
    return is_last or named or (len(segments) == 1 and bool(segments[0]) and segments[0] <= _TOP_WORDS)
