"""Where the plugin keeps its own on pytest's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_ckpt_compat._pytest_plugin.session import Session
    from pytest_ckpt_compat._registry.registration import Registration

#: On the configuration: the run's session.
SESSION: pytest.StashKey[Session] = pytest.StashKey()
#: On an item: the checkpoints that it registers.
REGISTRATIONS: pytest.StashKey[tuple[Registration, ...]] = pytest.StashKey()
