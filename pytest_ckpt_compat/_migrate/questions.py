"""What a person is asked about ambiguous steps: one question for each module, and what an answer means."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._migrate.steps import Step
from pytest_ckpt_compat._migrate.templates import segmented

#: The segments of a new key or module. A number is told by how far it is from the old key's in its place,
#: or, where that has none, by itself.
_Place = tuple[object, ...]


@dataclass(frozen=True)
class Question:
    """What became of the tensors that have one answer: those of a module, in each block that has it.

    Attributes:
        about: the module, or the key, with ``*`` for each number.
        steps: the steps that are open; it is the first that is asked about.
        offered: the new keys that the first may have become.
    """

    about: str
    steps: tuple[Step, ...]
    offered: tuple[str, ...]

    def answered(self, key: str) -> dict[Step, str]:
        """The new key of each step that an answer decides: the same module, and none that is merely as far.

        Args:
            key: what the first step became, one of ``offered``.
        """
        meant = _place(key, self.steps[0])
        fitting = {
            step: [new for new in _possible(step) if _place(new, step) == meant] for step in self.steps
        }
        return {step: found[0] for step, found in fitting.items() if found}


def first_question(steps: Sequence[Step], taken: Collection[str]) -> Question | None:
    """The question about the first of the steps that is one tensor's and ambiguous; None where none is.

    Args:
        steps: what is open.
        taken: new keys that other tensors have become.
    """
    found = [step for step in steps if step.confidence == "ambiguous" and len(step.old) == len(step.new) == 1]
    if not found:
        return None
    about = _about(found[0])
    alike = tuple(step for step in found if _about(step) == about)
    return Question(about, alike, tuple(key for key in _possible(found[0]) if key not in taken))


def _possible(step: Step) -> Iterable[str]:
    return dict.fromkeys((step.new[0], *step.candidates))


def _about(step: Step) -> str:
    return ".".join("*" if each is None else each for each in segmented(_module(step.old[0], step))[0])


def _place(new: str, step: Step) -> _Place:
    """The module of a new key as seen from a step's old key."""
    before = segmented(step.old[0])[1]
    names, numbers = segmented(_module(new, step))
    far: list[object] = [n - before[i] if i < len(before) else str(n) for i, n in enumerate(numbers)]
    return tuple(far.pop(0) if name is None else name for name in names)


def _module(key: str, step: Step) -> str:
    """A key without the names that the step's old and new key both end in."""
    old, new, parts = step.old[0].split("."), step.new[0].split("."), key.split(".")
    while min(len(old), len(new), len(parts)) > 1 and old[-1] == new[-1] == parts[-1]:
        old, new, parts = old[:-1], new[:-1], parts[:-1]
    return ".".join(parts)
