"""Standing between torch's operators and what they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

Handler = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any]


def intercept(handle: Handler) -> AbstractContextManager[Any]:
    """Inside the context, ``handle(operator, args, kwargs)`` stands for each call of an operator."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Else the first operator imports ``torch._dynamo``: a second of time and 80 MB."""
            return False

        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            return handle(func, args, kwargs or {})

    return Mode()  # type: ignore[no-untyped-call]
