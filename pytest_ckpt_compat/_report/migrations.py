"""What the migrations of a run came to, over all its checkpoints: what they repair, and what is unused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.rules import BY_ID

#: What a run knows of a checkpoint: its id, and its verdict as the JSON report has it.
Found = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Migrations:
    """What the migrations of a run came to.

    Attributes:
        broken: ids of the checkpoints that the branch breaks, without those that it repairs.
        repaired: name of each migration that the branch brings -> ids of the checkpoints that it would break
            without it.
        unused: a line on each migration, and each rule, that did nothing in any checkpoint.
        accepted: ids of those among ``repaired`` in which another break is accepted: they do not load whole.
    """

    broken: tuple[str, ...] = ()
    repaired: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()

    @property
    def repairs(self) -> str:
        """``this branch breaks 3 checkpoints and brings the migration that repairs 2 of them``, or ""."""
        mended = {identifier for ids in self.repaired.values() for identifier in ids}
        if not mended:
            return ""
        total = len(mended) + len(self.broken)
        them = f"{len(mended)} of them" if self.broken else "it" if total == 1 else "them"
        brings = "the migrations that repair" if len(self.repaired) > 1 else "the migration that repairs"
        by = "; ".join(f"{name} ({', '.join(ids)})" for name, ids in self.repaired.items())
        by += f"; apart from what is accepted of {', '.join(self.accepted)}" if self.accepted else ""
        return f"this branch breaks {count(total, 'checkpoint')} and brings {brings} {them}: {visible(by)}"

    @property
    def lines(self) -> tuple[str, ...]:
        """All that is to be said, a line each."""
        return (*([self.repairs] if self.repairs else []), *self.unused)

    def as_data(self) -> dict[str, Any]:
        """The same as JSON holds it."""
        repaired = {name: list(ids) for name, ids in self.repaired.items()}
        data = {"broken": list(self.broken), "repaired": repaired, "unused": list(self.unused)}
        return data | ({"accepted": list(self.accepted)} if self.accepted else {})


def of_run(found: Sequence[Found], known: bool) -> Migrations:
    """Sums up the verdicts of a run.

    Args:
        found: one for each registered checkpoint.
        known: whether all checkpoints of the project are among them, so that what is unused can be told.
    """
    repaired: defaultdict[str, list[str]] = defaultdict(list)
    for identifier, data in found:
        for name in () if _drifts(data) else data.get("repaired_by", ()):
            repaired[name].append(identifier)
    # What a wrong migration loads is no repair: it is broken as it would be without the migration.
    broken = [
        identifier
        for identifier, data in found
        if any(_breaks(data)) or (data.get("repaired_by") and _drifts(data))
    ]
    unused = tuple(_unused(found)) if known and not any(map(_raises, found)) else ()
    mended = {identifier for ids in repaired.values() for identifier in ids}
    accepted = tuple(dict.fromkeys(i for i, data in found if i in mended and any(_accepted(data))))
    return Migrations(tuple(broken), {name: tuple(ids) for name, ids in repaired.items()}, unused, accepted)


def _breaks(data: Mapping[str, Any], severity: Severity = Severity.ERROR) -> Iterator[bool]:
    for each in data["changes"]:
        yield each["severity"] == severity.value and BY_ID[each["rule"]].about == "load"


def _accepted(data: Mapping[str, Any]) -> Iterator[bool]:
    return _breaks(data, Severity.ACCEPTED)


def _drifts(data: Mapping[str, Any]) -> bool:
    """Whether it computes something else, which nobody has accepted."""
    open_ones = (Severity.WARNING.value, Severity.ERROR.value)
    return any(each["kind"] == "output-drift" and each["severity"] in open_ones for each in data["changes"])


def _raises(found: Found) -> bool:
    """Whether a load ended before it was known what its migrations do."""
    return any(each["kind"] == "load-raises" for each in found[1]["changes"])


def _unused(found: Iterable[Found]) -> Iterator[str]:
    uses: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    users: defaultdict[str, set[str]] = defaultdict(set)
    for identifier, data in found:
        for each in data.get("migrations", ()):
            uses[each["name"]].append(each)
            users[each["name"]].add(identifier)
    for name, done in uses.items():
        number = len(users[name])
        those = "the checkpoint that registers" if number == 1 else f"the {number} checkpoints that register"
        if not any(each["changed"] for each in done):
            yield visible(f"{name} changes nothing in {those} it: take it out if no other file needs it")
            continue
        for rule in zip(*(each.get("rules", ()) for each in done), strict=False):
            if not any(each["used"] for each in rule):
                before = next((each["taken_by"] for each in rule if each["taken_by"]), "")
                left = f" that {before} before it leaves" if before else ""
                yield visible(f"{name}: {rule[0]['pattern']} matches no key of {those} it{left}")
