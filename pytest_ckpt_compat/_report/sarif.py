"""The report as SARIF 2.1.0, for code scanning and other tools that collect findings."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pytest_ckpt_compat._core import pages
from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.links import documentation, rule_url
from pytest_ckpt_compat._core.rule import Rule
from pytest_ckpt_compat._core.rules import BY_ID, RULES
from pytest_ckpt_compat._report.findings import Finding, of_entry
from pytest_ckpt_compat._report.places import Places
from pytest_ckpt_compat._report.summary import Entry, Run

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
#: The folder that paths are relative to; whoever reads the file knows where it is.
_ROOT = "%SRCROOT%"
#: The names of our fingerprint, and of the one that GitHub matches alerts by.
_FINGERPRINT, _GITHUB = "ckptCompat/v1", "primaryLocationLineHash"
_RULES = tuple(sorted(RULES, key=lambda rule: rule.id))
_INDEX = {rule.id: number for number, rule in enumerate(_RULES)}
#: What a viewer would read as a placeholder, or as the beginning of a link.
_PLACEHOLDER, _LINK = re.compile(r"\{(\d+)\}"), re.compile(r"[\[\]\\]")


def render(run: Run) -> str:
    """The run as SARIF. What could not be checked is an error, and the invocation was not successful."""
    places = Places(Path.cwd())
    results = [_result(each, found, run, places) for each in run.entries for found in of_entry(each.findings)]
    data = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver()},
                "invocations": [
                    {"executionSuccessful": run.checked, "toolExecutionNotifications": _notifications(run)}
                ],
                "originalUriBaseIds": {_ROOT: {"description": {"text": "the root of the repository"}}},
                "columnKind": "unicodeCodePoints",
                "results": results,
                "properties": {"compared": visible(run.compared), "against": visible(run.label)},
            }
        ],
    }
    return json.dumps(data, indent=2) + "\n"


def _driver() -> dict[str, Any]:
    address = documentation()
    return {
        "name": "pytest-ckpt-compat",
        **_version(),
        **({"informationUri": address} if address else {}),
        "rules": [_rule(each) for each in _RULES],
    }


def _version() -> dict[str, str]:
    try:
        return {"version": metadata.version("pytest-ckpt-compat")}
    except metadata.PackageNotFoundError:  # its files are there, and it is not installed
        return {}


def _rule(rule: Rule) -> dict[str, Any]:
    address = rule_url(rule.id)
    return {
        "id": rule.id,
        "name": rule.kind,
        "shortDescription": {"text": _plain(rule.meaning)},
        "help": {"text": _plain(pages.text(rule)), "markdown": pages.standalone(rule)},
        **({"helpUri": address} if address else {}),
        "defaultConfiguration": {"level": _level(rule.severity)},
        "properties": {"tags": [rule.about]},
    }


def _result(entry: Entry, found: Finding, run: Run, places: Places) -> dict[str, Any]:
    severity, rule = Severity(found.severity), BY_ID[found.rule]
    told = [f"{rule.id} {visible(entry.id)}: {found.text}", found.advice]
    kept = severity in (Severity.ACCEPTED, Severity.EXISTING)
    level = _level(rule.severity if kept else severity)
    quiet = severity is Severity.IGNORED or (entry.state == "ok" and not kept)
    place = places.of(found.where, entry.where)
    line = {"startLine": place.line} if place else {}
    file = {"uri": quote(place.path), "uriBaseId": _ROOT} if place else {}
    location = {"physicalLocation": {"artifactLocation": file, "region": line}} if place else {}
    named = {"logicalLocations": [{"name": visible(entry.id), "kind": "resource"}]}
    return {
        "ruleId": rule.id,
        "ruleIndex": _INDEX[rule.id],
        "level": "note" if quiet else level,
        "message": {"text": _plain("\n\n".join(part for part in map(visible, told) if part))},
        "locations": [location | named],
        "partialFingerprints": {_FINGERPRINT: found.fingerprint, _GITHUB: f"{found.fingerprint[:16]}:1"},
        **_baseline(found, rule, run),
        **_suppressions(severity, found),
    }


def _baseline(found: Finding, rule: Rule, run: Run) -> dict[str, Any]:
    """Whether a finding is new, where the comparison with a merge base says so."""
    asked = run.label and (rule.about == "load" or rule.id == "CK907")
    state = "new" if asked and found.severity == Severity.ERROR.value else found.state
    return {"baselineState": state} if state else {}


def _suppressions(severity: Severity, found: Finding) -> dict[str, Any]:
    if severity not in (Severity.ACCEPTED, Severity.IGNORED):
        return {}
    kind = "inSource" if found.reason.startswith("xfail: ") else "external"
    reason = visible(found.reason) or "ignored by the project's settings"
    return {"suppressions": [{"kind": kind, "status": "accepted", "justification": reason}]}


def _notifications(run: Run) -> list[dict[str, Any]]:
    """What was not checked, and what could not be read or written."""
    told = [("error", each.headline) for each in run.of("unknown")]
    told += [("note", each.headline) for each in run.of("skipped")]
    told += [("error", visible(each)) for each in run.failures]
    told += [("warning", visible(each)) for each in run.settings]
    told += [("error", each) for each in run.left_out]
    if not run.checked and not told:
        told.append(("error", run.compared))
    return [{"level": level, "message": {"text": _plain(text)}} for level, text in told]


def _level(severity: Severity) -> str:
    return "warning" if severity is Severity.WARNING else "error"


def _plain(text: str) -> str:
    """Text in which a viewer sees neither a placeholder nor a link."""
    linked = _LINK.sub(r"\\\g<0>", text) if "](" in text else text
    return _PLACEHOLDER.sub(r"{{\1}}", linked)
