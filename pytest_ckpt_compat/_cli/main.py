"""The ``ckpt-compat`` command: parses arguments, runs a command, returns an exit code as diff(1) does."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from pytest_ckpt_compat._core.addresses import redacted_in
from pytest_ckpt_compat._core.display import escape_what_cannot_be_shown
from pytest_ckpt_compat._core.errors import COULD_NOT_CHECK, CkptCompatError

#: What writing to a stream raises where it leads to a full disk, or to nothing.
_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)
#: In the order of the help. Each is a module of this folder.
_COMMANDS = (
    *("show", "diff", "migrate", "convert", "update", "accept", "review", "retire"),
    *("check", "status", "record", "history", "report", "explain", "comment"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 compatible (or done), 1 incompatible, 2 could not check.
    """
    escape_what_cannot_be_shown(sys.stdout, sys.stderr)
    try:
        arguments = _parsed(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return _interrupted()
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        code = run(arguments)
        if sys.stdout is not None:  # it is None where a caller has closed it
            sys.stdout.flush()
    except CkptCompatError as error:
        _complain(str(error))
        return COULD_NOT_CHECK
    except BrokenPipeError:
        _drop_output()  # the reader has seen enough
        return COULD_NOT_CHECK
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT:
            return _bug(error)
        _drop_output()
        _complain(f"the output cannot be written ({error.strerror}); write it elsewhere, or make room")
        return COULD_NOT_CHECK
    except KeyboardInterrupt:
        return _interrupted()
    except BaseException as error:  # uncaught, it would exit with 1, which means incompatible, or with 0
        return _bug(error)
    return code


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints quote no secret of an address."""

    def error(self, message: str) -> NoReturn:
        """Prints the usage and the message; exits with 2."""
        super().error(redacted_in(message))


def parser(names: Sequence[str] = _COMMANDS) -> argparse.ArgumentParser:
    """The parser of these commands; the modules of others are not imported."""
    whole = _Parser(
        prog="ckpt-compat",
        description="Does today's model code still load the checkpoints you have?",
        epilog="exit codes: 0 compatible, 1 incompatible, 2 could not check",
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name in names:
        importlib.import_module(f"{__package__}.{name}").add(commands)
    for command in commands.choices.values():
        command.set_defaults(refuse=command.error)  # with the command's own usage
    return whole


def _parsed(words: list[str]) -> argparse.Namespace:
    """The arguments; what a command does not know, it may pass on to pytest."""
    whole = parser(words[:1] if words[:1] and words[0] in _COMMANDS else _COMMANDS)
    split = words.index("--") if "--" in words else len(words)
    arguments, rest = whole.parse_known_args(words[:split])
    rest += words[split + 1 :]
    if rest and not getattr(arguments, "passes_on", False):
        arguments.refuse(f"unrecognized arguments: {' '.join(rest)}")
    arguments.pytest_args = rest
    return arguments


def _drop_output() -> None:
    """Keeps the interpreter from complaining at exit of what it could not write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted() -> int:
    _complain("interrupted: not everything was checked; run it again")
    return COULD_NOT_CHECK


def _bug(error: BaseException) -> int:
    from pytest_ckpt_compat._core.internal import located

    _complain(f"internal error: {located(error)}; this is a bug, please report it")
    return COULD_NOT_CHECK


def _complain(message: str) -> None:
    print(f"ckpt-compat: {message}", file=sys.stderr)
