"""``ckpt-compat show``: prints the structure of a checkpoint."""

from __future__ import annotations

import argparse

from pytest_ckpt_compat._cli.sides import read


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser("show", help="print the structure of a checkpoint; reads no weights")
    parser.add_argument("file", metavar="FILE", help="a checkpoint or a snapshot")
    parser.add_argument("--key", help="dotted path of the state_dict in the file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the tree of modules."""
    from pytest_ckpt_compat._report.tree import render

    print(render(read(arguments.file, arguments.key)))
    return 0
