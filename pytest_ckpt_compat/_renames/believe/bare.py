"""Square matrices that were bare and are a layer's weight now, or the reverse: transposed, or not.

``x @ matrix`` and a layer of the same matrix differ by a transposition. An oblong matrix shows it by its
shape; of a square one, nothing but ``forward`` does.
"""

from __future__ import annotations

from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change, Confidence
from pytest_ckpt_compat._renames.units.tokens import segment_tokens

DETAIL = "square, so that it may be transposed"
IN_DOUBT = "a bare matrix is used as x @ matrix, a layer's the other way round, and only forward shows which"
_ADVICE = "rename it while loading (migrate=), and transpose it if forward took it the other way round"


def doubted(change: Change) -> Change:
    """The change, which is not certain where a bare square matrix became the weight of a layer."""
    if change.kind != "renamed" or len(change.old) != 1 or len(change.new) != 1:
        return change
    shape = change.old_specs[0].shape
    square = len(shape) == 2 and shape[0] == shape[1] > 1
    if not square or _is_of_layer(change.old[0]) == _is_of_layer(change.new[0]):
        return change
    confidence: Confidence = "ambiguous" if change.confidence == "ambiguous" else "likely"
    evidence = (IN_DOUBT, *change.evidence)
    return replace(change, confidence=confidence, evidence=evidence, detail=DETAIL, advice=_ADVICE)


def _is_of_layer(key: str) -> bool:
    """Whether a matrix is called as those of layers: ``weight``, ``weight_ih``, ``in_proj_weight``."""
    return "weight" in segment_tokens(key.rpartition(".")[2])
