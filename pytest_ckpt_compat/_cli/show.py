"""``ckpt-compat show``: prints the structure of a checkpoint."""

from __future__ import annotations

import argparse

from pytest_ckpt_compat._cli.sides import read
from pytest_ckpt_compat._core.errors import ChoiceError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser("show", help="print the structure of a checkpoint; reads no weights")
    parser.add_argument(
        "file", metavar="FILE", help="a checkpoint, a snapshot, or the id of a recorded checkpoint"
    )
    parser.add_argument("--key", help="dotted path of the state_dict in the file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the tree of modules; of several state_dicts, each has its own."""
    from pytest_ckpt_compat._report.tree import render

    try:
        found = [read(arguments.file, arguments.key)]
    except ChoiceError as several:
        found = [read(arguments.file, key) for key in several.equal]
    print("\n\n".join(map(render, found)))
    return 0
