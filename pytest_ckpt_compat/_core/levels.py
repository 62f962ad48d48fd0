"""Which loads must succeed for a checkpoint."""

from __future__ import annotations

import enum


class Level(enum.Enum):
    """Which loads have to succeed.

    Each member knows its directions, so that no other module compares levels.
    """

    #: Today's code loads the checkpoint.
    BACKWARD = "backward"
    #: The merge base's code loads what today's code saves.
    FORWARD = "forward"
    #: Both.
    FULL = "full"
    #: Today's code loads the checkpoint, and an optimizer over today's parameters loads its state.
    RESUME = "resume"

    @property
    def loads_checkpoint(self) -> bool:
        """Whether today's code has to load the checkpoint."""
        return self is not Level.FORWARD

    @property
    def loads_in_merge_base(self) -> bool:
        """Whether the merge base's code has to load what today's code saves."""
        return self in (Level.FORWARD, Level.FULL)

    @property
    def loads_optimizer(self) -> bool:
        """Whether the optimizer's state has to load, too."""
        return self is Level.RESUME
