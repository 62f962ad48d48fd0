"""What a registration may say: one record an option, for marker, project file, hook and documentation.

pytest needs the marker's signature at start-up, so this module imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.levels import Level
from pytest_ckpt_compat._registry.chain import is_migrate, is_version

LEVELS = tuple(level.value for level in Level)
#: Libraries whose own loading functions a registration may name.
PEFT, TRANSFORMERS = "peft", "transformers"
LIBRARIES = (PEFT, TRANSFORMERS)

#: Name that an option had before -> the one that it has.
FORMER = MappingProxyType({"remap": "migrate"})

_NONE = type(None)
_NAMED = 'text, "package.module:attr"'


@dataclass(frozen=True)
class Option:
    """One thing that a registration may say.

    Attributes:
        name: as users write it.
        types: Python types of its value.
        wanted: what its value must be, in words; completes "it must be ...".
        documentation: its line in the documentation's table, Markdown.
        default: as the marker's signature shows it, or "" where the option must be given.
        objects: what else it may be where Python code writes it, in words, or "" for nothing else.
        valid: whether a value of these types is allowed.
        positional: whether the marker takes it without its name.
        instead: the option that makes this one unnecessary where it must be given otherwise.
        parts: whether it may also be a mapping of such values, one for each part of a checkpoint.
    """

    name: str
    types: tuple[type, ...]
    wanted: str
    documentation: str = ""
    default: str = ""
    objects: str = ""
    valid: Callable[[Any], bool] = lambda _: True
    positional: bool = False
    instead: str = ""
    parts: bool = False


def _is_address(value: Any) -> bool:
    return value is None or re.fullmatch(r"[\w.]+:[\w.]+", value) is not None


def _is_version_or_place(value: Any) -> bool:
    return value is None or is_version(value) or (isinstance(value, str) and bool(value))


def _is_loader(value: Any) -> bool:
    return value in LIBRARIES or _is_address(value)


def _are_paths(value: Any) -> bool:
    listed = value if isinstance(value, (list, tuple)) else [value]
    return value is None or (bool(listed) and all(isinstance(each, str) and each for each in listed))


#: In the order of the marker's signature and of the documentation's table.
OPTIONS = (
    Option(
        "path",
        (str,),
        "text, a file, a glob or an address",
        "relative to the test file, or else to the root folder; a glob stands for every file it matches; an "
        "address (`hf://`, `https://`, `s3://`, ...) needs the extra `[remote]` and an `id`; or "
        "[training runs](training_runs.md) of MLflow or W&B (`mlflow:`, `models:/`, `runs:/`, `wandb:`)",
        positional=True,
    ),
    Option(
        "model",
        (str,),
        _NAMED,
        'a class, a factory, a module instance, or `"package.module:attr"`; a factory with a parameter '
        "`checkpoint` is given the file's non-tensor values (hyper-parameters, epoch) as plain data; or a "
        'mapping of [parts](your_library.md), `{"generator": ..., "discriminator": ...}`, for a file that '
        "holds one state_dict a part",
        objects="a class, a factory, a module instance",
        valid=_is_address,
        instead="load",
        parts=True,
    ),
    Option(
        "kwargs",
        (Mapping, _NONE),
        "a table (in Python, a dict)",
        "keyword arguments for the class or factory, which gets lists and dictionaries of its own each time "
        "that it is called; of several parts, those of each under its name",
        default="None",
    ),
    Option(
        "key",
        (str, _NONE),
        "text",
        'dotted path of the state_dict inside the file, where it holds more than one (`"ema"`); of several '
        "parts, of the mapping that holds them",
        default="None",
    ),
    Option(
        "strip_prefix",
        (str, _NONE),
        "text",
        'taken off the keys that begin with it (`"module."`)',
        default="None",
    ),
    Option(
        "migrate",
        (str, list, tuple, Mapping, _NONE),
        'text, "package.module:function" or a file of rules (.toml), a list of these, or a table of '
        "version -> one of these",
        "what makes an older checkpoint one of today's before the load: a function, `state_dict -> "
        "state_dict` or `(state_dict, model) -> state_dict` as timm's `checkpoint_filter_fn`, or a file of "
        "[rules](migrating.md); or a list, applied in order; or by version, `{2: ..., 3: ...}`, of which a "
        "file gets those newer than its own. A snapshot records what it did",
        default="None",
        objects="a function",
        valid=is_migrate,
    ),
    Option(
        "version",
        (int, str, _NONE),
        "a version (2, 1.4), or text, the place of the version in the file",
        "for `migrate` by version: the version of the file, or the dotted path of its version inside it "
        '(`"meta.version"`); a file that has none is taken for the oldest',
        default="None",
        valid=_is_version_or_place,
    ),
    Option(
        "load",
        (str, _NONE),
        f'text, "package.module:function", or {" or ".join(LIBRARIES)}',
        "the project's whole loader, `function(path, **kwargs) -> module`, run as it is; `model` may then be "
        'left out. Or a library that loads the checkpoint, `"transformers"` or `"peft"`, which a '
        "model of its own gets without being asked. See [your library](your_library.md)",
        default="None",
        objects="a function",
        valid=_is_loader,
    ),
    Option(
        "inputs",
        (str, _NONE),
        'text, "package.module:function"',
        "a function without arguments that gives the inputs of one forward: a tensor, a tuple of arguments, "
        "or a dict of keyword arguments; the definition is then run, and "
        "[what it computes](outputs.md) is compared",
        default="None",
        objects="a function",
        valid=_is_address,
    ),
    Option(
        "strict",
        (bool,),
        "true or false",
        "as in `load_state_dict`; `strict=False` turns missing and unexpected keys into warnings that are "
        "shown",
        default="True",
    ),
    Option(
        "id",
        (str, _NONE),
        "text",
        "names the checkpoint in test ids, reports and its snapshot; the path, if not given",
        default="None",
    ),
    Option(
        "allow",
        (list, tuple, _NONE),
        'a list of ["CK202", "head.*", "the reason"]',
        'breaks that are meant: `[("CK202", "head.*", "the new task has 10 classes")]`, rule, keys, reason',
        default="()",
    ),
    Option(
        "level",
        (str, _NONE),
        f"{', '.join(LEVELS[:-1])} or {LEVELS[-1]}",
        '`"backward"` (the default: today\'s code loads the checkpoint), `"forward"`, `"full"` or `"resume"`',
        default="None",
        valid=lambda value: value is None or value in LEVELS,
    ),
    Option(
        "optimizer",
        (str, _NONE),
        _NAMED,
        'for `level="resume"`: an optimizer class, a factory that takes the model (of several parts, a dict '
        'of them) and gives one or several, or `"package.module:attr"`; a LightningModule has its own',
        default="None",
        objects="a class, a factory",
        valid=_is_address,
    ),
    Option(
        "optimizer_path",
        (str, list, tuple, _NONE),
        "text, or a list of it",
        'for `level="resume"`: the file with the optimizer\'s state, where it is not in the checkpoint '
        "(`optimizer.pt`, `optimizer.bin`), looked for beside the checkpoint, then as `path`; of several "
        "optimizers, a list in their order",
        default="None",
        valid=_are_paths,
    ),
)


def signature(marker: str) -> str:
    """The marker's signature: ``checkpoint(path, *, model, kwargs=None, ...)``."""
    first = [option.name for option in OPTIONS if option.positional]
    named = (option for option in OPTIONS if not option.positional)
    written = [f"{option.name}={option.default}" if option.default else option.name for option in named]
    return f"{marker}({', '.join([*first, '*', *written])})"


