"""No output of any command holds the password or the signed query of an address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.addresses import redacted, redacted_in
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.internal import located
from tests.conftest import Printed, save
from tests.readers.test_remote import Server, server
from tests.test_declared import ENTRY, declare

__all__ = ["server"]

SECRETS = ("hunter2", "tokentoken", "SIGNATURE")
Command = Callable[..., Printed]


def secret_address(server: Server, name: str) -> str:
    host = server.url.removeprefix("http://")
    return f"http://user:hunter2@{host}/{name}?token=tokentoken&X-Amz-Signature=SIGNATURE"


def assert_silent(folder: Path, *outputs: str) -> None:
    written = [path for path in folder.rglob("*") if path.is_file() and path.name != "pyproject.toml"]
    texts = [*outputs, *(path.read_bytes().decode("latin-1") for path in written)]
    assert not [text for text in texts for secret in SECRETS if secret in text]


@pytest.mark.parametrize("mode", ["ranges", "403", "500", "whole"])
def test_commands_that_are_given_an_address(
    project: pytest.Pytester, server: Server, command: Command, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    server.folder, server.mode = project.path, mode
    (project.path / "bad.pt").write_bytes(b"PK\3\4 not a zip archive")
    for name in ("net.pt", "bad.pt", "absent.pt"):
        address = secret_address(server, name)
        for words in (
            ("show", address),
            ("show", address, "--key", "nothing"),
            ("diff", address, "net.pt"),
            ("diff", "net.pt", address, "--format", "json"),
            ("diff", address, "models:Net", "-vv"),
            ("show", "simplecache::" + address),
            ("show", address.replace("http://", "http:/")),
        ):
            printed = command(*words)
            assert printed.code in (0, 1, 2)
            assert_silent(project.path, printed.out, printed.err)
    assert server.requests


def test_mistakes_in_the_command_line(
    server: Server, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("show", "net.pt", secret_address(server, "net.pt")), (secret_address(server, "net.pt"),)):
        with pytest.raises(SystemExit):
            command(*words)
        assert not any(secret in capsys.readouterr().err for secret in SECRETS)


@pytest.mark.parametrize("mode", ["ranges", "403"])
def test_commands_on_a_registered_address(
    project: pytest.Pytester, server: Server, command: Command, mode: str
) -> None:
    server.folder = project.path
    address = secret_address(server, "net.pt")
    declare(project, ENTRY.replace('"net.pt"', f'"{address}"'))
    steps = [command("update"), command("check", "--report", "r.json")]
    server.mode = mode
    save(project.path / "net.pt", classes=7)
    later = (
        ("check", "--report", "r.json"),
        ("check", "--report", "r.md"),
        ("status",),
        ("accept", "net-v1", "--rule", "CK202", "--reason", "meant"),
        ("update", "net-v1"),
    )
    steps += [command(*words) for words in later]
    assert_silent(project.path, *(printed.out + printed.err for printed in steps))
    result = project.runpytest_inprocess("--ckpt-report=p.json", "--junitxml=j.xml", "-vv", "-l")
    assert_silent(project.path, result.stdout.str(), result.stderr.str())
    assert (project.path / "p.json").exists()
    assert (project.path / "j.xml").exists()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("models/net@2x.pt", "models/net@2x.pt"),
        ("https://u:p/w@host:80/a.pt?token=x", "https://"),
        ("simplecache::https://u:p@host/a.pt?token=x", "simplecache::https://host/a.pt"),
        ("http:/u:p@host/a.pt?token=x", "http:/host/a.pt"),
        ("s3://bucket/a@b.pt", "s3://bucket/a@b.pt"),
        ("C:\\models\\net.pt", "C:\\models\\net.pt"),
    ],
)
def test_what_is_shown_of_a_path(path: str, shown: str) -> None:
    assert redacted(path) == shown


def test_an_address_that_a_library_quotes() -> None:
    text = "Cannot connect: url='https://u:hunter2@host/a.pt?token=tokentoken', tried twice"
    assert redacted_in(text) == "Cannot connect: url='https://host/a.pt', tried twice"
    assert str(ReadError("a.pt", text, "retry")) == f"a.pt: {redacted_in(text)}; retry"
    assert located(ValueError(text)) == f"ValueError: {redacted_in(text)}"
