"""``python -m jaxbuffers inspect PATH``: a look inside a store, a text file or a checkpoint."""

import argparse
import sys
from pathlib import Path

from jaxbuffers.errors import StoreError, StructureError, TextFileError
from jaxbuffers.inspecting.looking import inspect
from jaxbuffers.inspecting.page import page
from jaxbuffers.inspecting.terminal import show


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m jaxbuffers", description="Look inside what jaxbuffers has saved.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("inspect", help="show what is in a store, a text file or a checkpoint")
    command.add_argument("path", help="where it is; it is only read")
    command.add_argument("--html", metavar="FILE", help="write one page with pictures, instead of to the terminal")
    command.add_argument("--all", action="store_true", help="read all rows of a store, and check them")
    given = parser.parse_args(arguments)
    try:
        report = inspect(given.path, everything=given.all)
        if given.html:
            Path(given.html).write_text(page(report), encoding="utf-8", errors="replace")
    except (OSError, StoreError, StructureError, TextFileError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if given.html:
        print(f"wrote {given.html}")
    else:
        show(report)
    return 1 if report.warnings else 0


if __name__ == "__main__":
    sys.exit(main())
