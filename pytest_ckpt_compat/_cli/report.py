"""``ckpt-compat report merge``: the reports of a run's shards as one."""

from __future__ import annotations

import argparse
import os

from pytest_ckpt_compat._core.errors import UsageError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "report",
        help="merge the JSON reports of a run's shards",
        description="Merges reports that were written as .json by the shards of a run, prints the whole, and "
        "exits as the whole run would have.",
    )
    parser.add_argument("action", choices=["merge"], help="what to do with them")
    parser.add_argument("files", metavar="FILE", nargs="+", help="a report, ending in .json")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the whole, by suffix: .json, .md")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the overview and writes the report; returns the exit code.

    Raises:
        UsageError: a file is no report, or the reports are not of one run.
        SnapshotError: the report cannot be written.
    """
    from pytest_ckpt_compat._report import merge, publish
    from pytest_ckpt_compat._report.overview import render

    if arguments.output:
        publish.check_name(arguments.output)
    whole, code = merge.merged([merge.read(name, _text(name)) for name in arguments.files])
    print(render(whole))
    for line in publish.publish(whole, arguments.output, os.environ):
        print(line)
    return code


def _text(name: str) -> str:
    from pathlib import Path

    from pytest_ckpt_compat._core import files

    try:
        return files.read_text(Path(name), files.REPORT_BYTES)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(name, f"cannot be read: {why}", "check the path") from None
