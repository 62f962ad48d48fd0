"""What the migrations of a registration made of a checkpoint, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the values of a tensor come from.

    Attributes:
        keys: the checkpoint's keys that it is made of, in order.
        how: digest of how it is made of them; "" for the tensor of one key as it is.
    """

    keys: tuple[str, ...]
    how: str = ""

    def __str__(self) -> str:
        """``blocks.0.weight``, or ``something made of q.weight, k.weight``."""
        if len(self.keys) == 1 and not self.how:
            return self.keys[0]
        return f"something made of {', '.join(self.keys)}" if self.keys else "something new"


@dataclass(frozen=True, slots=True)
class RuleUse:
    """What a rule of a file found in one checkpoint.

    Attributes:
        pattern: the rule's.
        used: whether it took a key.
        taken_by: of a rule without a key, the pattern of the one before it that takes the keys it matches.
    """

    pattern: str
    used: bool
    taken_by: str = ""

    def __str__(self) -> str:
        """``^a matches no key``, with the rule that has taken those that it would match."""
        left = f" that {self.taken_by} before it leaves" if self.taken_by else ""
        return f"{self.pattern} matches {'keys' if self.used else f'no key{left}'}"


@dataclass(frozen=True)
class Applied:
    """What one migration did to one checkpoint.

    Attributes:
        name: as a user would write it, ``shapes.migrations.v1_to_v2`` or ``rules.toml``.
        changed: whether anything is another after it.
        rules: of a file of rules, what each found.
        takes: key -> the pattern that took it, of a file of rules.
        leaves: key -> the first pattern after that one that matches it, too, if there is one.
    """

    name: str
    changed: bool
    rules: tuple[RuleUse, ...] = ()
    takes: Mapping[str, str] = field(default_factory=dict, repr=False)
    leaves: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Migrated:
    """What migrations made of a checkpoint; in a snapshot, what made it load when that was recorded.

    Attributes:
        names: of those that changed something, in order.
        origins: key of the result -> where its values come from, unless it is the tensor that the
            checkpoint has under the same key.
        dropped: the checkpoint's keys of which nothing is left.
        version: of the file, where that chose among the migrations, or "".
        applied: what each of them did; of a snapshot, nothing.
    """

    names: tuple[str, ...]
    origins: Mapping[str, Origin] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    version: str = ""
    applied: tuple[Applied, ...] = field(default=(), compare=False)

    def origin(self, key: str, known: Mapping[str, object]) -> Origin | None:
        """Where the values of a key come from, or None if it is not in the result, or that is unknown.

        Args:
            key: of the result.
            known: the checkpoint's entries.
        """
        if key in self.origins:
            return self.origins[key]
        gone = key in self.dropped or any(key in each.keys for each in self.origins.values())
        return Origin((key,)) if key in known and not gone else None
