"""What a definition computes <-> the lines of its snapshot: one a tensor, and one a call of a module."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_ckpt_compat._core.outputs import TOLERANCES, Call, Digest, Outputs

#: Characters of the text of one tensor.
_LONGEST = 1_000


def as_lines(outputs: Mapping[str, Outputs]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Name of the inputs -> (part, its lines as one text of JSON)."""
    for name, each in sorted(outputs.items()):
        parts = {"inputs": each.inputs, "results": each.results, "modules": each.calls}
        yield (
            name,
            [
                ("precision", json.dumps(each.precision)),
                *((part, _object(dict(texts), 6)) for part, texts in parts.items()),
            ],
        )


def dumps(outputs: Mapping[str, Outputs]) -> str:
    """The section of a snapshot."""
    inside = {
        name: "{\n" + ",\n".join(f"      {json.dumps(part)}: {text}" for part, text in parts) + "\n    }"
        for name, parts in as_lines(outputs)
    }
    lines = ",\n".join(f"    {json.dumps(name)}: {text}" for name, text in inside.items())
    return f"{{\n{lines}\n  }}"


def _object(texts: Mapping[str, object], indent: int) -> str:
    if not texts:
        return "{}"
    before = "\n" + " " * indent
    lines = [f"{json.dumps(path)}: {json.dumps(str(each))}" for path, each in texts.items()]
    return f"{{{before}  {f',{before}  '.join(lines)}{before}}}"


def read(data: Any) -> dict[str, Outputs]:
    """The inverse of ``dumps``, of what JSON makes of it.

    Raises:
        ValueError: it is something else.
    """
    found: dict[str, Outputs] = {}
    for name, each in (data or {}).items():
        texts = (text for part in ("inputs", "results", "modules") for text in each.get(part, {}).values())
        if any(not isinstance(text, str) or len(text) > _LONGEST for text in texts):
            raise ValueError('"outputs" holds something that is not the digest of a tensor')
        if each.get("precision") not in TOLERANCES:
            raise ValueError(f'"outputs" has the precision {str(each.get("precision"))[:100]!r}')
        found[name] = Outputs(
            each["precision"],
            {path: Digest.parse(text) for path, text in each.get("inputs", {}).items()},
            {path: Digest.parse(text) for path, text in each.get("results", {}).items()},
            {path: Call.parse(text) for path, text in each.get("modules", {}).items()},
        )
    return found
