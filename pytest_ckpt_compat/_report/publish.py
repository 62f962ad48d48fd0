"""Writes a run's report where it is wanted besides the terminal: a file, and GitHub's pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_ckpt_compat._core.errors import SnapshotError, UsageError
from pytest_ckpt_compat._core.internal import located
from pytest_ckpt_compat._report import github, markdown
from pytest_ckpt_compat._report.html import page as html
from pytest_ckpt_compat._report.json import SCHEMA
from pytest_ckpt_compat._report.summary import Run
from pytest_ckpt_compat._snapshots.writing import write

_SUFFIXES = (".json", ".md", ".html")


def check_name(file: str) -> None:
    """Raises UsageError if a report of this name cannot be written; call it before the run."""
    if Path(file).suffix not in _SUFFIXES:
        advice = f"name a file that ends in {' or '.join(_SUFFIXES)}"
        raise UsageError(f"report {file}", "is of no known kind", advice)
    if is_page(file):
        html.require(f"report {file}")


def is_page(file: str | None) -> bool:
    """Whether a report of this name is a page of HTML, which shows more of each verdict than the others."""
    return file is not None and Path(file).suffix == ".html"


def publish(run: Run, file: str | None, environment: Mapping[str, str]) -> list[str]:
    """Writes the report to a file and, on GitHub, to the step summary; returns lines for the terminal.

    Args:
        run: what to report.
        file: path of the file, whose suffix gives the format, or None.
        environment: the environment variables, among them those of GitHub's runner.

    Raises:
        SnapshotError: the report file cannot be written.
    """
    lines: list[str] = []
    if environment.get("GITHUB_ACTIONS") == "true":
        lines += _guarded("GitHub's annotations", lambda: _annotations(run, environment))
    if environment.get("GITHUB_STEP_SUMMARY"):
        lines += _guarded("GitHub's step summary", lambda: _summary(run, environment))
    if file:
        renders = {".json": as_json, ".md": markdown.render, ".html": html.render}
        write(Path(file), renders[Path(file).suffix](run))
        lines.append(f"report    {file}")
    return lines


def _guarded(name: str, make: Callable[[], list[str]]) -> list[str]:
    """What ``make`` returns; if it fails, a line that names what is missing, so that the rest is written."""
    try:
        return make()
    except Exception as error:
        return [f"failed    {name}: {located(error)}; please report it"]


def _annotations(run: Run, environment: Mapping[str, str]) -> list[str]:
    return github.render(run, environment.get("GITHUB_WORKSPACE", ""))


def _summary(run: Run, environment: Mapping[str, str]) -> list[str]:
    return _append(Path(environment["GITHUB_STEP_SUMMARY"]), run)


def as_json(run: Run) -> str:
    """The run as JSON; each verdict has the form of ``ckpt-compat diff --format json``."""
    data = {
        "schema": SCHEMA,
        "compatible": not run.of("broken", "unknown") and len(run.of("skipped")) < len(run.entries),
        "compared": run.compared,
        "against": run.label or None,
        "migrations": run.migrations.as_data(),
        "checkpoints": [
            {"id": each.id, "state": each.state, "headline": each.headline, "where": each.where, **each.data}
            for each in run.entries
        ],
    }
    return json.dumps(data, indent=2) + "\n"


def _append(path: Path, run: Run) -> list[str]:
    """Appends to the summary of earlier steps; returns a line if it cannot be written."""
    try:
        used = path.stat().st_size if path.exists() else 0
        page = markdown.render(run, max(markdown.LIMIT - used, 0))
        with path.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(page)
    except OSError as error:
        return [
            str(SnapshotError(str(path), f"cannot be written ({error.strerror})", "see GITHUB_STEP_SUMMARY"))
        ]
    return []
