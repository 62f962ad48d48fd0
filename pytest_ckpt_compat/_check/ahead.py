"""Reads the headers of checkpoints at addresses ahead of their checks, some at once, each once."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._core.addresses import is_url
from pytest_ckpt_compat._readers.source.remote import Fetched
from pytest_ckpt_compat._registry.registration import Registration

#: How many are read at once, and how many that were read may wait for their check: each takes up to 1 MB.
AT_ONCE, _ROOM = 8, 32


class Ahead:
    """The checkpoints at addresses that a run has still to check.

    Threads read them in the given order, and keep what they fetched until the check has read it. An error is
    the check's own to report: what refused a file then refuses it again.

    Args:
        registrations: in the order of their checks.
        read: reads the checkpoint of a registration.
    """

    def __init__(self, registrations: Iterable[Registration], read: Callable[[Registration], object]) -> None:
        remote = [each for each in registrations if each.problem is None and is_url(each.address)]
        self._uses = Counter(each.address for each in remote)
        self._waiting = deque({each.address: each for each in remote}.values())
        self._found: dict[str, _Found] = {}
        self._read = read
        self._over = False
        self._changed = threading.Condition()
        for _ in range(min(AT_ONCE, len(self._waiting)) if len(self._waiting) > 1 else 0):
            threading.Thread(target=self._work, name="ckpt-compat ahead", daemon=True).start()

    @contextmanager
    def reading(self, registration: Registration) -> Iterator[None]:
        """Lets a check read its checkpoint inside, from what was fetched of it."""
        address = registration.address
        if address not in self._uses:
            yield
            return
        with self._changed:
            found = self._found.get(address)
            if found is None:  # no thread has come to it yet, and none shall
                self._waiting = deque(each for each in self._waiting if each.address != address)
                found = self._found[address] = _Found()
                found.done.set()
        found.done.wait()
        try:
            with found.fetched.used():
                yield
        finally:
            self._release(address, found)

    def close(self) -> None:
        """Lets the threads end; what waits is read by none."""
        with self._changed:
            self._over = True
            self._waiting.clear()
            self._changed.notify_all()

    def _release(self, address: str, found: _Found) -> None:
        """Drops what was fetched with its last check, which makes room for another."""
        with self._changed:
            self._uses[address] -= 1
            last = self._uses[address] <= 0
            if last:
                del self._uses[address], self._found[address]
                self._changed.notify_all()
        if last:
            found.fetched.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._waiting or len(self._found) < _ROOM)
                if self._over or not self._waiting:
                    return
                registration = self._waiting.popleft()
                found = self._found[registration.address] = _Found()
            try:
                with found.fetched.used(), suppress(Exception):
                    self._read(registration)
            finally:
                found.done.set()


class _Found:
    """What a thread has fetched, once it is done."""

    def __init__(self) -> None:
        self.fetched = Fetched()
        self.done = threading.Event()


@contextmanager
def ahead(registrations: Iterable[Registration]) -> Iterator[Ahead]:
    """Reads ahead while the checks inside go on."""
    found = read_ahead(registrations)
    try:
        yield found
    finally:
        found.close()


def read_ahead(registrations: Iterable[Registration]) -> Ahead:
    """Begins to read ahead; to be closed after the last check."""
    return Ahead(registrations, lambda each: readers.read(each.address, each.key))
