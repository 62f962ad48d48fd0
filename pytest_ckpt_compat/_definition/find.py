"""Finds a definition from a class, a factory, a module instance, or "package.module:attr"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._definition.chain import Chain, chain_of
from pytest_ckpt_compat._definition.kept import Kept
from pytest_ckpt_compat._definition.lightning import is_lightning, without_file
from pytest_ckpt_compat._definition.names import (
    dotted,
    find_attribute,
    is_module,
    name_of,
    parameters,
    where_of,
)
from pytest_ckpt_compat._definition.once import Once
from pytest_ckpt_compat._definition.peft_base import base_folder, base_of
from pytest_ckpt_compat._definition.pretrained_config import class_named_in, factory_of, is_pretrained
from pytest_ckpt_compat._definition.project_code import Loader, loader_of
from pytest_ckpt_compat._registry.options import LIBRARIES, PEFT

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
        remap: the migrations that are applied to a state_dict before the load, or None.
        lightning: whether it is the class of a LightningModule.
        prepares: whether Lightning's ``on_load_checkpoint`` is called before the load.
        loader: the project's whole loader, which gets ``kwargs`` and gives the module, or None.
        library: the library that loads it, where the registration names one (``transformers``), or "".
        path: where the checkpoint is or was, for what loads it by its path.
        parts: name -> definition of each part, for a file that holds one state_dict a part; then nothing but
            ``name``, ``kwargs``, ``takes_checkpoint`` and ``remap``, which each part has, too, is said of
            the whole.
        hparams_file: a file whose hyper-parameters take the place of a Lightning checkpoint's, or "".
        configured: whether it is a class of transformers, built from the checkpoint's ``config.json``.
        once: what its constructor has built, where that is not to run again.
        kept: what was built and found for other checkpoints that are registered with it, or None.
    """

    target: Any
    name: str
    where: str
    kwargs: Mapping[str, Any]
    takes_checkpoint: bool
    remap: Chain | None = None
    lightning: bool = False
    prepares: bool = True
    loader: Loader | None = None
    library: str = ""
    path: str = ""
    parts: Mapping[str, Definition] = field(default_factory=dict)
    configured: bool = False
    hparams_file: str = ""
    once: Once = field(default_factory=Once, repr=False, compare=False)
    kept: Kept | None = field(default=None, repr=False, compare=False)

    def with_migrations(self, remap: Chain | None) -> Definition:
        """The definition, and each of its parts, with other migrations."""
        parts = {name: replace(each, remap=remap) for name, each in self.parts.items()}
        return replace(self, remap=remap, parts=parts)

    @property
    def reads_checkpoint(self) -> bool:
        """Whether what it builds depends on the checkpoint's non-tensor values."""
        return self.takes_checkpoint or self.lightning or self.configured

    @property
    def targets(self) -> tuple[Any, ...]:
        """The target, or that of each part."""
        return tuple(each.target for each in self.parts.values()) or (self.target,)

    @property
    def label(self) -> str:
        """Name and line for messages: ``models.Classifier (models/net.py:88)``."""
        if self.parts:
            return ", ".join(f"{part}: {each.label}" for part, each in self.parts.items())
        name = self.name or "the model"
        return f"{name} ({self.where})" if self.where else name


