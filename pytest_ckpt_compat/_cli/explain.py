"""``ckpt-compat explain``: the page of a rule, or a list of all rules."""

from __future__ import annotations

import argparse
import shutil


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "explain", help="explain a rule: what it tells, why, how to mend and how to accept it"
    )
    parser.add_argument(
        "rule", metavar="RULE", nargs="?", help="its id (CK103) or name (renamed); without it, all are listed"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the page or the list; returns 0."""
    from pytest_ckpt_compat._core import pages
    from pytest_ckpt_compat._core.rules import RULES, looked_up

    if arguments.rule is None:
        found = sorted(RULES, key=lambda rule: rule.id)
        width = max(len(rule.kind) for rule in found)
        for each in found:
            print(f"{each.id}  {each.kind:<{width}}  {each.severity.value:<10}  {each.meaning}")
        return 0
    rule = looked_up(arguments.rule, arguments.rule)
    print(pages.text(rule, shutil.get_terminal_size((pages.WIDTH, 24)).columns))
    return 0
