"""The report as GitLab's merge requests show it: Code Quality, a part of Code Climate's format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._report.findings import of_entry
from pytest_ckpt_compat._report.places import Places
from pytest_ckpt_compat._report.summary import Run

#: Where there is neither a class in the repository nor a file of the project.
_NOWHERE = "pyproject.toml"
_SEVERITIES = {
    Severity.ERROR: "critical",
    Severity.INCOMPLETE: "critical",
    Severity.EXISTING: "major",
    Severity.WARNING: "minor",
    Severity.ACCEPTED: "info",
    Severity.IGNORED: "info",
}
#: The name of the check where a checkpoint has no verdict.
_NOT_CHECKED = "not-checked"


def render(run: Run) -> str:
    """The run as a list of issues. What could not be checked is as severe as a break."""
    return json.dumps(list(_issues(run)), indent=2) + "\n"


def _issues(run: Run) -> Iterator[dict[str, Any]]:
    places = Places(Path.cwd())
    for entry in run.entries:
        found = of_entry(entry.findings)
        for each in found:
            severity = Severity(each.severity)
            quiet = entry.state == "ok" and severity is Severity.WARNING
            note = each.advice if each.open else ""
            text = f"{each.rule} {visible(entry.id)}: {each.text}" + (f" ({visible(note)})" if note else "")
            level = "info" if quiet else _SEVERITIES[severity]
            yield _issue(each.rule, text, level, each.fingerprint, places, each.where, entry.where)
        if not found and entry.state in ("unknown", "skipped"):
            level = "critical" if entry.state == "unknown" else "info"
            yield _issue(_NOT_CHECKED, entry.headline, level, _digest(entry.headline), places)
    told = [*map(visible, run.failures), *run.left_out]
    if not run.checked and not told and not run.of("unknown"):
        told = [run.compared]
    for text in run.settings:
        yield _issue("severity", visible(text), "info", _digest(text), places)
    for text in told:
        yield _issue(_NOT_CHECKED, text, "critical", _digest(text), places)


def _issue(
    name: str, text: str, severity: str, fingerprint: str, places: Places, *wheres: str
) -> dict[str, Any]:
    place = places.of(*wheres)
    return {
        "type": "issue",
        "check_name": name,
        "description": text,
        "categories": ["Compatibility"],
        "severity": severity,
        "fingerprint": fingerprint,
        "location": {
            "path": place.path if place else _NOWHERE,
            "lines": {"begin": place.line if place else 1},
        },
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
