"""What is promised about versions is what gets tested."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = {each.name: each.specifier for each in map(Requirement, PROJECT["dependencies"])}
WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text()


def pins(name):
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    return {name: Version(version) for name, version in (line.split("==") for line in lines)}


def test_the_oldest_versions_tested_are_the_lower_bounds_promised():
    pinned, bounds = pins("constraints-oldest.txt"), {}
    for name, specifier in CORE.items():
        (bounds[name],) = (Version(each.version) for each in specifier if each.operator == ">=")
    assert {name: pinned[name] for name in CORE} == bounds


def test_the_pinned_versions_are_among_those_promised():
    pinned = pins("constraints.txt")
    assert all(pinned[name] in CORE[name] for name in CORE)


def test_no_core_dependency_is_capped():
    assert not [each for specifier in CORE.values() for each in specifier if each.operator not in (">=", "!=")]


def test_the_workflow_runs_on_every_python_promised():
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert promised
    assert set(promised) == set(re.findall(r'python: "(.+?)"', WORKFLOW))
    assert min(promised, key=Version) in PROJECT["requires-python"]


def test_every_target_of_the_workflow_is_in_the_makefile():
    targets = set(re.findall(r"target: ([\w-]+)", WORKFLOW))
    assert targets >= {"check", "test", "test-oldest", "test-newest", "test-nightly"}
    assert targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
