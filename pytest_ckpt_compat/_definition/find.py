"""Finds a definition from a class, a factory, a module instance, or "package.module:attr"."""

from __future__ import annotations

import importlib
import inspect
import os
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import BuildError, UsageError
from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._definition.lightning import is_lightning
from pytest_ckpt_compat._definition.pretrained_config import class_named_in, factory_of
from pytest_ckpt_compat._definition.surroundings import untouched_process
from pytest_ckpt_compat._registry.options import LIBRARIES

if TYPE_CHECKING:
    from torch import nn

    from pytest_ckpt_compat._registry.registration import Registration


class RemapError(Exception):
    """A project's remap raised, or returned no state_dict."""


#: Most arguments that a remap is given: the state_dict and the module.
_MOST = 2
#: Names of a second argument with a default that show that it is the module, as in timm.
_MODULE_NAMES = ("model", "module")


@dataclass(frozen=True)
class Remap:
    """A function that a project applies to a state_dict before it loads it.

    Attributes:
        function: the project's.
        name: as a user would write it.
        takes_model: whether it is given the module as well.
    """

    function: Callable[..., Any]
    name: str
    takes_model: bool

    def __call__(self, state: Mapping[str, Any], module: nn.Module) -> Mapping[str, Any]:
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
            raise RemapError(f"remap {self.name} raised {brief(error)}") from error
        if not isinstance(made, Mapping):
            returned = "None" if made is None else type(made).__name__
            raise RemapError(f"remap {self.name} returned {returned}: it is to return the state_dict")
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


@dataclass(frozen=True)
class Definition:
    """A model that can be built any number of times.

    Attributes:
        target: the class or factory, or a module instance to copy.
        name: the name as a user would write it, ``models.Classifier``; "" if it has no useful name (a
            lambda, a function inside a function).
        where: ``models/net.py:88``, the line where it is defined, or "".
        kwargs: keyword arguments for the class or factory.
        takes_checkpoint: whether it has a parameter ``checkpoint``, which receives the checkpoint's
            non-tensor values.
        remap: what the project does to a state_dict before the load, or None.
        lightning: whether it is the class of a LightningModule.
        prepares: whether Lightning's ``on_load_checkpoint`` is called before the load.
        loader: the project's whole loader, which gets ``kwargs`` and gives the module, or None.
        library: the library that loads it, where the registration names one (``transformers``), or "".
        path: where the checkpoint is or was, for what loads it by its path.
    """

    target: Any
    name: str
    where: str
    kwargs: Mapping[str, Any]
    takes_checkpoint: bool
    remap: Remap | None = None
    lightning: bool = False
    prepares: bool = True
    loader: Loader | None = None
    library: str = ""
    path: str = ""

    @property
    def reads_checkpoint(self) -> bool:
        """Whether what it builds depends on the checkpoint's non-tensor values."""
        return self.takes_checkpoint or self.lightning

    @property
    def label(self) -> str:
        """Name and line for messages: ``models.Classifier (models/net.py:88)``."""
        name = self.name or "the model"
        return f"{name} ({self.where})" if self.where else name


def find(
    model: Any,
    kwargs: Mapping[str, Any] | None = None,
    remap: Any = None,
    load: Any = None,
    path: str = "",
) -> Definition:
    """Resolves ``model`` to a definition, without building it.

    Args:
        model: a class, a factory, a module instance, or ``"package.module:attr"``; None if ``load`` gives
            the module.
        kwargs: keyword arguments for the class or factory, or for the project's loader.
        remap: what the project does to a state_dict before the load: ``state_dict -> state_dict`` or
            ``(state_dict, model) -> state_dict``, as a function or ``"package.module:function"``.
        load: the project's whole loader, ``function(path, **kwargs) -> module``, as a function or
            ``"package.module:function"``; or the name of a library that loads the checkpoint.
        path: where the checkpoint is or was.

    Raises:
        BuildError: ``"package.module:attr"`` cannot be imported.
        UsageError: ``model`` is none of a class, a factory, a module instance and a name of one; or
            ``remap`` is no function of one or two arguments; or ``load`` is no function and no library.
    """
    library = load if isinstance(load, str) and load in LIBRARIES else ""
    loader = None if library or load is None else _loader(load)
    if loader is not None:
        return _loaded_by(loader, model, kwargs, remap, path)
    if model is None:
        if not library:
            raise UsageError("the model", "is missing", 'give model, or load="package.module:function"')
        model = class_named_in(path)
    found = replace(_resolved(model, kwargs), remap=_remap(remap), library=library, path=path)
    factory = None if "config" in found.kwargs else factory_of(found.target, path)
    return found if factory is None else replace(found, target=factory)


def find_registered(registration: Registration, path: str = "") -> Definition:
    """Resolves the definition of a registered checkpoint, as ``find``.

    Args:
        registration: the checkpoint.
        path: where it is, if not at the path of the registration.
    """
    return find(
        registration.model,
        registration.kwargs,
        registration.remap,
        registration.load,
        path or registration.address or str(registration.path),
    )


