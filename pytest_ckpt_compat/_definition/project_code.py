"""The functions of a project that load a checkpoint: a migration of its keys, or the whole loader."""

from __future__ import annotations

import inspect
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._definition.names import brief, dotted, find_attribute, name_of
from pytest_ckpt_compat._registry.chain import RULES, Link
from pytest_ckpt_compat._registry.options import LIBRARIES

if TYPE_CHECKING:
    from torch import nn

    from pytest_ckpt_compat._migrate.rules import Rules


class RemapError(Exception):
    """A migration raised, or returned no state_dict."""


#: Most arguments that a migration is given: the state_dict and the module.
_MOST = 2


#: Names of a second argument with a default that show that it is the module, as in timm.
_MODULE_NAMES = ("model", "module")


@dataclass(frozen=True)
class Remap:
    """A function that a project applies to a state_dict before it loads it: one migration.

    Attributes:
        function: the project's.
        name: as a user would write it.
        takes_model: whether it is given the module as well.
        rules: those in the file that stands in for the function, or None.
        to: the version of the file that it leads to, or "" if it is for every file.
    """

    function: Callable[..., Any]
    name: str
    takes_model: bool
    rules: Rules | None = None
    to: str = ""

    def __call__(self, state: Mapping[str, Any], module: nn.Module | None) -> Mapping[str, Any]:
        """Returns what the function makes of a state_dict, which it may change in place.

        Raises:
            RemapError: it raises, or returns no mapping.
        """
        own = OrderedDict(state)
        if hasattr(state, "_metadata"):
            own._metadata = state._metadata  # type: ignore[attr-defined]
        try:
            made = self.function(own, module) if self.takes_model else self.function(own)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise RemapError(f"migration {self.name} raised {brief(error)}") from error
        if not isinstance(made, Mapping):
            returned = "None" if made is None else type(made).__name__
            raise RemapError(f"migration {self.name} returned {returned}: it is to return the state_dict")
        return made


@dataclass(frozen=True)
class Loader:
    """A project's own loader, ``function(path, **kwargs) -> module``.

    Attributes:
        function: the project's.
        name: as a user would write it.
    """

    function: Callable[..., Any]
    name: str


def remap_of(link: Link) -> Remap:
    """Resolves one migration of a registration.

    Raises:
        BuildError: the name cannot be imported.
        UsageError: it is no function of one or two arguments, or no file of rules.
    """
    given = link.by
    if isinstance(given, str) and given.endswith(RULES):
        from pytest_ckpt_compat._definition.operations import by_rules
        from pytest_ckpt_compat._migrate import toml_file

        rules = toml_file.read(Path(given))
        return Remap(by_rules(rules), link.shown or os.path.basename(given), False, rules, link.to)
    function = find_attribute(given) if isinstance(given, str) else given
    name = dotted(given) if isinstance(given, str) else name_of(function)
    name = name or getattr(function, "__name__", type(function).__name__)
    usage = "give a function: state_dict -> state_dict, or (state_dict, model) -> state_dict"
    if not callable(function) or inspect.isclass(function):
        raise UsageError(f"migration {name}", "is not a function", usage)
    takes_model = _takes_model(function)
    if takes_model is None:
        raise UsageError(f"migration {name}", "takes neither one argument nor two", usage)
    return Remap(function, name, takes_model, to=link.to)


def loader_of(given: Any) -> Loader:
    usage = f'give a function, path -> module, "package.module:function", or {" or ".join(LIBRARIES)}'
    if isinstance(given, str) and ":" not in given:
        raise UsageError(f"load {given}", "is neither a function nor a library that is known", usage)
    function = find_attribute(given) if isinstance(given, str) else given
    name = dotted(given) if isinstance(given, str) else name_of(function) or repr(function)
    if not callable(function):
        raise UsageError(f"load {name}", "is not a function", usage)
    return Loader(function, name)


def _takes_model(function: Callable[..., Any]) -> bool | None:
    """Whether a migration is given the module as its second argument; None if it cannot be called so.

    An optional second argument is the module if it has the name of one: timm gives it, too.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [each for each in signature.parameters.values() if each.kind in kinds]
    if len(positional) >= _MOST and positional[1].name in _MODULE_NAMES:
        counts: tuple[int, ...] = (_MOST, 1)
    else:
        counts = (1, _MOST)
    for number in counts:
        try:
            signature.bind(*range(number))
        except TypeError:
            continue
        return number == _MOST
    return None