def table() -> str:
    """The documentation's table of all options, Markdown."""
    rows = (f"| `{option.name}` | {option.documentation} |" for option in OPTIONS)
    return "\n".join(["| option | meaning |", "|---|---|", *rows])


def named(subject: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values under the names that the options have now.

    Raises:
        UsageError: an option is given under both of its names.
    """
    twice = next((old for old, new in FORMER.items() if old in values and new in values), None)
    if twice is not None:
        problem = f"is given, and so is {twice}, which it was called before"
        raise UsageError(f"{subject}, option {FORMER[twice]}", problem, f"leave {twice} out")
    return {FORMER.get(name, name): value for name, value in values.items()}


def check(
    subject: str,
    values: Mapping[str, Any],
    declared: Sequence[Option] | None = None,
    objects: bool = False,
) -> None:
    """Checks names and types of what a marker, a table or a hook gives.

    Args:
        subject: where it is written, for messages.
        values: name -> value.
        declared: the options that may stand there; ``OPTIONS`` if not given.
        objects: whether Python code wrote the values, so that classes and instances can be among them.

    Raises:
        UsageError: an option is unknown, missing, or has an invalid value.
    """
    known = {option.name: option for option in (OPTIONS if declared is None else declared)}
    unknown = next((name for name in values if name not in known), None)
    if unknown is not None:
        raise UsageError(subject, f"has no option {unknown!r}", f"options are {', '.join(known)}")
    for name, option in known.items():
        wanted = f"{option.objects} or {option.wanted}" if objects and option.objects else option.wanted
        value = values.get(name)
        wanted += ", or a mapping of parts to such" if option.parts and isinstance(value, Mapping) else ""
        if value is None and option.instead and values.get(option.instead) is not None:
            continue
        if not option.default and (value is None or (isinstance(value, str) and not value)):
            raise UsageError(f"{subject}, option {name}", "is missing", f"it must be {wanted}")
        if name in values and not _fits(option, value, objects):
            raise UsageError(f"{subject}, option {name}", f"is {value!r}", f"it must be {wanted}")


def _fits(option: Option, value: Any, objects: bool) -> bool:
    if option.parts and isinstance(value, Mapping):
        named = all(isinstance(name, str) and name for name in value)
        given = [each for each in value.values() if each is not None and not isinstance(each, Mapping)]
        whole = bool(value) and named and len(given) == len(value)
        return whole and all(_fits(option, each, objects) for each in given)
    if isinstance(value, option.types):
        return option.valid(value)
    return objects and bool(option.objects)
