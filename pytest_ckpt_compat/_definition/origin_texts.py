"""Says in short where values come from: the keys, and a digest of how they were made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from typing import Any

from pytest_ckpt_compat._core.migrated import Origin
from pytest_ckpt_compat._definition.origins import Origins

#: Signs of a digest: enough to tell two ways of making a tensor apart.
_SIGNS = 12


class Texts:
    """Origins in short. What an origin shares with another is looked at once.

    Args:
        state: the checkpoint's entries.
        origins: where values come from.
    """

    def __init__(self, state: Mapping[str, Any], origins: Origins) -> None:
        self._keys = state.keys()
        self._whole = {origins.of(value): key for key, value in [*state.items()][::-1]}
        #: Identity of a part -> its digest, and the keys in it. The parts are kept by the origins.
        self._known: dict[int, tuple[str, tuple[str, ...]]] = {}

    def origin(self, mark: Hashable) -> Origin:
        """The origin that ``Origins.of`` has told."""
        if _is_entry(mark) and mark in self._whole:
            return Origin((self._whole[mark],))
        try:
            how, keys = self._read(mark)
        except RecursionError:  # made by more steps than anybody follows
            return Origin((), "unknown")
        return Origin(keys, how[:_SIGNS])

    def _read(self, part: Any) -> tuple[str, tuple[str, ...]]:
        if not isinstance(part, tuple):
            return str(part), ()
        identity = id(part)
        if identity in self._known:
            return self._known[identity]
        if part[:1] == ("unknown",):  # what follows is another in every process
            part = ("unknown", *part[2:])
        inside = [self._read(each) for each in part]
        keys = [key for _, found in inside for key in found]
        if _is_entry(part) and part[1] in self._keys:
            keys = [part[1]]
        text = "\n".join(digest for digest, _ in inside)
        found = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), tuple(dict.fromkeys(keys))
        self._known[identity] = found
        return found


def _is_entry(part: Any) -> bool:
    """Whether a part is of one entry of the checkpoint; only of such a one is the hash known to be quick."""
    return part[:1] in (("view",), ("object",)) and isinstance(part[1], str)
