"""Finds a definition from a class, a factory, a module instance, or "package.module:attr"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._definition.lightning import is_lightning
from pytest_ckpt_compat._definition.names import (
    dotted,
    find_attribute,
    is_module,
    name_of,
    parameters,
    where_of,
)
from pytest_ckpt_compat._definition.pretrained_config import class_named_in, factory_of
from pytest_ckpt_compat._definition.project_code import Loader, Remap, loader_of, remap_of
from pytest_ckpt_compat._registry.options import LIBRARIES

if TYPE_CHECKING:
    from pytest_ckpt_compat._registry.registration import Registration


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
            ``(state_dict, model) -> state_dict``, as a function or ``"package.module:function"``; or the
            path of a file of rules.
        load: the project's whole loader, ``function(path, **kwargs) -> module``, as a function or
            ``"package.module:function"``; or the name of a library that loads the checkpoint.
        path: where the checkpoint is or was.

    Raises:
        BuildError: ``"package.module:attr"`` cannot be imported.
        UsageError: ``model`` is none of a class, a factory, a module instance and a name of one; or
            ``remap`` is no function of one or two arguments; or ``load`` is no function and no library.
    """
    library = load if isinstance(load, str) and load in LIBRARIES else ""
    loader = None if library or load is None else loader_of(load)
    if loader is not None:
        return _loaded_by(loader, model, kwargs, remap, path)
    if model is None:
        if not library:
            raise UsageError("the model", "is missing", 'give model, or load="package.module:function"')
        model = class_named_in(path)
    found = replace(_resolved(model, kwargs), remap=remap_of(remap), library=library, path=path)
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
        name = dotted(model) if isinstance(model, str) else ""
        return Definition(target, name, where_of(type(target)), {}, takes_checkpoint=False)
    if not callable(target):
        raise UsageError(
            repr(model),
            "is neither a class, a factory nor a module instance",
            'pass one of these, or "package.module:attr"',
        )
    given = dict(kwargs or {})
    takes = "checkpoint" in parameters(target) and "checkpoint" not in given
    name = dotted(model) if isinstance(model, str) else name_of(target)
    return Definition(target, name, where_of(target), given, takes, lightning=is_lightning(target))


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
