"""examples/planet.py at a tiny size: its world, its model, its plans, and runs that are interrupted and resumed."""

import importlib.util
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from flax import nnx
from saved_runs import last, stored
from scipy.stats import norm

import jaxbuffers as jb

SPEC = importlib.util.spec_from_file_location("planet", Path(__file__).parents[2] / "examples" / "planet.py")
planet = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(planet)
model, running = sys.modules["planet_model"], sys.modules["running"]

SMALL = {"STEPS": 8, "NUM_ENVS": 2, "FIRST": 3, "TRIALS": 2, "UPDATES": 2, "BATCH": 4, "LENGTH": 3}
SMALL |= {"SHOWN": range(0, 7, 2), "CONTEXT": 3}
OPTIONS = ["--episodes", "13", "--save-every", "2"]  # six chunks


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(planet, name, value)
    for name, value in {"HORIZON": 3, "ITERATIONS": 2, "CANDIDATES": 8, "ELITES": 2}.items():
        monkeypatch.setattr(model, name, value)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    plt.close("all")


class Killed(Exception):
    """What ends the program."""


def run(folder, monkeypatch, option, until=None):
    """Run the program, until it would save a chunk."""
    real, kept = running.Checkpoints.save, []

    def save(self, chunk, *rest, **more):
        kept.append(self)
        if chunk == until:
            raise Killed
        real(self, chunk, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(running.Checkpoints, "save", save)
        try:
            planet.main([*OPTIONS, option, str(folder), "--out", f"{folder}.png"])
        except Killed:
            for each in kept:
                each.close()


@pytest.mark.long  # quick: the same of DQN in test_resume.py
def test_a_run_that_is_resumed_ends_with_the_same_bits(tmp_path, monkeypatch, capsys):
    run(tmp_path / "whole", monkeypatch, "--save")
    whole = capsys.readouterr().out.splitlines()
    run(tmp_path / "cut", monkeypatch, "--save", until=1)
    assert len(stored(tmp_path / "cut")) == 3
    run(tmp_path / "cut", monkeypatch, "--resume", until=4)
    assert len(stored(tmp_path / "cut")) == 3 + 3 * 2  # those of chunks 3 and 4 came after the checkpoint
    run(tmp_path / "cut", monkeypatch, "--resume")
    cut = capsys.readouterr().out.splitlines()
    assert any(line.startswith("going on after chunk 2") for line in cut)
    assert cut[-1] == whole[-1]
    assert cut[-2].split("s;")[1] == whole[-2].split("s;")[1]
    assert len(stored(tmp_path / "whole")) == 13
    assert stored(tmp_path / "cut") == stored(tmp_path / "whole")
    assert last(tmp_path / "cut") == last(tmp_path / "whole")
    assert (tmp_path / "cut.png").read_bytes() == (tmp_path / "whole.png").read_bytes()


@pytest.mark.long  # a training run; quick: its parts, below
def test_the_program_says_how_good_plans_are_and_leaves_a_picture(tmp_path, capsys):
    planet.main(["--episodes", "9", "--out", str(tmp_path / "planet.png")])
    *_, curve, result = capsys.readouterr().out.splitlines()
    assert len(re.findall(r" \d+\.\d", curve)) == 3
    assert all(0 < float(x) < planet.STEPS for x in re.findall(r"\d+\.\d", result))
    assert plt.imread(tmp_path / "planet.png").std() > 0.01


@pytest.mark.long  # quick: the same of DQN in test_resume.py
def test_another_run_is_neither_overwritten_nor_gone_on_with(tmp_path, monkeypatch):
    run(tmp_path / "run", monkeypatch, "--save", until=3)
    with pytest.raises(SystemExit, match=r"holds a run; --resume .* goes on with it"):
        planet.main([*OPTIONS, "--save", str(tmp_path / "run")])
    with pytest.raises(SystemExit, match="give the same options"):
        planet.main([*OPTIONS, "--seed", "1", "--resume", str(tmp_path / "run")])
    with (
        jb.planet.Memory(path=tmp_path / "other" / "episodes") as memory,
        jb.planet.Memory(path=tmp_path / "run" / "episodes") as played,
    ):
        memory.append(played[0])
    with pytest.raises(SystemExit, match="holds episodes of another program"):
        planet.main([*OPTIONS, "--save", str(tmp_path / "other")])


def test_pucks_move_as_pushed_and_walls_throw_them_back():
    puck = planet.Puck(jnp.array([0.95, 0.0]), jnp.array([0.2, 0.0]), jnp.array([0.5, 0.0]))
    after, reward = planet.push(puck, jnp.array([0.0, 1.0]))
    assert after.position[0] == 1
    assert after.velocity[0] < 0
    assert after.position[1] > 0
    np.testing.assert_allclose(reward, np.exp(-2 * np.hypot(*(after.position - puck.goal))), rtol=1e-6)
    still = planet.Puck(puck.goal, jnp.zeros(2), puck.goal)
    assert planet.push(still, jnp.zeros(2))[1] == 1


def test_an_image_shows_where_the_puck_is_and_its_goal():
    puck = planet.Puck(jnp.array([0.5, -0.5]), jnp.zeros(2), jnp.array([-0.5, 0.75]))
    image = np.asarray(planet.draw(puck), np.int32)
    for place, channel, other in ((puck.position, 0, 1), (puck.goal, 1, 0)):
        more = image[..., channel] - image[..., other]
        brightest = np.unravel_index(more.argmax(), more.shape)
        np.testing.assert_allclose(brightest, 15.5 + 12 * place, atol=0.6)  # pixels


def test_images_are_taken_apart_and_put_together_in_the_same_places():
    """A patch that changes changes nothing else: an encoder of one square, a decoder to one square."""
    world = model.WorldModel(nnx.Rngs(0))
    seen, squares = [], world.patches
    world.patches = lambda x: seen.append(x) or squares(x)
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:16, 24:32] = np.arange(192).reshape(8, 8, 3)
    world.encode(jnp.asarray(image))
    (given,) = seen
    np.testing.assert_array_equal(np.round((np.asarray(given)[7] + 0.5) * 255), np.arange(192))
    np.testing.assert_array_equal(np.delete(np.asarray(given), 7, 0), -0.5)
    world.pixels = lambda x: given  # what the encoder was given, decoded
    np.testing.assert_allclose(world.decode(jnp.zeros(model.DETER + model.STOCH)) * 255, image, atol=1e-3)


