"""How the documentation is built: ``python -m sphinx -W -n docs docs/_build``."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parents[1])]

project = "dask-k8s"
copyright = "2026, dask-k8s developers"
author = "dask-k8s developers"
release = version = version_of("dask-k8s")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design", "generated"]
exclude_patterns = ["_build", "reference/figures"]
html_theme = "dask_sphinx_theme"
html_title = "dask-k8s"
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = True
napoleon_google_docstring = False

nitpicky = True
# Other projects' names have no page here, and the build asks no network for theirs.
nitpick_ignore_regex = [
    ("py:class", r"(distributed\..*|enum\.Enum|Exception|[A-Za-z]*Error|dict|optional)"),
    ("py:class", r"dask_k8s\.cluster\.workers\..*"),
    ("py:exc", r"Exception"),
]
