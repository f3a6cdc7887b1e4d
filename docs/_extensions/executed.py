"""Runs the Python of every page when the site is built; a page that shows anything but what it prints fails it."""

import os
import tempfile
from pathlib import Path

from docutils import nodes
from page_code import differences
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def _execute(app: Sphinx, docname: str, source: list[str]) -> None:
    path, here = Path(app.env.doc2path(docname)), Path.cwd()
    if path.suffix != ".md":
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # pages may leave files
        try:
            for line, difference in differences(path, source[0]):
                LOGGER.warning(difference, location=(docname, line))
        except Exception as error:
            LOGGER.warning(f"its code raises {error!r}", location=docname)
        finally:
            os.chdir(here)


def _mark_output(app: Sphinx, doctree: nodes.document) -> None:
    """Let style sheets tell what a block prints from other blocks."""
    for block in doctree.findall(nodes.literal_block):
        before = block.previous_sibling() if block.parent.index(block) else None
        if block.get("language") == "text" and isinstance(before, nodes.literal_block):
            block["classes"].append("output")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", _execute, priority=1)
    app.connect("doctree-read", _mark_output)
    return {"parallel_read_safe": True}
