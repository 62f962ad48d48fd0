"""What a rule is: everything that the package knows about one kind of change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_ckpt_compat._core.changes import Kind, Severity

#: ``load``: what today's code does with the checkpoint. The others do not depend on what the code
#: does with it: ``snapshot``, a file in the snapshot folder; ``acceptance``, the entry of
#: an accepted break; ``check``, whether the check could be made at all.
About = Literal["load", "snapshot", "acceptance", "check"]


@dataclass(frozen=True)
class Rule:
    """One kind of change: how it is judged, reported and documented.

    Attributes:
        id: stable name, used in reports and acceptances (``CK101``).
        kind: the kind of change that it judges.
        about: what its changes are about.
        severity: under a strict load.
        lenient: severity under ``strict=False``, or None for the same.
        keyless: whether a change of it may have no keys; then its detail identifies it.
        firm: whether it stays an error whatever the project's settings say.
        sign: first sign of its rows. ``+`` the definition gained it, ``-`` the definition dropped
            it, ``~`` the same tensor in another form, ``!`` it does not fit, ``?`` it is not known,
            ``*`` it loads, but look at it.
        phrase: its words in a headline. ``{tensors}`` stands for how many (``36 of 44 tensors``),
            ``{detail}`` for the first line of the change's detail, ``{settings}`` for the first of several
            settings that changed, and how many more did.
        detail_ends: the sign before which a headline ends a detail; "" for the whole line.
        consequence: what a load that succeeds leaves behind, for a row; "" for nothing to say.
        advice: what to do, in one line; "" where the change's own words say it.
        choice: what to do instead where a change is ambiguous; "" for the same.
        meaning: one line for the table of rules.
        what: its page, in Markdown: what it tells.
        why: why it tells it: what torch does, and what comes of it.
        example: what a report prints, as it prints it.
        mend: what to do about it.
        accept: how to accept it, where it is not as for other rules of its severity; else "".
    """

    id: str
    kind: Kind
    about: About
    severity: Severity
    meaning: str
    what: str
    why: str
    example: str
    mend: str
    lenient: Severity | None = None
    keyless: bool = False
    firm: bool = False
    sign: Literal["+", "-", "~", "!", "?", "*"] = "~"
    phrase: str = "{detail}"
    detail_ends: str = ""
    consequence: str = ""
    advice: str = ""
    choice: str = ""
    accept: str = ""
