"""The addresses of the documentation come from where the project states them."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.links import documentation, rule_url

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """A process remembers what the package states."""
    documentation.cache_clear()
    yield
    documentation.cache_clear()


def state(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    """Makes the installed package state these addresses."""
    message = Message()
    for url in urls:
        message["Project-URL"] = url
    monkeypatch.setattr(metadata, "metadata", lambda _name: message)


@pytest.mark.parametrize("url", ["https://docs.example.org/en/stable", "https://docs.example.org/en/stable/"])
def test_a_rules_page_is_on_the_site_that_the_package_states(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    state(monkeypatch, "Source, https://example.org/code", f"Documentation, {url}")
    assert rule_url("CK103") == "https://docs.example.org/en/stable/rules.html#ck103"


def test_no_address_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    state(monkeypatch, "Source, https://example.org/code")
    assert documentation() == rule_url("CK103") == ""

    def missing(name: str) -> Message:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", missing)
    documentation.cache_clear()
    assert rule_url("CK103") == ""


def test_the_address_is_that_of_the_project_file() -> None:
    from pytest_ckpt_compat._core import toml

    project = toml.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = str(project.get("urls", {}).get("Documentation", ""))
    assert documentation() == (stated.rstrip("/") + "/" if stated else "")
