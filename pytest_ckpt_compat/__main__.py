"""``python -m pytest_ckpt_compat``: the same as ``ckpt-compat``."""

from __future__ import annotations

import sys

from pytest_ckpt_compat._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
