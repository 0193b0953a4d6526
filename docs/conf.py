"""How `make docs` renders this folder as a site, with API pages from the docstrings.

The site is complete in itself: its pages load nothing from another origin.
"""

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

import recis

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = PROJECT["name"]
author = PROJECT["authors"][0]["name"]
copyright = author  # noqa: A001 - the name that Sphinx reads
version = release = recis.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings mark code with single backticks
myst_heading_anchors = 4

autodoc_default_options = {"members": True}
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = f"{project} {release}"
html_favicon = "../web/icon.svg"
html_copy_source = False


def link_files_of_the_repository(_: Sphinx, document: str, source: list[str]) -> None:
    """Turn relative links that leave this folder into links to the repository."""
    folder = (ROOT / "docs" / document).parent

    def absolute(match: re.Match[str]) -> str:
        path = (folder / match.group(1)).resolve().relative_to(ROOT)
        return match.group() if path.parts[0] == "docs" else f"]({PROJECT['urls']['Source']}/blob/main/{path}"

    source[0] = re.sub(r"\]\((\.\./[^)#\s]+)", absolute, source[0])


def setup(app: Sphinx) -> None:
    """Connect what this file adds to Sphinx."""
    app.connect("source-read", link_files_of_the_repository)
