"""The parts of the site that are made from the code: rules, marker options, commands, pytest options.

A page holds ``<!-- generated: NAME -->``; ``conf.py`` puts the Markdown of ``PARTS[NAME]`` there. The tables
in ``TABLES`` are committed: ``python docs/generate.py`` writes them between two comments of their page.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest_ckpt_compat
from pytest_ckpt_compat._cli.main import parser
from pytest_ckpt_compat._core import pages
from pytest_ckpt_compat._core.rule import Rule
from pytest_ckpt_compat._core.rules import RULES
from pytest_ckpt_compat._pytest_plugin import hooks
from pytest_ckpt_compat._registry import options

_PLACEHOLDER = re.compile(r"<!-- generated: (\w+) -->")
_TABLE = re.compile(r"(<!-- table: (\w+) -->)\n.*?(<!-- end of table -->)", re.DOTALL)
#: Files of the root folder that have a page of the site: a link to one means that page.
_ROOT_PAGE = re.compile(r"\]\(\.\./(CHANGELOG|CONTRIBUTING|SECURITY)\.md")


def fill(text: str) -> str:
    """A page's text with every placeholder and link replaced. Raises KeyError for an unknown placeholder."""
    filled = _PLACEHOLDER.sub(lambda match: PARTS[match[1]](), text)
    return _ROOT_PAGE.sub(lambda match: f"]({match[1].lower()}.md", filled)


def tables(text: str) -> str:
    """A page's text with its committed tables as the code gives them today."""
    return _TABLE.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n{match[3]}", text)


def rules() -> str:
    """A section for each rule."""
    lines = []
    for rule in sorted(RULES, key=lambda rule: rule.id):
        lines += ["", f"({rule.id.lower()})=", f"## {rule.id} {rule.kind}", "", _sentence(rule.meaning), ""]
        lines += [pages.markdown(rule), "", f"- Severity: {_severity(rule)}"]
        lines += [f"- Advice of the report: {rule.advice}"] if rule.advice else []
    return "\n".join(lines)


def rule_table() -> str:
    """A table of all rules."""
    found = sorted(RULES, key=lambda rule: rule.id)
    rows = [(f"[{rule.id}](#{rule.id.lower()})", rule.kind, _severity(rule), rule.meaning) for rule in found]
    return "\n".join(_table(("id", "kind", "severity", "meaning"), rows))


def marker_options() -> str:
    """A table of the marker's options, in the order of its signature."""
    return options.table()


def commands() -> str:
    """A section for each command of ``ckpt-compat``, with its usage and its options."""
    lines = []
    for name, help_text, each in _subparsers(parser()):
        usage = " ".join(each.format_usage().removeprefix("usage: ").split())
        lines += [f"## ckpt-compat {name}", "", _sentence(each.description or help_text), ""]
        lines += ["```text", usage, "```", ""]
        rows = [(_spelling(action), _help(action)) for action in _actions(each)]
        lines += [*_table(("argument", "meaning"), rows), ""] if rows else []
    return "\n".join(lines)


def command_table() -> str:
    """A table of the commands, a line each."""
    rows = ((f"`{name}`", _sentence(text)) for name, text, _ in _subparsers(parser()))
    return "\n".join(_table(("ckpt-compat", "what it does"), rows))


def pytest_options() -> str:
    """A table of the options and settings that the plugin adds to pytest."""
    recorder = _Recorder()
    hooks.pytest_addoption(recorder)  # type: ignore[arg-type]
    return "\n".join(_table(("option", "meaning"), recorder.rows))


def interface() -> str:
    """One autodoc directive for each public name."""
    lines = []
    for name in pytest_ckpt_compat.__all__:
        found = getattr(pytest_ckpt_compat, name)
        is_class = isinstance(found, type)
        is_error = is_class and issubclass(found, Exception)
        directive = "autoexception" if is_error else "autoclass" if is_class else "autofunction"
        lines += ["```{eval-rst}", f".. {directive}:: pytest_ckpt_compat.{name}"]
        lines += ["   :members:"] if is_class else []
        lines += ["```", ""]
    return "\n".join(lines)


def interface_table() -> str:
    """A table of the public names, a line each."""
    found = ((name, getattr(pytest_ckpt_compat, name)) for name in pytest_ckpt_compat.__all__)
    rows = ((f"`{name}`", str(each.__doc__).strip().partition("\n")[0]) for name, each in found)
    return "\n".join(_table(("name", "what it is"), rows))


PARTS: Mapping[str, Callable[[], str]] = {part.__name__: part for part in (rules, commands, interface)}
TABLES: Mapping[str, Callable[[], str]] = {
    part.__name__: part
    for part in (rule_table, marker_options, command_table, pytest_options, interface_table)
}


class _Recorder:
    """Stands in for pytest's parser, and keeps what the plugin adds to it."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    def getgroup(self, _name: str) -> _Recorder:
        return self

    def addoption(self, name: str, **options: Any) -> None:
        value = f" {options['metavar']}" if "metavar" in options else ""
        self.rows.append((f"`{name}{value}`", _sentence(options["help"])))

    def addini(self, name: str, help_text: str, **_options: Any) -> None:
        self.rows.append((f"`{name}` (ini)", _sentence(help_text)))


def _severity(rule: Rule) -> str:
    lenient = f" (`strict=False`: {rule.lenient.value})" if rule.lenient else ""
    return rule.severity.value + lenient


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    for group in parser._actions:
        if isinstance(group, argparse._SubParsersAction):
            helps = {action.dest: action.help or "" for action in group._choices_actions}
            yield from ((name, helps[name], each) for name, each in group.choices.items())


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in parser._actions if not isinstance(action, argparse._HelpAction))


def _spelling(action: argparse.Action) -> str:
    value = str(action.metavar or action.dest.upper())
    if action.choices:
        value = "{" + ",".join(action.choices) + "}"
    shown = "" if action.nargs == 0 else value
    return f"`{' '.join(part for part in (', '.join(action.option_strings), shown) if part)}`"


def _help(action: argparse.Action) -> str:
    choices = " or ".join(f"`{choice}`" for choice in action.choices or ())
    text = _sentence(action.help or f"{choices}; the default is `{action.default}`")
    return f"{text} Required." if action.required and action.option_strings else text


def _sentence(text: str) -> str:
    begun = text[:1].upper() + text[1:] if text[:1].islower() and not text.startswith("get_") else text
    return begun if begun.endswith(".") else begun + "."


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    titles = tuple(head)
    yield f"| {' | '.join(titles)} |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


if __name__ == "__main__":
    for page in sorted(Path(__file__).parent.glob("*.md")):
        page.write_text(tables(page.read_text(encoding="utf-8")), encoding="utf-8")
