"""The page: one file without anything from outside, in which names from files are data and never markup."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report.html import rules
from pytest_ckpt_compat._report.html.section import described
from pytest_ckpt_compat._report.summary import Entry, Run, State

#: The parts of the page's script, in the order in which they need each other.
_SCRIPTS = ("keys", "model", "shown", "curves", "details", "tree", "control", "start")
#: State -> its sign and its words, one checkpoint and several.
_STATES: dict[State, tuple[str, str]] = {
    "broken": ("✕", "breaks"),
    "unknown": ("?", "not checked"),
    "before": ("=", "broke before"),
    "warning": ("!", "loads, look at it"),
    "ok": ("✓", "loads"),
    "skipped": ("»", "skipped"),
}


def require(what: str) -> None:
    """Raises UsageError if what pages are made with is not installed; call it before the run.

    Args:
        what: how the user asked for the page (``report r.html``).
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        problem = "needs jinja2, which is not installed"
        raise UsageError(what, problem, 'run: pip install "pytest-ckpt-compat[html]"') from error


@dataclass(frozen=True)
class _Section:
    """One checkpoint on the page, as the template reads it."""

    number: int
    entry: Entry
    sign: str
    state: str

    @property
    def page(self) -> dict[str, Any]:
        """What ``section`` made of the verdict; nothing of each for what was not checked."""
        return described(Verdict()) | self.entry.page


def render(run: Run) -> str:
    """The run as a page of HTML, complete in itself, with the pages of the rules that it names.

    Raises:
        UsageError: jinja2 is not installed.
    """
    require("the report as HTML")
    style, script = _part("report.css"), _script()
    sections = [_Section(number, entry, *_STATES[entry.state]) for number, entry in enumerate(run.entries, 1)]
    explained = rules.named(run.entries)
    return _template()(
        run=run,
        sections=sections,
        counts=_counts(run),
        compared=run.compared.removeprefix("compared").strip(),
        size=count(len(run.entries), "checkpoint"),
        rules=explained,
        explained={each["id"] for each in explained},
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


@functools.cache
def _template() -> Callable[..., str]:
    """What fills the page's template, which is compiled once in a process."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = visible
    return environment.get_template("page.html").render


def _counts(run: Run) -> list[tuple[State, str, str, int]]:
    """State, sign, words and number, for each state that occurs."""
    number = Counter(entry.state for entry in run.entries)
    return [(state, sign, words, number[state]) for state, (sign, words) in _STATES.items() if number[state]]


def _script() -> str:
    body = "".join(_part(f"{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{body}}})();\n'


def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a page's policy names an inline element by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
