"""Builds the site: ``sphinx-build -W --keep-going -b html docs docs/_build``. Nothing is fetched."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from generate import fill

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "pytest-ckpt-compat"
author = "the pytest-ckpt-compat contributors"
html_title = project
html_theme = "furo"
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
highlight_language = "text"
smartquotes = False  # it would turn the -- of an option into a dash

myst_heading_anchors = 3
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
autodoc_member_order = "bysource"
autodoc_type_aliases = {"Kind": "Kind", "Confidence": "Confidence"}
python_maximum_signature_line_length = 100


def setup(app: Sphinx) -> None:
    """Fills the placeholders of a page when its source is read."""
    app.connect("source-read", _fill)


def _fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = fill(source[0])
