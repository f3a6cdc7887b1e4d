"""The documentation keeps up with the code: it names every public symbol, and its examples run."""

import re
from pathlib import Path

import pytest

import jaxbuffers as jb

ROOT = Path(__file__).parent.parent


def test_the_reference_names_every_public_symbol():
    named = set(re.findall(r"^::: jaxbuffers\.(\w+)$", (ROOT / "docs/reference.md").read_text(), re.MULTILINE))
    assert named - {"testing"} == set(jb.__all__)


@pytest.mark.parametrize("name", jb.__all__)
def test_every_public_symbol_has_a_docstring_of_its_own(name):
    doc = getattr(jb, name).__doc__
    assert doc
    assert not doc.startswith(f"{name}("), "that is the signature that dataclass writes, no docstring"


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/text.md", "docs/vmap.md", "CONTRIBUTING.md"])
def test_the_examples_of_a_page_run(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {"__name__": page})


def test_every_page_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
