"""The comment on a pull request: the requests that are made of GitHub, and what it says."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._cli import github_api
from pytest_ckpt_compat._core.changes import Change, Policy
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._report import comment, reading, summary
from pytest_ckpt_compat._report.publish import as_json
from tests.conftest import Printed

Command = Callable[..., Printed]

RECORDED = Path(__file__).parent / "github_api"
TOKEN = "ghs_0123456789abcdef"
LIST = "/repos/acme/models/issues/7/comments?per_page=100&page="
CREATE = "/repos/acme/models/issues/7/comments"
OURS = "/repos/acme/models/issues/comments/3001"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


@dataclass
class Answer:
    """A recorded response to one request."""

    method: str
    path: str
    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """Replays answers in their order, and keeps what it was asked."""

    address: str
    answers: list[Answer] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    def pages(self, *pages: list[Any]) -> None:
        """The pages of a list of comments."""
        for number, page in enumerate(pages, 1):
            following = f'<{self.address}{LIST}{number + 1}>; rel="next", <{self.address}{LIST}9>; rel="last"'
            last = f'<{self.address}{LIST}{number - 1}>; rel="prev"'
            link = {"Link": following if number < len(pages) else last}
            self.answers.append(Answer("GET", f"{LIST}{number}", 200, page, link))


@contextmanager
def recorded_api() -> Iterator[Server]:
    """A server that replays what it is told to; nothing it does not expect is asked of it."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            expected = found.answers.pop(0) if found.answers else Answer("", "", 500, None)
            if (self.command, self.path) != (expected.method, expected.path):
                found.strange.append(f"{self.command} {self.path}")
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                found.strange.append(f"{self.path} without the token")
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if sent:
                found.bodies.append(json.loads(sent)["body"])
            text = expected.body if isinstance(expected.body, str) else json.dumps(expected.body)
            self.send_response(expected.status)
            for name, value in expected.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PATCH = answer  # noqa: N815

        def log_message(self, *_args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
    assert not found.strange
    assert not found.answers, "not all requests were made"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """GitHub, as a workflow on a pull request sees it."""
    for name in ("GITHUB_SERVER_URL", "GITHUB_RUN_ID", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "event.json").write_text(json.dumps(recorded("event")))
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/models")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    pauses: list[float] = []
    monkeypatch.setattr(github_api.PullRequest.__init__, "__defaults__", (pauses.append,))
    with recorded_api() as found:
        monkeypatch.setenv("GITHUB_API_URL", found.address)
        yield found
    assert len(pauses) < 3


def verdict(kind: Any = "load-raises", **others: Any) -> summary.Entry:
    changes = judge([Change(kind, detail="KeyError: 'a' (net.py:4)", **others)], Policy())
    return summary.entry(ckpt.Verdict(changes, name="net-v1"))


BROKEN = summary.Run((verdict(),), "compared  1 checkpoint", "origin/main (merge base 1a2b3c4d)")
UNKNOWN = summary.Run((verdict("unreadable"),), "compared  1 checkpoint")
WELL = summary.Run((summary.entry(ckpt.Verdict(name="net-v1")),), "compared  1 checkpoint, 6 tensors")
NOTHING = summary.Run((), "could not check: no checkpoint was compared")


@pytest.fixture
def post(command: Command, tmp_path: Path) -> Callable[..., Printed]:
    """Runs the command on a run's report, or on none."""

    def run(found: summary.Run | None, *arguments: str) -> Printed:
        path = tmp_path / "report.json"
        if found is not None:
            path.write_text(as_json(found), encoding="utf-8")
        return command("comment", str(path), *arguments)

    return run


def test_a_break_is_told_once(server: Server, post: Callable[..., Printed]) -> None:
    server.pages([recorded("reviewer")])
    server.answers.append(Answer("POST", CREATE, 201, recorded("ours")))
    assert post(BROKEN) == Printed(0, "comment   created\n", "")
    (body,) = server.bodies
    assert body.startswith("<!-- ckpt-compat -->\n## Checkpoint compatibility\n")
    assert "| ❌ | net-v1 | CK401 net-v1: KeyError: 'a' (net.py:4) |" in body
    assert "\n- What it means, and how to mend or accept it: `ckpt-compat explain CK401`\n" in body
    assert body.endswith("<sub>Checked 6dcb09b5</sub>\n")
    assert comment.AGAIN not in body


def test_it_is_updated_in_place_wherever_it_is_in_the_list(
    server: Server, post: Callable[..., Printed]
) -> None:
    server.pages([recorded("reviewer")] * 100, [recorded("reviewer"), recorded("ours")])
    server.answers.append(Answer("PATCH", OURS, 200, recorded("ours")))
    assert post(BROKEN) == Printed(0, "comment   updated\n", "")
    assert len(server.bodies) == 1


def test_it_says_so_when_all_is_mended(server: Server, post: Callable[..., Printed]) -> None:
    server.pages([recorded("ours")])
    server.answers.append(Answer("PATCH", OURS, 200, recorded("ours")))
    assert post(WELL).out == "comment   updated\n"
    (body,) = server.bodies
    assert body.startswith("<!-- ckpt-compat -->\n✅ All checkpoints are compatible again.\n")
    assert "| ✅ | net-v1 |" in body
    assert "What it means" not in body


def test_nothing_is_posted_where_nothing_broke(server: Server, post: Callable[..., Printed]) -> None:
    server.pages([recorded("reviewer")])
    assert post(WELL) == Printed(0, "comment   unchanged\n", "")


@pytest.mark.parametrize(
    ("run", "told"),
    [(UNKNOWN, "CK905 net-v1"), (NOTHING, "no checkpoint was compared"), (None, comment.NO_REPORT)],
    ids=["unreadable", "nothing", "no report"],
)
def test_what_is_unknown_is_told(
    server: Server, post: Callable[..., Printed], run: summary.Run | None, told: str
) -> None:
    server.pages([])
    server.answers.append(Answer("POST", CREATE, 201, recorded("ours")))
    printed = post(run)
    assert (printed.code, "is not there, which the comment says" in printed.out) == (
        (2, True) if run is None else (0, False)
    )
    assert told in server.bodies[0]
    assert comment.AGAIN not in server.bodies[0]


def test_a_text_that_is_there_already_is_left(server: Server, post: Callable[..., Printed]) -> None:
    same = comment.body(BROKEN, "", "<sub>Checked 6dcb09b5</sub>").replace("\n", "\r\n")
    server.pages([recorded("ours") | {"body": same}])
    assert post(BROKEN).out == "comment   unchanged\n"


def test_the_comment_of_a_stranger_is_not_ours(server: Server, post: Callable[..., Printed]) -> None:
    server.pages([recorded("impostor")])
    server.answers.append(Answer("POST", CREATE, 201, recorded("ours")))
    assert post(BROKEN).out == "comment   created\n"


def test_projects_of_one_repository_have_comments_of_their_own(
    server: Server, post: Callable[..., Printed]
) -> None:
    server.pages([recorded("ours")])
    server.answers.append(Answer("POST", CREATE, 201, recorded("ours")))
    assert post(BROKEN, "--name", "./serving/--x").out == "comment   created\n"
    assert server.bodies[0].startswith("<!-- ckpt-compat serving/%2D%2Dx -->\n")
    server.pages([recorded("ours")])
    server.answers.append(Answer("PATCH", OURS, 200, recorded("ours")))
    assert post(BROKEN, "--name", ".").out == "comment   updated\n"


@pytest.mark.parametrize("at", ["list", "create", "update"])
def test_a_forks_token_is_one_notice(server: Server, post: Callable[..., Printed], at: str) -> None:
    if at == "list":
        server.answers.append(Answer("GET", f"{LIST}1", 403, recorded("forbidden")))
    else:
        server.pages([recorded("ours")] if at == "update" else [])
        method, path = ("PATCH", OURS) if at == "update" else ("POST", CREATE)
        server.answers.append(Answer(method, path, 403, recorded("forbidden")))
    printed = post(BROKEN)
    assert (printed.code, printed.err) == (0, "")
    assert printed.out == (
        "::notice title=checkpoint compatibility::no comment was posted: the token may not write to pull "
        "requests, as that of a fork's may not (answered with 403 (Resource not accessible by integration))\n"
    )


def test_a_server_that_fails_is_asked_again(server: Server, post: Callable[..., Printed]) -> None:
    """A comment that was made although the answer says otherwise is found, and not made twice."""
    server.answers.append(Answer("GET", f"{LIST}1", 502, "<html>Bad Gateway</html>"))
    server.pages([])
    server.answers.append(Answer("POST", CREATE, 502, "<html>Bad Gateway</html>"))
    made = recorded("ours") | {"body": comment.body(BROKEN, "", "<sub>Checked 6dcb09b5</sub>")}
    server.pages([made])
    assert post(BROKEN) == Printed(0, "comment   unchanged\n", "")


def test_a_server_that_goes_on_failing_is_an_error(server: Server, post: Callable[..., Printed]) -> None:
    server.answers += [Answer("GET", f"{LIST}1", 503, "{}")] * 3
    printed = post(BROKEN)
    assert printed.code == 2
    assert printed.err == (
        f"ckpt-compat: {server.address}{CREATE}: answered with 503; run the job again; the verdict of the "
        "check stands without it\n"
    )


def test_a_comment_that_was_deleted_meanwhile_is_made_anew(
    server: Server, post: Callable[..., Printed]
) -> None:
    server.pages([recorded("ours")])
    server.answers.append(Answer("PATCH", OURS, 404, recorded("not_found")))
    server.pages([])
    server.answers.append(Answer("POST", CREATE, 201, recorded("ours")))
    assert post(BROKEN).out == "comment   created\n"


def test_a_pull_request_that_is_not_there_is_an_error(server: Server, post: Callable[..., Printed]) -> None:
    server.answers.append(Answer("GET", f"{LIST}1", 404, recorded("not_found")))
    printed = post(BROKEN)
    assert printed.code == 2
    assert "answered with 404 (Not Found)" in printed.err


@pytest.mark.parametrize(
    ("status", "body", "headers", "complaint"),
    [
        (301, "{}", {"Location": "http://127.0.0.1:9/elsewhere"}, "answered with 301"),
        (200, "<html>", {}, "answered with something else than JSON"),
        (200, {"message": "odd"}, {}, "answered with something else than a list"),
        (401, {"message": f"Bad credentials\n{TOKEN}"[:16]}, {}, "answered with 401 (Bad credentials"),
    ],
)
def test_an_answer_that_cannot_be_used(
    server: Server,
    post: Callable[..., Printed],
    status: int,
    body: Any,
    headers: dict[str, str],
    complaint: str,
) -> None:
    """A redirection is not followed: the token goes nowhere else."""
    server.answers += [Answer("GET", f"{LIST}1", status, body, headers)] * (3 if status == 200 else 1)
    printed = post(BROKEN)
    assert printed.code == 2
    assert complaint in printed.err
    assert TOKEN not in printed.out + printed.err
    assert printed.err.count("\n") == 1


def test_a_run_of_no_pull_request_asks_nothing(
    server: Server, post: Callable[..., Printed], tmp_path: Path
) -> None:
    (tmp_path / "event.json").write_text('{"ref": "refs/heads/main"}')
    assert post(BROKEN) == Printed(0, "comment   none: this run is of no pull request\n", "")
    assert not server.bodies


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        ("[", "$GITHUB_EVENT_PATH: is not the event of a workflow"),
        ("[]", "$GITHUB_EVENT_PATH: is not the event of a workflow"),
        ('{"pull_request": {"number": "7/../8", "head": {"sha": "a"}}}', "names no pull request by number"),
    ],
)
def test_an_event_that_is_none(
    server: Server, post: Callable[..., Printed], tmp_path: Path, event: str, complaint: str
) -> None:
    (tmp_path / "event.json").write_text(event)
    printed = post(BROKEN)
    assert printed.code == 2
    assert complaint in printed.err
    assert not server.bodies


