"""Actors that die, stale policies and signals leave a whole replay: consecutive rows obey the physics of CartPole."""

import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

import jaxbuffers as jb

pytest.importorskip("gymnasium")
import actor_processes
import actors
from cart_pole_actor import Actor

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {"NUMBER": 16, "WAITING": 48, "CAPACITY": 1_000, "BATCH": 8, "UNITS": 4, "WARMUP": 50, "TRIAL": 2}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(actors, name, value)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    plt.close("all")


def episodes(rows):
    """How rows [T] of one stream fall into episodes, each checked to be one: lists of times."""
    found = []
    for t, first in enumerate(rows["is_first"]):
        if first or not t:
            found.append([])
        found[-1].append(t)
    for times in found:
        assert not rows["is_last"][times[:-1]].any()
        obs = rows["obs"][times]
        # Gymnasium moves the cart and the pole by their speeds, 0.02 s a step: rows of two episodes never fit.
        np.testing.assert_allclose(obs[1:, ::2], obs[:-1, ::2] + 0.02 * obs[:-1, 1::2], atol=1e-5)
        np.testing.assert_array_equal(rows["reward"][times[1:]], 1)
    return found


def streams(run, count):
    """The rows of each stream of a replay, oldest first."""
    replay = jb.Replay(actors.CAPACITY // count * count, count, actors.BATCH, actors.VIEW)
    size = np.asarray(run.replay.ring.size)
    for s, (n, end) in enumerate(zip(size, np.asarray(run.replay.ring.time), strict=True)):
        index = jb.Index(np.full(n, s, np.int32), np.arange(end - n, end, dtype=np.int32))
        rows, present = replay.get(run.replay, index)
        assert present.all()
        yield jax.tree.map(np.asarray, rows)


def test_an_actor_gives_whole_episodes_in_rows_of_any_number():
    actor, scores, parts = Actor("CartPole-v1", 0), [], []
    for number in (1, 2, 50, 7, 100):
        rows, ended = actor.collect({}, 1.0, number, afresh=False)
        assert len(rows["obs"]) == number
        scores += ended
        parts.append(rows)
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = episodes(rows)
    ended = [times for times in found if rows["is_last"][times[-1]]]
    assert len(ended) > 3
    assert [len(times) - 1 for times in ended] == scores
    assert rows["is_terminal"].sum() == len(ended)  # they all fell: nobody balances a pole at random for 500 steps
    before = len(scores)
    rows, _ = actor.collect({}, 1.0, 1, afresh=True)
    assert rows["is_first"][0]
    assert before == len(scores)


class Dying(actor_processes.Here):
    """Actors that die now and then; then a signal comes."""

    answers, made = 0, []

    def __init__(self, env, seeds):
        super().__init__(env, seeds)
        self.made.append(self)
        self.died, self.env = 0, env

    def answer(self):
        if not self.asked:
            return super().answer()
        type(self).answers += 1
        if self.answers == 40:
            signal.raise_signal(signal.SIGTERM)
        if self.answers % 7 == 0:
            actor, _ = self.asked.popleft()
            self.died += 1
            self.actors[actor] = Actor(self.env, 1000 + self.died)
            return actor, None
        return super().answer()


@pytest.fixture
def loop(monkeypatch):
    """Keep what the program trained."""
    kept, real = [], actors.Training.__init__

    def __init__(self, *args):
        real(self, *args)
        kept.append(self)

    monkeypatch.setattr(actors.Training, "__init__", __init__)
    return kept


def test_deaths_and_a_signal_leave_whole_episodes_and_a_run_that_goes_on(tmp_path, monkeypatch, capsys, loop):
    monkeypatch.setattr(actors, "Here", Dying)
    before = signal.getsignal(signal.SIGTERM)
    options = ["--here", "--steps", "1500", "--save-every", "10", "--out", str(tmp_path / "actors.png")]
    actors.main([*options, "--save", str(tmp_path / "run")])
    assert "stopped by SIGTERM" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) is before
    (first,) = loop
    died = Dying.made[0].died
    assert first.record["replaced"] == died >= 4
    assert len(first.inbox) == 0
    whole = cut = 0
    for rows in streams(first.run, 2):
        for times in episodes(rows):
            assert rows["is_last"][times[-1]]  # those under way, too
            whole += rows["is_terminal"][times[-1]]
            cut += not rows["is_terminal"][times[-1]]
    assert whole > 3
    assert 2 <= cut <= died + 2
    monkeypatch.setattr(actors, "Here", actor_processes.Here)
    actors.main([*options, "--resume", str(tmp_path / "run")])
    said = capsys.readouterr().out
    assert f"going on after chunk {first.record['blocks']}" in said
    assert re.search(r"return \d+\.\d over 2 greedy episodes; 2 actors in this process: \d+ steps/s", said)
    assert " 0 against the limiter" in said
    assert loop[1].record["rows"] >= 1500
    inserted = loop[1].record["rows"] - SMALL["WARMUP"]
    assert int(loop[1].run.age) * SMALL["BATCH"] == pytest.approx(inserted * actors.SAMPLES_PER_ROW, rel=0.05)
    for rows in streams(loop[1].run, 2):
        episodes(rows)
    assert plt.imread(tmp_path / "actors.png").std() > 0.01


