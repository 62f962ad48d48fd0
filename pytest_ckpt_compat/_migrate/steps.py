"""The steps of a migration as frozen data: which tensors of the checkpoint become which of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pytest_ckpt_compat._core.changes import Confidence

Name = Literal[
    "move",
    "copy",
    "drop",
    "chunk",
    "split",
    "unstack",
    "cat",
    "stack",
    "permute",
    "squeeze",
    "unsqueeze",
    "weight_norm",
    "norm_and_direction",
    "unspectral",
    "masked",
]

#: Operation -> its numbers, in the order of ``Op.numbers``; ``*`` takes all that are left, ``?`` may lack.
PARAMETERS: Mapping[Name, tuple[str, ...]] = MappingProxyType(
    {
        "move": (),
        "copy": (),
        "drop": (),
        "chunk": ("dim",),
        "split": ("dim", "*sizes"),
        "unstack": ("dim", "each", "inner"),
        "cat": ("dim",),
        "stack": ("dim", "each", "inner"),
        "permute": ("*dims",),
        "squeeze": ("*dims",),
        "unsqueeze": ("*dims",),
        "weight_norm": ("dim",),
        "norm_and_direction": ("dim",),
        "unspectral": ("?dim",),
        "masked": (),
    }
)


@dataclass(frozen=True, order=True)
class Op:
    """One operation on tensors.

    Attributes:
        name: ``move`` and ``copy`` leave the tensor as it is; a copy leaves the old key, too. ``drop`` has
            no result. ``chunk`` divides ``dim`` into equal parts, ``split`` into parts of ``sizes``,
            ``cat`` joins them. ``stack`` joins ``each`` tensors along ``inner`` of the result's slices, and
            stacks the joints along ``dim``; ``unstack`` undoes it. ``squeeze`` and ``unsqueeze`` take away
            and add the dimensions ``dims`` of size 1, one after another. ``weight_norm`` makes a weight of
            its magnitude and direction, ``norm_and_direction`` the reverse; ``unspectral`` makes one of
            ``weight_orig``, ``weight_u`` and ``weight_v``, for the dimension ``dim`` or the first;
            ``masked`` of ``weight_orig`` and its mask.
        numbers: its parameters, as ``PARAMETERS`` names them.
    """

    name: Name
    numbers: tuple[int, ...] = ()


#: The operation that only renames.
MOVE = Op("move")
DROP = Op("drop")
COPY = Op("copy")

#: The evidence of what the user has said.
CHOSEN = ("your choice",)
#: The same, where the key itself was named, and no module or row that it is in.
NAMED = ("your choice of this tensor",)
#: What ``--choose`` has after the new key of a matrix that is to be transposed.
TRANSPOSED = ".T"


@dataclass(frozen=True)
class Step:
    """One operation with the keys of the tensors that it takes and gives.

    Attributes:
        op: the operation.
        old: keys of the checkpoint, in the order in which the operation takes them.
        new: keys of the model, in the order in which it gives them.
        confidence: how sure it is that this is what became of the tensors.
        evidence: why, one short clause each.
        candidates: for an ambiguous step, the new keys that would fit as well.
        rivals: for an ambiguous step, the keys of other copies of the model that would fit as well.
        group: the pair of patterns under which a report lists it, or "".
        caution: what it rests on that nothing proves, as a name that alone tells the order of parts; or "".
        doubt: why its result may be another tensor than the model's, whoever accepts it; or "".
    """

    op: Op
    old: tuple[str, ...]
    new: tuple[str, ...] = ()
    confidence: Confidence = "certain"
    evidence: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    group: str = ""
    caution: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Decision:
    """Something that the user has to decide, because the keys and shapes do not.

    Attributes:
        old: the keys of the checkpoint that it is about.
        new: the keys of the model that it is about.
        text: what is open, and what can be done, in words.
        group: the pattern under which a report lists it, or "".
        hint: what ``--choose`` may be given, or "".
        step: what would be done if nothing else were open, or None.
        detail: what is said of these keys alone, before the text, or "".
        answers: what ``--choose`` may be given, to transpose a matrix, and to leave it as it is.
    """

    old: tuple[str, ...]
    new: tuple[str, ...]
    text: str
    group: str = ""
    hint: str = ""
    step: Step | None = None
    detail: str = ""
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that a migration does, and everything that it leaves to the user.

    Attributes:
        live: the steps that are certain, by the difference or by the user's choice.
        doubtful: the steps that are likely or ambiguous.
        decisions: what is open besides.
    """

    live: tuple[Step, ...] = ()
    doubtful: tuple[Step, ...] = ()
    decisions: tuple[Decision, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether nothing is left to the user."""
        return not self.doubtful and not self.decisions
