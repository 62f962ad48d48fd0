"""Writes a run's report where it is wanted besides the terminal: a file, and GitHub's pages."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import SnapshotError, UsageError
from pytest_ckpt_compat._core.internal import located
from pytest_ckpt_compat._report import github, gitlab, markdown, sarif
from pytest_ckpt_compat._report.html import page as html
from pytest_ckpt_compat._report.html.packed import packed
from pytest_ckpt_compat._report.json import SCHEMA, written_by
from pytest_ckpt_compat._report.summary import Entry, Run
from pytest_ckpt_compat._snapshots.fingerprint import FORMAT
from pytest_ckpt_compat._snapshots.writing import write

#: The suffixes of a report's name. Of two that a name ends in, the first counts.
_SUFFIXES = (".codequality.json", ".json", ".md", ".html", ".sarif")

#: Bytes of a snapshot that hold its format.
_BEGINNING = 512


def _suffix(file: str) -> str:
    """The suffix that decides the format; "" for none that is known."""
    name = Path(file).name
    return next((each for each in _SUFFIXES if name.endswith(each) and name != each), "")


def begin(files: Iterable[str], folder: Path = Path()) -> None:
    """Removes the reports that a run will write anew; call it before the run.

    A run that is killed then leaves nothing that could be taken for its report.

    Args:
        files: names of the reports.
        folder: what they are relative to.

    Raises:
        UsageError: a report of one of these names cannot be written; none was removed.
    """
    names = tuple(files)
    for name in names:
        check_name(name)
    for name in names:
        with contextlib.suppress(OSError):  # what cannot be removed cannot be replaced: the run's end says so
            (folder / name).unlink()


def check_name(file: str) -> None:
    """Raises UsageError if a report of this name cannot be written."""
    if not _suffix(file):
        advice = f"name a file that ends in {' or '.join(_SUFFIXES)}"
        raise UsageError(f"report {file}", "is of no known kind", advice)
    if _is_snapshot(Path(file)):
        raise UsageError(f"report {file}", "is a snapshot, which a report would replace", "give another name")
    if _suffix(file) == ".html":
        html.require(f"report {file}")


def _written(run: Run, file: str) -> SnapshotError | None:
    """Writes a report; returns why it cannot be written, or None."""
    try:
        write(Path(file), _RENDER[_suffix(file)](run))
    except SnapshotError as error:
        return error
    return None


def _is_snapshot(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return f'"{FORMAT}"'.encode() in stream.read(_BEGINNING)
    except OSError:  # it is not there, or says so when it is written
        return False


def have_pages(files: Iterable[str]) -> bool:
    """Whether one of the reports holds what a page of HTML shows: the page, and JSON, which keeps it."""
    return any(_suffix(file) in (".html", ".json") for file in files)


def publish(run: Run, files: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Writes the reports to files and, on GitHub, to the step summary; returns lines for the terminal.

    Args:
        run: what to report.
        files: paths of the files, whose suffixes give the formats.
        environment: the environment variables, among them those of GitHub's runner.

    Raises:
        SnapshotError: a report file cannot be written; the others are.
    """
    lines: list[str] = []
    if environment.get("GITHUB_ACTIONS") == "true":
        lines += _guarded("GitHub's annotations", lambda: _annotations(run, environment))
    if environment.get("GITHUB_STEP_SUMMARY"):
        lines += _guarded("GitHub's step summary", lambda: _summary(run, environment))
    failures = {file: _written(run, file) for file in files}
    lines += [f"report    {visible(file)}" for file, error in failures.items() if error is None]
    errors = [error for error in failures.values() if error is not None]
    if errors:
        first = errors[0]
        subjects = ", ".join(each.subject for each in errors if each.problem == first.problem)
        raise SnapshotError(subjects, first.problem, first.advice)
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
        "written_by": written_by(),
        "compatible": run.checked and not run.of("broken"),
        "compared": run.compared,
        "against": run.label or None,
        "migrations": run.migrations.as_data(),
        "failures": list(run.failures),
        "settings": list(run.settings),
        "registered": list(run.registered),
        "deselected": list(run.deselected),
        "checkpoints": [_checkpoint(each) for each in run.entries],
    }
    return json.dumps(data, indent=2) + "\n"


def _checkpoint(entry: Entry) -> dict[str, Any]:
    """All that an entry holds, so that a report is made of several by it; what is empty is left out."""
    own = {name: value for name, value in entry.as_data().items() if name != "data"}
    own["page"] = packed(entry.page) if entry.page else ""
    return {name: value for name, value in own.items() if value or name == "where"} | entry.data


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


_RENDER: Mapping[str, Callable[[Run], str]] = {
    ".codequality.json": gitlab.render,
    ".html": html.render,
    ".json": as_json,
    ".md": markdown.render,
    ".sarif": sarif.render,
}