def test_the_divergence_of_gaussians_is_that_of_their_densities():
    mean, std = np.array([[0.3, -1.0], [0.7, 1.5]], np.float32), np.array([[0.5, 0.2], [1.5, 0.3]], np.float32)
    x = np.linspace(-20, 20, 400_001)
    expected = 0.0
    for i in range(2):
        p, q = norm(mean[0, i], std[0, i]), norm(mean[1, i], std[1, i])
        expected += np.trapezoid(p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), x)
    np.testing.assert_allclose(model.divergence((mean[0], std[0]), (mean[1], std[1])), expected, rtol=1e-4)


def test_plans_find_the_actions_that_promise_most(monkeypatch):
    monkeypatch.setattr(model, "ITERATIONS", 10)
    monkeypatch.setattr(model, "CANDIDATES", 200)
    monkeypatch.setattr(model, "ELITES", 20)
    world, target = model.WorldModel(nnx.Rngs(0)), jnp.array([[0.5, -0.25], [0.0, 1.0], [-1.0, 0.3]])
    world.promise = lambda latent, actions: -jnp.square(actions - target).sum((1, 2))
    action = world.plan(jnp.zeros(model.DETER + model.STOCH), jax.random.key(0))
    np.testing.assert_allclose(action, target[0], atol=0.05)


def test_a_promise_is_the_sum_of_rewards_along_the_way():
    world, key = model.WorldModel(nnx.Rngs(0)), jax.random.key(0)
    start, actions = jax.random.normal(key, (model.DETER + model.STOCH,)), jax.random.normal(key, (2, 3, 2))
    for i in range(2):
        latent, total = start, 0.0
        for action in actions[i]:
            latent, _, _ = world.step(latent, action)
            total += world.reward(latent)[0]
        np.testing.assert_allclose(world.promise(start, actions)[i], total, rtol=1e-4)


@pytest.mark.long  # 300 updates
def test_the_model_learns_to_see_what_it_has_not_been_shown(monkeypatch):
    """Images of other episodes come back with less than two thirds of the error of the mean image (measured: half)."""
    monkeypatch.setattr(planet, "STEPS", 25)
    world, params = nnx.split(model.WorldModel(nnx.Rngs(0)))
    learner, state = planet.PlaNet(world), planet.Run(params, planet.OPTIMIZER.init(params))
    shown, other = jb.planet.Memory(), jb.planet.Memory()
    for i, memory in enumerate((shown, other)):
        keys = jax.random.split(jax.random.key(i))
        for episode in planet.play(planet.at_random, planet.places(jax.random.split(keys[0], 60)), keys[1]):
            memory.append(episode)
    for key in jax.random.split(jax.random.key(2), (300, 2)):
        steps, _ = shown.sample(16, 8, time_first=True, key=key[0])
        state, _ = learner.learn(state, steps, key[1])
    steps, _ = other.sample(32, 8, time_first=True)
    losses = nnx.merge(world, state.params).losses(steps, jax.random.key(3))
    images = np.asarray(steps.observation) / 255
    without = 0.5 * np.square((images - images.mean((0, 1))) / model.IMAGE_STD).sum((2, 3, 4)).mean()
    assert losses["image"] < without * 2 / 3
