"""Sphinx: ``make docs`` builds these pages into ``build/docs``."""

import ctmar

project = "ctmar"
author = copyright = "the ctmar developers"
release = version = ctmar.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "description": "CT metal artifact reduction"}
exclude_patterns = ["conf.py"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
