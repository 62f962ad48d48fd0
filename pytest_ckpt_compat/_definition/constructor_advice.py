"""What helps where a constructor raises: by what it lacks, not by the class of the error alone."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import parameters

#: What torch says where a device is absent.
_NO_DEVICE = re.compile(
    r"not compiled with CUDA|No CUDA GPUs|no NVIDIA driver|invalid device ordinal|CUDA driver"
    r"|not (compiled|linked) with (MPS|XPU)|MPS (backend|device)|No XPU devices"
    r"|deserialize object on a CUDA device"
)
#: Names of exceptions with which libraries say that something could not be downloaded.
_UNREACHABLE = frozenset(
    {
        *("URLError", "HTTPError", "ConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout"),
        *("MaxRetryError", "ProxyError", "SSLError", "gaierror", "timeout", "TimeoutError"),
        *("LocalEntryNotFoundError", "OfflineModeIsEnabled", "EntryNotFoundError", "RepositoryNotFoundError"),
    }
)
#: Parts of the names of arguments that say which weights a constructor starts with.
_WEIGHTS = ("pretrained", "weights", "download", "checkpoint_path", "init_from")
#: What helps a constructor that cannot be given anything.
_TAKES_NONE = "make it build where the check runs: it takes no arguments that kwargs could give"
#: How deep a file's values are searched for an argument.
_DEEPEST = 3


def downloads(error: BaseException) -> bool:
    """Whether an error says that something could not be downloaded."""
    return any(kind.__name__ in _UNREACHABLE for each in _chain(error) for kind in type(each).__mro__)


def advice_on(error: BaseException, definition: Definition, checkpoint: Mapping[str, Any]) -> str:
    """What to do about a constructor that raises.

    Args:
        error: what it raised.
        definition: what was to be built.
        checkpoint: the checkpoint's non-tensor values.
    """
    if definition.lightning:
        return "make it build with the hyper-parameters in the file, or give what it lacks in kwargs"
    given = parameters(definition.target)
    lacking = [
        name
        for name, each in given.items()
        if each.default is each.empty
        and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        and name not in definition.kwargs
        and not (name == "checkpoint" and definition.takes_checkpoint)
    ]
    unknown = [name for name in definition.kwargs if name not in given]
    if unknown and given and not any(each.kind is each.VAR_KEYWORD for each in given.values()):
        more = f", and give {', '.join(lacking)}" if lacking else ""
        return f"take {', '.join(unknown)} out of kwargs{more}"
    if lacking:
        return _on_lacking(lacking, checkpoint)
    if any(_NO_DEVICE.search(words(each)) for each in _chain(error)):
        if "device" in given:
            return 'give device="cpu" in kwargs'
        return "take the device out of the constructor, and move the model with .to(device) where it is used"
    if downloads(error) or isinstance(error, FileNotFoundError):
        return _on_weights(error, definition)
    if definition.kwargs:
        return "make it build with the kwargs given"
    return "give what it needs in kwargs" if _takes_any(definition.target) else _TAKES_NONE


def _takes_any(target: Any) -> bool:
    """Whether a constructor takes arguments; True where its signature is not known."""
    try:
        return bool(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return True


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _on_lacking(names: list[str], checkpoint: Mapping[str, Any]) -> str:
    for where, values in _mappings(checkpoint):
        held = [f"{name}={values[name]!r}" for name in names if name in values]
        if held:
            rest = [name for name in names if name not in values]
            more = f" (and {', '.join(rest)})" if rest else ""
            at = f" at {where}" if where else ""
            return (
                f"give {', '.join(held)} in kwargs, which the file holds{at}{more}, "
                "or register a factory with a parameter named checkpoint, which is given the file's values"
            )
    return f"give {', '.join(names)} in kwargs"


def _mappings(
    values: Mapping[Any, Any], path: str = "", depth: int = 0
) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every mapping among the values, the outermost first, with its dotted path."""
    yield path, values
    if depth < _DEEPEST:
        for name, value in values.items():
            if isinstance(value, Mapping):
                yield from _mappings(value, f"{path}.{name}" if path else str(name), depth + 1)


def _on_weights(error: BaseException, definition: Definition) -> str:
    lacks = "it downloads something" if downloads(error) else "it opens a file that is not here"
    for name, each in parameters(definition.target).items():
        value = definition.kwargs.get(name, each.default)
        if value not in (each.empty, None, False) and any(part in name.lower() for part in _WEIGHTS):
            off = False if isinstance(value, bool) else None
            return f"{lacks}: give {name}={off} in kwargs, since the checkpoint brings the weights"
    return f"{lacks}: give the constructor an argument that leaves this out, and set it in kwargs"
