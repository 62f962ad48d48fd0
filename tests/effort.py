"""How many examples Hypothesis tries a property on.

The examples differ from run to run. A run tries a third of the number that it tries with
``HYPOTHESIS_PROFILE=thorough``.
"""

from __future__ import annotations

import os


def examples(most: int) -> int:
    """The number for this run, of that for a thorough one."""
    return most if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else -(-most // 3)