def _resolved(model: Any, kwargs: Mapping[str, Any] | None) -> Definition:
    target = find_attribute(model) if isinstance(model, str) else model
    if is_module(target):
        if kwargs:
            raise UsageError(
                type(target).__name__, "kwargs were given with a model instance", "pass the class instead"
            )
        # Instances of one class may differ, so the class's name does not identify an instance.
        name = _dotted(model) if isinstance(model, str) else ""
        return Definition(target, name, _where(type(target)), {}, takes_checkpoint=False)
    if not callable(target):
        raise UsageError(
            repr(model),
            "is neither a class, a factory nor a module instance",
            'pass one of these, or "package.module:attr"',
        )
    given = dict(kwargs or {})
    takes = "checkpoint" in _parameters(target) and "checkpoint" not in given
    name = _dotted(model) if isinstance(model, str) else _name(target)
    return Definition(target, name, _where(target), given, takes, lightning=is_lightning(target))


def _loaded_by(
    loader: Loader, model: Any, kwargs: Mapping[str, Any] | None, remap: Any, path: str
) -> Definition:
    """The definition that a project's loader gives; ``model`` is no more than its name."""
    if remap is not None:
        raise UsageError(
            f"load {loader.name}", "was given with remap", "rename keys in the loader, and leave remap out"
        )
    named = model if model is not None else loader.function
    found = replace(_resolved(named, None), kwargs=dict(kwargs or {}), takes_checkpoint=False)
    name = found.name if model is not None else loader.name
    return replace(found, name=name, loader=loader, path=path)


def _loader(given: Any) -> Loader:
    usage = f'give a function, path -> module, "package.module:function", or {" or ".join(LIBRARIES)}'
    if isinstance(given, str) and ":" not in given:
        raise UsageError(f"load {given}", "is neither a function nor a library that is known", usage)
    function = find_attribute(given) if isinstance(given, str) else given
    name = _dotted(given) if isinstance(given, str) else _name(function) or repr(function)
    if not callable(function):
        raise UsageError(f"load {name}", "is not a function", usage)
    return Loader(function, name)


def is_module(value: object) -> bool:
    """Whether ``value`` is an instance of torch.nn.Module."""
    import torch

    return isinstance(value, torch.nn.Module)


def brief(error: BaseException) -> str:
    """Describes an error and the user's line that raised it: ``ValueError: bad width (models/net.py:12)``."""
    text = words(error)
    summary = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    return f"{summary} ({_relative(frames[-1].filename)}:{frames[-1].lineno})" if frames else summary


def _is_users(filename: str) -> bool:
    others = (os.path.dirname(os.path.dirname(os.path.abspath(__file__))), os.path.dirname(os.__file__))
    inside = os.path.abspath(filename).startswith(tuple(folder + os.sep for folder in others))
    return not inside and "site-packages" not in filename and os.path.exists(filename)


def find_attribute(text: str) -> Any:
    """Imports the object that ``"package.module:attr"`` names.

    Raises:
        BuildError: the module cannot be imported, or has no such attribute.
        UsageError: the text is not of this form.
    """
    module_name, _, attribute = text.partition(":")
    if not module_name or not attribute:
        raise UsageError(
            text, "is not the name of a model", 'write "package.module:attr", for example "models:Classifier"'
        )
    try:
        with untouched_process():
            found: Any = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BuildError(
            text,
            f"importing {module_name} raised {brief(error)}",
            "check the name, and that the package is installed or its folder is on PYTHONPATH",
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise BuildError(text, f"{module_name} has no attribute {attribute}", "check the spelling")
        found = getattr(found, part)
    return found


def _parameters(target: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def _remap(given: Any) -> Remap | None:
    """Resolves what a registration gives as ``remap``.

    Args:
        given: a function, ``"package.module:function"``, or None.

    Raises:
        BuildError: the name cannot be imported.
        UsageError: it is no function of one or two arguments.
    """
    if given is None:
        return None
    function = find_attribute(given) if isinstance(given, str) else given
    name = _dotted(given) if isinstance(given, str) else _name(function)
    name = name or getattr(function, "__name__", type(function).__name__)
    usage = "give a function: state_dict -> state_dict, or (state_dict, model) -> state_dict"
    if not callable(function) or inspect.isclass(function):
        raise UsageError(f"remap {name}", "is not a function", usage)
    takes_model = _takes_model(function)
    if takes_model is None:
        raise UsageError(f"remap {name}", "takes neither one argument nor two", usage)
    return Remap(function, name, takes_model)


def _takes_model(function: Callable[..., Any]) -> bool | None:
    """Whether a remap is given the module as its second argument; None if it cannot be called so.

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


def _dotted(text: str) -> str:
    return text.replace(":", ".")


def _name(target: Any) -> str:
    qualname = getattr(target, "__qualname__", "")
    return "" if not qualname or "<" in qualname else f"{target.__module__}.{qualname}"


def _where(target: Any) -> str:
    try:
        target = inspect.unwrap(target)
        filename = inspect.getsourcefile(target)
        code = getattr(target, "__code__", None)  # a class has none
        line = code.co_firstlineno if code else inspect.getsourcelines(target)[1]
    except (OSError, TypeError, ValueError):
        return ""
    return f"{_relative(filename)}:{line}" if filename else ""


def _relative(filename: str) -> str:
    """Returns a path relative to the working directory if it is inside, else the path itself."""
    try:
        relative = os.path.relpath(filename)
    except ValueError:
        return filename
    return filename if relative.startswith("..") else relative.replace(os.sep, "/")
