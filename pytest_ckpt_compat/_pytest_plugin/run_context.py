"""What the checks of one run of pytest have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_ckpt_compat._check.context import Context
from pytest_ckpt_compat._check.migrations import Elsewhere
from pytest_ckpt_compat._definition.kept import Builds

if TYPE_CHECKING:
    from pytest_ckpt_compat._pytest_plugin.session import Session


def context_of(session: Session, paged: bool) -> Context:
    """The context of a session, once all checkpoints are collected.

    Args:
        session: as its options and its settings have it.
        paged: whether the report has what a page of HTML shows.
    """
    context = Context(
        session.folder,
        session.update,
        session.rewrite,
        merge_base=session.merge_base,
        builds=Builds(session.registrations.known),
        elsewhere=Elsewhere(session.registrations.known),
        severities=session.settings.severities,
        paged=paged,
    )
    context = replace(context, reading=session.ahead.reading) if session.ahead else context
    return replace(context, doing=session.terminal.say) if session.terminal else context
