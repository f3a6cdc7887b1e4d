"""Links the words of the glossary where a docstring of the reference first uses them."""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

# Words that mean in a docstring what the glossary says; others, such as "time" and "row", are everyday words too.
WORDS = {
    "anchor": "anchor",
    "burn-in": "burn-in",
    "donate": "donation",
    "donated": "donation",
    "history": "history",
    "legal windows": "legal",
    "legal window": "legal",
    "legal": "legal",
    "minibatches": "minibatch",
    "rollout": "rollout",
    "stale": "stale",
    "stream": "stream",
    "streams": "stream",
    "windows": "window",
    "window": "window",
}
_FOUND = re.compile(rf"\b({'|'.join(sorted(WORDS, key=len, reverse=True))})\b")


def _unfold(app: Sphinx, docname: str, source: list[str]) -> None:
    """Read the glossary as it is written for GitHub: ``**term**``, then ``: definition``, then an empty line."""
    if docname == "glossary":
        source[0] = re.sub(r"^\*\*(.+)\*\*\n: ", r"\1\n  ", source[0], flags=re.MULTILINE)


def _link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    terms = app.env.domaindata["std"]["terms"]
    for content in list(doctree.findall(addnodes.desc_content)):
        if not isinstance(content.parent.parent, addnodes.desc_content):  # members belong to their class
            _link_once(app, content, docname, terms)


def _link_once(app: Sphinx, content: nodes.Element, docname: str, terms: dict[str, tuple[str, str]]) -> None:
    seen: set[str] = set()
    for text in list(content.findall(nodes.Text)):
        if not isinstance(text.parent, nodes.paragraph):
            continue
        pieces: list[nodes.Node] = []
        for piece in _FOUND.split(str(text)):
            term = WORDS.get(piece)
            if term is None or term in seen:
                pieces.append(nodes.Text(piece))
                continue
            seen.add(term)
            page, anchor = terms[term]
            address = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"
            pieces.append(nodes.reference("", piece, refuri=address, internal=True, classes=["word"]))
        text.parent.replace(text, pieces)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", _unfold)
    app.connect("doctree-resolved", _link)
    return {"parallel_read_safe": True}
