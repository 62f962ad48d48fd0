"""Rules as a file of TOML: what ``convert --rules`` and ``migrate="rules.toml"`` read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files, toml
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._migrate import body, python
from pytest_ckpt_compat._migrate.body import Written
from pytest_ckpt_compat._migrate.rules import Joint, Rename, Rule, Rules
from pytest_ckpt_compat._migrate.steps import MOVE, PARAMETERS, Op
from pytest_ckpt_compat._migrate.templates import Template, parsed, written

#: The version of the format that this writes, and the newest that it reads.
VERSION = 1

_USAGE = "see the page on migrating in the documentation"


def text_of(found: Written) -> str:
    """The file: the operations, then the renames, with all that is open as comments."""
    lines = [*python.comment(found.title), *body.decisions(found), f"ckpt_compat_rules = {VERSION}"]
    for rule in found.rules.all:
        lines += ["", *body.remarks(found, rule, 0), *_table(rule)]
    for each in found.doubtful:
        lines += ["", *body.likely(each, 0), *(f"# {line}" for line in _table(each.rule))]
    return body.texts(lines)


def _table(rule: Rule) -> Iterator[str]:
    if isinstance(rule, Rename):
        yield "[[rename]]"
        yield f"from = {_text(rule.pattern)}"
        yield f"to = {_text(written(rule.new))}"
        return
    yield f"[[{rule.op.name}]]"
    yield f"from = {_several([rule.pattern, *map(written, rule.others)])}"
    if rule.new:
        yield f"to = {_several([written(each) for each in rule.new])}"
    left = list(rule.op.numbers)
    for name in PARAMETERS[rule.op.name]:
        if left or not name.startswith("?"):
            yield f"{_bare(name)} = {left if name.startswith('*') else left.pop(0)}"


def _bare(parameter: str) -> str:
    """The name of a parameter, without the sign for how many numbers it has."""
    return parameter.lstrip("*?")


def _several(texts: list[str]) -> str:
    if len(texts) == 1:
        return _text(texts[0])
    return "[\n" + "".join(f"    {_text(text)},\n" for text in texts) + "]"


def _text(text: str) -> str:
    """A string of TOML: literal where it can be, so that backslashes stay as they are."""
    if text.isprintable() and "'" not in text:
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(ch if ch.isprintable() else _code(ord(ch)) for ch in escaped) + '"'


def _code(code: int) -> str:
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def read(path: Path) -> Rules:
    """The rules in a file.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        text = files.read_text(path, files.SETTINGS_BYTES)
    except (OSError, ValueError) as error:
        raise UsageError(str(path), f"cannot be read: {error}", "check the file") from error
    return rules_in(text, str(path))


def rules_in(text: str, name: str = "the rules") -> Rules:
    """The rules in a text, in the order in which they stand in it.

    Raises:
        UsageError: it is not TOML, or no table of rules.
    """
    try:
        data = toml.parse(text)
    except ValueError as error:
        raise UsageError(name, f"is not TOML: {error}", "correct it") from error
    version = data.pop("ckpt_compat_rules", None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UsageError(name, "is no file of rules", f"its first line is ckpt_compat_rules = {VERSION}")
    if version > VERSION:
        raise UsageError(
            name, f"is of format {version}, newer than this program", "update pytest-ckpt-compat"
        )
    unknown = next((each for each in data if each != "rename" and each not in PARAMETERS), None)
    if unknown is not None:
        raise UsageError(name, f"has a table {unknown!r}", _USAGE)
    renames = tuple(_rename(each, f"{name} [[rename]]") for each in _tables(data, "rename", name))
    joints = [
        _joint(kind, each, f"{name} [[{kind}]]")
        for kind in data
        if kind != "rename"
        for each in _tables(data, kind, name)
    ]
    return Rules(tuple(sorted(joints, key=lambda joint: joint.op.name != "copy")), renames)


def _tables(data: Mapping[str, Any], kind: str, name: str) -> list[Mapping[str, Any]]:
    tables = data.get(kind, [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise UsageError(name, f"has {kind} that is no list of tables", f"write [[{kind}]]")
    return tables


def _rename(table: Mapping[str, Any], name: str) -> Rename:
    _require_names(table, {"from", "to"}, name)
    pattern = _pattern(table.get("from"), name)
    return Rename(pattern, _template(table.get("to"), pattern, name))


def _joint(kind: str, table: Mapping[str, Any], name: str) -> Joint:
    parameters = PARAMETERS[kind]  # type: ignore[index]
    _require_names(table, {"from", "to", *map(_bare, parameters)}, name)
    first, *others = _list(table.get("from"), name)
    pattern = _pattern(first, name)
    new = [] if kind == "drop" and "to" not in table else _list(table.get("to"), name)
    numbers: list[int] = []
    for each in parameters:
        found = table.get(_bare(each))
        if found is None and each.startswith("?"):
            continue
        numbers += _numbers(found, name) if each.startswith("*") else _numbers([found], name)
    made = [tuple(_template(each, pattern, name) for each in some) for some in (others, new)]
    op = Op(kind, tuple(numbers))  # type: ignore[arg-type]
    if op == MOVE:
        raise UsageError(name, "is no operation", "write [[rename]]")
    _require_counts(op, 1 + len(made[0]), len(made[1]), name)
    return Joint(op, pattern, made[0], made[1])


def _require_names(table: Mapping[str, Any], known: set[str], name: str) -> None:
    unknown = next((each for each in table if each not in known), None)
    if unknown is not None:
        raise UsageError(name, f"has {unknown!r}", f"it may have {', '.join(sorted(known))}")


def _require_counts(op: Op, old: int, new: int, name: str) -> None:
    many_new = op.name in ("chunk", "split", "unstack")
    wanted_old = {"cat": None, "stack": None, "weight_norm": 2, "masked": 2, "unspectral": 3}.get(op.name, 1)
    wanted_new = {"norm_and_direction": 2, "drop": 0}.get(op.name, None if many_new else 1)
    if op.name == "split" and len(op.numbers) - 1 != new:
        raise UsageError(name, f"has {len(op.numbers) - 1} sizes for {new} keys", "give one size for each")
    if wanted_old not in (None, old) or wanted_new not in (None, new):
        raise UsageError(name, f"takes {old} and gives {new} tensors", _USAGE)


def _list(value: Any, name: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str) for each in values):
        raise UsageError(name, "needs from and to, each a text or a list of texts", _USAGE)
    return values


def _numbers(values: Any, name: str) -> list[int]:
    whole = isinstance(values, list) and all(
        isinstance(each, int) and not isinstance(each, bool) for each in values
    )
    if not whole:
        raise UsageError(name, "has something else where a number is wanted", _USAGE)
    return list(values)


def _pattern(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise UsageError(name, "has no pattern", "give from, a regular expression")
    try:
        re.compile(value)
    except (re.error, RecursionError) as error:
        raise UsageError(
            name, f"has {value!r}, which is no regular expression ({error})", "correct it"
        ) from error
    return value


def _template(value: Any, pattern: str, name: str) -> Template:
    if not isinstance(value, str):
        raise UsageError(name, "has no new key", "give to, a text")
    try:
        template = parsed(value)
    except ValueError as error:
        raise UsageError(name, f"has {value!r}: {error}", "correct it") from error
    most = re.compile(pattern).groups
    if any(not isinstance(part, str) and part.group > most for part in template):
        raise UsageError(name, f"has {value!r}, but its pattern has {most} groups", "count its parentheses")
    return template
