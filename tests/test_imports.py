"""Imports go one way, in the order in which docs/architecture.md lists the rooms."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxbuffers"
FILES = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in PACKAGE.rglob("*.py")}
FILES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}
SECTION = (ROOT / "docs/architecture.md").read_text().split("## Rooms")[1].split("\n## ")[0]
LISTED = [
    re.findall(r"`(\w+)/?`", row)[: 2 if "`, `" in row else 1] for row in re.findall(r"^\| (.*?) \|", SECTION, re.M)
]


def imports(name):
    """The modules of the package that a module imports."""
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxbuffers":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in FILES else node.module


def room(name):
    return name.split(".")[1]


INSIDE = [name for name in FILES if "." in name]


def test_every_room_is_listed_once():
    listed = [each for row in LISTED for each in row]
    assert sorted(listed) == sorted({room(name) for name in INSIDE})


def test_a_room_imports_only_rooms_listed_above_it():
    floor = {each: number for number, row in enumerate(LISTED) for each in row}
    for name in INSIDE:
        for other in imports(name):
            assert other != "jaxbuffers", f"{name} imports the package itself"
            assert room(other) == room(name) or floor[room(other)] < floor[room(name)], f"{name} imports {other}"


def test_no_module_imports_itself_in_a_circle():
    done, on_the_way = set(), []

    def visit(name):
        assert name not in on_the_way, " imports ".join([*on_the_way[on_the_way.index(name) :], name])
        if name not in done:
            on_the_way.append(name)
            for other in imports(name):
                if other != name:
                    visit(other)
            done.add(on_the_way.pop())

    for name in INSIDE:
        visit(name)


def test_private_rooms_say_so():
    for name in re.findall(r"`(\w+)/` \*private\*", SECTION):
        assert FILES[f"jaxbuffers.{name}"].read_text().startswith('"""Private: '), name
