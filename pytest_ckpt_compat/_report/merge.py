"""The reports of a run's shards, as JSON, to the report of the whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._report import migrations, of_run, overview
from pytest_ckpt_compat._report.json import SCHEMA, written_by
from pytest_ckpt_compat._report.summary import Entry, Run, unique

_ANOTHER = "give reports that --report or --ckpt-report wrote as .json"
_TEXTS = ("id", "state", "headline", "text", "where")


@dataclass(frozen=True)
class Shard:
    """One of the reports.

    Attributes:
        name: of its file.
        entries: as ``Run`` has them.
        registered: ids of its checkpoints.
        label: the reference that it was compared with, or "".
        failures: a line on each thing that could not be read or written at its end.
        settings: a line on each rule that has another severity here than at the merge base.
    """

    name: str
    entries: tuple[Entry, ...]
    registered: tuple[str, ...]
    label: str
    failures: tuple[str, ...]
    settings: tuple[str, ...]


def read(name: str, text: str) -> Shard:
    """The report in a file.

    Raises:
        UsageError: it is no report, or one of another version.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or "schema" not in data or not isinstance(data.get("checkpoints"), list):
        raise UsageError(name, "is not a report", _ANOTHER)
    if data["schema"] != SCHEMA or data.get("written_by") != written_by():
        other = data.get("written_by") or "an earlier version"
        advice = "write all of them with the version that merges them"
        raise UsageError(name, f"was written by {other}, and this is {written_by()}", advice)
    try:
        return Shard(
            name,
            tuple(map(_entry, data["checkpoints"])),
            tuple(map(str, data["registered"])),
            str(data["against"] or ""),
            tuple(map(str, data["failures"])),
            tuple(map(str, data["settings"])),
        )
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise UsageError(
            name, f"is a report with something in it that none has ({error!r})", _ANOTHER
        ) from None


def merged(shards: Sequence[Shard]) -> tuple[Run, int]:
    """The run whose shards these are, and its exit code.

    Args:
        shards: one or more.

    Raises:
        UsageError: two of them were compared with different commits, or disagree about a checkpoint.
    """
    first, *others = shards
    for other in others:
        if other.label != first.label:
            problem = f"is compared with {other.label or 'nothing'}, and {first.name} with "
            advice = "give the shards of one run"
            raise UsageError(other.name, problem + (first.label or "nothing"), advice)
    registered = tuple(sorted({name for each in shards for name in each.registered}))
    found = _agreed(shards, set(registered))
    entries = unique(of_run.once(found, registered))
    counts = of_run.counts(found, registered)
    own = [(each.id, each.data) for each in entries if each.id in registered]
    done = migrations.of_run(own, known=False)  # whether these are all checkpoints, nobody knows
    done = done if first.label else replace(done, broken=())
    run = Run(
        entries,
        overview.compared(counts, first.label),
        first.label,
        done,
        failures=tuple(f"{line} ({each.name})" for each in shards for line in each.failures),
        settings=tuple(dict.fromkeys(line for each in shards for line in each.settings)),
        registered=registered,
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
    for shard in shards:
        for entry in shard.entries:
            name, other = known.get(entry.id, ("", entry))
            if entry.id not in registered:
                rest.append(entry)
            elif other.state == "skipped" or not name:
                known[entry.id] = shard.name, entry
            elif entry != other and entry.state != "skipped":
                problem = f"says of {entry.id}: {entry.headline}; {name} says: {other.headline}"
                raise UsageError(shard.name, problem, "check it in one shard, on one commit")
    return (*(entry for _, entry in known.values()), *rest)


def _entry(data: Mapping[str, Any]) -> Entry:
    own = {each.name for each in fields(Entry)} - {"data"}
    given = {name: value for name, value in data.items() if name in own}
    if not all(isinstance(given.get(name, ""), str) for name in _TEXTS):
        raise ValueError(f"a text of {data['id']!r} is none")
    given["headline"] = visible(given["headline"])
    given["text"] = "\n".join(map(visible, given["text"].split("\n")))
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    entry = Entry(**given, data={name: value for name, value in data.items() if name not in own})
    for needed in ("old", "new", "changes", "notes"):
        _ = entry.data[needed]
    for change in entry.data["changes"]:
        _ = change["severity"], change["rule"], change["kind"]
    if entry.state not in overview.STATES:
        raise ValueError(f"{entry.state!r} is no state")
    return entry