def test_a_policy_that_is_too_old_is_refused_and_the_actor_begins_afresh(loop):
    learner = actors.Learner(*actors.spaces("CartPole-v1"), 1, 100)
    pool = actor_processes.Here("CartPole-v1", [0])
    training = actors.Training(pool, learner, learner.begin(jax.random.key(0)), actors.record(), 100, None)
    training.ask()
    training.hear(*pool.answer())
    training.ask()
    training.inbox.announce(actors.MAX_STALENESS + 1)
    training.hear(*pool.answer())
    assert training.record["refused"] == SMALL["NUMBER"]
    training.ask()
    training.hear(*pool.answer())
    blocks = [training.inbox.take() for _ in range(2)]
    rows = {name: np.concatenate([block.rows[name][block.mask] for block in blocks]) for name in blocks[0].rows}
    starts = [times[0] for times in episodes(rows)]
    assert SMALL["NUMBER"] in starts  # behind those that came before
    assert rows["is_last"][SMALL["NUMBER"] - 1]


def descendants(pid):
    """The processes that a process has started, and those that they have."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return set(found[1:])


def alive(pid):
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


@pytest.mark.long  # Ray takes ten seconds to start; quick: the same loop, with actors that only pretend to die
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc to find processes in")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_actors_that_are_killed_at_any_moment_are_replaced_and_no_process_is_left(tmp_path, end):
    kills = 20 if end == signal.SIGTERM else 15
    chance = random.Random(int(end))
    # A learner that is always busy, and never done.
    program = "import actors; actors.SAMPLES_PER_ROW, actors.WARMUP = 64, 100; actors.main()"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "MPLBACKEND": "agg"}
    environment["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES), *sys.path])
    options = ["--steps", "10_000_000", "--save", str(tmp_path / "run"), "--save-every", "20"]
    command = [sys.executable, "-W", "ignore", "-c", program, *options, "--out", str(tmp_path / "actors.png")]
    said = tmp_path / "said"
    with said.open("w") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        for killed in range(kills):
            wait_until(lambda n=killed: said.read_text().count(" is process ") == n + 2)
            pids = re.findall(r"actor (\d+) is process (\d+)", said.read_text())
            pid = int(dict(pids)[str(chance.randrange(2))])
            time.sleep(chance.uniform(0, 0.6))
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: said.read_text().count(" is process ") == kills + 2)
        wait_until(lambda: list((tmp_path / "run").glob("step-*")))
        family = descendants(process.pid)
        assert len(family) > 3
        if end == signal.SIGINT:
            os.killpg(process.pid, end)  # as Ctrl-C in a terminal does: to the whole group that was started here
        else:
            process.send_signal(end)
        assert process.wait(60) == (0 if end != signal.SIGKILL else -signal.SIGKILL)
    finally:
        if process.poll() is None:
            process.kill()
    wait_until(lambda: not any(alive(pid) for pid in family), 180)  # without a driver, Ray takes a minute
    count = said.read_text().count("died and is replaced")
    assert count == kills
    with pytest.MonkeyPatch.context() as patch:
        for name in SMALL:
            patch.setattr(actors, name, DEFAULTS[name])
        patch.setattr(actors, "SAMPLES_PER_ROW", 64)
        patch.setattr(actors, "WARMUP", 100)
        learner = actors.Learner(*actors.spaces("CartPole-v1"), 2, 10_000_000)
        with jb.checkpoint.Manager(tmp_path / "run") as manager:
            found = manager.restore(learner.begin(jax.random.key(0)))
        cut = 0
        for rows in streams(found.tree, 2):
            for times in episodes(rows):
                last, terminal = rows["is_last"][times[-1]], rows["is_terminal"][times[-1]]
                cut += last and not terminal and len(times) < 500
                assert last or times[-1] == len(rows["is_last"]) - 1
    replaced = found.metadata["record"]["replaced"]
    assert cut <= replaced + 2
    if end != signal.SIGKILL:
        assert f"stopped by {end.name}" in said.read_text()
        assert replaced == kills
        assert cut > kills // 2  # one that dies between two episodes, or twice before it acts, leaves nothing to cut


DEFAULTS = {name: getattr(actors, name) for name in SMALL}
