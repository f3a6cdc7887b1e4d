"""The documentation keeps up with the code: it names every public symbol, and its pages show what their code prints."""

import re
from pathlib import Path

import pytest
from page_code import blocks, differences
from public_names import public_names
from tier import long_but

import jaxbuffers as jb

ROOT = Path(__file__).parent.parent
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/index.md",
    "docs/actors.md",
    "docs/batch.md",
    "docs/checkpoints.md",
    "docs/datasets.md",
    "docs/in-place.md",
    "docs/keeping.md",
    "docs/many-devices.md",
    "docs/loops.md",
    "docs/text.md",
    "docs/trajectories.md",
    "docs/vmap.md",
]
SLOW = {f"docs/{name}.md" for name in ("batch", "checkpoints", "in-place", "keeping", "loops", "many-devices", "vmap")}
MARKDOWN = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_the_reference_names_every_public_symbol():
    reference = "\n".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/reference/*.md"))
    named = re.findall(r"^\.\. auto(?:class|function|exception|data):: ([\w.]+)$", reference, re.MULTILINE)
    assert set(named) == public_names()
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", jb.__all__)
def test_every_public_symbol_has_a_docstring_of_its_own(name):
    doc = getattr(jb, name).__doc__
    assert doc
    assert not doc.startswith(f"{name}("), "that is the signature that dataclass writes, no docstring"


# `make docs` runs them all, too: of those whose programs compile for long the quick tier runs README.md.
@pytest.mark.parametrize("page", long_but(PAGES, quick=[i for i, page in enumerate(PAGES) if page not in SLOW]))
def test_a_page_runs_and_shows_what_it_prints(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert blocks((ROOT / page).read_text(encoding="utf-8"))
    assert differences(ROOT / page) == []


def test_a_page_that_shows_something_else_is_found():
    page = "```python\nprint(1)\n```\n\n```text\n2\n```\n\n<!-- not run: of no use -->\n```python\n1 / 0\n```\n"
    assert [line for line, _ in differences(Path("page.md"), page)] == [2]
    assert [line for line, _ in differences(Path("page.md"), page.replace("```text\n2\n```\n", ""))] == [2]
    assert differences(Path("page.md"), page.replace("```text\n2", "```text\n1")) == []


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_markdown_is_wrapped_at_100_columns(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    long = [line for line in lines if len(line) > 100 and not line.startswith("|")]
    assert [line for line in long if " " in line.strip()] == []
