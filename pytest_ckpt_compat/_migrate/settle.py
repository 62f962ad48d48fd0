"""Keeps of a plan's steps only those that hold, whatever becomes of what is in doubt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_ckpt_compat._core.structure import EXTRA_STATE, OBJECT, Structure
from pytest_ckpt_compat._migrate.squares import doubted_squares
from pytest_ckpt_compat._migrate.steps import CHOSEN, COPY, DROP, Decision, Plan, Step
from pytest_ckpt_compat._migrate.templates import numbered, segmented

#: A key that says how another tensor is to be read: without it, that one has other numbers.
_COMPANION = re.compile(
    r"(^|[._])(lora_\w+|absmax|quant_map|quant_state\w*|nested_absmax|nested_quant_map|SCB|qzeros|scales|g_idx|"
    r"weight_scale\w*|scale_inv|input_scale|magnitude_vector|ia3_l)([._]|$)"
)
#: Said of a tensor of the checkpoint that nothing is known to want, beside one of the model without a source,
_LACKS = "nothing is known to want it, while the model lacks others: drop it, or say what it became"
#: and where each of the model's may have its source among those that are in doubt.
_IN_DOUBT = "whether anything wants it depends on what is in doubt: settle that first, or drop it"
#: Said of a tensor of a numbered block where others like it stay.
_FEWER = "there are fewer of these blocks now, and which of them went is not known: drop it, or move it"


def settled(plan: Plan, old: Structure, new: Structure) -> Plan:
    """The plan with only such live steps as hold beside each other, whatever becomes of the rest."""
    live = [step for step in plan.live if step.confidence == "certain"]
    doubtful = [*plan.doubtful, *(step for step in plan.live if step.confidence != "certain")]
    decisions = list(plan.decisions)
    lacking = _lacking(decisions, doubtful, new)
    drops = [step for step in live if step.op == DROP and step.evidence != CHOSEN]
    blocks, gone = _forms_that_stay(drops, old), _in_blocks_that_went(drops, old, new)
    kept = {step: _why_kept(step, lacking, blocks, gone, old) for step in drops}
    kept = {step: why for step, why in kept.items() if why}
    live = [step for step in live if step not in kept]
    copies = {key for step in doubtful for key in step.rivals}  # of which that step says all
    decisions += (
        Decision(step.old, (), why, step.group, f"{step.old[0]}=", step)
        for step, why in kept.items()
        if not copies.issuperset(step.old)
    )
    decided = [key for each in decisions if each.answers for key in each.old]
    found = doubted_squares(live, doubtful, decided, old, new)
    doubtful = [found.cautioned.get(step, step) for step in doubtful]
    live = [found.cautioned.get(step, step) for step in live if step not in found.moves]
    decisions += found.decisions
    live, stuck = _unhindered(live, old)
    decisions += (_hindered(step) for step in stuck)
    return Plan(tuple(live), tuple(doubtful), tuple(decisions))


def _lacking(decisions: Iterable[Decision], doubtful: Sequence[Step], new: Structure) -> str:
    """Why what is left over may be of use: not every tensor of the model has a certain source; else ""."""
    wanted = (key for each in decisions if not each.old for key in each.new)
    if any(new.tensors[key].dtype != OBJECT for key in wanted if key in new.tensors):
        return _LACKS
    return _IN_DOUBT if doubtful else ""


def _forms_that_stay(drops: Sequence[Step], old: Structure) -> set[object]:
    """The forms of keys, apart from their numbers, of which some tensors are dropped and others stay."""
    dropped = {key for step in drops for key in step.old}
    return {_form(key, old) for key in old.tensors if key not in dropped}


def _form(key: str, old: Structure) -> object:
    segments = segmented(key)[0]
    return (segments, old.tensors[key].shape) if None in segments else key


def _in_blocks_that_went(drops: Sequence[Step], old: Structure, new: Structure) -> set[str]:
    """The keys of numbered modules that are dropped as a whole, where the model has none of that number."""
    dropped = {key for step in drops for key in step.old}
    stays = {module for key in (*old.tensors.keys() - dropped, *new.tensors) for module in numbered(key)}
    return {key for key in dropped if not stays.issuperset(numbered(key))}


def _why_kept(step: Step, lacking: str, blocks: set[object], gone: set[str], old: Structure) -> str:
    """Why it is not certain that what a step drops is of no use; "" if it is.

    That a whole block went says more than that something else is open, too: it stays open after that.
    """
    if any(_COMPANION.search(key) and not key.endswith(EXTRA_STATE) for key in step.old):
        return "it says how another tensor is to be read: merge it into that one before you load"
    like_others = any(_form(key, old) in blocks for key in step.old)
    if like_others and gone.issuperset(step.old):
        return _FEWER
    return lacking or (_FEWER if like_others else "")


def _unhindered(live: Sequence[Step], old: Structure) -> tuple[list[Step], list[Step]]:
    """The steps whose results overwrite nothing that stays, and the others.

    A step that leaves out another may leave that one's place taken, too.
    """
    remaining, stuck = list(live), list[Step]()
    while True:
        given = Counter(key for step in remaining for key in step.new)
        taken = Counter(key for step in remaining if step.op != COPY for key in step.old)
        bad = [
            step
            for step in remaining
            if any(given[key] > 1 or (key in old.tensors and not taken[key]) for key in step.new)
            or (step.op != COPY and any(taken[key] > 1 for key in step.old))
        ]
        if not bad:
            return remaining, stuck
        stuck += bad
        gone = set(bad)
        remaining = [step for step in remaining if step not in gone]


def _hindered(step: Step) -> Decision:
    text = "another tensor has this key, or goes there, and where that one belongs is not certain"
    return Decision(step.old, step.new, text, step.group)


def accepted(step: Step, evidence: tuple[str, ...] = CHOSEN) -> Step:
    """A doubtful step that the user has accepted."""
    return replace(step, confidence="certain", evidence=evidence, candidates=(), rivals=())
