"""What torch says of a tensor that it cannot copy into its place, in few words, and once for all alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.display import count

#: Torch's sentence: the key, and the arguments of what was raised as a tuple.
_SENTENCE = re.compile(
    r'While copying the parameter named "(?P<key>.+?)", whose dimensions in the model are .+?'
    r" and whose dimensions in the checkpoint are .+?, an exception occurred : (?P<arguments>\(.*\))\.",
    re.DOTALL,
)


def refusal(change: Change) -> tuple[str, str] | None:
    """The key and torch's reason, where a change is that a tensor cannot be copied; None of any other."""
    found = _SENTENCE.fullmatch(change.detail) if change.kind == "load-raises" else None
    if found is None:
        return None
    import ast

    try:
        arguments = ast.literal_eval(found["arguments"])
    except (ValueError, SyntaxError):
        return None
    return (found["key"], f"cannot be copied: {arguments[0]}") if len(arguments) == 1 else None


def in_brief(changes: Sequence[Change]) -> str:
    """The detail of the first of these changes; ``6 tensors cannot be copied: ...`` of all of one reason."""
    first = refusal(changes[0])
    if first is None:
        return changes[0].detail
    key, reason = first
    number = sum(told is not None and told[1] == reason for told in map(refusal, changes))
    return f"{key if number == 1 else count(number, 'tensor')} {reason}"
