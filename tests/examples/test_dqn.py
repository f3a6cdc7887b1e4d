"""examples/dqn.py at a tiny size: both ways, every replay, and what learning and judging rest on."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from tier import is_quick, long_but

import jaxbuffers as jb
from jaxbuffers.testing import assert_gated

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("dqn", ROOT / "examples" / "dqn.py")
dqn = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(dqn)

E, TRIAL, GAMMA, N_STEP = 3, 12, 0.5, 3
SMALL = {"NUM_ENVS": E, "TRIAL": TRIAL, "CHUNK": 40, "WARMUP": 40, "CAPACITY": 150, "BATCH": 8, "UNITS": 4}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Make the program small; and forget its figures."""
    for name, value in SMALL.items():
        monkeypatch.setattr(dqn, name, value)
    monkeypatch.setattr(dqn, "VIEW", jb.Transitions(N_STEP, GAMMA))
    yield
    plt.close("all")


@pytest.fixture
def standard_promotion():
    """Let gymnax and optax mix floats and integers, which the strict mode of these tests refuses."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


# An episode lasts 2 to 9 steps and is cut by a time limit if that is even. Each step of the first is worth 1 and its
# last one 0.01 per step more; each step of a later one 1000. Observations: time, length, and how many came before.


def worth(time, length, before):
    return jnp.where(before > 0, 1000.0, jnp.where(time == length, 1.0 + 0.01 * length, 1.0))


class CountInJax:
    """Counts, and resets in the step that ends an episode."""

    num_actions = 2

    def reset(self, key, before=0.0):
        obs = jnp.array([0.0, jax.random.randint(key, (), 2, 10).astype(jnp.float32), before])
        return obs, obs

    def step(self, key, state, action):
        time, length, before = state + jnp.array([1.0, 0.0, 0.0])
        final, (first, _) = jnp.stack([time, length, before]), self.reset(key, before + 1)
        done, cut = time == length, length % 2 == 0
        obs = jnp.where(done, first, final)
        return obs, obs, worth(time, length, before), done & ~cut, done & cut, {"final_observation": final}


class Count(gymnasium.Env):
    """The same, alone."""

    observation_space = gymnasium.spaces.Box(0, 10_000, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    before = -1

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.length, self.before = 0, int(self.np_random.integers(2, 10)), self.before + 1
        return self.obs, {}

    @property
    def obs(self):
        return np.array([self.time, self.length, self.before], np.float32)

    def step(self, action):
        self.time += 1
        done, cut = self.time == self.length, self.length % 2 == 0
        return self.obs, float(worth(*self.obs)), done and not cut, done and cut, {}


# Both ways share the agent: in the quick tier each test goes one of them.
in_jax = pytest.mark.parametrize("make", long_but(["gymnax", "gymnasium"], quick=[0]), indirect=True)
on_host = pytest.mark.parametrize("make", long_but(["gymnax", "gymnasium"], quick=[1]), indirect=True)


@pytest.fixture
def make(request, monkeypatch):
    """Both ways to use the agent, on counting environments."""
    monkeypatch.setattr(dqn.gymnax, "make", lambda name: (CountInJax(), None))
    monkeypatch.setitem(
        gymnasium.registry, "Count-v0", gymnasium.envs.registration.EnvSpec("Count-v0", entry_point=Count)
    )
    way = {"gymnax": dqn.OnGymnax, "gymnasium": dqn.OnGymnasium}[request.param]

    def make(sampler, updates=100):
        return way("Count-v0", sampler, updates)

    make.way = way
    return make


@pytest.fixture
def keys():
    return jax.random.split(jax.random.key(0), 1)


def idle(way):
    """Let it act and record, and not compile what it would learn."""
    way.dqn.learn = way.learn = lambda run, key: run
    return way


def first_seed(run):
    return jax.tree.map(lambda x: x[0] if x.ndim else x, run.replay)  # the count of adds is that of all seeds


@on_host
def test_a_policy_is_judged_by_one_whole_episode_of_each_environment(make, keys):
    way = make(jb.Uniform())
    scores = np.asarray(way.evaluate(way.begin(keys), keys, 1.0))
    assert scores.shape == (1, TRIAL)
    length = scores.round()
    np.testing.assert_allclose(scores, length * 1.01, rtol=1e-5)  # to the end, and nothing of the next one
    assert set(length.flat) <= set(range(2, 10))
    assert len(np.unique(length)) > 3


@on_host
def test_scores_of_training_are_those_of_whole_episodes(make, keys):
    way = idle(make(jb.Uniform()))
    _, (done, score) = way.chunk(way.begin(keys), keys)
    done, score = np.asarray(done), np.asarray(score)
    assert done.shape == score.shape == (1, SMALL["CHUNK"], E)
    for env in range(E):
        first, *later = score[0, done[0, :, env], env]
        assert first == pytest.approx(round(float(first)) * 1.01)
        assert set(later) <= {1000.0 * length for length in range(2, 10)}
        assert len(later) > 2


@on_host
def test_only_what_terminates_has_no_future(make, keys):
    way = idle(make(jb.Uniform()))
    run, _ = way.chunk(way.begin(keys), keys)
    replay = first_seed(run) if isinstance(way, dqn.OnGymnax) else run.replay
    data = way.dqn.replay.sample(replay, keys[0], 4096).data
    (time, length, before), (after, same, as_before) = np.asarray(data.obs).T, np.asarray(data.next_obs).T
    np.testing.assert_array_equal((length, before), (same, as_before))  # of one episode
    steps = after - time
    # The newest row of an environment may be less than three steps away, too.
    assert set(steps) == {1, 2, 3}
    assert np.mean(steps == np.minimum(N_STEP, length - time)) > 0.9
    terminated = (after == length) & (length % 2 == 1)
    truncated = (after == length) & (length % 2 == 0)
    assert terminated.any()
    assert truncated.any()
    np.testing.assert_array_equal(data.discount, np.where(terminated, 0, GAMMA**steps))


@in_jax
def test_the_network_chooses_and_the_target_values_what_follows(make):
    agent = make(jb.Uniform()).dqn
    agent.values = lambda table, obs: table[obs]
    network = jnp.array([[1.0, 2.0], [5.0, 4.0], [0.0, 3.0], [0.0, 0.0]])
    target = jnp.array([[0.0, 0.0], [10.0, 20.0], [30.0, 40.0], [50.0, 60.0]])
    data = jb.Transition(
        obs=jnp.array([0, 0, 0]),
        action=jnp.array([0, 1, 1]),
        reward=jnp.array([0.5, 0.5, 0.5]),
        discount=jnp.array([0.125, 0.25, 0.0]),  # after three steps, cut after two, terminated
        next_obs=jnp.array([1, 2, 2]),
        extras=(),
    )
    # The network prefers action 0 of state 1, which the target does not, and action 1 of state 2.
    expected = [1 - (0.5 + 0.125 * 10), 2 - (0.5 + 0.25 * 40), 2 - 0.5]
    np.testing.assert_allclose(agent.errors(network, target, data), expected)
    slope = jax.grad(lambda table: agent.errors(table, target, data).sum())(network)
    np.testing.assert_array_equal(slope, [[1, 2], [0, 0], [0, 0], [0, 0]])  # the goal stands still


@on_host
def test_exploration_falls_to_a_little_and_random_actions_are_all_of_them(make, keys):
    agent = make(jb.Uniform()).dqn
    agent.values = lambda params, obs: jnp.broadcast_to(jnp.array([0.0, 1.0, 0.0]), (len(obs), 3))
    obs = jnp.zeros((10_000, 2))
    np.testing.assert_array_equal(agent.act(None, obs, keys[0]), 1)
    run = SimpleNamespace(params=None, recorder=SimpleNamespace(obs=obs))
    for age, epsilon in ((0, 1.0), (10, 0.5), (20, dqn.EPSILON), (100, dqn.EPSILON)):
        run.age = jnp.int32(age)
        share = np.bincount(agent.explore(run, keys[0]), minlength=3) / len(obs)
        np.testing.assert_allclose(share, [epsilon / 3, 1 - 2 * epsilon / 3, epsilon / 3], atol=0.02)  # 4 sigma


@pytest.mark.long  # quick: the next test counts updates, test_resume.py compares parameters
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", long_but([*dqn.REPLAYS], quick=[1]))
@on_host
def test_learning_changes_what_it_should(make, keys, name, monkeypatch):
    monkeypatch.setattr(dqn, "WARMUP", 0)
    way = make(dqn.REPLAYS[name], updates=SMALL["CHUNK"])
    run = way.begin(keys)
    before = jax.tree.map(np.array, run.params)
    run, _ = way.chunk(run, keys)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((run.params, run.target)))
    for old, new in zip(*map(jax.tree.leaves, (before, run.params)), strict=True):
        assert not np.array_equal(old, new)
    assert int(run.age.sum()) == SMALL["CHUNK"]
    if name == "prioritized":
        assert float(run.replay.sampler.highest.max()) > 1  # priorities came back
        assert int(run.replay.sampler.refused.sum()) == 0


@pytest.mark.usefixtures("standard_promotion")
@in_jax
def test_learning_begins_after_the_warm_up_and_is_a_branch_for_all_seeds_together(make):
    keys = jax.random.split(jax.random.key(0), 1 if make.way is dqn.OnGymnasium else 3)
    way = make(jb.Prioritized())
    run, ages = way.begin(keys), []
    for _ in range(2):
        run, _ = way.chunk(run, keys)
        ages.append(np.ravel(run.age).tolist())
    assert ages == [[0] * len(keys), [SMALL["CHUNK"]] * len(keys)]
    assert int(run.replay.adds) == 2 * SMALL["CHUNK"]
    if make.way is dqn.OnGymnax and not is_quick():  # quick: test_gates.py asks it of the same verbs
        assert_gated(way.chunk, run, keys)


@pytest.mark.long  # quick: test_resume.py runs the program and looks at its picture
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("options", long_but([["--seeds", "2"], ["--gym", "--replay", "all"]], quick=[0]))
def test_the_program_says_how_good_it_is_and_leaves_a_picture(tmp_path, capsys, monkeypatch, options):
    monkeypatch.setattr(dqn, "CHUNK", 10)
    monkeypatch.setattr(dqn, "WARMUP", 10)
    dqn.main([*options, "--steps", "60", "--out", str(tmp_path / "dqn.png")])
    said = capsys.readouterr().out
    for name in dqn.REPLAYS if "all" in options else ["prioritized"]:
        (line,) = re.findall(rf"^{name}: return (?=.*greedy).*", said, re.MULTILINE)
        numbers = [float(x) for x in re.findall(r"\d+\.\d", line)]
        assert len(numbers) == 3 + ("--seeds" in options)
        assert min(numbers) >= 8  # an upright pole takes so long to fall
    assert plt.imread(tmp_path / "dqn.png").std() > 0.01


@pytest.mark.long  # quick: test_dtypes.py, and the same loop with other observations above
@pytest.mark.usefixtures("standard_promotion")
def test_images_are_kept_as_bytes_and_nothing_is_lost(keys):
    way = idle(dqn.OnGymnax("Breakout-MinAtar", jb.Uniform(), 100))
    run, _ = way.chunk(way.begin(keys), keys)
    obs = way.dqn.replay.sample(first_seed(run), keys[0]).data.obs
    assert obs.dtype == jnp.uint8
    assert obs.shape[1:] == (10, 10, 4)
    assert set(np.unique(obs)) == {0, 255}