def find(
    model: Any,
    kwargs: Mapping[str, Any] | None = None,
    migrate: Any = None,
    load: Any = None,
    path: str = "",
    config: Mapping[str, Any] | None = None,
    version: int | str | None = None,
) -> Definition:
    """Resolves ``model`` to a definition, without building it.

    Args:
        model: a class, a factory, a module instance, or ``"package.module:attr"``; a mapping of part ->
            one of these, for a file that holds one state_dict a part; None if ``load`` gives the module.
        kwargs: keyword arguments for the class or factory, or for the project's loader; of parts, a mapping
            of part -> keyword arguments.
        migrate: what makes an older checkpoint one of today's before the load: ``state_dict -> state_dict``
            or ``(state_dict, model) -> state_dict``, as a function or ``"package.module:function"``; or the
            path of a file of rules; or a list of these; or a mapping of version -> one of these.
        load: the project's whole loader, ``function(path, **kwargs) -> module``, as a function or
            ``"package.module:function"``; or the name of a library that loads the checkpoint.
        path: where the checkpoint is or was.
        config: the ``config.json`` of a model of transformers, as a snapshot keeps it.
        version: of the file, or the dotted path of its version inside it, for ``migrate`` by version.

    Raises:
        BuildError: ``"package.module:attr"`` cannot be imported.
        UsageError: ``model`` is none of a class, a factory, a module instance and a name of one; or
            ``migrate`` is no function of one or two arguments; or ``load`` is no function and no library.
    """
    if isinstance(model, Mapping):
        return _of_parts(model, kwargs or {}, chain_of(migrate, version), load, path)
    library = load if isinstance(load, str) and load in LIBRARIES else ""
    loader = None if library or load is None else loader_of(load)
    if loader is not None:
        return _loaded_by(loader, model, kwargs, migrate, path)
    name = ""
    if model is None:
        if not library:
            raise UsageError("the model", "is missing", 'give model, or load="package.module:function"')
        if library == PEFT:
            model, name = base_of(path)
        else:
            model = class_named_in(path, config)
    found = replace(_resolved(model, kwargs), remap=chain_of(migrate, version), library=library, path=path)
    if name:  # what builds a base is none of the project's code
        found = replace(found, name=name, where="")
    if "config" in found.kwargs or not is_pretrained(found.target):
        return found
    base = base_folder(path)
    factory = factory_of(found.target, base or path, config)
    return replace(found, target=factory or found.target, configured=not base)


def find_registered(
    registration: Registration, path: str = "", config: Mapping[str, Any] | None = None
) -> Definition:
    """Resolves the definition of a registered checkpoint, as ``find``.

    Args:
        registration: the checkpoint.
        path: where it is, if not at the path of the registration.
        config: as ``find`` takes it.
    """
    return find(
        registration.model,
        registration.kwargs,
        registration.migrate,
        registration.load,
        path or registration.address or str(registration.path),
        config,
        registration.version,
    )


def _of_parts(
    models: Mapping[Any, Any], kwargs: Mapping[str, Any], remap: Chain | None, load: Any, path: str
) -> Definition:
    usage = 'write model={"generator": "package.module:Generator", ...}'
    if not models or not all(isinstance(name, str) and name for name in models):
        raise UsageError("model", "is a mapping whose keys are not names of parts", usage)
    if load is not None:
        problem = "was given with a model of several parts, and a loader gives one module"
        raise UsageError("load", problem, "leave load out, or give one model")
    strange = next((name for name, each in models.items() if each is None or isinstance(each, Mapping)), None)
    if strange is not None:
        raise UsageError(f"model, part {strange}", "is no model", usage)
    inside = [(one, other) for one in models for other in models if other.startswith(f"{one}.")]
    if inside:
        problem = f"holds {inside[0][0]!r}, and {inside[0][1]!r} inside it: their keys cannot be told apart"
        raise UsageError("model", problem, "name the innermost parts alone")
    unknown = next((name for name in kwargs if name not in models), None)
    if unknown is not None:
        problem = f"has {unknown!r}, which is no part: kwargs of a model of several parts are given by part"
        raise UsageError("kwargs", problem, f"the parts are {', '.join(models)}")
    strange = next((name for name, each in kwargs.items() if not isinstance(each, Mapping)), None)
    if strange is not None:
        raise UsageError(f"kwargs, part {strange}", f"is {kwargs[strange]!r}", "give a dict for each part")
    parts = {
        name: replace(find(each, kwargs.get(name), path=path), remap=remap) for name, each in models.items()
    }
    named = all(each.name for each in parts.values())
    return Definition(
        None,
        ",".join(f"{name}={each.name}" for name, each in parts.items()) if named else "",
        "",
        dict(kwargs),
        takes_checkpoint=any(each.reads_checkpoint for each in parts.values()),
        remap=remap,
        path=path,
        parts=parts,
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
    lightning, file = is_lightning(target), ""
    if lightning:
        given, file = without_file(target, given)
    return Definition(target, name, where_of(target), given, takes, lightning=lightning, hparams_file=file)


def _loaded_by(
    loader: Loader, model: Any, kwargs: Mapping[str, Any] | None, migrate: Any, path: str
) -> Definition:
    """The definition that a project's loader gives; ``model`` is no more than its name."""
    if migrate:
        raise UsageError(
            f"load {loader.name}", "was given with migrate", "migrate in the loader, and leave migrate out"
        )
    named = model if model is not None else loader.function
    found = replace(_resolved(named, None), kwargs=dict(kwargs or {}), takes_checkpoint=False)
    name = found.name if model is not None else loader.name
    return replace(found, name=name, loader=loader, path=path)
