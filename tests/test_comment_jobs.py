"""The comment next to a server that holds to GitHub's rules: several jobs, many comments, limits, forks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._cli import github_api
from pytest_ckpt_compat._report import comment, summary
from pytest_ckpt_compat._report.publish import as_json
from tests.conftest import Printed
from tests.github_server import LONGEST, READ_ONLY, TOKEN, GitHub, running
from tests.test_comment import BROKEN, RECORDED, WELL

Post = Callable[..., Printed]


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Iterator[GitHub]:
    for name in ("GITHUB_SERVER_URL", "GITHUB_RUN_ID", "GITHUB_ACTIONS", "GITHUB_WORKFLOW", "GITHUB_JOB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/models")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(RECORDED / "event.json"))
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setattr(github_api.PullRequest.__init__, "__defaults__", (pauses.append,))
    with running() as found:
        monkeypatch.setenv("GITHUB_API_URL", found.address)
        yield found


@pytest.fixture
def post(command: Callable[..., Printed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Post:
    """Runs the command as a job does."""

    def run(found: summary.Run, *arguments: str, workflow: str = "", job: str = "") -> Printed:
        monkeypatch.setenv("GITHUB_WORKFLOW", workflow)
        monkeypatch.setenv("GITHUB_JOB", job)
        path = tmp_path / "report.json"
        path.write_text(as_json(found), encoding="utf-8")
        return command("comment", str(path), *arguments)

    return run


def test_two_jobs_do_not_write_over_each_other(github: GitHub, post: Post) -> None:
    jobs = [("CI", "cpu"), ("CI", "gpu"), ("nightly -->", "cpu"), ("CI/c", "pu")]
    for workflow, job in jobs:
        assert post(BROKEN, workflow=workflow, job=job).out == "comment   created\n"
    assert post(WELL, workflow="CI", job="gpu").out == "comment   updated\n"
    first, second, *others = github.ours
    assert "CK401" in first
    assert comment.AGAIN not in first
    assert comment.AGAIN in second
    assert len(github.ours) == len(jobs)
    assert all("CK401" in each for each in others)
    assert first.endswith("<sub>Checked 6dcb09b5 · CI/cpu</sub>\n")
    assert all(each.count("-->") == 1 for each in (each.partition("\n")[0] for each in github.ours))
    for workflow, job in jobs:
        assert post(BROKEN, workflow=workflow, job=job).out != "comment   created\n"
    assert len(github.ours) == len(jobs)


def test_projects_and_values_of_a_matrix_in_one_job(github: GitHub, post: Post) -> None:
    names = (".", "serving", '. {"python":"3.11"}', '. {"python":"3.12"}', 'serving {"python":"3.12"}')
    for name in names:
        assert post(BROKEN, "--name", name, workflow="CI", job="cpu").out == "comment   created\n"
    for name in names:
        assert post(BROKEN, "--name", name, workflow="CI", job="cpu").out == "comment   unchanged\n"
    assert len({each.rpartition("<sub>")[2] for each in github.ours}) == len(names)  # and readers see which


def test_it_is_found_after_many_others(github: GitHub, post: Post) -> None:
    for number in range(250):
        github.add(f"<!-- ckpt-compat -->\n{number}", login="mallory", kind="User")
    assert post(BROKEN).out == "comment   created\n"
    assert post(WELL).out == "comment   updated\n"
    assert len(github.ours) == 1
    assert [each.split()[0] for each in github.asked] == ["GET"] * 3 + ["POST"] + ["GET"] * 3 + ["PATCH"]


def test_the_longest_is_accepted(github: GitHub, post: Post) -> None:
    entries = tuple(
        summary.Entry(f"é{n}", "broken", "é" * 20, "x" * 900, data=summary.entry(ckpt.Verdict()).data)
        for n in range(900)
    )
    printed = post(summary.Run(entries, "compared"), workflow="é" * 40, job="j" * 90)
    assert printed.out == "comment   created\n"
    (text,) = github.ours
    assert LONGEST * 0.9 < len(text.encode()) <= LONGEST


def test_a_token_that_only_reads_is_one_notice(
    github: GitHub, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", READ_ONLY)
    printed = post(BROKEN)
    assert (printed.code, printed.err) == (0, "")
    assert "the token may not write to pull requests" in printed.out
    github.add(comment.body(BROKEN, "", "<sub>Checked 6dcb09b5</sub>"))
    assert post(BROKEN).out == "comment   unchanged\n"


def limits() -> dict[str, tuple[int, dict[str, str], float]]:
    """Status and headers of each limit, and how long is waited."""
    soon = str(int(time.time()) + 30)
    return {
        "secondary": (403, {"Retry-After": "7"}, 7),
        "secondary, 429": (429, {"Retry-After": "7"}, 7),
        "primary": (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": soon}, 30),
        "a minute": (429, {}, 60),
    }


@pytest.mark.parametrize("kind", list(limits()))
def test_a_limit_is_waited_for(github: GitHub, post: Post, pauses: list[float], kind: str) -> None:
    status, headers, wait = limits()[kind]
    github.limits.append((status, headers))
    assert post(BROKEN) == Printed(0, "comment   created\n", "")
    assert pauses == [pytest.approx(wait, abs=5)]
    assert len(github.ours) == 1


@pytest.mark.parametrize("status", [403, 429])
def test_a_long_limit_is_an_error_and_no_matter_of_permissions(
    github: GitHub, post: Post, pauses: list[float], status: int
) -> None:
    github.limits.append((status, {"Retry-After": "3600"}))
    printed = post(BROKEN)
    assert (printed.code, printed.out) == (2, "")
    assert "answered that its limit of requests is reached (API rate limit exceeded" in printed.err
    assert "again in 3600 seconds; run the job again" in printed.err
    assert not pauses


def test_limits_without_end_are_an_error(github: GitHub, post: Post, pauses: list[float]) -> None:
    github.limits += [(429, {"Retry-After": "1"})] * 3
    assert post(BROKEN).code == 2
    assert pauses == [1, 1]
