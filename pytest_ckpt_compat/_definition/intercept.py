"""Intercepts the calls of torch's operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

Handler = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any]


def intercept(handle: Handler) -> AbstractContextManager[Any]:
    """Replaces each call of an operator by ``handle(operator, args, kwargs)`` inside the context."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Returns False, or else the first operator imports ``torch._dynamo`` (a second, 80 MB)."""
            return False

        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            return handle(func, args, kwargs or {})

    return Mode()  # type: ignore[no-untyped-call]
