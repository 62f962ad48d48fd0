"""Addresses of the Hugging Face Hub: ``hf://owner/name[@revision][/path]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

_MODEL = re.compile(r"hf://(?:models/)?([\w.-]+/[\w.-]+)(?:@([^/]+))?/*(.*)", re.ASCII)
#: First segments of what is no model.
_OTHERS = ("datasets/", "spaces/", "buckets/")


@dataclass(frozen=True)
class Repository:
    """A model of the Hub, and a place in it.

    Attributes:
        id: ``owner/name``.
        revision: a branch, tag or commit; None for the default.
        inside: the path of a file or folder in it; "" for the whole.
    """

    id: str
    revision: str | None = None
    inside: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether the place is a folder: the whole, or a name without a suffix."""
        return "." not in self.inside.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The folder of the place, "" for the top."""
        return self.inside if self.is_folder else self.inside.rpartition("/")[0]


def repository(url: str) -> Repository | None:
    """The model that an address names; None for any other address or path."""
    found = _MODEL.fullmatch(url.partition("?")[0])
    if found is None or found[1].startswith(_OTHERS):
        return None
    return Repository(found[1], unquote(found[2]) if found[2] else None, found[3].strip("/"))
