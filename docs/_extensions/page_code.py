"""The Python blocks of a Markdown page: what they are, what they print, and whether that is what the page says.

A page's blocks run from top to bottom in one namespace. A block that prints is followed by a ``text`` block that shows
exactly what it prints. ``<!-- not run: reason -->`` on the line before a block leaves it out.
"""

import contextlib
import difflib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?P<skip>^<!-- not run: [^\n]+ -->\n+)?^```python\n(?P<code>.*?)^```$(?:\n+```text\n(?P<shown>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One Python block.

    Attributes:
      line: the line of the page on which its code begins, from 1.
      code: the code.
      shown: what the page shows below it, or nothing.
    """

    line: int
    code: str
    shown: str


def blocks(text: str) -> list[Block]:
    """Return the Python blocks of a page, in order, but for those that the page does not run."""
    found = (m for m in _BLOCK.finditer(text) if m["skip"] is None)
    return [Block(text.count("\n", 0, m.start("code")) + 1, m["code"], m["shown"] or "") for m in found]


def run(path: Path, text: str | None = None) -> Iterator[tuple[Block, str]]:
    """Run the blocks of a page; yield each with what it printed."""
    names = {"__name__": path.stem}
    for block in blocks(path.read_text(encoding="utf-8") if text is None else text):
        code = compile("\n" * (block.line - 1) + block.code, str(path), "exec")  # so that errors name the page's line
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        yield block, printed.getvalue()


def differences(path: Path, text: str | None = None) -> list[tuple[int, str]]:
    """Run a page; return the line and the difference wherever it prints anything but what it shows."""
    found = []
    for block, printed in run(path, text):
        if printed != block.shown:
            lines = difflib.ndiff(block.shown.splitlines(), printed.splitlines())
            found.append((block.line, "the page shows (-) and its code prints (+):\n" + "\n".join(lines)))
    return found
