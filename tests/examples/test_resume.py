"""examples/dqn.py, dreamer.py and planet.py, interrupted anywhere and resumed: the same bits as without."""

import argparse
import functools
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import pytest
from saved_runs import last, stored
from tier import budget

import jaxbuffers as jb

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dqn, running = load("dqn"), sys.modules["running"]
dqn.OnGymnax = functools.cache(dqn.OnGymnax)  # compiled once
SMALL = {"NUM_ENVS": 3, "TRIAL": 4, "CHUNK": 10, "WARMUP": 20, "CAPACITY": 150, "BATCH": 8, "UNITS": 4}
OPTIONS = ["--steps", "240", "--seeds", "2", "--save-every", "2"]  # eight chunks


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(dqn, name, value)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    plt.close("all")


class Killed(Exception):
    """What ends the program."""


def run(folder, monkeypatch, option, until=None):
    """Run the program, until it would save a chunk; return what it said."""
    real, kept = running.Checkpoints.save, []

    def save(self, chunk, *rest, **more):
        kept.append(self)
        if chunk == until:
            raise Killed
        real(self, chunk, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(running.Checkpoints, "save", save)
        try:
            dqn.main([*OPTIONS, option, str(folder), "--out", str(folder.parent / "dqn.png")])
        except Killed:
            for each in kept:
                each.close()


@pytest.mark.parametrize("places", budget([(4,)], [(2,), (4,), (7,), (2, 3, 7)]))
def test_a_run_that_is_resumed_ends_with_the_same_bits(tmp_path, monkeypatch, capsys, places):
    run(tmp_path / "whole", monkeypatch, "--save")
    whole = capsys.readouterr().out.splitlines()[-1]
    for i, place in enumerate(places):
        run(tmp_path / "cut", monkeypatch, "--resume" if i else "--save", until=place)
    run(tmp_path / "cut", monkeypatch, "--resume")
    said = capsys.readouterr().out
    assert ("going on after chunk" in said) == (max(places) > 2)
    assert said.splitlines()[-1] == whole
    assert last(tmp_path / "cut") == last(tmp_path / "whole")
    assert plt.imread(tmp_path / "dqn.png").std() > 0.01


def test_another_run_is_neither_overwritten_nor_gone_on_with(tmp_path, monkeypatch):
    run(tmp_path / "run", monkeypatch, "--save", until=5)
    with pytest.raises(SystemExit, match=r"holds a run; --resume .* goes on with it"):
        dqn.main([*OPTIONS, "--save", str(tmp_path / "run")])
    with pytest.raises(SystemExit, match="give the same options"):
        dqn.main([*OPTIONS, "--seed", "1", "--resume", str(tmp_path / "run")])
    with pytest.raises(SystemExit):
        dqn.main([*OPTIONS, "--gym", "--save", str(tmp_path / "other")])


def test_what_cannot_be_meant_is_said(tmp_path, capsys):
    with pytest.raises(SystemExit, match="does not exist; begin a run with --save"):
        dqn.main([*OPTIONS, "--resume", str(tmp_path / "mistyped")])
    assert not (tmp_path / "mistyped").exists()
    for options, words in (
        (["--save", "a", "--resume", "b"], "not allowed with argument --save"),
        (["--save", "a", "--save-every", "0"], "0 is less than 1"),
    ):
        with pytest.raises(SystemExit):
            dqn.main([*OPTIONS, *options])
        assert words in capsys.readouterr().err
    args = argparse.Namespace(save=None, resume=str(tmp_path), save_every=1)
    for metadata in (None, {"step": 1}):
        with jb.checkpoint.Manager(tmp_path) as manager:
            manager.save(1, {}, metadata=metadata, overwrite=True)
        with pytest.raises(SystemExit, match="holds checkpoints of another program"):
            running.Checkpoints(args)


PROGRAMS = {
    "dqn": (
        "import dqn, jaxbuffers as jb; dqn.CHUNK, dqn.WARMUP, dqn.CAPACITY = 20, 40, 20_000; dqn.main()",
        ["--steps", str(20 * 16 * 100), "--seeds", "2", "--save-every", "1"],  # 100 chunks of 50 ms
    ),
    "dreamer": (
        "import dreamer; dreamer.CHUNK = 10; dreamer.TRIAL = 100; dreamer.main()",
        ["--steps", str(1600 + 10 * 16 * 30), "--save-every", "1"],
    ),
    "planet": (
        "import planet, planet_model; planet.FIRST, planet.UPDATES, planet.TRIALS, planet.STEPS, planet.LENGTH = "
        "8, 2, 2, 12, 6; planet.SHOWN = range(0, 10, 3); planet_model.CANDIDATES, planet_model.ELITES = 16, 4; "
        "planet.main()",
        ["--episodes", str(8 + 4 * 59), "--save-every", "2"],
    ),
}


@pytest.mark.long  # processes that compile agents, again and again
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_are_killed_at_any_moment_end_with_the_same_bits(tmp_path, name, capsys):
    """Hundreds of updates; SIGKILL and SIGTERM in turns, while it compiles, learns and saves."""
    program, options = PROGRAMS[name]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "MPLBACKEND": "agg"}
    environment["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES), *sys.path])

    def start(option, folder):
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            program,
            *options,
            option,
            str(folder),
            "--out",
            f"{folder}.png",
        ]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def saved():
        return max((int(path.stem.split("-")[1]) for path in (tmp_path / "cut").rglob("step-*.safetensors")), default=0)

    (tmp_path / "cut").mkdir()  # as by one that was killed before its first save
    whole = start("--save", tmp_path / "whole")
    said, _ = whole.communicate(timeout=900)
    assert whole.returncode == 0, said
    choose = random.Random(0)
    for kill, chunks in enumerate((0, 4, 1, 9)):  # that it gets on before it is killed
        cut, goal = start("--resume", tmp_path / "cut"), saved() + chunks
        while chunks and saved() < goal:
            assert cut.poll() is None, cut.stdout.read()
            time.sleep(0.001)
        time.sleep(choose.uniform(0, 0.3) if chunks else 5)
        cut.send_signal(signal.SIGKILL if kill % 2 else signal.SIGTERM)
        said, _ = cut.communicate(timeout=60)
        assert cut.returncode in (-signal.SIGKILL, -signal.SIGTERM), said
    cut = start("--resume", tmp_path / "cut")
    said, _ = cut.communicate(timeout=900)
    assert cut.returncode == 0, said
    assert "going on after chunk" in said
    with capsys.disabled():
        print(f"\n{name}: {next(line for line in said.splitlines() if 'going on' in line)}, after 4 kills")
    assert last(tmp_path / "cut") == last(tmp_path / "whole")
    if name == "planet":  # whose returns, plans and films are in the picture
        assert stored(tmp_path / "cut") == stored(tmp_path / "whole")
        assert (tmp_path / "cut.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
