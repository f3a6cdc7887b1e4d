"""Other numbers of processes, and kills at any moment: the last checkpoint is whole, nobody waits for ever."""

import random
import time
from pathlib import Path

import numpy as np
import pytest

import jaxbuffers as jb

from .launching import Run
from .test_hosts import sums
from .work import Work, begin, mesh_of, sums_of

KILLS = 50
BOUND = 120  # seconds in which the others must have ended; JAX is told to notice within 10


@pytest.mark.long  # every number of processes compiles the run again
def test_a_run_goes_on_in_any_number_of_processes(tmp_path):
    mesh = mesh_of()
    work, folder = Work(mesh), tmp_path / "run"
    for i, (count, last) in enumerate([(2, 3), (4, 7), (1, 9), (4, 11), (2, 15)]):
        with Run(tmp_path / f"said{i}", count, "train", folder, last, devices=4 // count) as run:
            assert run.ended() == [0] * count, run.all()
            assert sums(run) == sums_of(work.until(begin(mesh), last))
    found = jb.checkpoint.Manager(folder).restore(begin(mesh)).tree
    assert sums_of(found) == sums_of(work.until(begin(mesh), 15))


@pytest.mark.long  # starts two processes three times
def test_the_program_of_the_page_runs_is_told_to_end_and_goes_on(tmp_path):
    page = (Path(__file__).parents[2] / "docs/many-devices.md").read_text()
    program = tmp_path / "train.py"
    program.write_text("# train.py\n" + page.split("# train.py\n")[1].split("```")[0])
    folder = tmp_path / "run"

    def run(name, last):
        return Run(tmp_path / name, 2, folder, last, devices=2, program=program)

    with run("first", 200) as both:
        assert both.ended() == [0, 0], both.all()
    with run("second", 10**9) as both:
        while folder_of(folder)[-1] < 300:
            assert both.running(), both.all()
            time.sleep(0.1)
        both.processes[1].terminate()
        assert both.ended() == [0, 0], both.all()
        told = int(both.said(0)[-1].split()[0])
        assert both.said(0)[-1] == both.said(1)[-1] == f"{told} {np.full(3, told / 2, np.float32)}\n"
    assert folder_of(folder)[-1] == told
    with run("third", told) as both:
        assert both.ended() == [0, 0], both.all()
        assert both.said(1)[-1].startswith(f"{told} ")


def folder_of(folder):
    return jb.checkpoint.Manager(folder).steps()


@pytest.mark.long  # fifty lives of two or four processes, a quarter of a minute each
def test_kills_at_any_moment_leave_a_whole_checkpoint_and_nobody_waiting(tmp_path, capsys):
    mesh = mesh_of()
    work, folder, choose = Work(mesh), tmp_path / "run", random.Random(0)
    reference, slowest, saved = begin(mesh), 0.0, -1
    for kill in range(KILLS):
        count = 4 if kill % 5 == 4 else 2
        with Run(tmp_path / f"said{kill}", count, "train", folder, 10**6, devices=4 // count) as run:
            victim = choose.randrange(count)
            if kill > 0:  # else before they have found each other
                run.until(victim, "saved" if kill % 5 else "connected")
            time.sleep(choose.uniform(0, 2))
            run.kill(victim)
            begun = time.monotonic()
            codes = run.ended()
            slowest = max(slowest, time.monotonic() - begun)
            assert 0 not in codes, run.all()
            assert time.monotonic() - begun < BOUND
            said = [line for number in range(count) for line in run.said(number)]
            reported = [int(line.split()[1]) for line in said if line.startswith("saved")]
        saved = max([saved, *reported])
        manager = jb.checkpoint.Manager(folder)
        if manager.steps():
            found = manager.restore(begin(mesh))
            assert found.step >= saved, "a finished save is lost"
            reference = work.until(reference, found.step)
            assert sums_of(found.tree) == sums_of(reference)
        else:
            assert saved < 0
    with capsys.disabled():
        print(f"\n{KILLS} kills, step {saved}, the others ended within {slowest:.1f} s, 0 lost, 0 wrong")
    assert saved > 0
    with jb.checkpoint.Manager(folder, keep=1) as manager:  # whoever comes next cleans up
        manager.save(10**7, reference)
    assert [each.name for each in folder.iterdir()] == ["step-000010000000.safetensors"]
