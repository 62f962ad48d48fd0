"""The ``ckpt-compat`` command: parse arguments, run, return an exit code as diff(1) does."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.errors import COULD_NOT_CHECK, CkptCompatError

if TYPE_CHECKING:
    from pytest_ckpt_compat._core.changes import Verdict
    from pytest_ckpt_compat._core.structure import Structure

    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_DEFINITION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 compatible (or done), 1 incompatible, 2 could not check.
    """
    parser = _parser()
    words = list(sys.argv[1:] if argv is None else argv)
    split = words.index("--") if "--" in words else len(words)
    arguments, rest = parser.parse_known_args(words[:split])
    rest += words[split + 1 :]
    if rest and arguments.run not in (_update, _check):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.pytest_args = rest
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        code = run(arguments)
        sys.stdout.flush()
    except CkptCompatError as error:
        _complain(str(error))
        return COULD_NOT_CHECK
    except BrokenPipeError:
        # The reader has seen enough; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return COULD_NOT_CHECK
    except KeyboardInterrupt:
        return COULD_NOT_CHECK
    except Exception as error:  # an uncaught exception would exit with 1, which means incompatible
        import traceback

        traceback.print_exc()
        _complain(f"internal error: {type(error).__name__}; this is a bug, please report it")
        return COULD_NOT_CHECK
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ckpt-compat",
        description="Does today's model code still load the checkpoints you have?",
        epilog="exit codes: 0 compatible, 1 incompatible, 2 could not check",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    show = commands.add_parser("show", help="print the structure of a checkpoint; reads no weights")
    show.add_argument("file", metavar="FILE", help="a checkpoint or a fingerprint file")
    show.add_argument("--key", help="dotted path of the state_dict in the file")
    show.set_defaults(run=_show)

    diff = commands.add_parser("diff", help="compare two sides; a definition as NEW is really loaded into")
    side = "a checkpoint, a fingerprint file or package.module:attr"
    diff.add_argument("old", metavar="OLD", help=side)
    diff.add_argument("new", metavar="NEW", help=side)
    diff.add_argument("--format", choices=("text", "json"), default="text")
    diff.add_argument("-v", "--verbose", action="count", default=0, help="-vv prints every key")
    diff.set_defaults(run=_diff)

    _add_update(commands)
    _add_accept(commands)
    _add_check(commands)
    return parser


def _add_update(commands: _Commands) -> None:
    update = commands.add_parser(
        "update",
        help="record snapshots; no test is run",
        description="Records the snapshots that are missing, and those of definitions that have changed; "
        "runs no test. The snapshot of a checkpoint is frozen: it is recorded anew only if its ID is given. "
        "Options that are not known here, and all after --, are passed on to pytest, which collects.",
    )
    update.add_argument(
        "ids", metavar="ID", nargs="*", help="a checkpoint whose file was replaced on purpose"
    )
    update.set_defaults(run=_update)


def _add_accept(commands: _Commands) -> None:
    accept = commands.add_parser("accept", help="accept a break that is meant, with a reason")
    accept.add_argument("id", metavar="ID", help="the checkpoint or definition, as the failure names it")
    accept.add_argument("--rule", required=True, help="rule id (CK202)")
    accept.add_argument("--key", default="*", help='a glob over keys ("head.*"); all keys, if not given')
    accept.add_argument("--reason", required=True, help="why; shown in every report")
    accept.add_argument(
        "--until", type=_date, metavar="DATE", help="the last day it is accepted (2026-12-31)"
    )
    accept.add_argument("--against", metavar="REF", help="as the check that failed had it")
    accept.set_defaults(run=_accept)


def _add_check(commands: _Commands) -> None:
    check = commands.add_parser(
        "check",
        help="check every registered checkpoint; no test is run",
        description="Checks every registered checkpoint, and runs no test. Options that are not known here, "
        "and all after --, are passed on to pytest, which collects them.",
    )
    check.add_argument(
        "--against", metavar="REF", help="fail on what this branch breaks since it left REF (origin/main)"
    )
    check.add_argument("-v", "--verbose", action="count", default=0, help="-vv prints every key")
    check.add_argument("--report", metavar="FILE", help="write a report, by suffix: .json, .md")
    check.add_argument(
        "--snapshots", action="store_true", help="open no checkpoint that has a snapshot, though it is there"
    )
    check.set_defaults(run=_check)

    status = commands.add_parser("status", help="list every registered checkpoint and how it stands")
    status.set_defaults(run=_status)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write 2026-12-31") from None


def _show(arguments: argparse.Namespace) -> int:
    from pytest_ckpt_compat._report.tree import render

    print(render(_read(arguments.file, arguments.key)))
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    verdict = _compare(arguments.old, arguments.new)
    if arguments.format == "json":
        from pytest_ckpt_compat._report.json import render as render_json

        print(render_json(verdict))
    else:
        from pytest_ckpt_compat._report.text import render

        print(render(verdict, full=arguments.verbose >= 2))
    return verdict.exit_code


def _update(arguments: argparse.Namespace) -> int:
    from pytest_ckpt_compat._cli import commands

    lines, code = commands.update(arguments.ids, arguments.pytest_args)
    print("\n".join(lines))
    return code


def _accept(arguments: argparse.Namespace) -> int:
    from pytest_ckpt_compat._cli import commands
    from pytest_ckpt_compat._snapshots.accepted import Entry

    wanted = Entry(arguments.id, arguments.rule, arguments.key, arguments.reason, arguments.until)
    print(commands.accept(wanted, against=arguments.against))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from pytest_ckpt_compat._cli import commands
    from pytest_ckpt_compat._report import publish as outlets
    from pytest_ckpt_compat._report.overview import render

    if arguments.report:
        outlets.check_name(arguments.report)
    checked = commands.check(arguments.against, arguments.pytest_args, arguments.snapshots)
    print(render(checked.verdicts, checked.counts, checked.label, checked.said, arguments.verbose >= 2))
    for line in outlets.publish(checked.run(), arguments.report, os.environ):
        print(line)
    return checked.exit_code


def _status(_arguments: argparse.Namespace) -> int:
    from pytest_ckpt_compat._cli import commands

    print(commands.status())
    return 0


def _compare(old: str, new: str) -> Verdict:
    from pytest_ckpt_compat._check import check as checking
    from pytest_ckpt_compat._core.changes import Policy
    from pytest_ckpt_compat._definition.build import search_path

    with search_path(str(Path.cwd())):
        if not _is_definition(new):
            return checking.diff(_side(old), _side(new))
        from pytest_ckpt_compat._definition.find import find

        return checking.check_structure(_side(old), find(new), Policy())


def _side(text: str) -> Structure:
    if _is_definition(text):
        from pytest_ckpt_compat._definition import define

        return define(text)
    return _read(text, None)


def _is_definition(text: str) -> bool:
    return bool(_DEFINITION.fullmatch(text)) and not Path(text).exists()


def _read(path: str, key: str | None) -> Structure:
    from pytest_ckpt_compat import _readers as readers
    from pytest_ckpt_compat._cli.progress import told_if_slow
    from pytest_ckpt_compat._snapshots import folder as snapshots

    stored = snapshots.read_file(path)
    if stored is not None:
        return stored
    with told_if_slow(path):
        return readers.read(path, key)


def _complain(message: str) -> None:
    print(f"ckpt-compat: {message}", file=sys.stderr)
