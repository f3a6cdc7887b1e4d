"""Many hosts: real processes share a run, save it together, and go on from it in another number."""

import json

import pytest

import jaxbuffers as jb

from .launching import Run
from .work import Work, begin, mesh_of, sums_of


@pytest.fixture(scope="module")
def here():
    """The same run in this one process, on as many devices."""
    mesh = mesh_of()
    return mesh, Work(mesh)


def sums(run):
    """What the processes of a run had at its end, together."""
    found = {}
    for number in range(run.count):
        line = next(line for line in run.said(number) if line.startswith("sums"))
        for name, total in json.loads(line.removeprefix("sums")).items():
            assert found.setdefault(name, total) == total, f"{name} differs between processes"
    return found


def test_two_processes_go_on_from_one_save_together_and_one_goes_on_from_them(tmp_path, here):
    mesh, work = here
    folder = tmp_path / "run"
    with jb.checkpoint.Manager(folder) as manager:
        manager.save(1, work.until(begin(mesh), 1))
    with Run(tmp_path / "two", 2, "all", folder, 5, devices=2) as two:
        for number in range(2):
            two.until(number, "ready")
            assert two.said(number)[0] == "from 1\n"
        two.kill(1)
        (tmp_path / "killed").touch()
        codes = two.ended()
        assert codes[0] != 0
        assert "process 1 did not come within 1 s" in two.complained(0), two.all()
        assert sums(two) == sums_of(work.until(begin(mesh), 5))
    assert not list(tmp_path.glob("alone*.safetensors"))
    with jb.checkpoint.Manager(folder) as manager:
        assert manager.steps() == [1, 3, 5]
        found = manager.restore(begin(mesh)).tree
        assert sums_of(found) == sums_of(work.until(begin(mesh), 5))
        assert sums_of(work.until(found, 8)) == sums_of(work.until(begin(mesh), 8))
