"""What the plugin keeps on pytest's objects, and what it asks of them. pytest loads this at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_ckpt_compat._registry.names import MARKER

if TYPE_CHECKING:
    from pytest_ckpt_compat._pytest_plugin.session import Session
    from pytest_ckpt_compat._registry.registration import Registration

#: On the configuration: the run's session.
SESSION: pytest.StashKey[Session] = pytest.StashKey()
#: On the configuration, where some test was deselected, not collected, or died with its worker.
PARTIAL: pytest.StashKey[bool] = pytest.StashKey()
#: On the configuration: the tests that died with their worker before it told which checkpoints they register.
LOST: pytest.StashKey[list[str]] = pytest.StashKey()
#: On an item: the checkpoints that it registers.
REGISTRATIONS: pytest.StashKey[tuple[Registration, ...]] = pytest.StashKey()


def is_marked(item: pytest.Item) -> bool:
    """Whether a test registers checkpoints; its keywords, which hold its markers, say so at less cost."""
    return MARKER in item.keywords and item.get_closest_marker(MARKER) is not None


def is_of_a_command(config: pytest.Config) -> bool:
    """Whether a command collects the checkpoints, and no test runs."""
    return getattr(config.option, "ckpt_collecting", False)
