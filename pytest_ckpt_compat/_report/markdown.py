"""The report as Markdown, for the page of a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.links import rule_url
from pytest_ckpt_compat._report import alike
from pytest_ckpt_compat._report.findings import of_entry
from pytest_ckpt_compat._report.summary import Entry, Run, State

#: Bytes, somewhat fewer than GitHub accepts for a step's summary.
LIMIT = 1_000_000
_SIGNS: dict[State, str] = {
    "broken": "❌",
    "unknown": "❓",
    "before": "⚠️",
    "warning": "⚠️",
    "ok": "✅",
    "skipped": "⏭️",
}
#: Entities, since a backslash escapes neither in a table cell nor in HTML.
_ESCAPES = {sign: f"&#{ord(sign)};" for sign in "&<>|\\`*_[]~"}
_ESCAPES |= {sign: f"&#{ord(sign)};<!-- -->" for sign in "@#"}


def render(run: Run, limit: int = LIMIT) -> str:
    """The run as Markdown of at most ``limit`` bytes; whole reports are left out before table rows."""
    lines = ["## Checkpoint compatibility", "", cell(run.compared), ""]
    lines += [
        line for each in (*run.settings, *run.left_out, *run.migrations.lines) for line in (cell(each), "")
    ]
    lines += ["| | checkpoint | verdict |", "|---|---|---|"]
    lines += [f"| {_SIGNS[each.state]} | {cell(each.id)} | {cell(each.headline)} |" for each in run.entries]
    told = [f"- {cell(f'{each.id}: {line}')}" for each in run.entries for line in each.by_settings]
    told += _explained(run)
    told += [f"- {cell(line)}" for line in run.failures]
    page = "\n".join([*lines, *([""] if told else []), *told]) + "\n"
    left = 0
    for group in alike.groups(run.of("broken", "unknown", "before")):
        details = _details(group)
        if len((page + details).encode()) > limit - 200:
            left += len(group)
        else:
            page += details
    if left:
        page += f"\n{left} more reports do not fit here; see the log.\n"
    return _cut(page, limit)


def _explained(run: Run) -> list[str]:
    """A line on where each rule is explained of which something is to be done; none where there is none."""
    rules = sorted({each.rule for entry in run.entries for each in of_entry(entry.findings) if each.open})
    pages = [
        f"[{rule}]({rule_url(rule)})" if rule_url(rule) else f"`ckpt-compat explain {rule}`" for rule in rules
    ]
    return [f"- What it means, and how to mend or accept it: {', '.join(pages)}"] if pages else []


def _details(group: Sequence[Entry]) -> str:
    text, fence = alike.block(group), "```"
    while fence in text:
        fence += "`"
    name = cell(alike.title(group))
    return f"\n<details><summary>{name}</summary>\n\n{fence}\n{text}\n{fence}\n\n</details>\n"


def cell(text: str) -> str:
    """``text`` with every sign escaped that Markdown or HTML would interpret.

    GitHub looks for names and numbers to link and to notify in the text that is left, so that a comment parts
    them from their sign; an address is none without its two slashes.
    """
    escaped = "".join(_ESCAPES.get(sign, sign) for sign in visible(text))
    return escaped.replace("://", ":&#47;/")


def _cut(page: str, limit: int) -> str:
    data = page.encode()
    if len(data) <= limit:
        return page
    return data[: max(limit - 40, 0)].decode(errors="ignore").rpartition("\n")[0] + "\n\n(cut: too long)\n"
