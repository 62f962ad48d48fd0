"""The reports of a run's shards, as JSON, to the report of the whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import NamedTuple

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._report import migrations, of_run, overview
from pytest_ckpt_compat._report.summary import Entry, Run, unique

#: Characters of a line that a message quotes.
_LONGEST = 200


class Shard(NamedTuple):
    """One of the reports: the name of its file, and the run that it is of."""

    name: str
    run: Run


def merged(shards: Sequence[Shard]) -> tuple[Run, int]:
    """The run whose shards these are, and its exit code.

    Args:
        shards: one or more.

    Raises:
        UsageError: two of them were compared with different commits, or disagree about a checkpoint.
    """
    first, *others = shards
    label = first.run.label
    for other in others:
        if other.run.label != label:
            problem = f"is compared with {other.run.label or 'nothing'}, and {first.name} with "
            raise UsageError(other.name, problem + (label or "nothing"), "give the shards of one run")
    registered = tuple(sorted({name for _, run in shards for name in run.registered}))
    found = _agreed(shards, set(registered))
    entries = unique(of_run.once(found, registered))
    counts = of_run.counts(found, registered)
    own = [(each.id, each.data) for each in entries if each.id in registered]
    done = migrations.of_run(own, known=False)  # whether these are all checkpoints, nobody knows
    done = done if label else replace(done, broken=())
    run = Run(
        entries,
        overview.compared(counts, label),
        label,
        done,
        failures=tuple(dict.fromkeys(f"{line} ({name})" for name, run in shards for line in run.failures)),
        settings=tuple(dict.fromkeys(line for _, run in shards for line in run.settings)),
        registered=registered,
        deselected=tuple(sorted({name for _, run in shards for name in run.deselected} - {*registered})),
    )
    return run, _exit_code(run, counts[0])


def _exit_code(run: Run, compared: int) -> int:
    """As that of a run that was not sharded."""
    if run.of("broken"):
        return 1
    return 0 if run.checked and compared else 2


def _agreed(shards: Iterable[Shard], registered: set[str]) -> tuple[Entry, ...]:
    """Each checkpoint once, and all that is said of anything else.

    A checkpoint that is skipped in one shard counts as another shard has checked it.
    """
    known: dict[str, tuple[str, Entry]] = {}
    rest: list[Entry] = []
    for file, run in shards:
        for entry in run.entries:
            name, other = known.get(entry.id, ("", entry))
            if entry.id not in registered:
                rest.append(entry)
            elif other.state == "skipped" or not name:
                known[entry.id] = file, entry
            elif entry != other and entry.state != "skipped":
                here, there = _first_difference(entry, other)
                problem = f"says of {visible(entry.id)}: {here}; {name} says: {there}"
                raise UsageError(file, problem, "check it in one shard, on one commit")
    return (*(entry for _, entry in known.values()), *rest)


def _first_difference(one: Entry, other: Entry) -> tuple[str, str]:
    """What two entries say that is not the same, as briefly as may be."""
    ours, theirs = (
        [each.headline, each.state, *each.text.split("\n"), *_fields(each)] for each in (one, other)
    )
    pairs = zip_longest(ours, theirs, fillvalue="no such line")
    here, there = next((pair for pair in pairs if pair[0] != pair[1]), (one.headline, other.headline))
    return _brief(here), _brief(there)


def _fields(entry: Entry) -> Iterator[str]:
    """The rest of an entry, a line for each part of it."""
    for name, value in sorted({**entry.as_data(), **entry.data}.items()):
        if name not in ("headline", "state", "text", "data"):
            yield f"{name} is {json.dumps(value, sort_keys=True)}"


def _brief(line: str) -> str:
    line = visible(line.strip())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
