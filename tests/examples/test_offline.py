"""examples/offline.py at a tiny size: it says how it went, and a run that is resumed ends with the same bits."""

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import jaxbuffers as jb

pytest.importorskip("minari")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* is set to None", "ignore:env_spec is None", "ignore:Implicitly cleaning up"),
    pytest.mark.filterwarnings("ignore:.*minari.*:UserWarning"),
]
SPEC = importlib.util.spec_from_file_location("offline", Path(__file__).parents[2] / "examples" / "offline.py")
offline = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(offline)
running = sys.modules["running"]
SMALL = {"NUM_ENVS": 2, "TRIAL": 1, "EVERY": 40, "EPISODES": 2, "WARMUP": (20, 10), "BATCH": 8, "UNITS": 4}
OPTIONS = ["--seeds", "1", "--steps", "40", "--updates", "120", "--workers", "0"]


@pytest.fixture(autouse=True)
def _promotion_as_optax_needs_it(monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", "set by the program, and set back by the test")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    plt.close("all")


@pytest.fixture
def small(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(offline, name, value)
    monkeypatch.setattr(offline, "TD3", cache(offline.TD3))  # compiled once


class Killed(Exception):
    """What ends the program."""


@pytest.mark.long  # quick: the same of DQN in test_resume.py
@pytest.mark.usefixtures("small")
def test_a_run_that_is_resumed_ends_with_the_same_bits_and_leaves_a_picture(tmp_path, monkeypatch, capsys):
    real = running.Checkpoints.save

    def save(self, chunk, *rest, **more):
        if chunk == 3:  # of four trials offline
            self.close()
            raise Killed
        real(self, chunk, *rest, **more)

    out = ["--out", str(tmp_path / "offline.png")]
    with monkeypatch.context() as patch:
        patch.setattr(running.Checkpoints, "save", save)
        with pytest.raises(Killed):
            offline.main([*OPTIONS, *out, "--save", str(tmp_path / "cut")])
    offline.main([*OPTIONS, *out, "--resume", str(tmp_path / "cut")])
    resumed = capsys.readouterr().out
    assert "going on after chunk 2" in resumed
    offline.main([*OPTIONS, *out, "--save", str(tmp_path / "whole")])
    whole = capsys.readouterr().out
    assert resumed.splitlines()[-5:] == whole.splitlines()[-5:]
    last = [max((tmp_path / name / "seed-0").glob("step-*")).read_bytes() for name in ("cut", "whole")]
    assert last[0] == last[1]
    said = dict(re.findall(r"^  (\D+?) +(-?\d+\.\d)   \(", whole, re.MULTILINE))
    assert list(said) == ["random", "the data", "offline", "fine-tuned", "from nothing"]
    assert 30 < float(said["the data"]) < 95  # it gets out, at a price
    assert plt.imread(tmp_path / "offline.png").std() > 0.01


def test_every_update_sees_both_sources_in_equal_parts(monkeypatch):
    td3, seen = offline.TD3(), []
    monkeypatch.setattr(offline, "BATCH", 6)
    agent = td3.begin(jax.random.key(0))
    obs, source = jnp.zeros((12, 2)), jnp.arange(12.0) // 6
    data = jb.Transition(obs, jnp.zeros((12, 1)), source, jnp.zeros(12), obs, ())

    def loss(params, target, data, key, imitation):
        jax.debug.callback(lambda x: seen.append(np.asarray(x).tolist()), data.reward)
        return sum(x.sum() for x in jax.tree.leaves(params)) * 0.0

    monkeypatch.setattr(td3, "loss", loss)
    jax.block_until_ready(td3.learn(agent, data, jax.random.key(0), 1.0, updates=2))
    jax.effects_barrier()
    assert seen == [[0, 0, 0, 1, 1, 1]] * 2


def test_what_terminates_has_no_future_and_only_critics_learn_from_errors():
    td3 = offline.TD3()
    agent = td3.begin(jax.random.key(0))
    data = jb.Transition(jnp.zeros((4, 2)), jnp.ones((4, 1)), jnp.full(4, 3.0), jnp.zeros(4), jnp.ones((4, 2)), ())
    far = jax.tree.map(lambda x: x + 7, agent.target)

    @jax.jit
    def loss(target, data):
        return jax.value_and_grad(td3.loss)(agent.params, target, data, jax.random.key(0), 0.0)

    @jax.jit
    @jax.grad
    def slope_of_errors(params):
        return ((td3.value(params, data.obs, data.action)[1] - 3.0) ** 2).mean(1).sum()

    value, slope = loss(agent.target, data)
    np.testing.assert_allclose(loss(far, data)[0], value, rtol=1e-6)
    assert abs(float(loss(far, data.replace(discount=jnp.ones(4)))[0] - value)) > 0.1
    wanted = slope_of_errors(agent.params)["critics"]
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(wanted)) > 0.1
    for ours, theirs in zip(*map(jax.tree.leaves, (slope["critics"], wanted)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(slope["policy"])) > 0


@pytest.mark.long  # trains, with a worker
def test_it_learns_from_the_data_more_than_the_data_shows(tmp_path, capsys):
    pytest.importorskip("grain")
    options = ["--seeds", "1", "--steps", "400", "--updates", "1000", "--workers", "1"]
    offline.main([*options, "--out", str(tmp_path / "offline.png")])
    said = dict(re.findall(r"^  (\D+?) +(-?\d+\.\d)   \(", capsys.readouterr().out, re.MULTILINE))
    assert float(said["offline"]) > float(said["the data"]) + 5
    assert float(said["fine-tuned"]) > float(said["the data"]) + 5
