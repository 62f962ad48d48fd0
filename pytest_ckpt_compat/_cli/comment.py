"""``ckpt-compat comment``: keeps one comment on a pull request up to date, from a JSON report."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core.errors import COULD_NOT_CHECK, ReadError, UsageError

#: The variables of GitHub's runner that are needed, and the token, which the workflow gives.
_NEEDED = ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_EVENT_PATH", "GITHUB_TOKEN")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "comment",
        help="keep one comment on a pull request up to date, in a workflow of GitHub",
        description="Posts what a JSON report says as a comment on the pull request, updates it in later "
        "runs, and says so when all is compatible again. Nothing is posted where nothing ever broke.",
    )
    parser.add_argument("report", metavar="REPORT", help="what check --report FILE.json wrote")
    parser.add_argument(
        "--name", metavar="NAME", default="", help="tells apart the projects that one job checks"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints what was done to the comment; returns 0, or 2 where there is no report to comment on."""
    from pytest_ckpt_compat._cli.github_api import GitHubError, PullRequest
    from pytest_ckpt_compat._report import comment, github, markdown, reading

    given = {name: os.environ.get(name, "") for name in _NEEDED}
    lacking = next((name for name in _NEEDED if not given[name]), None)
    if lacking is not None:
        raise UsageError(
            f"${lacking}", "is not set", "run it in a workflow of GitHub, with GITHUB_TOKEN in its env"
        )
    event = _event(Path(given["GITHUB_EVENT_PATH"]))
    if event is None:
        print("comment   none: this run is of no pull request")
        return 0
    repository = given["GITHUB_REPOSITORY"]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UsageError("$GITHUB_REPOSITORY", f"is {repository!r}", "it must be owner/name")
    there = os.path.exists(arguments.report)
    found = reading.read(arguments.report) if there else None
    job = "/".join(filter(None, map(os.environ.get, ("GITHUB_WORKFLOW", "GITHUB_JOB"))))
    project = "" if arguments.name == "." else arguments.name
    text = comment.body(found, arguments.name, _footer(event, *map(markdown.cell, (job, project))), job)
    pull = PullRequest(given["GITHUB_API_URL"], repository, event["number"], given["GITHUB_TOKEN"])
    try:
        done = pull.keep(comment.marker(arguments.name, job), text, comment.calls_for_comment(found))
    except GitHubError as error:
        if error.status != 403:
            raise
        why = "the token may not write to pull requests, as that of a fork's may not"
        print(github.remark("notice", f"no comment was posted: {why} ({error.problem})"))
        return 0
    print(f"comment   {done}")
    if not there:
        advice = "correct the path, or see why the check ended before it wrote it"
        print(github.remark("error", f"{arguments.report} is not there, which the comment says; {advice}"))
    return 0 if there else COULD_NOT_CHECK


def _event(path: Path) -> dict[str, Any] | None:
    """Number and head of the pull request that the run is of, or None."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        pull = data.get("pull_request")
        if pull is None:
            return None
        number, head = pull["number"], pull["head"]["sha"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadError(
            "$GITHUB_EVENT_PATH", "is not the event of a workflow", "run it in one of GitHub"
        ) from error
    if type(number) is not int or not re.fullmatch(r"[0-9a-f]{40,64}", str(head)):
        raise ReadError(
            "$GITHUB_EVENT_PATH", "names no pull request by number and commit", "run it in GitHub"
        )
    return {"number": number, "head": head}


def _footer(event: Mapping[str, Any], *about: str) -> str:
    """``Checked 1a2b3c4d · CI/test · log``, with a link to the run where the runner says which it is."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, number = (os.environ.get(name, "") for name in names)
    linked = re.fullmatch(r"https?://[\w.:-]+", server) and number.isdigit()
    log = f" · [log]({server}/{repository}/actions/runs/{number})" if linked else ""
    return f"<sub>Checked {event['head'][:8]}{''.join(f' · {each}' for each in about if each)}{log}</sub>"
