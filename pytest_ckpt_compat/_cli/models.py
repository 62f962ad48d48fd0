"""Definitions as options name them: ``--model pkg:Net --kwargs '{width = 32}'``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import UsageError

if TYPE_CHECKING:
    from pytest_ckpt_compat._history.questions import Model

KWARGS_HELP = "its keyword arguments, as a registration has them: '{width = 32}', or as JSON"


class ForTheModelBefore(argparse.Action):
    """Keeps the keyword arguments with the ``--model`` that they follow."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Adds a pair of the model's place and its arguments."""
        models = namespace.model or []
        given = dict(getattr(namespace, self.dest) or {})
        if not models or len(models) - 1 in given:
            parser.error(f"{option_string} {values}: give it once, after the --model that it is for")
        setattr(namespace, self.dest, {**given, len(models) - 1: values})


def model_of(address: str, kwargs: str | None) -> Model:
    """The definition of an option.

    Raises:
        UsageError: it is not the name of a definition, or the arguments are no table.
    """
    from pytest_ckpt_compat._cli.sides import is_address
    from pytest_ckpt_compat._history.questions import Model

    if not is_address(address):
        problem, advice = "is not the name of a model", 'write "package.module:attr", such as models:Net'
        raise UsageError(address, problem, advice)
    return Model(address, {} if kwargs is None else _table(kwargs))


def _table(text: str) -> dict[str, Any]:
    from pytest_ckpt_compat._core import toml

    try:
        found = json.loads(text)
    except ValueError:
        try:
            data = toml.parse(f"kwargs = {text}")
        except ValueError as error:
            raise UsageError(f"--kwargs {text}", f"is no table: {error}", "write '{width = 32}'") from error
        found = data["kwargs"] if len(data) == 1 else None
    if not isinstance(found, dict):
        raise UsageError(f"--kwargs {text}", "is no table", "write '{width = 32}'")
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError):
        problem = "has a date, a time, nan or inf in it"
        raise UsageError(
            f"--kwargs {text}", problem, "give a function of the project that makes it"
        ) from None
    return found
