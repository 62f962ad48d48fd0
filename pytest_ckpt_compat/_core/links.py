"""Addresses of the documentation."""

from __future__ import annotations

import functools
from importlib import metadata

_PACKAGE = "pytest-ckpt-compat"
#: The label of the address among the project's (``[project.urls]`` in ``pyproject.toml``).
_LABEL = "documentation"


@functools.cache
def documentation() -> str:
    """The address of the site's folder, with a ``/`` at its end; "" where the package states none."""
    try:
        stated = metadata.metadata(_PACKAGE).get_all("Project-URL") or ()
    except metadata.PackageNotFoundError:
        return ""
    pairs = (line.partition(",") for line in stated)
    found = next((url.strip() for label, _, url in pairs if label.strip().lower() == _LABEL), "")
    return found.rstrip("/") + "/" if found else ""


def rule_url(identifier: str) -> str:
    """The address of a rule's page; "" where the package states no address of its documentation.

    Args:
        identifier: the rule's id (``CK103``).
    """
    base = documentation()
    return f"{base}rules.html#{identifier.lower()}" if base else ""
