"""The ``ckpt_compat`` fixture."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_ckpt_compat._check.check import check
from pytest_ckpt_compat._check.checkpoint import load
from pytest_ckpt_compat._check.logged import is_fingerprint
from pytest_ckpt_compat._core.addresses import is_url
from pytest_ckpt_compat._core.errors import CkptCompatError, UnreachableError
from pytest_ckpt_compat._core.severities import graded
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._registry.chain import is_migrate, with_files
from pytest_ckpt_compat._registry.paths import SearchPath, find_file
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._report import text


@dataclass(frozen=True)
class CkptCompat:
    """What a test can ask about its checkpoint.

    Attributes:
        registrations: the checkpoints that the test's markers register; usually one.
        search: where relative paths are looked for.
        full: whether failures print every key (``-vv``).
        accepted: gives the reason for which a break of the checkpoint is accepted, or "".
    """

    registrations: tuple[Registration, ...]
    search: SearchPath = field(repr=False)
    full: bool = False
    accepted: Callable[[], str] = field(default=str, repr=False)

    def check(
        self,
        path: str | os.PathLike[str],
        model: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        key: str | None = None,
        strip_prefix: str | None = None,
        strict: bool = True,
        migrate: Any = None,
        load: Any = None,
        version: int | str | None = None,
    ) -> Verdict:
        """Fails the test unless the checkpoint loads; needs no marker, and keeps no snapshot.

        Takes what ``pytest_ckpt_compat.check`` takes; a relative path is looked for in the test
        file's folder, then in the root folder.
        """
        __tracebackhide__ = True
        given = os.fspath(path)
        found = given if is_url(given) else find_file(given, self.search)[0]
        try:
            if is_migrate(migrate):
                migrate = with_files(migrate, lambda text: (str(find_file(text, self.search)[0]), text))
            verdict = check(found, model, kwargs, key, strip_prefix, strict, migrate, load, version)
        except CkptCompatError as error:
            raise _failure(str(error)) from None
        verdict = graded(verdict, self.search.severities)
        if not verdict.compatible:
            raise _failure(text.render(verdict, self.full))
        return verdict

    def load(self) -> Any:
        """The model that the marker names, with the checkpoint's real weights loaded.

        Of several parts, a dictionary of part -> module.

        Skips the test, with the reason, where the file is absent and only its snapshot is there, where a
        fingerprint is registered, where an
        address cannot be reached, or where the load fails by a break that is accepted. A checkpoint at an
        address is downloaded, and not kept.
        """
        __tracebackhide__ = True
        if len(self.registrations) != 1:
            number = len(self.registrations)
            pytest.fail(
                f"ckpt_compat.load() needs exactly one checkpoint marker on the test, there are {number}; "
                "add @pytest.mark.checkpoint(path, model=...), or load in a test of its own",
                pytrace=False,
            )
        registration = self.registrations[0]
        if not registration.there:
            pytest.skip(f"{registration.shown} is absent: there are no weights to load")
        if is_fingerprint(registration):
            pytest.skip(f"{registration.shown} is a fingerprint: there are no weights to load")
        try:
            return load(registration)
        except UnreachableError as error:
            pytest.skip(f"{error}: there are no weights to load")
        except CkptCompatError as error:
            raise _failure(str(error)) from None
        except RuntimeError as error:
            reason = self.accepted()
            if not reason:
                raise
            first = str(error).partition("\n")[0].rstrip(":")
            pytest.skip(f"{registration.shown} does not load, which is accepted ({reason}): {first}")


def _failure(message: str) -> BaseException:
    """The failure that a test raises: its message alone, without the exception that led to it."""
    return pytest.fail.Exception(message, pytrace=False)