def test_outside_of_a_workflow_it_says_what_is_lacking(
    post: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_API_URL", raising=False)
    printed = post(BROKEN)
    assert printed.code == 2
    assert printed.err.startswith("ckpt-compat: $GITHUB_API_URL: is not set; run it in a workflow of GitHub")


def test_a_token_is_sent_encrypted() -> None:
    for address in ("http://example.org", "http://localhost.example.org", "ftp://example.org"):
        with pytest.raises(UsageError, match="is not reached by https"):
            github_api.PullRequest(address, "acme/models", 7, TOKEN)
    github_api.PullRequest("https://api.github.com", "acme/models", 7, TOKEN)


def test_a_report_says_the_same_after_it_was_read_again() -> None:
    for run in (BROKEN, UNKNOWN, WELL, NOTHING):
        again = reading.loads(as_json(run), "r.json")
        assert comment.body(again, "", "") == comment.body(run, "", "")
        assert comment.calls_for_comment(again) is comment.calls_for_comment(run)


def test_what_failed_at_the_end_and_what_settings_did_is_in_it() -> None:
    entry = summary.entry(ckpt.Verdict(name="v1", by_settings=("2 changes ignored",)))
    run = summary.Run((entry,), "compared", failures=("failed    x is not TOML",), settings=("CK203 is new",))
    text = comment.body(reading.loads(as_json(run), "r.json"), "", "")
    for line in ("- failed    x is not TOML", "- v1: 2 changes ignored", "CK203 is new"):
        assert f"\n{line}\n" in text
    assert comment.AGAIN not in text


def test_names_from_files_notify_nobody_and_are_no_markup() -> None:
    key = "@everyone #1 <img src=x> https://github.com/acme/models/issues/1 ``` | "
    found = verdict("missing", new=(key,))
    named = summary.Entry(key, found.state, key, found.text, data=found.data)
    text = comment.body(summary.Run((named,), key), "--><b>", "")
    outside = text.split("```")[0] + text.rsplit("````", 1)[1]
    for sign in ("<img", "://", "<b>"):
        assert sign not in outside
    for sign in ("@everyone", "#1"):  # as they are found in the text that is left of the markup
        assert sign not in html.unescape(outside)
    assert text.startswith("<!-- ckpt-compat %2D%2D%3E%3Cb%3E -->\n")


@pytest.mark.parametrize("size", [500, 60_000, 100_000])
def test_it_is_no_longer_than_github_accepts(size: int) -> None:
    entries = tuple(
        summary.Entry(f"n{n}", "broken", "é" * 20, f"{n}{'é' * size}", data={"notes": []})
        for n in range(2_000)
    )
    for run, told in (
        (summary.Run(entries, "compared"), "(cut: too long)"),
        (summary.Run(entries[:200], "compared"), "more reports do not fit here; see the log."),
    ):
        text = comment.body(run, "a project", "<sub>Checked</sub>")
        assert len(text) <= comment.LIMIT
        assert told in text
        assert text.endswith("<sub>Checked</sub>\n")
        assert text.count("<details>") == text.count("</details>")
