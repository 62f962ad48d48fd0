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
    """

    broken: tuple[str, ...] = ()
    repaired: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

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
        return f"this branch breaks {count(total, 'checkpoint')} and brings {brings} {them}: {visible(by)}"

    @property
    def lines(self) -> tuple[str, ...]:
        """All that is to be said, a line each."""
        return (*([self.repairs] if self.repairs else []), *self.unused)

    def as_data(self) -> dict[str, Any]:
        """The same as JSON holds it."""
        repaired = {name: list(ids) for name, ids in self.repaired.items()}
        return {"broken": list(self.broken), "repaired": repaired, "unused": list(self.unused)}


def of_run(found: Sequence[Found], known: bool) -> Migrations:
    """Sums up the verdicts of a run.

    Args:
        found: one for each registered checkpoint.
        known: whether all checkpoints of the project are among them, so that what is unused can be told.
    """
    repaired: defaultdict[str, list[str]] = defaultdict(list)
    for identifier, data in found:
        for name in data.get("repaired_by", ()):
            repaired[name].append(identifier)
    broken = [identifier for identifier, data in found if any(_breaks(data))]
    unused = tuple(_unused(found)) if known and not any(map(_raises, found)) else ()
    return Migrations(tuple(broken), {name: tuple(ids) for name, ids in repaired.items()}, unused)


def _breaks(data: Mapping[str, Any]) -> Iterator[bool]:
    for each in data["changes"]:
        yield each["severity"] == Severity.ERROR.value and BY_ID[each["rule"]].about == "load"


def _raises(found: Found) -> bool:
    """Whether a load ended before it was known what its migrations do."""
    return any(each["kind"] == "load-raises" for each in found[1]["changes"])


def _unused(found: Iterable[Found]) -> Iterator[str]:
    uses: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for _, data in found:
        for each in data.get("migrations", ()):
            uses[each["name"]].append(each)
    for name, done in uses.items():
        those = (
            "the checkpoint that registers"
            if len(done) == 1
            else f"the {len(done)} checkpoints that register"
        )
        if not any(each["changed"] for each in done):
            yield visible(f"{name} changes nothing in {those} it: take it out if no other file needs it")
            continue
        for rule in zip(*(each.get("rules", ()) for each in done), strict=False):
            if not any(each["used"] for each in rule):
                before = next((each["taken_by"] for each in rule if each["taken_by"]), "")
                left = f" that {before} before it leaves" if before else ""
                yield visible(f"{name}: {rule[0]['pattern']} matches no key of {those} it{left}")
